//! The operator's API: figures as they change, outcomes of loads, the log of a channel, and those who are slow.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wharf_tests::operator::{TOKEN, code};
use wharf_tests::{
    Hosts, Line, Operated, PATIENCE, Raw, Setup, Stream, Value, artefacts, eventually, json,
    on_one_host_and_on_two,
};

on_one_host_and_on_two! {
    all_connections_of_a_channel_are_disconnected_together
}

async fn started(flags: &[&str]) -> Operated {
    Operated::start(&["operated", "rooms"], flags).await
}

/// Returns the figures of a channel.
fn of<'a>(figures: &'a Value, channel: &str) -> &'a Value {
    let channels = figures["channels"].as_array().expect("a list");
    channels.iter().find(|of| of["name"] == channel).expect("the channel")
}

#[tokio::test]
async fn figures_come_each_second_and_outcomes_of_loads_as_they_happen() {
    let it = started(&[]).await;
    let mut live = it.stream("/api/live").await;
    assert_eq!(live.answer.status, 200);
    assert_eq!(live.answer.header("content-type"), ["text/event-stream"]);
    let begun = Instant::now();
    let first = live.wait_for("stats", |_| true).await;
    assert_eq!(of(&first, "operated")["connections"], 0);
    let mut ann = it.wharf.connect("/operated?user=ann").await;
    assert_eq!(ann.ask("ahoy").await, "ahoy");
    let is_seen = |figures: &Value| of(figures, "operated")["messages_in"] == 1;
    let seen = live.wait_for("stats", is_seen).await;
    assert_eq!(of(&seen, "operated")["connections"], 1);
    for _ in 0..2 {
        live.wait_for("stats", |_| true).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    it.wharf.install("operated", b"this is no component");
    let load = live.wait_for("load", |_| true).await;
    assert_eq!((&load["channel"], &load["state"]), (&json!("operated"), &json!("refused")));
    assert_eq!(load["generation"], 1);
}

#[tokio::test]
async fn each_outcome_of_a_load_is_listed_with_its_reason() {
    let it = started(&[]).await;
    let mut next = artefacts::component("operated");
    // A custom section makes it another file.
    next.extend_from_slice(&[0, 3, 2, b'v', b'2']);
    it.wharf.swap("operated", &next).await;
    let start = it.wharf.log.len();
    it.wharf.install("operated", b"this is no component");
    it.wharf.refused_after(start, "operated").await;
    it.wharf.install("stranger", b"nor is this");
    it.wharf.refused_after(start, "stranger").await;
    let (status, loads) = it.get("/operated/loads").await;
    let facts = |load: &Value| (load["state"].clone(), load["generation"].clone());
    let listed: Vec<_> = loads["loads"].as_array().expect("a list").iter().map(facts).collect();
    let expected = [("refused", json!(2)), ("serving", json!(2)), ("serving", json!(1))];
    assert_eq!(status, 200);
    assert_eq!(listed, expected.map(|(state, number)| (json!(state), number)));
    assert!(loads["loads"][0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert_eq!(loads["loads"][1]["reason"], Value::Null);
    assert_eq!(loads["loads"][1]["sha256"].as_str().map(str::len), Some(64));
    // A file without a channel is listed as well.
    assert_eq!(it.get("/stranger/loads").await.1["loads"][0]["generation"], Value::Null);
    let (_, all) = it.ask("/api/loads?limit=2").await;
    assert_eq!(all["loads"][0]["channel"], "stranger");
    let older = it.ask(&format!("/api/loads?before={}", all["next"])).await.1;
    assert_eq!(older["loads"].as_array().map(Vec::len), Some(3), "{older}");
    assert_eq!(older["next"], Value::Null);
    assert_eq!(code(it.get("/nobody/loads").await), (404, "unknown-channel".to_owned()));
}

#[tokio::test]
async fn the_last_lines_of_a_channel_are_read_and_followed_by_their_level() {
    let it = Operated::start(&["robust", "echo"], &[]).await;
    let mut shop = it.wharf.connect("/robust?credit=100").await;
    let mut buy = async |cups: u32| {
        shop.send_json(
            json!({ "type": "buy", "ref": cups, "payload": { "tea": "green", "cups": cups } }),
        )
        .await;
        while shop.json().await["ref"] != cups {}
    };
    buy(1).await;
    let messages = |lines: &Value| -> Vec<String> {
        let lines = lines["lines"].as_array().expect("a list").iter();
        lines.map(|line| line["message"].as_str().expect("a message").to_owned()).collect()
    };
    let lines = it.get("/robust/logs").await.1;
    let all = messages(&lines);
    assert!(all.iter().any(|message| message == "plugin loaded"), "{all:?}");
    let sold = lines["lines"].as_array().and_then(|lines| lines.last()).expect("a line");
    assert_eq!((&sold["message"], &sold["level"]), (&json!("sold"), &json!("INFO")));
    assert_eq!(sold["fields"], json!({ "tea": "green", "cups": 1 }));
    assert_eq!(messages(&it.get("/robust/logs?level=error").await.1), [""; 0]);
    // Lines of another channel are not among them.
    assert!(!messages(&it.get("/echo/logs").await.1).contains(&"sold".to_owned()));
    let mut followed = it.stream("/api/channels/robust/logs?follow=true&level=info").await;
    followed.wait_for("line", |line| line["fields"]["cups"] == 1).await;
    buy(2).await;
    followed.wait_for("line", |line| line["fields"]["cups"] == 2).await;
    assert_eq!(code(it.get("/nobody/logs").await), (404, "unknown-channel".to_owned()));
    for wrong in ["level=loud", "follow=yes", "limit=3"] {
        let answer = it.get(&format!("/robust/logs?{wrong}")).await;
        assert_eq!(code(answer), (400, "invalid-field".to_owned()), "{wrong}");
    }
    let secret = it.get("/nobody/logs?follow=true").await;
    assert_eq!(code(secret).0, 404);
}

#[tokio::test]
async fn streams_are_bounded_and_end_with_the_host() {
    let mut it = started(&["--handshake-timeout-ms 1000"]).await;
    let mut streams: Vec<Stream> = Vec::new();
    for _ in 0..16 {
        streams.push(it.stream("/api/live").await);
    }
    assert!(streams.iter().all(|stream| stream.answer.status == 200));
    let refused = it.ask("/api/live").await;
    assert_eq!(code(refused), (503, "too-many-streams".to_owned()));
    // They last longer than a request may.
    let begun = Instant::now();
    let mut last = streams.pop().expect("a stream");
    while begun.elapsed() < Duration::from_millis(2500) {
        last.wait_for("stats", |_| true).await;
    }
    drop(last);
    let another = eventually("the place of a stream that has ended", async || {
        let stream = it.stream("/api/live").await;
        (stream.answer.status == 200).then_some(stream)
    })
    .await;
    streams.push(another);
    it.wharf.signal("TERM");
    for stream in &mut streams {
        while stream.event().await.is_some() {}
    }
    let stopped = it.wharf.stopped().await;
    assert!(stopped.status.success(), "{:?}", stopped.status);
    assert!(stopped.took < Duration::from_secs(4), "{:?}", stopped.took);
}

#[tokio::test]
async fn connections_for_which_the_most_bytes_wait_come_first() {
    let it = started(&["--outbound-queue-bytes 16MiB"]).await;
    assert_eq!(it.ask("/api/slow").await, (200, json!({ "connections": [] })));
    let mut readers = Vec::new();
    for (user, join) in [("ann", "few"), ("bob", "few,many")] {
        let mut raw = Raw::open_narrow(it.wharf.address).await;
        raw.upgrade(&format!("/operated?user={user}&join={join}")).await;
        readers.push(raw);
    }
    let long = "x".repeat(500_000);
    // Neither of them reads, and the system holds a few of them.
    for room in std::iter::repeat_n("few", 16).chain(std::iter::repeat_n("many", 6)) {
        let body = json!({ "rooms": [room], "text": long });
        assert_eq!(it.post("/operated/broadcast", body).await.0, 200);
    }
    let (_, slow) = it.ask("/api/slow").await;
    let users: Vec<_> = slow["connections"].as_array().expect("a list").iter().collect();
    let users: Vec<_> = users.iter().map(|one| one["user"].as_str()).collect();
    assert_eq!(users, [Some("bob"), Some("ann")]);
    assert_eq!(slow["connections"][0]["channel"], "operated");
    assert!(
        slow["connections"][0]["queued_bytes"].as_u64()
            > slow["connections"][1]["queued_bytes"].as_u64()
    );
    let (_, one) = it.ask("/api/slow?limit=1").await;
    assert_eq!(one["connections"][0]["user"], "bob");
    assert_eq!(one["connections"].as_array().map(Vec::len), Some(1));
}

async fn all_connections_of_a_channel_are_disconnected_together(setup: Setup) {
    let hosts: Hosts = setup.start(&["operated", "rooms"], &[]).await;
    let it = hosts.host(0);
    let mut clients = Vec::new();
    for number in 0..6 {
        clients.push(hosts.connect(number, "/operated").await);
    }
    let mut other = hosts.connect(1, "/rooms").await;
    let unclear = it.refused("/operated/disconnect", json!({ "code": 4001 })).await;
    assert_eq!(unclear, (400, "audience-empty".to_owned()));
    let body = json!({ "code": 4001, "reason": "moved", "all": true });
    let (status, answer) = it.post("/operated/disconnect", body).await;
    assert_eq!((status, &answer["disconnected"]), (200, &json!(6)), "{answer}");
    assert_eq!(answer.get("unanswered"), hosts.are_several().then(|| json!([])).as_ref());
    for client in &mut clients {
        assert_eq!(client.close_code().await, 4001);
    }
    assert!(other.ask_json(json!({ "do": "id" })).await["id"].is_string());
    let (_, acts) = it.ask("/api/audit?limit=1").await;
    let act = &acts["acts"][0];
    assert_eq!((&act["action"], &act["subject"]), (&json!("disconnect"), &Value::Null));
    let refused = it.refused("/operated/disconnect", json!({ "code": 999 })).await;
    assert_eq!(refused, (400, "invalid-field".to_owned()));
}

#[tokio::test]
async fn wharf_top_shows_the_figures_of_each_channel() {
    let it = started(&[]).await;
    let _ann = it.wharf.connect("/operated?user=ann&join=a").await;
    let output = it.command(&["top", "--once"], &[]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
    assert!(shown.contains("connections 1 of 10,000"), "{shown}");
    let row = shown.lines().find(|line| line.starts_with("operated")).expect("the channel");
    let figures: Vec<&str> = row.split_whitespace().collect();
    // Its generation and its connections; the last ones are rooms and users.
    assert_eq!(figures.get(1..3), Some(["1", "1"].as_slice()), "{shown}");
    assert!(figures.ends_with(&["1", "1"]), "{shown}");
    let json = it.command(&["top", "--json"], &[]);
    let json: Value = String::from_utf8_lossy(&json.stdout).parse().expect("JSON");
    assert_eq!(of(&json, "operated")["users"], 1);
}

#[tokio::test]
async fn wharf_top_takes_a_terminal_and_gives_it_back() {
    const TAKEN: &str = "\u{1b}[?1049h";
    const GIVEN_BACK: &str = "\u{1b}[?1049l";
    let it = started(&[]).await;
    let top = format!("{} top --url http://{}", artefacts::binary().display(), it.api);
    // It gives the program a terminal of its own.
    let mut script = Command::new("script");
    script.args(["-qec", &top, "/dev/null"]);
    // Variables of the tests are no settings, and the program would say so.
    script.env_clear().env("WHARF_OPERATOR_TOKEN", TOKEN);
    script.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let mut child =
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script runs");
    let (mut keys, mut out) =
        (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    let watching = tokio::task::spawn_blocking(move || {
        let mut shown = Vec::new();
        let mut part = [0; 4096];
        let mut has_asked = false;
        loop {
            let count = out.read(&mut part).expect("output");
            if count == 0 {
                break;
            }
            shown.extend_from_slice(&part[..count]);
            // Twice drawn, so that there are rates.
            let text = String::from_utf8_lossy(&shown);
            if !has_asked && text.matches("operated").count() > 1 {
                keys.write_all(b"q").and_then(|()| keys.flush()).expect("a key");
                has_asked = true;
            }
        }
        let status = child.wait().expect("it ends");
        (String::from_utf8_lossy(&shown).into_owned(), status)
    });
    let (text, status) =
        tokio::time::timeout(PATIENCE, watching).await.expect("it ends").expect("no panic");
    assert!(status.success(), "{status:?}: {text}");
    assert!(text.starts_with(TAKEN) && text.trim_end().ends_with(GIVEN_BACK), "{text:?}");
    assert!(text.contains("in 0/s"), "{text:?}");
}

#[tokio::test]
async fn wharf_logs_shows_the_lines_and_follows_them_until_the_host_ends() {
    let it = Operated::start(&["operated"], &["--log debug"]).await;
    let output = it.command(&["logs", "operated", "--no-follow"], &[]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(shown.contains("INFO  plugin loaded ") && shown.contains(" generation=1 "), "{shown}");
    let unknown = it.command(&["logs", "nobody"], &[]);
    let complaint = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(!unknown.status.success() && complaint.contains("nobody"), "{complaint}");
    let following = it.command_aside(vec!["logs", "operated", "--json"], ("unused", Vec::new()));
    let start = it.wharf.log.len();
    let acting = async {
        let follows = |line: &Line| line.str("path").ends_with("/operated/logs");
        it.wharf.log.wait_for_after(start, "the log to be followed", follows).await;
        it.wharf.signal("TERM");
    };
    let (output, ()) = tokio::join!(following, acting);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let first: Value = shown.lines().next().expect("a line").parse().expect("JSON");
    assert_eq!(first["channel"], "operated");
    assert!(!output.status.success() && complaint.contains("ended the stream"), "{complaint}");
}
