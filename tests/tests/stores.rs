//! A channel's key-value store: values that connections share, and writes that stay.

use wharf_tests::{Client, Ended, Value, Wharf, artefacts, eventually, json};

async fn server(flags: &[&str]) -> (Wharf, Client) {
    let wharf = Wharf::start(&["stores"], flags).await;
    let client = wharf.connect("/stores").await;
    (wharf, client)
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

/// Lets many connections give their orders at the same time, and collects the answers.
async fn all_at_once(wharf: &Wharf, order: impl Fn(u64) -> Value) -> Vec<Value> {
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push(wharf.connect("/stores").await);
    }
    let tasks = writers.into_iter().zip(0..).map(|(mut writer, number)| {
        let orders: Vec<_> = (0..TIMES).map(|time| order(number * TIMES + time)).collect();
        tokio::spawn(async move {
            for order in orders {
                writer.feed(order.to_string()).await;
            }
            writer.flush().await;
            let mut answers = Vec::new();
            for _ in 0..TIMES {
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

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_increments_of_100_connections_lose_nothing() {
    let (wharf, mut client) = server(&[]).await;
    let answers = all_at_once(&wharf, |_| json!({ "do": "increment", "key": "n", "by": 1 })).await;
    let mut sums: Vec<u64> = answers.iter().filter_map(|answer| answer["sum"].as_u64()).collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=WRITERS * TIMES).collect::<Vec<_>>(), "each got a sum of its own");
    assert_eq!(get(&mut client, "n").await, json!(WRITERS * TIMES));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_updates_of_100_connections_lose_nothing() {
    let (wharf, mut client) = server(&[]).await;
    let answers =
        all_at_once(&wharf, |item| json!({ "do": "append", "key": "list", "item": item })).await;
    assert!(answers.iter().all(|answer| answer["length"].is_u64()), "{answers:?}");
    let list = get(&mut client, "list").await;
    let mut items: Vec<u64> =
        list.as_array().expect("a list").iter().filter_map(Value::as_u64).collect();
    items.sort_unstable();
    assert_eq!(items, (0..WRITERS * TIMES).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_update_that_is_always_disturbed_gives_up_and_says_so() {
    let (_wharf, mut client) = server(&[]).await;
    let answer = client.ask_json(json!({ "do": "disturb", "key": "n" })).await;
    assert_eq!((&answer["attempts"], &answer["refused"]), (&json!(100), &json!("store-conflict")));
    let detail = answer["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("\"n\"") && detail.contains("100 attempts"), "{detail}");
    assert_eq!(get(&mut client, "n").await, json!(100), "what disturbed it has stayed");
}

#[tokio::test]
async fn a_swap_needs_the_version_that_the_key_has() {
    let (_wharf, mut client) = server(&[]).await;
    let swap = |expected: &Value, text: &str| json!({ "do": "swap", "key": "k", "expected": expected, "text": text });
    let first = client.ask_json(swap(&Value::Null, "1")).await["version"].take();
    let answer = client.ask_json(swap(&Value::Null, "2")).await;
    assert_eq!(answer["refused"], "store-conflict");
    assert_eq!(answer["remedy"], "RetryLater");
    let second = client.ask_json(swap(&first, "2")).await["version"].take();
    assert!(second.as_u64() > first.as_u64());
    assert_eq!(client.ask_json(swap(&first, "3")).await["refused"], "store-conflict");
    assert_eq!(client.ask_json(json!({ "do": "version", "key": "k" })).await["version"], second);
    // A version is not used again, not even when the key is set again after a deletion.
    let deleted = client.ask_json(json!({ "do": "delete", "key": "k" })).await;
    assert_eq!(deleted, json!({ "deleted": true }));
    let third = client.ask_json(swap(&Value::Null, "2")).await["version"].take();
    assert!(third.as_u64() > second.as_u64());
}

#[tokio::test]
async fn a_value_with_a_time_to_live_is_gone_after_it() {
    let (_wharf, mut client) = server(&[]).await;
    let set = |key: &str, milliseconds: u64| json!({ "do": "set", "key": key, "value": 7, "milliseconds": milliseconds });
    client.ask_json(set("long", 3_600_000)).await;
    client.ask_json(set("short", 200)).await;
    // An increment does not change the time to live.
    let increment = |key: &str| json!({ "do": "increment", "key": key, "by": 1 });
    assert_eq!(client.ask_json(increment("long")).await, json!({ "sum": 8 }));
    eventually("the value to expire", async || {
        let value = get(&mut client, "short").await;
        assert!(value.is_null() || value == json!(7), "{value}");
        value.is_null().then_some(())
    })
    .await;
    assert_eq!(client.ask_json(increment("short")).await, json!({ "sum": 1 }), "it begins anew");
    assert_eq!(get(&mut client, "long").await, json!(8));
    assert_eq!(client.ask_json(set("short", 0)).await["refused"], "store-ttl-invalid");
}

#[tokio::test]
async fn keys_are_listed_beyond_one_page() {
    let (_wharf, mut client) = server(&[]).await;
    let set_many = |prefix: &str| json!({ "do": "set_many", "prefix": prefix, "count": 2500 });
    for prefix in ["a:", "b:", "c:"] {
        client.ask_json(set_many(prefix)).await;
    }
    let keys = |prefix: &str| json!({ "do": "keys", "prefix": prefix });
    let expected = json!({ "count": 2500, "first": "b:00000", "last": "b:02499" });
    assert_eq!(client.ask_json(keys("b:")).await, expected);
    assert_eq!(client.ask_json(keys("")).await["count"], 7500);
    let none = json!({ "count": 0, "first": null, "last": null });
    assert_eq!(client.ask_json(keys("b:9")).await, none);
}

#[tokio::test]
async fn what_no_store_can_keep_is_refused_with_the_limit() {
    let flags = ["--max-store-bytes 4096", "--max-store-value-bytes 2000"];
    let (_wharf, mut client) = server(&flags).await;
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
    assert_eq!(get(&mut client, "kept").await, json!("still here"));
    assert_eq!(get(&mut client, "most").await, json!(i64::MAX));
    client.ask_json(json!({ "do": "delete", "key": "one" })).await;
    assert_eq!(client.ask_json(fill("two", 2000)).await, json!({ "set": "two" }));
}

#[tokio::test]
async fn a_failed_handlers_writes_stay() {
    let (wharf, mut client) = server(&[]).await;
    let answer = client.ask_json(json!({ "do": "set_and_fail", "key": "failed" })).await;
    assert_eq!(answer, json!({ "failed": "as ordered" }), "what it sent is not sent");
    let mut other = wharf.connect("/stores").await;
    other.send_json(json!({ "do": "set_and_panic", "key": "panicked" })).await;
    assert_eq!(other.ended().await, Ended::Closed(1011, "guest-failure".to_owned()));
    for key in ["failed", "panicked"] {
        assert_eq!(get(&mut client, key).await, json!(true), "{key}");
    }
}

#[tokio::test]
async fn the_store_survives_a_reload_and_the_last_connection() {
    let (wharf, mut client) = server(&[]).await;
    set(&mut client, "k", json!({ "a": [1, 2] })).await;
    client.close(1000, "").await;
    let mut changed = artefacts::component("stores");
    // An empty custom section makes it another file.
    changed.extend([0, 2, 1, b'x']);
    wharf.swap("stores", &changed).await;
    let mut client = wharf.connect("/stores").await;
    assert_eq!(get(&mut client, "k").await, json!({ "a": [1, 2] }));
}

#[tokio::test]
async fn connecting_and_closing_may_write_too() {
    let wharf = Wharf::start(&["stores"], &[]).await;
    let visitor = wharf.connect("/stores?on_connect=came&on_close=went").await;
    visitor.reset();
    let mut client = wharf.connect("/stores").await;
    assert_eq!(get(&mut client, "came").await, json!(1));
    eventually("the close to be counted", async || {
        (get(&mut client, "went").await == json!(1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn channels_do_not_see_each_others_keys() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("a plugin folder");
    let component = artefacts::component("stores");
    // The same channel is loaded twice: the other one has a path of the same length.
    let mut other = component.clone();
    for start in 0..other.len() - 7 {
        if other[start..].starts_with(b"/stores") {
            other[start..start + 7].copy_from_slice(b"/others");
        }
    }
    for (name, bytes) in [("stores", component), ("others", other)] {
        let file = folder.path().join("plugins").join(format!("{name}.wasm"));
        std::fs::write(file, bytes).expect("a plugin is copied");
    }
    let wharf = Wharf::start_in(folder, &[]).await;
    let (mut one, mut two) = (wharf.connect("/stores").await, wharf.connect("/others").await);
    set(&mut one, "k", json!("mine")).await;
    assert_eq!(get(&mut two, "k").await, Value::Null);
    assert_eq!(two.ask_json(json!({ "do": "keys", "prefix": "" })).await["count"], 0);
    set(&mut two, "k", json!("theirs")).await;
    assert_eq!(get(&mut one, "k").await, json!("mine"));
}
