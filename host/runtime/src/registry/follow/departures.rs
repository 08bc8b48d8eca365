//! Channels whose files are gone, and which serve on while other files are loaded: one of those may
//! claim their paths, and then takes them over in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// The channels that are about to go, by name.
#[derive(Debug, Default)]
pub(super) struct Departures(BTreeMap<String, Departure>);

#[derive(Debug)]
struct Departure {
    /// Names of the files that were being loaded when its own file went.
    awaited: BTreeSet<String>,
    /// Time of the end of the wait in any case.
    until: Instant,
}

impl Departures {
    /// Lets a channel serve on until these files are loaded, or `longest` is over.
    pub(super) fn add(&mut self, name: String, awaited: BTreeSet<String>, longest: Duration) {
        self.0.insert(name, Departure { awaited, until: Instant::now() + longest });
    }

    /// Lets a channel stay: its file is back.
    pub(super) fn call_off(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Returns true if a channel is about to go.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the end of the shortest wait.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|departure| departure.until).min()
    }

    /// Takes out the channels that have nothing to wait for any more. `is_loading` returns true for
    /// files that are worth waiting for.
    pub(super) fn due(&mut self, is_loading: impl Fn(&str) -> bool) -> Vec<String> {
        let now = Instant::now();
        let is_due = |_: &String, departure: &mut Departure| {
            departure.awaited.retain(|name| is_loading(name));
            departure.awaited.is_empty() || departure.until <= now
        };
        self.0.extract_if(.., is_due).map(|(name, _)| name).collect()
    }
}
