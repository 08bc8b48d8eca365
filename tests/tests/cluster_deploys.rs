//! Deployments to hosts of one cluster: all of them swap, or none does.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wharf_tests::artefacts::{component, padded, slow_to_compile};
use wharf_tests::cluster::Cluster;
use wharf_tests::{Client, Operated, Value, eventually, folder, json};

on_each_engine! {
    all_hosts_swap_within_a_second_of_each_other_and_back
    no_host_swaps_if_one_of_them_refuses
    a_host_that_starts_later_gets_what_the_cluster_runs
    a_coordinator_that_is_killed_leaves_nothing_behind
    of_two_deployments_at_once_one_is_refused
    status_shows_all_hosts_and_names_those_that_do_not_answer
}

async fn version(client: &mut Client) -> u64 {
    client.ask_for_json("version?").await["version"].as_u64().expect("a version")
}

/// Returns a plugin that takes some seconds to compile, and that no host has compiled before.
fn slow(salt: u8) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time");
    let size = now.subsec_micros() as usize;
    padded(&slow_to_compile(&component("counts-v2"), salt), size)
}

/// Asserts that a deployment has succeeded.
fn deployed(it: &Operated, channel: &str, bytes: &[u8]) {
    let output = it.deploy(channel, bytes);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

/// Returns the complaint of a deployment that must fail.
fn refused(it: &Operated, channel: &str, bytes: &[u8]) -> String {
    let output = it.deploy(channel, bytes);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asks until the version is this one. Returns the time of the first answer that was.
async fn becomes(mut client: Client, expected: u64) -> (Client, Instant) {
    loop {
        if version(&mut client).await == expected {
            return (client, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn all_hosts_swap_within_a_second_of_each_other_and_back(engine: &str) {
    let cluster = Cluster::start(engine, &["counts"], 3).await;
    let mut clients = Vec::new();
    for node in 0..3 {
        clients.push(cluster.connect(node, "/counts/ann").await);
    }
    // Files of several parts, sent to another host each time.
    let new = padded(&component("counts-v2"), 1 << 20);
    for (node, arguments, expected) in [
        (1, vec!["deploy", "counts.wasm"], 2),
        (2, vec!["deploy", "--withdraw", "counts"], 1),
        (0, vec!["deploy", "counts.wasm"], 2),
    ] {
        let waiting: Vec<_> =
            clients.drain(..).map(|it| tokio::spawn(becomes(it, expected))).collect();
        let output =
            cluster.nodes[node].command_aside(arguments, ("counts.wasm", new.clone())).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "node {node}: {text}");
        let mut at = Vec::new();
        for task in waiting {
            let (client, when) = task.await.expect("it answers");
            clients.push(client);
            at.push(when);
        }
        let apart = *at.iter().max().expect("three") - *at.iter().min().expect("three");
        println!("{engine}: the first and the last host are {apart:?} apart");
        // A withdrawal has each host load its own file.
        assert!(apart < Duration::from_secs(1) || expected == 1, "{apart:?}");
    }
    let output = cluster.nodes[1].command(&["deploy", "--list"], &[]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("node-0"), "{output:?}");
}

async fn no_host_swaps_if_one_of_them_refuses(engine: &str) {
    let mut cluster = Cluster::start(engine, &["counts"], 2).await;
    // The path of the third is taken by another channel.
    let odd = folder(&[]);
    std::fs::write(odd.path().join("plugins/other.wasm"), component("counts")).expect("a plugin");
    cluster.add(odd).await;
    cluster.settled().await;
    let text = refused(&cluster.nodes[0], "counts", &component("counts-v2"));
    assert!(text.contains("nothing has changed on any of them"), "{text}");
    assert!(text.contains("node-2") && text.contains("the plugin other"), "{text}");
    for node in 0..2 {
        let mut ann = cluster.connect(node, "/counts/ann").await;
        assert_eq!(version(&mut ann).await, 1);
        let (_, found) = cluster.nodes[node].ask("/api/plugins").await;
        assert_eq!(found["plugins"], json!([]));
    }
    // Once that host is gone, nothing is in the way.
    cluster.nodes[2].wharf.kill();
    cluster.settled().await;
    deployed(&cluster.nodes[0], "counts", &component("counts-v2"));
    let mut ann = cluster.connect(1, "/counts/ann").await;
    assert_eq!(version(&mut ann).await, 2);
}

async fn a_host_that_starts_later_gets_what_the_cluster_runs(engine: &str) {
    let mut cluster = Cluster::start(engine, &["counts"], 2).await;
    deployed(&cluster.nodes[0], "counts", &component("counts-v2"));
    cluster.add(folder(&["counts"])).await;
    cluster.add(folder(&[])).await;
    for node in 2..4 {
        let mut ann = cluster.connect(node, "/counts/ann").await;
        assert_eq!(version(&mut ann).await, 2, "node {node}");
    }
    let flags = cluster.engine.flags("node-1");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    cluster.nodes[1].wharf.kill();
    cluster.nodes[1].start_again(&flags).await;
    let mut ann = cluster.connect(1, "/counts/ann").await;
    assert_eq!(version(&mut ann).await, 2);
    let (_, found) = cluster.nodes[1].ask("/api/plugins").await;
    assert_eq!(found["plugins"][0]["channel"], "counts");
}

async fn a_coordinator_that_is_killed_leaves_nothing_behind(engine: &str) {
    let mut cluster = Cluster::start(engine, &["counts"], 2).await;
    let slow = slow(3);
    let api = cluster.nodes[0].api;
    let deploying = std::thread::spawn({
        let place = tempfile::tempdir().expect("a folder");
        std::fs::write(place.path().join("counts.wasm"), &slow).expect("a file");
        move || {
            let to = format!("http://{api}");
            let arguments = ["deploy", "counts.wasm", "--to", &to];
            let token = [("WHARF_OPERATOR_TOKEN", wharf_tests::operator::TOKEN)];
            wharf_tests::run_in(place.path(), &arguments, &token)
        }
    });
    let kept = eventually("the file to be in the cluster", async || {
        let (status, found) = cluster.nodes[1].ask("/api/plugins").await;
        assert_eq!((status, &found["plugins"]), (200, &json!([])));
        deploying.is_finished().then_some(true).or_else(|| {
            let tried =
                cluster.nodes[1].wharf.log.find(|line| line.says("a deployed plugin is tried"));
            (!tried.is_empty()).then_some(false)
        })
    })
    .await;
    assert!(!kept, "it was killed while it tried");
    cluster.nodes[0].wharf.kill();
    assert!(!deploying.join().expect("it ends").status.success());
    let mut ann = cluster.connect(1, "/counts/ann").await;
    assert_eq!(version(&mut ann).await, 1);
    // Its turn and the trial end by themselves.
    eventually("the next deployment", async || {
        let output = cluster.nodes[1].deploy("counts", &component("counts-v2"));
        output.status.success().then_some(())
    })
    .await;
    assert_eq!(version(&mut ann).await, 2);
}

async fn of_two_deployments_at_once_one_is_refused(engine: &str) {
    let cluster = Cluster::start(engine, &["counts"], 2).await;
    let slow = slow(4);
    let outputs = std::thread::scope(|scope| {
        let all: Vec<_> = cluster
            .nodes
            .iter()
            .map(|it| {
                let slow = &slow;
                scope.spawn(move || it.deploy("counts", slow))
            })
            .collect();
        all.into_iter().map(|it| it.join().expect("it ends")).collect::<Vec<_>>()
    });
    let good = outputs.iter().filter(|output| output.status.success()).count();
    assert_eq!(good, 1, "{outputs:?}");
    let bad = outputs.iter().find(|output| !output.status.success()).expect("the other");
    let text = String::from_utf8_lossy(&bad.stderr);
    assert!(text.contains("deploys at this moment"), "{text}");
    for node in 0..2 {
        let mut ann = cluster.connect(node, "/counts/ann").await;
        assert_eq!(version(&mut ann).await, 2, "node {node}");
    }
}

async fn status_shows_all_hosts_and_names_those_that_do_not_answer(engine: &str) {
    let cluster = Cluster::start(engine, &["counts"], 2).await;
    let output = cluster.nodes[1].command(&["status"], &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with(&format!("engine   {engine}")), "{text}");
    for name in ["node-0", "node-1"] {
        let line = text.lines().find(|line| line.starts_with("counts") && line.contains(name));
        assert!(line.is_some_and(|line| line.ends_with("serving")), "{name}: {text}");
    }
    cluster.nodes[0].wharf.stand_still().await;
    let begun = Instant::now();
    let (status, found) = cluster.nodes[1].ask("/api/nodes").await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!((status, &found["unanswered"]), (200, &json!(["node-0"])), "{found}");
    let plugins = |at: usize| found["nodes"][at]["plugins"].clone();
    assert!(plugins(0).is_array() && plugins(1) == Value::Null, "{found}");
    cluster.nodes[0].wharf.signal("CONT");
}
