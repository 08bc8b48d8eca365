//! Tests of loading that a file of the folder cannot provoke, or that nobody outside can see.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use wharf_config::{ChannelConfig, ChannelLimits, Config};

use super::Registry;
use super::tidy::discard;
use crate::plugin::watch::Change;
use crate::plugin::{Engine, Machine};
use crate::ports::{LoadOutcome, Ports, TokenVerifier, TokenVerifiers};

#[derive(Debug)]
struct NoTokens;

impl TokenVerifiers for NoTokens {
    fn of_channel(&self, _: &str) -> Option<Arc<dyn TokenVerifier>> {
        None
    }
}

/// Makes a registry without tokens and without a cache.
pub(super) fn registry(config: Config) -> Registry {
    let (registry, _) = observed(config);
    registry
}

/// Makes such a registry, with the outcomes of its loading.
fn observed(config: Config) -> (Registry, mpsc::Receiver<LoadOutcome>) {
    let engine = Engine::new(None, Machine::default()).expect("an engine");
    let mut ports = Ports::system(&config, Arc::new(NoTokens)).expect("the ports");
    let (loads, outcomes) = mpsc::channel(16);
    ports.loads = Arc::new(loads);
    (Registry::new(Arc::new(config), engine, ports), outcomes)
}

/// Returns a small component that fits the contract, with a path of this one letter below `/misrouted/`.
fn component(letter: u8) -> Arc<[u8]> {
    const KEPT: &[u8] = include_bytes!("../../../../fuzz/corpus/plugins/misrouted");
    let (wrong, mut bytes) = (b"/misrouted/:", KEPT.to_vec());
    let at = bytes.windows(wrong.len()).position(|bytes| bytes == wrong).expect("its path");
    bytes[at + wrong.len() - 1] = letter;
    bytes.into()
}

fn settled(name: &str, bytes: Arc<[u8]>) -> Change {
    let sha256 = Sha256::digest(&bytes).into();
    Change::Settled { name: name.to_owned(), path: format!("{name}.wasm").into(), bytes, sha256 }
}

#[tokio::test]
async fn a_panic_of_the_host_while_it_loads_a_file_is_told_of_and_loading_goes_on() {
    let mut config = Config::default();
    // No semaphore can have as many permits, which the configuration would refuse.
    let limits = ChannelLimits { connections: Some(usize::MAX), ..ChannelLimits::default() };
    let bad = ChannelConfig { limits, ..ChannelConfig::default() };
    config.channels.insert("bad".to_owned(), Arc::new(bad));
    let (registry, mut outcomes) = observed(config);
    let (changes, changed) = mpsc::channel(16);
    let (scanned, is_over) = oneshot::channel();
    let following = tokio::spawn(Arc::new(registry).follow(changed, scanned));
    changes.send(settled("bad", component(b'a'))).await.expect("it is followed");
    let outcome = outcomes.recv().await.expect("an outcome");
    assert_eq!((outcome.name.as_str(), outcome.serving), ("bad", None));
    let reason = outcome.refused.expect("it is refused");
    assert!(reason.contains("the host panicked") && reason.contains("tried again"), "{reason}");
    changes.send(settled("good", component(b'b'))).await.expect("it is followed");
    let outcome = outcomes.recv().await.expect("an outcome");
    assert_eq!((outcome.name.as_str(), outcome.serving), ("good", Some(1)), "{outcome:?}");
    // The start is over too: it does not wait for the file for ever.
    changes.send(Change::Scanned).await.expect("it is followed");
    is_over.await.expect("the end of the start");
    following.abort();
}

#[tokio::test]
async fn new_code_begins_with_as_many_warm_instances_as_the_old_code_has_up_to_sixteen() {
    for (warm, expected) in [(1, 1), (5, 5), (40, 16)] {
        let registry = registry(Config::default());
        let load = async |letter: u8| {
            let bytes = component(letter);
            let sha256 = Sha256::digest(&bytes).into();
            let path = Path::new("channel.wasm");
            registry.load_file("channel", path, bytes, sha256).await.expect("it is fit")
        };
        let channel = load(b'a').await;
        channel.current().pool.warm_up(warm).await;
        assert_eq!(channel.current().pool.idle_count(), warm);
        let channel = load(b'b').await;
        let current = channel.current();
        assert_eq!((current.number, current.pool.idle_count()), (2, expected));
    }
}

/// A thing whose end takes long: until it is told.
struct Slow(blocking::Receiver<()>);

impl Drop for Slow {
    fn drop(&mut self) {
        let told = self.0.recv_timeout(Duration::from_secs(30));
        assert!(told.is_ok(), "nobody went on meanwhile");
    }
}

#[test]
fn code_that_is_not_needed_any_more_is_dropped_while_others_go_on() {
    let (end, ended) = blocking::channel();
    discard(vec![Slow(ended)]);
    end.send(()).expect("it is still being dropped");
}
