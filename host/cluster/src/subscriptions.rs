//! The topics that a node wants, and those that its link has.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::error::Unavailable;

type Waiter = oneshot::Sender<Result<(), Unavailable>>;

/// The topics that a node wants, and those that its link has. One task brings the second to the first.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    state: Mutex<State>,
    /// Notified when there is a difference.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    wanted: HashSet<Arc<str>>,
    made: HashSet<Arc<str>>,
    /// Topics of which the two may differ.
    differing: HashSet<Arc<str>>,
    waiters: Vec<Waiter>,
    /// The reason why the link is down.
    down: Option<Unavailable>,
}

/// The work of one round.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) add: Vec<Arc<str>>,
    pub(crate) remove: Vec<Arc<str>>,
    waiters: Vec<Waiter>,
}

impl Subscriptions {
    /// Makes the state of a link that is not up yet.
    pub(crate) fn new() -> Subscriptions {
        let subscriptions = Subscriptions::default();
        subscriptions.state.lock().down = Some(Unavailable::link_lost());
        subscriptions
    }

    /// Wants topics, and waits until the link has them.
    pub(crate) async fn add(&self, topics: Vec<String>) -> Result<(), Unavailable> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.state.lock();
            for topic in topics {
                let topic: Arc<str> = Arc::from(topic);
                state.wanted.insert(topic.clone());
                state.differing.insert(topic);
            }
            if let Some(why) = &state.down {
                return Err(why.clone());
            }
            state.waiters.push(sender);
        }
        self.changed.notify_one();
        receiver.await.unwrap_or_else(|_| Err(Unavailable::closed()))
    }

    /// Wants topics no longer.
    pub(crate) fn remove(&self, topics: Vec<String>) {
        let mut state = self.state.lock();
        for topic in topics {
            if let Some(topic) = state.wanted.take(topic.as_str()) {
                state.differing.insert(topic);
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Begins a round: what must be added and removed now.
    pub(crate) fn begin(&self) -> Round {
        let mut state = self.state.lock();
        let mut round = Round { waiters: std::mem::take(&mut state.waiters), ..Round::default() };
        for topic in std::mem::take(&mut state.differing) {
            match (state.wanted.contains(&topic), state.made.contains(&topic)) {
                (true, false) => round.add.push(topic),
                (false, true) => round.remove.push(topic),
                _ => {}
            }
        }
        round
    }

    /// Ends a round.
    pub(crate) fn end(&self, round: Round, outcome: &Result<(), Unavailable>) {
        if outcome.is_ok() {
            let mut state = self.state.lock();
            for topic in &round.remove {
                state.made.remove(topic);
            }
            state.made.extend(round.add);
        }
        for waiter in round.waiters {
            // Somebody who no longer waits does not mind.
            let _ = waiter.send(outcome.clone());
        }
    }

    /// Notes that a link is there, which has no topics yet.
    pub(crate) fn link_up(&self) {
        let mut state = self.state.lock();
        state.down = None;
        state.made.clear();
        state.differing = state.wanted.clone();
    }

    /// Notes that the link is down, and answers all who wait.
    pub(crate) fn link_down(&self, why: &Unavailable) {
        let waiters = {
            let mut state = self.state.lock();
            state.down = Some(why.clone());
            std::mem::take(&mut state.waiters)
        };
        for waiter in waiters {
            let _ = waiter.send(Err(why.clone()));
        }
    }

    /// Returns a topic if it is wanted.
    pub(crate) fn wanted(&self, topic: &str) -> Option<Arc<str>> {
        self.state.lock().wanted.get(topic).cloned()
    }

    /// Returns the number of topics that are wanted.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().wanted.len()
    }
}
