//! Metrics: what a scrape shows of the things that happen.

use std::collections::BTreeMap;

use tokio::io::AsyncReadExt;
use wharf_tests::operator::{answered, authorization};
use wharf_tests::{
    Backend, Hosts, Operated, Raw, Setup, Value, artefacts, eventually, folder, json,
    on_one_host_and_on_two, soon,
};

on_one_host_and_on_two! {
    a_host_counts_what_its_own_clients_do_and_shows_its_cluster_if_it_is_in_one
}

const METRICS: &str = "/metrics";

/// The samples of a scrape by their names with labels.
#[derive(Debug)]
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    async fn of(it: &Operated) -> Scrape {
        let answer = it.request("GET", METRICS, &[authorization()], b"").await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        let samples = answer.text();
        let samples = samples.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
        });
        Scrape(samples.collect())
    }

    fn get(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no {name} among {:?}", self.0.keys()))
    }

    /// Returns the sample of a channel, which may have further labels.
    fn of_channel(&self, name: &str, channel: &str, further: &str) -> f64 {
        self.get(&format!("{name}{{channel=\"{channel}\"{further}}}"))
    }
}

async fn stats(it: &Operated) -> Value {
    let (status, stats) = it.ask("/api/stats").await;
    assert_eq!(status, 200, "{stats}");
    stats
}

fn channel_of<'a>(stats: &'a Value, name: &str) -> &'a Value {
    let mut channels = stats["channels"].as_array().expect("a list").iter();
    channels.find(|channel| channel["name"] == name).unwrap_or_else(|| panic!("no {name}: {stats}"))
}

#[tokio::test]
async fn messages_bytes_and_receivers_are_counted_as_they_are_queued() {
    let it = Operated::start(&["operated", "echo"], &[]).await;
    let before = Scrape::of(&it).await;
    assert_eq!(before.of_channel("wharf_events_total", "operated", ",kind=\"on-message\""), 0.0);
    let mut clients = Vec::new();
    for user in ["ann", "bob", "cid"] {
        let path = format!("/operated?user={user}&join=lobby");
        let mut client = it.wharf.connect(&path).await;
        assert_eq!(client.ask("hello").await, "hello");
        clients.push(client);
    }
    let sent = it.post("/operated/broadcast", json!({ "rooms": ["lobby"], "text": "hear" })).await;
    assert_eq!(sent, (200, json!({ "receivers": 3 })));
    for client in &mut clients {
        assert_eq!(client.text().await, "hear");
    }
    let after = Scrape::of(&it).await;
    let of = |name: &str| after.of_channel(name, "operated", "");
    assert_eq!((of("wharf_connections"), of("wharf_rooms"), of("wharf_users")), (3.0, 1.0, 3.0));
    assert_eq!(of("wharf_messages_received_total"), 3.0);
    assert_eq!(of("wharf_received_bytes_total"), 15.0);
    assert_eq!(of("wharf_messages_sent_total"), 6.0);
    // Each frame has a head of two bytes.
    assert_eq!(of("wharf_sent_bytes_total"), 3.0 * 7.0 + 3.0 * 6.0);
    assert_eq!(of("wharf_broadcast_receivers_count"), 1.0);
    assert_eq!(of("wharf_broadcast_receivers_sum"), 3.0);
    let bucket = |bound| {
        let bound = format!(",le=\"{bound}\"");
        after.of_channel("wharf_broadcast_receivers_bucket", "operated", &bound)
    };
    assert_eq!((bucket("1.0"), bucket("4.0"), bucket("+Inf")), (0.0, 1.0, 1.0));
    let events = |kind| after.of_channel("wharf_events_total", "operated", kind);
    assert_eq!((events(",kind=\"on-connect\""), events(",kind=\"on-message\"")), (3.0, 3.0));
    for times in ["wharf_guest_cpu_seconds", "wharf_guest_wall_seconds"] {
        assert_eq!(of(&format!("{times}_count")), 6.0, "{times}");
        let sum = of(&format!("{times}_sum"));
        assert!(sum > 0.0 && sum < 60.0, "{times}: {sum}");
    }
    assert_eq!(after.get("wharf_handshakes_total{result=\"accepted\"}"), 3.0);
    assert_eq!(after.of_channel("wharf_messages_sent_total", "echo", ""), 0.0);

    let stats = stats(&it).await;
    assert_eq!(stats["handshakes"], json!({ "accepted": 3, "refused": 0 }));
    let operated = channel_of(&stats, "operated");
    for (field, expected) in [
        ("connections", 3),
        ("rooms", 1),
        ("users", 3),
        ("events", 6),
        ("messages_in", 3),
        ("messages_out", 6),
        ("bytes_in", 15),
        ("bytes_out", 39),
        ("traps", 0),
        ("queued_bytes", 0),
        ("slow", 0),
        ("slow_total", 0),
        ("swaps", 0),
        ("generation", 1),
    ] {
        assert_eq!(operated[field], json!(expected), "{field} in {operated}");
    }
    assert!(operated["guest_p50_us"].as_f64() <= operated["guest_p99_us"].as_f64(), "{operated}");
    assert!(operated["guest_p50_us"].as_f64() > Some(0.0), "{operated}");
    assert!(operated["memory_bytes"].as_u64() > Some(100_000), "{operated}");
    for (field, least) in [("memory_bytes", 1e6), ("cpu_seconds", 0.001), ("uptime_ms", 1.0)] {
        assert!(stats[field].as_f64() >= Some(least), "{field} in {stats}");
    }

    clients.pop().expect("a client").close(1000, "").await;
    eventually("the end to be counted", async || {
        let scrape = Scrape::of(&it).await;
        let closed = ",reason=\"client-closed\"";
        let closed = scrape.of_channel("wharf_connections_closed_total", "operated", closed);
        (closed == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn failures_are_counted_by_generation_and_those_of_old_ones_are_not_shown_any_more() {
    let flags = ["--cpu-budget-ms 100", "--start-budget-ms 100"];
    let it = Operated::start(&["operated"], &flags).await;
    let failed = async |order: &str| {
        let (status, _) = it.post("/operated/messages", json!({ "do": order })).await;
        assert!(status == 500 || status == 503, "{status}");
    };
    failed("tell_all_and_panic").await;
    failed("tell_all_and_panic").await;
    failed("spin").await;
    let failures = |scrape: &Scrape, generation: u64, kind: &str| {
        let labels = format!(",generation=\"{generation}\",kind=\"{kind}\"");
        scrape.of_channel("wharf_guest_failures_total", "operated", &labels)
    };
    let first = Scrape::of(&it).await;
    assert_eq!((failures(&first, 1, "trap"), failures(&first, 1, "deadline")), (2.0, 1.0));
    assert!(first.get("wharf_limits_total{limit=\"cpu_budget_ms\"}") >= 1.0);
    let cpu = first.of_channel("wharf_guest_cpu_seconds_sum", "operated", "");
    assert!(cpu >= 0.1, "a handler that computed for its whole budget is measured: {cpu}");
    for version in 2..=3_u8 {
        let mut next = artefacts::component("operated");
        // A custom section makes it another file.
        next.extend_from_slice(&[0, 3, 2, b'v', b'0' + version]);
        it.wharf.swap("operated", &next).await;
        failed("tell_all_and_panic").await;
    }
    let last = Scrape::of(&it).await;
    assert_eq!((failures(&last, 2, "trap"), failures(&last, 3, "trap")), (1.0, 1.0));
    assert!(last.0.keys().all(|name| !name.contains("generation=\"1\"")));
    assert_eq!(last.of_channel("wharf_swaps_total", "operated", ""), 2.0);
    assert_eq!(last.of_channel("wharf_generation", "operated", ""), 3.0);
    let stats = stats(&it).await;
    let operated = channel_of(&stats, "operated");
    assert_eq!((&operated["traps"], &operated["deadlines"]), (&json!(4), &json!(1)));
    assert_eq!(operated["swaps"], json!(2));
}

#[tokio::test]
async fn the_store_and_outgoing_requests_are_counted_by_their_results() {
    let backend = Backend::start().await;
    let folder = folder(&["stores", "fetches"]);
    let file = format!("[channels.fetches]\nhttp_hosts = {}\n", json!([backend.host()]));
    std::fs::write(folder.path().join("wharf.toml"), file).expect("a configuration");
    let it = Operated::start_in(folder, &[]).await;
    let mut stores = it.wharf.connect("/stores").await;
    let set = json!({ "do": "set", "key": "a", "value": 1 });
    assert_eq!(stores.ask_json(set).await, json!({ "set": "a" }));
    stores.ask_json(json!({ "do": "get", "key": "a" })).await;
    let mut fetches = it.wharf.connect("/fetches").await;
    let get = |url: &str| json!({ "method": "GET", "url": url });
    assert_eq!(fetches.ask_json(get(&backend.url("/hello"))).await["status"], 200);
    assert!(fetches.ask_json(get("http://elsewhere.example/")).await["refused"].is_string());
    let scrape = Scrape::of(&it).await;
    let store = |operation: &str| {
        let labels = format!(",operation=\"{operation}\",result=\"done\"");
        scrape.of_channel("wharf_store_operations_total", "stores", &labels)
    };
    assert_eq!((store("set"), store("delete")), (1.0, 0.0));
    assert!(store("get") >= 1.0);
    assert!(scrape.of_channel("wharf_memory_bytes", "stores", ",kind=\"store\"") > 0.0);
    let requests = |result: &str| {
        let labels = format!(",result=\"{result}\"");
        scrape.of_channel("wharf_http_requests_total", "fetches", &labels)
    };
    assert_eq!((requests("answered"), requests("refused"), requests("failed")), (1.0, 1.0, 0.0));
    assert_eq!(scrape.of_channel("wharf_http_request_seconds_count", "fetches", ""), 1.0);
    // A handler that waits has been longer on its way than inside the channel's code.
    let sum = |times: &str| scrape.of_channel(&format!("{times}_sum"), "fetches", "");
    assert!(sum("wharf_guest_wall_seconds") > sum("wharf_guest_cpu_seconds"));
}

#[tokio::test]
async fn clients_that_are_turned_away_are_counted_with_the_limit() {
    let it = Operated::start(&["echo"], &["--max-connections 1"]).await;
    let _first = it.wharf.connect("/echo").await;
    let refused = it.wharf.try_connect("/echo", &[]).await.expect_err("it is full");
    assert_eq!(refused.status, 503);
    let refused = it.wharf.try_connect("/nowhere", &[]).await.expect_err("no channel");
    assert_eq!(refused.status, 404);
    let scrape = Scrape::of(&it).await;
    let result = |name: &str| scrape.get(&format!("wharf_handshakes_total{{result=\"{name}\"}}"));
    assert_eq!((result("accepted"), result("full"), result("not-found")), (1.0, 1.0, 1.0));
    assert_eq!(scrape.get("wharf_limits_total{limit=\"max_connections\"}"), 1.0);
    assert_eq!(scrape.get("wharf_open_connections"), 1.0);
    assert_eq!(stats(&it).await["handshakes"], json!({ "accepted": 1, "refused": 2 }));
}

#[tokio::test]
async fn events_that_wait_for_an_instance_are_counted_with_their_time() {
    let flags = ["--max-instances-per-channel 1", "--reserved-instances-per-channel 1"];
    let it = Operated::start(&["operated"], &flags).await;
    let wait = json!({ "do": "wait", "ms": 200 });
    let waiting =
        [it.post("/operated/messages", wait.clone()), it.post("/operated/messages", wait)];
    for (status, answer) in futures_util::future::join_all(waiting).await {
        assert_eq!(status, 200, "{answer}");
    }
    let scrape = Scrape::of(&it).await;
    assert_eq!(scrape.of_channel("wharf_pool_wait_seconds_count", "operated", ""), 1.0);
    let waited = scrape.of_channel("wharf_pool_wait_seconds_sum", "operated", "");
    assert!(waited > 0.05 && waited < 30.0, "{waited}");
    assert_eq!(scrape.of_channel("wharf_instances", "operated", ",state=\"idle\""), 1.0);
}

#[tokio::test]
async fn what_waits_for_a_client_that_does_not_read_is_seen() {
    let it = Operated::start(&["ends"], &["--keep-alive-timeout-ms 60000"]).await;
    let mut slow = Raw::open_narrow(it.wharf.address).await;
    slow.upgrade("/ends?room=quay").await;
    let mut flooding = it.wharf.connect("/ends?room=elsewhere").await;
    let order = json!({ "do": "flood", "room": "quay", "messages": 1, "bytes": 60_000 });
    let seen = eventually("more than half of its queue to wait", async || {
        assert_eq!(flooding.ask_json(order.clone()).await, json!({ "flooded": 1 }));
        let scrape = Scrape::of(&it).await;
        let slow = scrape.of_channel("wharf_slow_connections", "ends", "");
        let cut = ",reason=\"slow-consumer\"";
        let is_cut = scrape.of_channel("wharf_connections_closed_total", "ends", cut) > 0.0;
        (slow > 0.0 || is_cut).then_some(scrape)
    })
    .await;
    let queued = seen.of_channel("wharf_queued_bytes", "ends", "");
    let was_cut = stats(&it).await["channels"][0]["slow_total"] == json!(1);
    assert!(queued > 60_000.0 || was_cut, "{queued}");
}

#[tokio::test]
async fn a_scrape_has_the_format_that_is_asked_for_and_needs_a_token() {
    let it = Operated::start(&["echo"], &["--metrics-token reads-metrics-only"]).await;
    let scraper = ("Authorization", "Bearer reads-metrics-only");
    let open = ("Accept", "application/openmetrics-text; version=1.0.0");
    let answer = it.request("GET", METRICS, &[scraper], b"").await;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!((answer.status, answer.header("content-type")), (200, vec![kind]));
    assert!(answer.text().contains("# TYPE wharf_events_total counter\n"));
    assert!(!answer.text().contains("# EOF"));
    let answer = it.request("GET", METRICS, &[authorization(), open], b"").await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((answer.status, answer.header("content-type")), (200, vec![kind]));
    assert!(answer.text().contains("# TYPE wharf_events counter\nwharf_events_total{"));
    assert!(answer.text().ends_with("\n# EOF\n"));

    let mut raw = Raw::open(it.api).await;
    raw.request(&format!("HEAD {METRICS}"), &[scraper, ("Connection", "close")]).await;
    let mut head = String::new();
    soon("the end", raw.socket.read_to_string(&mut head)).await.expect("text");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");

    for (headers, expected) in
        [(vec![], "token-required"), (vec![("Authorization", "Bearer nonsense")], "wrong-token")]
    {
        let (status, body) = answered(it.request("GET", METRICS, &headers, b"").await);
        assert_eq!((status, &body["error"]["code"]), (401, &json!(expected)));
    }
    for path in ["/api/stats", "/api/channels", "/api/audit"] {
        let (status, body) = answered(it.request("GET", path, &[scraper], b"").await);
        assert_eq!((status, &body["error"]["code"]), (401, &json!("wrong-token")), "{path}");
    }
    let (status, _) = answered(it.request("POST", METRICS, &[authorization()], b"").await);
    assert_eq!(status, 405);
    let (status, _) = answered(it.request("POST", METRICS, &[scraper], b"").await);
    assert_eq!(status, 401, "it reads, and nothing else");
    let (status, _) = answered(it.request("GET", "/metrics?a=b", &[authorization()], b"").await);
    assert_eq!(status, 400);
}

#[tokio::test]
async fn the_series_of_a_channel_that_is_removed_are_gone() {
    let it = Operated::start(&["rooms", "echo"], &["--removal-grace-ms 100"]).await;
    let scrape = Scrape::of(&it).await;
    assert_eq!(scrape.of_channel("wharf_connections", "rooms", ""), 0.0);
    assert_eq!(scrape.get("wharf_channels"), 2.0);
    std::fs::remove_file(it.wharf.plugin("rooms")).expect("the plugin is removed");
    it.wharf.log.wait_for("the removal", |line| line.says("plugin removed")).await;
    let scrape = Scrape::of(&it).await;
    assert!(scrape.0.keys().all(|name| !name.contains("channel=\"rooms\"")));
    assert_eq!(scrape.of_channel("wharf_connections", "echo", ""), 0.0);
    assert_eq!(scrape.get("wharf_channels"), 1.0);
    let stats = stats(&it).await;
    assert_eq!(stats["channels"].as_array().map(Vec::len), Some(1), "{stats}");
}

async fn a_host_counts_what_its_own_clients_do_and_shows_its_cluster_if_it_is_in_one(setup: Setup) {
    let hosts = setup.start(&["operated"], &[]).await;
    let mut here = hosts.connect(0, "/operated?join=lobby").await;
    let mut there = hosts.connect(1, "/operated?join=lobby").await;
    assert_eq!(here.ask("hello").await, "hello");
    hosts.settle().await;
    let order = json!({ "rooms": ["lobby"], "text": "hear" });
    assert_eq!(hosts.host(0).post("/operated/broadcast", order).await.0, 200);
    for client in [&mut here, &mut there] {
        assert_eq!(client.text().await, "hear");
    }
    let scrapes = [Scrape::of(hosts.host(0)).await, Scrape::of(hosts.host(1)).await];
    let sent =
        scrapes.each_ref().map(|it| it.of_channel("wharf_messages_sent_total", "operated", ""));
    match hosts.are_several() {
        false => assert_eq!(sent, [3.0, 3.0]),
        true => assert_eq!(sent, [2.0, 1.0], "each host counts its own clients"),
    }
    let [first, _] = scrapes;
    let nodes = first.0.get("wharf_cluster_nodes").copied();
    assert_eq!(nodes, hosts.are_several().then_some(2.0));
    if hosts.are_several() {
        assert_eq!(first.get("wharf_cluster_up"), 1.0);
        assert!(first.get("wharf_cluster_published_total") > 0.0);
        assert!(first.get("wharf_cluster_received_total") > 0.0);
        assert!(first.get("wharf_cluster_topics") > 0.0);
        assert_eq!(first.get("wharf_cluster_lost_total{direction=\"out\"}"), 0.0);
        measured(&hosts).await;
    }
}

/// Waits for the time of a sign of life of the engine.
async fn measured(hosts: &Hosts) {
    let time = eventually("a sign of life", async || {
        let scrape = Scrape::of(hosts.host(0)).await;
        scrape.0.get("wharf_cluster_round_trip_seconds").copied()
    })
    .await;
    assert!(time > 0.0 && time < 10.0, "{time}");
}
