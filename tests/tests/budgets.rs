//! The budgets of one event: CPU time of all kinds, effects, deliveries, and memory that it shares
//! with the other instances of its channel.

use std::time::Duration;

use wharf_tests::{Client, Ended, Line, Value, Wharf, json};

/// Gives an order that ends its connection, and returns the log line with the reason.
async fn failure(wharf: &Wharf, path: &str, order: Value) -> Line {
    let start = wharf.log.len();
    let mut client = wharf.connect(path).await;
    client.send_json(order).await;
    assert_eq!(client.ended().await, Ended::Closed(1011, "guest-failure".to_owned()));
    let is_failure = |line: &Line| line.says("guest call failed");
    wharf.log.wait_for_after(start, "the failure", is_failure).await
}

/// The CPU time that an event may use, in milliseconds.
const CPU_BUDGET: u32 = 300;

/// Gives an order that takes CPU time for ever, and asserts that the CPU budget ends it.
async fn assert_spent(wharf: &Wharf, order: Value) {
    let mut other = wharf.connect("/echo").await;
    let before = wharf.cpu_time();
    let line = failure(wharf, "/exhausts", order).await;
    let used = wharf.cpu_time() - before;
    assert_eq!((line.str("event"), line.str("kind")), ("on-message", "deadline"), "{line}");
    let detail = line.str("detail");
    assert!(detail.contains("cpu_budget_ms") && !detail.contains("wall_budget_ms"), "{detail}");
    // The load of the machine makes no difference: time of other processes is not counted.
    println!("{used:?} of CPU time were used");
    assert!(used < Duration::from_millis(CPU_BUDGET.into()) * 3, "{used:?} were used");
    assert_eq!(other.ask("hello").await, "hello");
}

/// Starts a server whose events may take far more time by the clock than on the CPU.
async fn patient_server() -> Wharf {
    let cpu_budget = format!("--cpu-budget-ms {CPU_BUDGET}");
    let flags = [&*cpu_budget, "--wall-budget-ms 20000", "--max-memory-bytes 160MiB"];
    Wharf::start(&["exhausts", "echo"], &flags).await
}

#[tokio::test]
async fn a_host_that_has_nothing_to_do_sleeps() {
    const SECONDS: u64 = 3;
    let wharf = Wharf::start(&["echo", "waits"], &["--wall-budget-ms 60000"]).await;
    let mut client = wharf.connect("/echo").await;
    assert_eq!(client.ask("hello").await, "hello");
    // A handler that waits runs as little as one that is over.
    let mut observer = wharf.connect("/waits?observe").await;
    let mut waiting = wharf.connect("/waits").await;
    waiting.send("tell 5000").await;
    assert_eq!(observer.text().await, "waiting");
    let wake_ups = wharf.wake_ups_in(Duration::from_secs(SECONDS)).await;
    println!("{wake_ups} wake-ups in {SECONDS} s");
    // The clock that preempts guests has a thousand ticks a second. What is left are timers that look
    // after things.
    assert!(wake_ups < 100 * SECONDS, "{wake_ups} wake-ups in {SECONDS} s");
    assert_eq!(waiting.json().await["count"], 1);
    assert_eq!(client.ask("hello").await, "hello");
}

#[tokio::test]
async fn long_instructions_cost_the_cpu_time_that_they_take() {
    // Each of them takes many ticks of the clock that preempts guests.
    let fill = json!({ "do": "fill", "mebibytes": 128 });
    assert_spent(&patient_server().await, fill).await;
}

#[tokio::test]
async fn host_calls_that_work_cost_the_cpu_time_that_they_take() {
    let random = json!({ "do": "random_for_ever", "bytes": 64 * 1024 });
    assert_spent(&patient_server().await, random).await;
}

#[tokio::test]
async fn random_bytes_are_bounded_in_each_host_call() {
    const MOST: usize = 64 * 1024;
    let wharf = Wharf::start(&["exhausts"], &[]).await;
    let mut same_channel = wharf.connect("/exhausts").await;
    let random = |bytes: usize| json!({ "do": "random", "bytes": bytes });
    for bytes in [MOST + 1, 30_000_000, usize::MAX] {
        let line = failure(&wharf, "/exhausts", random(bytes)).await;
        assert_eq!(line.str("kind"), "trap", "{line}");
        let reason = format!("it asked for more than {MOST} random bytes at a time");
        assert!(line.str("detail").starts_with(&reason), "{line}");
    }
    assert_eq!(same_channel.ask_json(random(MOST)).await, json!({ "random": MOST }));
}

#[tokio::test]
async fn handles_are_bounded_and_their_limit_is_named() {
    const MOST: u32 = 1024;
    let wharf = Wharf::start(&["exhausts"], &[]).await;
    let mut same_channel = wharf.connect("/exhausts").await;
    let hold = |handles: u32| json!({ "do": "hold", "handles": handles });
    let line = failure(&wharf, "/exhausts", hold(MOST + 1)).await;
    assert_eq!(line.str("kind"), "trap", "{line}");
    let reason = format!("it holds more than {MOST} handles of the host at a time; drop them");
    assert!(line.str("detail").starts_with(&reason), "{line}");
    // Those of earlier events are gone.
    for _ in 0..3 {
        assert_eq!(same_channel.ask_json(hold(MOST / 2)).await, json!({ "held": MOST / 2 }));
    }
}

#[tokio::test]
async fn names_of_rooms_count_for_what_an_event_may_record() {
    const EFFECTS: u64 = 1024;
    let wharf = Wharf::start(&["rooms"], &[]).await;
    let mut client = wharf.connect("/rooms").await;
    let names = json!({ "do": "names", "rooms": 256, "times": EFFECTS });
    let answer = client.ask_json(names).await;
    assert_eq!(answer["refused"], "too-many-effects");
    let recorded = answer["recorded"].as_u64().expect("a number");
    // `max_effect_bytes_per_event` is a mebibyte, and the names of one broadcast have 65,280 bytes.
    assert!((1..=16).contains(&recorded), "{recorded} broadcasts were recorded");
    // The next event starts with a fresh budget.
    let names = json!({ "do": "names", "rooms": 256, "times": 5 });
    assert_eq!(client.ask_json(names).await, json!({ "recorded": 5, "refused": null }));
}

/// Largest number of deliveries that several broadcasts of one event may make.
const MAX_DELIVERIES: u64 = 100_000;

async fn members(wharf: &Wharf, count: usize, rooms: u32) -> Vec<Client> {
    let mut members = Vec::new();
    for _ in 0..count {
        let mut member = wharf.connect("/rooms").await;
        let join = json!({ "do": "join_many", "count": rooms });
        assert_eq!(member.ask_json(join).await, json!({ "joined": rooms }));
        members.push(member);
    }
    members
}

#[tokio::test]
async fn broadcasts_of_one_event_make_a_bounded_number_of_deliveries() {
    const MEMBERS: u64 = 120;
    let wharf = Wharf::start(&["rooms"], &["--max-effects-per-event 2000"]).await;
    let mut members = members(&wharf, MEMBERS as usize, 1).await;
    let mut outside = wharf.connect("/rooms").await;
    let deliver = |times: u32| json!({ "do": "deliver", "rooms": 1, "times": times });
    let answer = outside.ask_json(deliver(1000)).await;
    assert_eq!(answer["refused"], "too-many-effects");
    let recorded = answer["recorded"].as_u64().expect("a number");
    // The first broadcast of an event is not counted.
    let most = MAX_DELIVERIES / MEMBERS + 1;
    assert!((most - 1..=most).contains(&recorded), "{recorded} broadcasts were recorded");
    for member in [0, MEMBERS as usize - 1] {
        for _ in 0..recorded {
            assert_eq!(members[member].text().await, "delivery", "what was recorded is delivered");
        }
    }
    // The next event starts with a fresh budget.
    let answer = outside.ask_json(deliver(100)).await;
    assert_eq!(answer, json!({ "recorded": 100, "refused": null }));
}

#[tokio::test]
async fn a_single_broadcast_may_reach_everybody() {
    const MEMBERS: usize = 400;
    const ROOMS: u32 = 256;
    let wharf = Wharf::start(&["rooms"], &["--max-rooms-per-connection 256"]).await;
    let mut members = members(&wharf, MEMBERS, ROOMS).await;
    let mut outside = wharf.connect("/rooms").await;
    // If deliveries were counted for each room, this broadcast alone would be over the limit.
    assert!(MEMBERS as u64 * u64::from(ROOMS) > MAX_DELIVERIES);
    let deliver = |times: u32| json!({ "do": "deliver", "rooms": ROOMS, "times": times });
    let answer = outside.ask_json(deliver(1)).await;
    assert_eq!(answer, json!({ "recorded": 1, "refused": null }));
    for member in &mut members {
        assert_eq!(member.text().await, "delivery");
    }
    let answer = outside.ask_json(deliver(2)).await;
    assert_eq!(answer, json!({ "recorded": 1, "refused": "too-many-effects" }));
}

#[tokio::test]
async fn an_event_waits_for_memory_that_other_instances_of_its_channel_have() {
    let flags = ["--max-memory-bytes 48MiB", "--max-channel-memory-bytes 48MiB"];
    let wharf = Wharf::start(&["allocates"], &flags).await;
    let hold =
        |milliseconds: u64| json!({ "do": "hold", "mebibytes": 20, "milliseconds": milliseconds });
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = wharf.connect("/allocates").await;
        client.send_json(hold(200)).await;
        clients.push(client);
    }
    // Two instances at a time have room for this much. The warm ones that have had it make way.
    for client in &mut clients {
        assert_eq!(client.text().await, "holding");
        assert_eq!(client.json().await, json!({ "held": 20 }));
    }
}

#[tokio::test]
async fn an_event_fails_that_waits_for_memory_in_vain() {
    let flags =
        ["--max-memory-bytes 32MiB", "--max-channel-memory-bytes 48MiB", "--instance-wait-ms 100"];
    let wharf = Wharf::start(&["allocates"], &flags).await;
    let hold =
        |milliseconds: u64| json!({ "do": "hold", "mebibytes": 24, "milliseconds": milliseconds });
    let mut holding = wharf.connect("/allocates").await;
    holding.send_json(hold(2500)).await;
    assert_eq!(holding.text().await, "holding");
    // Each instance alone may have this much memory, but not both.
    let line = failure(&wharf, "/allocates", hold(0)).await;
    assert_eq!((line.str("event"), line.str("kind")), ("on-message", "out-of-memory"), "{line}");
    assert!(line.str("detail").contains("max_channel_memory_bytes"), "{line}");
    assert_eq!(holding.json().await, json!({ "held": 24 }), "who had it before keeps it");
    // The memory has been given back by now, each time.
    for _ in 0..3 {
        let mut next = wharf.connect("/allocates").await;
        next.send_json(hold(0)).await;
        assert_eq!(next.text().await, "holding");
        assert_eq!(next.json().await, json!({ "held": 24 }));
    }
}
