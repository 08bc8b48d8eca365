//! The last outcomes of loading plugins' files: each generation that came to serve, and each refusal with its reason.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use wharf_runtime::ports::{LoadObserver, LoadOutcome};
use wharf_runtime::registry::{Registry, hex};

use super::audit::rfc_3339;
use super::here;
use super::problem::OperatorAnswer;
use super::queries::{check_no_query, cut_page, page_before};

/// Largest number of outcomes of one channel.
const MAX_OF_CHANNEL: usize = 32;

/// Largest number of all outcomes.
const MAX_ALL: usize = 1024;

/// Outcomes that may wait for a follower; one that is further behind misses the oldest of them.
const MAX_WAITING: usize = 64;

/// The last outcomes, for the operator. It passes each of them on.
#[derive(Debug)]
pub(crate) struct LoadHistory {
    next: Arc<dyn LoadObserver>,
    kept: Mutex<Kept>,
    news: broadcast::Sender<Arc<Load>>,
}

#[derive(Debug, Default)]
struct Kept {
    last_number: u64,
    /// In the order of their numbers.
    loads: VecDeque<Arc<Load>>,
}

/// An outcome, with the time at which it was known.
#[derive(Debug)]
pub(super) struct Load {
    number: u64,
    at: Duration,
    outcome: LoadOutcome,
}

impl Load {
    /// Returns the outcome as JSON.
    pub(super) fn shown(&self) -> Value {
        let LoadOutcome { name, sha256, serving, refused } = &self.outcome;
        json!({
            "number": self.number,
            "time_ms": u64::try_from(self.at.as_millis()).unwrap_or(u64::MAX),
            "time": rfc_3339(self.at),
            "channel": name,
            "state": if refused.is_some() { "refused" } else { "serving" },
            "generation": serving,
            "sha256": sha256.as_ref().map(|hash| hex(hash)),
            "reason": refused,
        })
    }
}

impl LoadHistory {
    /// Makes an empty history, which passes outcomes on to `next`.
    pub(crate) fn new(next: Arc<dyn LoadObserver>) -> LoadHistory {
        LoadHistory { next, kept: Mutex::default(), news: broadcast::Sender::new(MAX_WAITING) }
    }

    /// Follows the outcomes from now on.
    pub(super) fn follow(&self) -> broadcast::Receiver<Arc<Load>> {
        self.news.subscribe()
    }

    /// Returns a page of all outcomes, the newest first.
    pub(super) fn all(&self, query: Option<&str>) -> OperatorAnswer {
        let (before, limit) = page_before(query)?;
        let before = before.unwrap_or(u64::MAX);
        let kept = self.kept.lock();
        let older = kept.loads.iter().rev().filter(|load| load.number < before);
        let mut loads: Vec<Arc<Load>> = older.take(limit + 1).cloned().collect();
        drop(kept);
        let next = cut_page(&mut loads, limit).map(|load| load.number);
        let loads: Vec<Value> = loads.iter().map(|load| load.shown()).collect();
        Ok((StatusCode::OK, json!({ "loads": loads, "next": next }).to_string().into()))
    }

    /// Returns the outcomes of a channel, the newest first. It may have none that served.
    pub(super) fn of(
        &self,
        registry: &Registry,
        channel: &str,
        query: Option<&str>,
    ) -> OperatorAnswer {
        check_no_query(query)?;
        let kept = self.kept.lock();
        let own = kept.loads.iter().rev().filter(|load| load.outcome.name == channel);
        let loads: Vec<Value> = own.map(|load| load.shown()).collect();
        drop(kept);
        if loads.is_empty() {
            here::channel(registry, channel)?;
        }
        Ok((StatusCode::OK, json!({ "loads": loads }).to_string().into()))
    }
}

impl LoadObserver for LoadHistory {
    fn loaded(&self, outcome: LoadOutcome) {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut kept = self.kept.lock();
        kept.last_number += 1;
        let number = kept.last_number;
        let load = Arc::new(Load { number, at, outcome: outcome.clone() });
        let is_own = |load: &Arc<Load>| load.outcome.name == outcome.name;
        if kept.loads.iter().filter(|load| is_own(load)).count() >= MAX_OF_CHANNEL
            && let Some(oldest) = kept.loads.iter().position(is_own)
        {
            kept.loads.remove(oldest);
        }
        kept.loads.push_back(load.clone());
        if kept.loads.len() > MAX_ALL {
            kept.loads.pop_front();
        }
        // Under the lock, so that followers see the order of the numbers. It fails if there are none.
        let _ = self.news.send(load);
        drop(kept);
        self.next.loaded(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_runtime::ports::Unobserved;

    fn outcome(name: &str, serving: u64) -> LoadOutcome {
        let name = name.to_owned();
        LoadOutcome { name, sha256: None, serving: Some(serving), refused: None }
    }

    fn shown(history: &LoadHistory, query: Option<&str>) -> (Vec<(String, u64)>, Option<u64>) {
        let (_, body) = history.all(query).expect("an answer");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let load = |load: &Value| {
            let generation = load["generation"].as_u64().expect("a number");
            (load["channel"].as_str().expect("text").to_owned(), generation)
        };
        let loads = body["loads"].as_array().expect("a list").iter().map(load);
        (loads.collect(), body["next"].as_u64())
    }

    #[test]
    fn outcomes_are_bounded_for_each_channel_and_for_all_of_them() {
        let history = LoadHistory::new(Arc::new(Unobserved));
        history.loaded(outcome("quiet", 1));
        for number in 0..100 {
            history.loaded(outcome("busy", number));
        }
        let (loads, next) = shown(&history, Some("limit=1000"));
        assert_eq!((loads.len(), next), (MAX_OF_CHANNEL + 1, None));
        assert_eq!(loads.first(), Some(&("busy".to_owned(), 99)));
        assert_eq!(loads.last(), Some(&("quiet".to_owned(), 1)));
        for number in 0..2_000 {
            history.loaded(outcome(&format!("channel-{number}"), 1));
        }
        assert_eq!(history.kept.lock().loads.len(), MAX_ALL);
    }

    #[test]
    fn pages_join_without_gaps() {
        let history = LoadHistory::new(Arc::new(Unobserved));
        (1..=5).for_each(|number| history.loaded(outcome("chat", number)));
        let numbers = |query| {
            let (loads, next) = shown(&history, Some(query));
            (loads.iter().map(|(_, number)| *number).collect::<Vec<_>>(), next)
        };
        assert_eq!(numbers("limit=2"), (vec![5, 4], Some(4)));
        assert_eq!(numbers("limit=2&before=4"), (vec![3, 2], Some(2)));
        assert_eq!(numbers("limit=2&before=2"), (vec![1], None));
    }
}
