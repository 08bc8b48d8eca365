//! Clusters under faults, with clients that check what they were promised. `cargo xtask chaos` runs the same for longer.
//!
//! `WHARF_CHAOS_ROUNDS` is the number of rounds of the long form, which cuts a host off by a network namespace;
//! without it there is one short round, with a proxy instead. `WHARF_CHAOS_SEED` makes order and victims the same again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use wharf_tests::chaos::{Durations, Plan};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a server of Redis"]
async fn clients_get_what_they_were_promised_through_all_faults_with_redis() {
    run("redis").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a server of NATS"]
async fn clients_get_what_they_were_promised_through_all_faults_with_nats() {
    run("nats").await;
}

/// Returns the number in a variable of the environment.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty());
    text.map(|text| text.parse().expect("a number"))
}

async fn run(engine: &str) {
    let rounds = number("WHARF_CHAOS_ROUNDS");
    let seed = number("WHARF_CHAOS_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("WHARF_CHAOS_SEED={seed}");
    let figures = Plan {
        engine: engine.to_owned(),
        rounds: rounds.unwrap_or(1),
        seed,
        durations: if rounds.is_some() { Durations::WHOLE } else { Durations::SHORT },
        has_namespace: rounds.is_some(),
    }
    .run()
    .await;
    println!("\n{figures}");
    let failures = &figures.failures;
    assert!(failures.is_empty(), "WHARF_CHAOS_SEED={seed}\n{}", failures.join("\n"));
    // In the log of an automatic run a note would go unread.
    if let Some((fault, why)) = figures.not_run.filter(|_| std::env::var_os("CI").is_some()) {
        panic!("NOT RUN: {fault}: {why}");
    }
}
