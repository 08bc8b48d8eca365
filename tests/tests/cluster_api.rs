//! The operator's API of a cluster: any host answers for all of them.

use std::time::{Duration, Instant};

use wharf_tests::cluster::Cluster;
use wharf_tests::{Client, Ended, Value, eventually, json};

on_each_engine! {
    any_host_lists_and_counts_for_all_hosts
    pages_go_through_the_connections_of_all_hosts
    a_request_about_a_connection_is_answered_by_its_host
    users_are_reached_from_a_host_that_they_are_not_on
    a_host_that_does_not_answer_is_named
}

/// Connects a client to `operated`, and returns it with its id.
async fn enter(cluster: &Cluster, node: usize, query: &str) -> (Client, String) {
    let mut client = cluster.connect(node, &format!("/operated?{query}")).await;
    let id = client.ask("id").await;
    (client, id)
}

async fn get(cluster: &Cluster, node: usize, path: &str) -> Value {
    let (status, body) = cluster.nodes[node].get(path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn any_host_lists_and_counts_for_all_hosts(engine: &str) {
    let cluster = Cluster::start(engine, &["operated"], 3).await;
    let mut clients = Vec::new();
    for node in 0..3 {
        clients.push(enter(&cluster, node, "user=ann&join=lobby").await);
    }
    clients.push(enter(&cluster, 2, "user=bob&join=attic").await);
    let mut ids: Vec<&String> = clients.iter().take(3).map(|(_, id)| id).collect();
    ids.sort();
    for node in 0..3 {
        let channels = get(&cluster, node, "").await;
        assert_eq!(channels["channels"][0]["connections"], 4, "{channels}");
        assert_eq!(channels["unanswered"], json!([]));
        let channel = get(&cluster, node, "/operated").await;
        assert_eq!((&channel["name"], &channel["connections"]), (&json!("operated"), &json!(4)));
        let rooms = get(&cluster, node, "/operated/rooms").await;
        let members: Vec<_> = rooms["rooms"]
            .as_array()
            .expect("rooms")
            .iter()
            .map(|room| (room["name"].as_str().expect("a name"), room["members"].as_u64()))
            .collect();
        assert_eq!(members, [("attic", Some(1)), ("lobby", Some(3))], "node {node}");
        let room = get(&cluster, node, "/operated/rooms/lobby").await;
        assert_eq!((&room["members"], &room["connections"]), (&json!(3), &json!(ids)), "{room}");
        let user = get(&cluster, node, "/operated/users/ann").await;
        assert_eq!((&user["online"], &user["connections"]), (&json!(3), &json!(ids)), "{user}");
        // Only one host has them.
        let attic = get(&cluster, node, "/operated/rooms/attic").await;
        assert_eq!(attic["members"], 1);
        let nowhere = cluster.nodes[node].get("/operated/rooms/cellar").await;
        assert_eq!(nowhere.0, 404);
    }
}

async fn pages_go_through_the_connections_of_all_hosts(engine: &str) {
    let cluster = Cluster::start(engine, &["operated"], 3).await;
    let mut clients = Vec::new();
    for at in 0..8 {
        clients.push(enter(&cluster, at % 3, &format!("join=room-{at}")).await);
    }
    let mut expected: Vec<&String> = clients.iter().map(|(_, id)| id).collect();
    expected.sort();
    for (list, field, expected) in [
        ("connections", "id", expected.iter().map(|id| id.to_string()).collect::<Vec<_>>()),
        ("rooms", "name", (0..8).map(|at| format!("room-{at}")).collect()),
    ] {
        let (mut found, mut query) = (Vec::new(), "limit=3".to_owned());
        loop {
            let page = get(&cluster, 1, &format!("/operated/{list}?{query}")).await;
            let entries = page[list].as_array().expect("a list");
            assert!(entries.len() <= 3, "{page}");
            found.extend(
                entries.iter().map(|entry| entry[field].as_str().expect("text").to_owned()),
            );
            match page["next"].as_str() {
                Some(next) => query = format!("limit=3&after={next}"),
                None => break,
            }
        }
        assert_eq!(found, expected, "{list}");
    }
}

async fn a_request_about_a_connection_is_answered_by_its_host(engine: &str) {
    let cluster = Cluster::start(engine, &["operated"], 2).await;
    let (mut ann, id) = enter(&cluster, 1, "user=ann&join=lobby").await;
    let path = format!("/operated/connections/{id}");
    let shown = get(&cluster, 0, &path).await;
    assert_eq!((&shown["id"], &shown["user"]), (&json!(id), &json!("ann")));
    assert_eq!(get(&cluster, 0, &format!("{path}/session")).await["connection"], json!(id));
    assert_eq!(get(&cluster, 0, &format!("{path}/timers")).await["timers"], json!([]));
    let sent = cluster.nodes[0].post(&format!("{path}/send"), json!({ "text": "psst" })).await;
    assert_eq!(sent, (200, json!({ "receivers": 1 })));
    assert_eq!(ann.text().await, "psst");
    let wrong = cluster.nodes[0].refused(&format!("{path}/send"), json!({ "txt": "psst" })).await;
    assert_eq!(wrong, (400, "message-missing".to_owned()));
    let close = json!({ "code": 4003, "reason": "enough" });
    let closed = cluster.nodes[0].post(&format!("{path}/disconnect"), close).await;
    assert_eq!(closed, (200, json!({ "disconnected": 1 })));
    assert_eq!(ann.ended().await, Ended::Closed(4003, "enough".to_owned()));
    let gone = async || {
        let (status, _) = cluster.nodes[0].get(&path).await;
        (status == 404).then_some(())
    };
    eventually("the connection to be gone", gone).await;
    // Each act is recorded by the host that was asked.
    let (_, page) = cluster.nodes[0].ask("/api/audit").await;
    assert_eq!(page["acts"][0]["action"], "disconnect");
    assert_eq!(page["acts"][0]["subject"], json!(format!("connection {id}")));
}

async fn users_are_reached_from_a_host_that_they_are_not_on(engine: &str) {
    let cluster = Cluster::start(engine, &["operated"], 2).await;
    let (mut ann, _) = enter(&cluster, 1, "user=ann").await;
    let offline =
        cluster.nodes[0].refused("/operated/users/eve/send", json!({ "text": "x" })).await;
    assert_eq!(offline, (404, "user-offline".to_owned()));
    let hello = json!({ "text": "hello" });
    assert_eq!(
        cluster.nodes[0].post("/operated/users/ann/send", hello).await.1,
        json!({ "receivers": 1 })
    );
    assert_eq!(ann.text().await, "hello");
    let all = json!({ "all": true, "text": "all hands" });
    assert_eq!(cluster.nodes[0].post("/operated/broadcast", all).await.0, 200);
    assert_eq!(ann.text().await, "all hands");
    let event = json!({ "event": { "role": "moderator" } });
    let posted = cluster.nodes[0].post("/operated/users/ann/notify", event).await;
    assert_eq!(posted, (202, json!({ "posted": 1 })));
    assert_eq!(ann.json().await["notice"], json!({ "role": "moderator" }));
    let closed =
        cluster.nodes[0].post("/operated/users/ann/disconnect", json!({ "code": 4001 })).await;
    assert_eq!(closed, (200, json!({ "disconnected": 1 })));
    assert_eq!(ann.ended().await, Ended::Closed(4001, String::new()));
}

async fn a_host_that_does_not_answer_is_named(engine: &str) {
    let cluster = Cluster::start(engine, &["operated"], 2).await;
    let (_ann, here) = enter(&cluster, 0, "user=ann&join=lobby").await;
    let (_bob, there) = enter(&cluster, 1, "user=bob&join=lobby").await;
    cluster.nodes[1].wharf.stand_still().await;
    let begun = Instant::now();
    let page = get(&cluster, 0, "/operated/connections").await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(page["unanswered"], json!(["node-1"]));
    assert_eq!(page["connections"].as_array().map(Vec::len), Some(1));
    assert_eq!(page["connections"][0]["id"], json!(here));
    let path = format!("/operated/connections/{there}");
    let (status, body) = cluster.nodes[0].get(&path).await;
    assert!(status == 504 || status == 404, "{status}: {body}");
    assert!(status == 404 || body["error"]["code"] == "host-unanswered", "{body}");
    cluster.nodes[1].wharf.signal("CONT");
}
