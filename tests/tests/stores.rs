//! A channel's key-value store: values that connections share, and writes that stay.

use wharf_tests::{
    Client, Ended, Hosts, Setup, Value, artefacts, eventually, folder, json, on_one_host_and_on_two,
};

on_one_host_and_on_two! {
    concurrent_increments_of_100_connections_lose_nothing
    concurrent_updates_of_100_connections_lose_nothing
    an_update_that_is_always_disturbed_gives_up_and_says_so
    a_swap_needs_the_version_that_the_key_has
    a_value_with_a_time_to_live_is_gone_after_it
    keys_are_listed_beyond_one_page
    what_no_store_can_keep_is_refused_with_the_limit
    a_failed_handlers_writes_stay
    the_store_survives_a_reload_and_the_last_connection
    connecting_and_closing_may_write_too
    channels_do_not_see_each_others_keys
}

/// Starts hosts, and connects a client to each; on one host, two clients. What one of them writes, the other reads.
async fn started(setup: Setup, flags: &[&str]) -> (Hosts, Client, Client) {
    let hosts = setup.start(&["stores"], flags).await;
    let (here, there) = (hosts.connect(0, "/stores").await, hosts.connect(1, "/stores").await);
    (hosts, here, there)
}

async fn get(client: &mut Client, key: &str) -> Value {
    client.ask_json(json!({ "do": "get", "key": key })).await["value"].take()
}

async fn set(client: &mut Client, key: &str, value: Value) {
    let answer = client.ask_json(json!({ "do": "set", "key": key, "value": value })).await;
    assert_eq!(answer, json!({ "set": key }));
}

/// Number of connections that write the same key at once, and writes of each.
const WRITERS: u64 = 100;
const TIMES: u64 = 20;

/// Lets many connections give this number of orders each at the same time, and collects the answers.
async fn all_at_once(hosts: &Hosts, times: u64, order: impl Fn(u64) -> Value) -> Vec<Value> {
    let mut writers = Vec::new();
    for number in 0..WRITERS as usize {
        writers.push(hosts.connect(number, "/stores").await);
    }
    let tasks = writers.into_iter().zip(0..).map(|(mut writer, number)| {
        let orders: Vec<_> = (0..times).map(|time| order(number * times + time)).collect();
        tokio::spawn(async move {
            for order in orders {
                writer.feed(order.to_string()).await;
            }
            writer.flush().await;
            let mut answers = Vec::new();
            for _ in 0..times {
                answers.push(writer.json().await);
            }
            answers
        })
    });
    let mut answers = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        answers.extend(task.await.expect("a writer's answers"));
    }
    answers
}

async fn concurrent_increments_of_100_connections_lose_nothing(setup: Setup) {
    let (hosts, mut client, mut other) = started(setup, &[]).await;
    let answers =
        all_at_once(&hosts, TIMES, |_| json!({ "do": "increment", "key": "n", "by": 1 })).await;
    let mut sums: Vec<u64> = answers.iter().filter_map(|answer| answer["sum"].as_u64()).collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=WRITERS * TIMES).collect::<Vec<_>>(), "each got a sum of its own");
    for client in [&mut client, &mut other] {
        assert_eq!(get(client, "n").await, json!(WRITERS * TIMES));
    }
}

async fn concurrent_updates_of_100_connections_lose_nothing(setup: Setup) {
    // An engine is asked for each of the attempts, which disturb each other.
    let (hosts, mut client, mut other) = started(setup, &["--wall-budget-ms 60000"]).await;
    let times = if hosts.are_several() { 1 } else { TIMES };
    let append = |item| json!({ "do": "append", "key": "list", "item": item });
    let answers = all_at_once(&hosts, times, append).await;
    // On one host, attempts are so quick that none gives up.
    let given_up = answers.iter().filter(|answer| answer["refused"] == "store-conflict").count();
    assert!(given_up == 0 || hosts.are_several(), "{answers:?}");
    let items = (0_u64..).zip(&answers).filter(|(_, answer)| answer["refused"].is_null());
    let written: Vec<u64> = items.map(|(item, _)| item).collect();
    assert_eq!(written.len() + given_up, answers.len(), "{answers:?}");
    let list = get(&mut client, "list").await;
    assert_eq!(list, get(&mut other, "list").await);
    let mut items: Vec<u64> =
        list.as_array().expect("a list").iter().filter_map(Value::as_u64).collect();
    items.sort_unstable();
    assert_eq!(items, written);
}

async fn an_update_that_is_always_disturbed_gives_up_and_says_so(setup: Setup) {
    let (_hosts, mut client, mut other) = started(setup, &[]).await;
    let answer = client.ask_json(json!({ "do": "disturb", "key": "n" })).await;
    assert_eq!((&answer["attempts"], &answer["refused"]), (&json!(100), &json!("store-conflict")));
    let detail = answer["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("\"n\"") && detail.contains("100 attempts"), "{detail}");
    assert_eq!(get(&mut other, "n").await, json!(100), "what disturbed it has stayed");
}

async fn a_swap_needs_the_version_that_the_key_has(setup: Setup) {
    let (_hosts, mut client, mut other) = started(setup, &[]).await;
    let swap = |expected: &Value, text: &str| json!({ "do": "swap", "key": "k", "expected": expected, "text": text });
    let first = client.ask_json(swap(&Value::Null, "1")).await["version"].take();
    let answer = other.ask_json(swap(&Value::Null, "2")).await;
    assert_eq!(answer["refused"], "store-conflict");
    assert_eq!(answer["remedy"], "RetryLater");
    let second = other.ask_json(swap(&first, "2")).await["version"].take();
    assert!(second.as_u64() > first.as_u64());
    assert_eq!(client.ask_json(swap(&first, "3")).await["refused"], "store-conflict");
    assert_eq!(client.ask_json(json!({ "do": "version", "key": "k" })).await["version"], second);
    // A version is not used again, not even when the key is set again after a deletion.
    let deleted = other.ask_json(json!({ "do": "delete", "key": "k" })).await;
    assert_eq!(deleted, json!({ "deleted": true }));
    let third = client.ask_json(swap(&Value::Null, "2")).await["version"].take();
    assert!(third.as_u64() > second.as_u64());
}

async fn a_value_with_a_time_to_live_is_gone_after_it(setup: Setup) {
    let (_hosts, mut client, mut other) = started(setup, &[]).await;
    let set = |key: &str, milliseconds: u64| json!({ "do": "set", "key": key, "value": 7, "milliseconds": milliseconds });
    client.ask_json(set("long", 3_600_000)).await;
    client.ask_json(set("short", 200)).await;
    // An increment does not change the time to live.
    let increment = |key: &str| json!({ "do": "increment", "key": key, "by": 1 });
    assert_eq!(other.ask_json(increment("long")).await, json!({ "sum": 8 }));
    eventually("the value to expire", async || {
        let value = get(&mut other, "short").await;
        assert!(value.is_null() || value == json!(7), "{value}");
        value.is_null().then_some(())
    })
    .await;
    assert_eq!(client.ask_json(increment("short")).await, json!({ "sum": 1 }), "it begins anew");
    assert_eq!(get(&mut client, "long").await, json!(8));
    assert_eq!(client.ask_json(set("short", 0)).await["refused"], "store-ttl-invalid");
}

async fn keys_are_listed_beyond_one_page(setup: Setup) {
    // Each write takes some time of the host, which counts as the event's.
    let flags = ["--cpu-budget-ms 10000", "--wall-budget-ms 60000"];
    let (_hosts, mut client, mut other) = started(setup, &flags).await;
    let set_many = |prefix: &str| json!({ "do": "set_many", "prefix": prefix, "count": 2500 });
    for prefix in ["a:", "b:", "c:"] {
        client.ask_json(set_many(prefix)).await;
    }
    let keys = |prefix: &str| json!({ "do": "keys", "prefix": prefix });
    let expected = json!({ "count": 2500, "first": "b:00000", "last": "b:02499" });
    assert_eq!(other.ask_json(keys("b:")).await, expected);
    assert_eq!(client.ask_json(keys("")).await["count"], 7500);
    let none = json!({ "count": 0, "first": null, "last": null });
    assert_eq!(client.ask_json(keys("b:9")).await, none);
}

async fn what_no_store_can_keep_is_refused_with_the_limit(setup: Setup) {
    let flags = ["--max-store-bytes 4096", "--max-store-value-bytes 2000"];
    let (_hosts, mut client, mut other) = started(setup, &flags).await;
    set(&mut client, "kept", json!("still here")).await;
    let fill = |key: &str, bytes: usize| json!({ "do": "fill", "key": key, "bytes": bytes });
    let long = "k".repeat(513);
    let increment = |key: &str| json!({ "do": "increment", "key": key, "by": 1 });
    assert_eq!(client.ask_json(fill("one", 2000)).await, json!({ "set": "one" }));
    for (order, code, remedy, named) in [
        (fill("two", 2001), "store-value-too-big", "ShedLoad", "max_store_value_bytes is 2000"),
        (fill("two", 2000), "store-full", "ShedLoad", "4096 bytes (max_store_bytes)"),
        (fill("", 1), "store-key-invalid", "FixCall", "1 to 512 bytes"),
        (fill(&long, 1), "store-key-invalid", "FixCall", "this one has 513"),
        (json!({ "do": "get", "key": "" }), "store-key-invalid", "FixCall", "1 to 512"),
        (json!({ "do": "delete", "key": "" }), "store-key-invalid", "FixCall", "1 to 512"),
        (json!({ "do": "keys", "prefix": long }), "store-key-invalid", "FixCall", "at most 512"),
        (increment("kept"), "store-not-a-number", "FixCall", "not a decimal number"),
        (increment(""), "store-key-invalid", "FixCall", "1 to 512"),
    ] {
        let answer = client.ask_json(order).await;
        assert_eq!((&answer["refused"], &answer["remedy"]), (&json!(code), &json!(remedy)));
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(named), "{detail}");
    }
    set(&mut client, "most", json!(i64::MAX)).await;
    assert_eq!(client.ask_json(increment("most")).await["refused"], "store-overflow");
    // Nothing is lost, and a deletion makes room.
    assert_eq!(get(&mut other, "kept").await, json!("still here"));
    assert_eq!(get(&mut client, "most").await, json!(i64::MAX));
    client.ask_json(json!({ "do": "delete", "key": "one" })).await;
    assert_eq!(client.ask_json(fill("two", 2000)).await, json!({ "set": "two" }));
}

async fn a_failed_handlers_writes_stay(setup: Setup) {
    let (hosts, mut client, mut other) = started(setup, &[]).await;
    let answer = client.ask_json(json!({ "do": "set_and_fail", "key": "failed" })).await;
    assert_eq!(answer, json!({ "failed": "as ordered" }), "what it sent is not sent");
    let mut panics = hosts.connect(1, "/stores").await;
    panics.send_json(json!({ "do": "set_and_panic", "key": "panicked" })).await;
    assert_eq!(panics.ended().await, Ended::Closed(1011, "guest-failure".to_owned()));
    for key in ["failed", "panicked"] {
        for client in [&mut client, &mut other] {
            assert_eq!(get(client, key).await, json!(true), "{key}");
        }
    }
}

async fn the_store_survives_a_reload_and_the_last_connection(setup: Setup) {
    let (hosts, mut client, other) = started(setup, &[]).await;
    set(&mut client, "k", json!({ "a": [1, 2] })).await;
    for client in [client, other] {
        client.close(1000, "").await;
    }
    let mut changed = artefacts::component("stores");
    // An empty custom section makes it another file.
    changed.extend([0, 2, 1, b'x']);
    hosts.swap("stores", &changed).await;
    let mut client = hosts.connect(0, "/stores").await;
    assert_eq!(get(&mut client, "k").await, json!({ "a": [1, 2] }));
}

async fn connecting_and_closing_may_write_too(setup: Setup) {
    let hosts = setup.start(&["stores"], &[]).await;
    let visitor = hosts.connect(0, "/stores?on_connect=came&on_close=went").await;
    visitor.reset();
    let mut client = hosts.connect(1, "/stores").await;
    assert_eq!(get(&mut client, "came").await, json!(1));
    eventually("the close to be counted", async || {
        (get(&mut client, "went").await == json!(1)).then_some(())
    })
    .await;
}

async fn channels_do_not_see_each_others_keys(setup: Setup) {
    let component = artefacts::component("stores");
    // The same channel is loaded twice: the other one has a path of the same length.
    let others = artefacts::replaced(&component, b"/stores", b"/others");
    let make = || {
        let folder = folder(&["stores"]);
        std::fs::write(folder.path().join("plugins/others.wasm"), &others).expect("a plugin");
        folder
    };
    let hosts = setup.start_in(make, &[]).await;
    let (mut one, mut two) = (hosts.connect(0, "/stores").await, hosts.connect(1, "/others").await);
    set(&mut one, "k", json!("mine")).await;
    assert_eq!(get(&mut two, "k").await, Value::Null);
    assert_eq!(two.ask_json(json!({ "do": "keys", "prefix": "" })).await["count"], 0);
    set(&mut two, "k", json!("theirs")).await;
    assert_eq!(get(&mut one, "k").await, json!("mine"));
}
