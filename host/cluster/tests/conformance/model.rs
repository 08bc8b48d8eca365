//! Random operations, whose answers must be those of the engine in memory.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use wharf_cluster::{Bounds, Engine, Expected, IncrementError, Limits, PutError, Slice, memory};

use crate::support::{Kind, World};

/// Number of sequences, and of operations in each.
const SEQUENCES: u64 = 8;
const OPERATIONS: usize = 60;

#[derive(Clone, Debug)]
enum KeyStep {
    Get(usize),
    Put(usize, Vec<u8>, Expectation),
    Delete(usize, Expectation),
    Increment(usize, i64),
    List(String, Option<usize>, u32),
}

/// An expectation; versions are those that were last seen, since each engine has its own.
#[derive(Clone, Copy, Debug)]
enum Expectation {
    Any,
    Absent,
    Seen,
    Old,
}

const NAMES: [&str; 6] = ["a", "a:", "a:b", "b/c", "b", "é"];

fn key_step() -> impl Strategy<Value = KeyStep> {
    let name = 0..NAMES.len();
    let expectation = prop_oneof![
        Just(Expectation::Any),
        Just(Expectation::Absent),
        Just(Expectation::Seen),
        Just(Expectation::Old)
    ];
    let value = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        any::<i64>().prop_map(|number| number.to_string().into_bytes())
    ];
    prop_oneof![
        name.clone().prop_map(KeyStep::Get),
        (name.clone(), value, expectation.clone()).prop_map(|(n, v, e)| KeyStep::Put(n, v, e)),
        (name.clone(), expectation).prop_map(|(n, e)| KeyStep::Delete(n, e)),
        (name.clone(), any::<i64>()).prop_map(|(n, by)| KeyStep::Increment(n, by)),
        ("[ab:]{0,2}", proptest::option::of(name), 0..8_u32)
            .prop_map(|(prefix, after, limit)| KeyStep::List(prefix, after, limit)),
    ]
}

/// Returns sequences of operations, which follow from a number.
fn sequence<T: std::fmt::Debug>(seed: u64, step: impl Strategy<Value = T>) -> Vec<T> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let steps = proptest::collection::vec(step, OPERATIONS);
    steps.new_tree(&mut runner).expect("a sequence").current()
}

/// The versions of one engine that were last seen, by key.
#[derive(Default)]
struct Seen([(u64, u64); NAMES.len()]);

impl Seen {
    fn see(&mut self, name: usize, version: u64) {
        if self.0[name].0 != version {
            self.0[name] = (version, self.0[name].0);
        }
    }

    fn expected(&self, name: usize, expectation: Expectation) -> Expected {
        match expectation {
            Expectation::Any => Expected::Any,
            Expectation::Absent => Expected::Absent,
            Expectation::Seen => Expected::Version(self.0[name].0),
            Expectation::Old => Expected::Version(self.0[name].1),
        }
    }
}

/// Does a step, and returns its answer without versions.
async fn do_key_step(engine: &dyn Engine, seen: &mut Seen, step: &KeyStep) -> String {
    match step {
        KeyStep::Get(name) => {
            let entry = engine.get(NAMES[*name]).await.expect("read");
            if let Some(entry) = &entry {
                seen.see(*name, entry.version);
            }
            format!("{:?}", entry.map(|entry| (entry.value, entry.expires_in)))
        }
        KeyStep::Put(name, value, expectation) => {
            let expected = seen.expected(*name, *expectation);
            let value = Bytes::copy_from_slice(value);
            match engine.put(NAMES[*name], value, expected, None).await {
                Ok(version) => {
                    seen.see(*name, version);
                    "put".to_owned()
                }
                Err(PutError::Conflict { current }) => format!("conflict {}", current.is_some()),
                Err(other) => panic!("{other}"),
            }
        }
        KeyStep::Delete(name, expectation) => {
            let expected = seen.expected(*name, *expectation);
            match engine.delete(NAMES[*name], expected).await {
                Ok(is_deleted) => format!("deleted {is_deleted}"),
                Err(PutError::Conflict { current }) => format!("conflict {}", current.is_some()),
                Err(other) => panic!("{other}"),
            }
        }
        KeyStep::Increment(name, by) => match engine.increment(NAMES[*name], *by, None).await {
            Ok((sum, version)) => {
                seen.see(*name, version);
                format!("sum {sum}")
            }
            Err(IncrementError::Unavailable(other)) => panic!("{other}"),
            Err(refused) => refused.to_string(),
        },
        KeyStep::List(prefix, after, limit) => {
            let after = after.map(|name| NAMES[name]);
            let page = engine.list(prefix, after, *limit).await.expect("listed");
            let page = page.into_iter().map(|(key, entry)| (key, entry.value));
            format!("{:?}", page.collect::<Vec<_>>())
        }
    }
}

pub async fn keys_behave_as_the_model(world: World) {
    for seed in 0..SEQUENCES {
        let node = world.node_with(&format!("p{seed}")).await;
        let (model, _deliveries) = memory::Server::new(seed).node("model", &Limits::default());
        let (mut seen, mut seen_by_model) = (Seen::default(), Seen::default());
        if matches!(world.kind, Kind::Memory | Kind::Disk) {
            for name in NAMES {
                node.engine.delete(name, Expected::Any).await.expect("deleted");
            }
        }
        for (number, step) in sequence(seed, key_step()).iter().enumerate() {
            let expected = do_key_step(&model, &mut seen_by_model, step).await;
            let found = do_key_step(&*node.engine, &mut seen, step).await;
            assert_eq!(found, expected, "seed {seed}, step {number}: {step:?}");
        }
        node.engine.close().await;
        drop(node);
    }
}

#[derive(Clone, Debug)]
enum LogStep {
    Append(usize, usize, u32, u64),
    Read(usize, u64, u32, u64),
    ReadLast(usize, u32, u64),
    Remove(usize),
}

fn log_step() -> impl Strategy<Value = LogStep> {
    let name = 0..2_usize;
    let (messages, bytes) = (1..12_u32, 1..200_u64);
    prop_oneof![
        6 => (name.clone(), 0..60_usize, messages.clone(), bytes.clone())
            .prop_map(|(n, l, m, b)| LogStep::Append(n, l, m, b)),
        2 => (name.clone(), 0..30_u64, messages.clone(), bytes.clone())
            .prop_map(|(n, a, m, b)| LogStep::Read(n, a, m, b)),
        2 => (name.clone(), messages, bytes).prop_map(|(n, m, b)| LogStep::ReadLast(n, m, b)),
        1 => name.prop_map(LogStep::Remove),
    ]
}

async fn do_log_step(engine: &dyn Engine, number: usize, step: &LogStep) -> String {
    let shown = |slice: Slice| format!("{} {} {:?}", slice.first, slice.last, slice.entries);
    match step {
        LogStep::Append(name, length, messages, bytes) => {
            let entry = Bytes::from(vec![b'a' + (number % 26) as u8; *length]);
            let bounds = Bounds { messages: *messages, bytes: *bytes, age: None, idle: None };
            let position = engine.append(NAMES[*name], entry, bounds).await.expect("appended");
            position.offset.to_string()
        }
        LogStep::Read(name, after, messages, bytes) => {
            shown(engine.read(NAMES[*name], *after, *messages, *bytes).await.expect("read"))
        }
        LogStep::ReadLast(name, messages, bytes) => {
            shown(engine.read_last(NAMES[*name], *messages, *bytes).await.expect("read"))
        }
        LogStep::Remove(name) => engine.remove(NAMES[*name]).await.expect("removed").to_string(),
    }
}

pub async fn logs_behave_as_the_model(world: World) {
    for seed in 0..SEQUENCES {
        let node = world.node_with(&format!("p{seed}")).await;
        let (model, _deliveries) = memory::Server::new(seed).node("model", &Limits::default());
        for name in &NAMES[..2] {
            node.engine.remove(name).await.expect("removed");
        }
        for (number, step) in sequence(seed, log_step()).iter().enumerate() {
            let expected = do_log_step(&model, number, step).await;
            let found = do_log_step(&*node.engine, number, step).await;
            assert_eq!(found, expected, "seed {seed}, step {number}: {step:?}");
        }
        node.engine.close().await;
        drop(node);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
