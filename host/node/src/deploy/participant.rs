//! A node in deployments: it tries code when it is asked, and runs what the table says.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::{Report, Try};

use super::table::Table;

/// Time after the last question for which code is held ready. A coordinator that has ended asks no more.
pub const HELD_FOR: u64 = 10_000;

/// Time between two looks at the table. A node that has not heard of a change finds it then.
pub const LOOK_EVERY: u64 = 5_000;

/// The same while code is held ready, so that a coordinator that ends after the commitment costs no more.
pub const LOOK_SOON: u64 = 500;

/// A node's part in deployments.
#[derive(Clone, Debug)]
pub struct Participant {
    table: Table,
    /// Hashes of the deployed code that runs here, or was refused here, by the channel.
    settled: BTreeMap<String, String>,
    trial: Option<Trial>,
    next_look: u64,
    has_lost_table: bool,
}

#[derive(Clone, Debug)]
struct Trial {
    asked: Try,
    state: State,
    until: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Trying,
    Ready,
    Refused(String),
}

/// A thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Try code, and tell its end by [`Participant::tried`].
    Try(Try),
    /// Drop the code that is held ready, or being tried.
    Forget {
        /// Number of the deployment.
        deploy: u64,
    },
    /// Run this code, and tell when it runs or was refused by [`Participant::settled`].
    Serve {
        /// The channel.
        channel: String,
        /// Hash of the code.
        sha256: String,
    },
    /// Run what the plugin folder has, and tell it by [`Participant::withdrawn`].
    Withdraw {
        /// The channel.
        channel: String,
    },
}

impl Participant {
    /// Makes the part of a node that has not looked yet.
    pub fn new(now: u64) -> Participant {
        Participant {
            table: Table::default(),
            settled: BTreeMap::new(),
            trial: None,
            next_look: now,
            has_lost_table: false,
        }
    }

    /// Returns the newest table that this node has seen.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Returns true if the engine has an older table than this node has seen, or none: it has lost its data.
    pub fn has_lost_table(&self) -> bool {
        self.has_lost_table
    }

    /// Returns the time of the next look at the table.
    pub fn next_look(&self) -> u64 {
        self.next_look
    }

    /// Handles a question of a coordinator. Returns the report, and what to do.
    pub fn asked(&mut self, asked: &Try, now: u64) -> (Report, Option<Act>) {
        match &mut self.trial {
            Some(trial) if trial.asked == *asked => {
                trial.until = now + HELD_FOR;
                let report = match &trial.state {
                    State::Trying => Report::Trying,
                    State::Ready => Report::Ready,
                    State::Refused(reason) => Report::Refused { reason: reason.clone() },
                };
                (report, None)
            }
            // The end of a trial that nobody waits for is not waited for either.
            Some(trial) if !matches!(trial.state, State::Refused(_)) => (Report::Busy, None),
            _ => {
                let state = State::Trying;
                let trial = Trial { asked: asked.clone(), state, until: now + HELD_FOR };
                self.trial = Some(trial);
                self.next_look = self.next_look.min(now + LOOK_SOON);
                (Report::Trying, Some(Act::Try(asked.clone())))
            }
        }
    }

    /// Notes the end of a trial. The error is the reason to refuse the code. Returns false if nobody wants it any more.
    pub fn tried(&mut self, deploy: u64, result: Result<(), String>) -> bool {
        let trial = self.trial.as_mut().filter(|trial| trial.asked.deploy == deploy);
        let Some(trial) = trial.filter(|trial| trial.state == State::Trying) else { return false };
        trial.state = match result {
            Ok(()) => State::Ready,
            Err(reason) => State::Refused(reason),
        };
        trial.state == State::Ready
    }

    /// Handles the end of a deployment without a commitment.
    pub fn forget(&mut self, deploy: u64) -> Option<Act> {
        let is_it = self.trial.as_ref().is_some_and(|trial| trial.asked.deploy == deploy);
        is_it.then(|| self.end_trial()).flatten()
    }

    /// Notes what the engine has as the table; `None` if it has none. Returns what to do.
    pub fn saw(&mut self, table: Option<Table>, now: u64) -> Vec<Act> {
        let table = table.unwrap_or_default();
        // An engine that has lost its data must not take the code away that serves.
        self.has_lost_table = table.number < self.table.number;
        if !self.has_lost_table {
            self.table = table;
        }
        let is_settled = |channel: &str, sha256: &str| {
            self.settled.get(channel).is_some_and(|settled| settled == sha256)
        };
        let table = &self.table.channels;
        let news = table.iter().filter(|(name, it)| !is_settled(name, &it.current.sha256));
        let serve = news.map(|(channel, deployed)| Act::Serve {
            channel: channel.clone(),
            sha256: deployed.current.sha256.clone(),
        });
        let gone = self.settled.keys().filter(|channel| !table.contains_key(*channel));
        let withdraw = gone.map(|channel| Act::Withdraw { channel: channel.clone() });
        let acts = serve.chain(withdraw).collect();
        self.look_later(now);
        acts
    }

    /// Notes that the table could not be read.
    pub fn look_later(&mut self, now: u64) {
        self.next_look = now + if self.trial.is_some() { LOOK_SOON } else { LOOK_EVERY };
    }

    /// Notes that code runs here, or was refused here for good. A trial of it is over.
    pub fn settled(&mut self, channel: &str, sha256: &str) {
        self.settled.insert(channel.to_owned(), sha256.to_owned());
        let is_it = |trial: &Trial| trial.asked.channel == channel && trial.asked.sha256 == sha256;
        if self.trial.as_ref().is_some_and(is_it) {
            self.trial = None;
        }
    }

    /// Notes that a channel is what the plugin folder has.
    pub fn withdrawn(&mut self, channel: &str) {
        self.settled.remove(channel);
    }

    /// Returns the deployment of a trial of this code that is ready.
    pub fn ready(&self, channel: &str, sha256: &str) -> Option<u64> {
        let trial = self.trial.as_ref()?;
        let is_it = trial.asked.channel == channel && trial.asked.sha256 == sha256;
        (is_it && trial.state == State::Ready).then_some(trial.asked.deploy)
    }

    /// Returns the channels that run deployed code here, or have refused it.
    pub fn channels(&self) -> BTreeSet<String> {
        self.settled.keys().cloned().collect()
    }

    /// Forgets code that nobody has asked for in time.
    pub fn look(&mut self, now: u64) -> Option<Act> {
        let is_over = self.trial.as_ref().is_some_and(|trial| now >= trial.until);
        is_over.then(|| self.end_trial()).flatten()
    }

    fn end_trial(&mut self) -> Option<Act> {
        self.trial.take().map(|trial| Act::Forget { deploy: trial.asked.deploy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::Version;

    fn asked(deploy: u64) -> Try {
        Try { deploy, channel: "chat".to_owned(), sha256: deploy.to_string(), bytes: 1 }
    }

    fn table(sha256: &str) -> Table {
        let version = Version {
            sha256: sha256.to_owned(),
            bytes: 1,
            at_ms: 0,
            by: String::new(),
            node: String::new(),
        };
        Table::default().with("chat", version).expect("there is room")
    }

    #[test]
    fn code_is_tried_once_and_held_for_as_long_as_it_is_asked_for() {
        let mut node = Participant::new(0);
        assert_eq!(node.asked(&asked(1), 0), (Report::Trying, Some(Act::Try(asked(1)))));
        assert_eq!(node.asked(&asked(1), 10), (Report::Trying, None));
        assert_eq!(node.asked(&asked(2), 10), (Report::Busy, None));
        assert!(node.tried(1, Ok(())));
        assert_eq!(node.asked(&asked(1), 20), (Report::Ready, None));
        assert_eq!(node.look(20 + HELD_FOR - 1), None);
        assert_eq!(node.look(20 + HELD_FOR), Some(Act::Forget { deploy: 1 }));
        assert!(!node.tried(1, Ok(())), "it is forgotten");
        assert_eq!(node.asked(&asked(2), 30_000).0, Report::Trying);
    }

    #[test]
    fn a_refusal_is_told_again_and_is_in_the_way_of_nobody() {
        let mut node = Participant::new(0);
        node.asked(&asked(1), 0);
        assert!(!node.tried(1, Err("bad".to_owned())));
        let refused = Report::Refused { reason: "bad".to_owned() };
        assert_eq!(node.asked(&asked(1), 1), (refused, None));
        assert_eq!(node.asked(&asked(2), 2).0, Report::Trying);
    }

    #[test]
    fn a_node_runs_what_the_table_says_and_nothing_else() {
        let mut node = Participant::new(0);
        node.asked(&asked(1), 0);
        node.tried(1, Ok(()));
        assert_eq!(node.saw(None, 0), []);
        assert_eq!(node.next_look(), LOOK_SOON, "it may be committed at any time");
        let serve = Act::Serve { channel: "chat".to_owned(), sha256: "1".to_owned() };
        assert_eq!(node.saw(Some(table("1")), 10), [serve]);
        assert_eq!(node.ready("chat", "1"), Some(1));
        node.settled("chat", "1");
        assert_eq!(node.saw(Some(table("1")), 20), []);
        assert_eq!(node.next_look(), 20 + LOOK_EVERY);
        let gone = table("1").without("chat").expect("it is there");
        assert_eq!(node.saw(Some(gone), 30), [Act::Withdraw { channel: "chat".to_owned() }]);
        node.withdrawn("chat");
        assert_eq!(node.channels(), BTreeSet::new());
    }

    #[test]
    fn an_engine_that_has_lost_its_data_takes_no_code_away() {
        let mut node = Participant::new(0);
        node.saw(Some(table("1")), 0);
        node.settled("chat", "1");
        assert_eq!(node.saw(None, 1), []);
        assert!(node.has_lost_table());
        assert_eq!(node.table().code("chat"), Some("1"));
        node.saw(Some(table("1")), 2);
        assert!(!node.has_lost_table());
    }
}
