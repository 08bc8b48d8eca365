//! A node as a coordinator: it was asked for a deployment.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use wharf_hub::connection_id::NodeId;
use wharf_node::deploy::coordinator::Outcome;
use wharf_node::deploy::table::Unchanged;
use wharf_node::deploy::{Coordinator, Standing, Table, Version};
use wharf_node::wire::{Reply, Report, Request, Step, Try};
use wharf_runtime::registry::hex;

use super::Deploys;
use super::shelf::{NotReplaced, Seen, Taken};

/// Time between two looks at the trials.
const TICK: Duration = Duration::from_millis(50);

/// Longest wait for the answer to one question. The next one is asked before.
const ANSWER: Duration = Duration::from_secs(2);

/// Longest wait for a node to run what is committed. A node that answers later runs it all the same.
const SWAP: Duration = Duration::from_secs(10);

/// Reports that wait for the coordinator.
const REPORTS: usize = 256;

/// A wish of an operator.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The channel.
    pub(crate) channel: String,
    /// The change.
    pub(crate) change: Change,
    /// The person, as the client names it.
    pub(crate) by: String,
    /// True if the code is only to be tried.
    pub(crate) is_dry_run: bool,
}

/// A change of the deployed code of a channel.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Run this file.
    Code(Bytes),
    /// Run the code before the present one.
    Rollback,
    /// Run what the plugin folder has.
    Withdraw,
}

/// A deployment that is done, or a dry run that has succeeded.
#[derive(Clone, Debug)]
pub(crate) struct Deployment {
    /// Number of the table.
    pub(crate) number: u64,
    /// The code; `None` for what the plugin folder has.
    pub(crate) version: Option<Version>,
    /// The nodes.
    pub(crate) nodes: Vec<NodeOutcome>,
}

/// The outcome on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeOutcome {
    /// The node.
    pub(crate) id: NodeId,
    /// Its name.
    pub(crate) name: String,
    /// One word for the state.
    pub(crate) state: &'static str,
    /// Number of the generation that serves.
    pub(crate) generation: Option<u64>,
    /// The reason for which it is not as it should be.
    pub(crate) reason: Option<String>,
}

/// The reason why nothing was deployed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Another deployment is under way, on the node of this name.
    Busy(String),
    /// Another deployment was faster.
    Overtaken,
    /// A node has refused the code, or has not tried it.
    Refused(Vec<NodeOutcome>),
    /// The table cannot be changed so.
    Unchanged(Unchanged),
    /// The place where code is kept refuses, for this reason.
    Unavailable(String),
    /// The same, and it is not known if the table was changed.
    Unknown(String),
}

/// A deployment that goes on.
type Deploying = Pin<Box<dyn Future<Output = Result<Deployment, Failed>> + Send>>;

impl Deploys {
    /// Carries out a wish on all nodes or on none.
    ///
    /// # Errors
    ///
    /// Nothing has changed, but in the case of [`Failed::Unknown`].
    pub(crate) fn deploy(self: &Arc<Deploys>, wish: Wish) -> Deploying {
        let deploys = self.clone();
        Box::pin(async move { deploys.carry_out(wish).await })
    }

    async fn carry_out(self: &Arc<Deploys>, wish: Wish) -> Result<Deployment, Failed> {
        let own = || self.host.name.clone();
        let _turn = self.turn.clone().try_lock_owned().map_err(|_| Failed::Busy(own()))?;
        let lease = self.shelf.lease().await.map_err(|taken| match taken {
            Taken::By(holder) => Failed::Busy(self.name_of(&holder)),
            Taken::Unavailable(why) => Failed::Unavailable(why),
        })?;
        let mut seen = self.shelf.table().await.map_err(Failed::Unavailable)?;
        let base = self.base(&mut seen);
        let (table, version) = self.changed(&base, &wish)?;
        let tried = match (&version, &wish.change) {
            (Some(version), change) => {
                if let Change::Code(bytes) = change {
                    let kept = self.shelf.put(&version.sha256, bytes).await;
                    kept.map_err(Failed::Unavailable)?;
                }
                let tried = self.tried_by_all(&wish, version).await;
                if tried.is_err() {
                    self.shelf.keep_only(&base.files().collect(), lease.as_ref()).await;
                }
                Some(tried?)
            }
            (None, _) => None,
        };
        if wish.is_dry_run {
            if let Some((deploy, _)) = tried {
                self.tell_all(Step::Forget { deploy }, ANSWER).await;
            }
            self.shelf.keep_only(&base.files().collect(), lease.as_ref()).await;
            let nodes = tried.map(|(_, nodes)| nodes).unwrap_or_default();
            return Ok(Deployment { number: base.number, version, nodes });
        }
        if let Err(why) = self.shelf.replace(&seen, &table).await {
            if let Some((deploy, _)) = tried {
                self.tell_all(Step::Forget { deploy }, ANSWER).await;
            }
            return Err(match why {
                NotReplaced::Overtaken => Failed::Overtaken,
                NotReplaced::Unavailable(why) if self.shelf.is_shared() => Failed::Unknown(why),
                NotReplaced::Unavailable(why) => Failed::Unavailable(why),
            });
        }
        let sha256 = version.as_ref().and_then(|version| version.sha256.get(..16));
        let (number, channel) = (table.number, wish.channel.clone());
        tracing::info!(
            channel,
            sha256,
            number,
            by = wish.by,
            "{}",
            match wish.change {
                Change::Code(_) => "deployed",
                Change::Rollback => "rolled back",
                Change::Withdraw => "deployment withdrawn",
            }
        );
        let reports = self.tell_all(Step::Look { number, channel }, SWAP).await;
        self.shelf.keep_only(&table.files().collect(), lease.as_ref()).await;
        let nodes = self.outcomes(reports, number);
        Ok(Deployment { number, version, nodes })
    }

    /// Returns the table that a change begins with: that of the place, or the one that this node has seen if the place has
    /// lost its data.
    fn base(&self, seen: &mut Seen) -> Table {
        let kept = seen.table.take().unwrap_or_default();
        let known = self.seen();
        if kept.number >= known.number { kept } else { known }
    }

    fn changed(&self, base: &Table, wish: &Wish) -> Result<(Table, Option<Version>), Failed> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let new = |sha256: String, bytes: u64| Version {
            sha256,
            bytes,
            at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            by: wish.by.clone(),
            node: self.host.name.clone(),
        };
        let channel = &*wish.channel;
        let version = match &wish.change {
            Change::Code(bytes) => new(hex(&Sha256::digest(bytes)), bytes.len() as u64),
            Change::Rollback => {
                let previous = base.previous(channel).map_err(Failed::Unchanged)?;
                new(previous.sha256.clone(), previous.bytes)
            }
            Change::Withdraw => {
                return base.without(channel).map(|table| (table, None)).map_err(Failed::Unchanged);
            }
        };
        let table = base.with(channel, version.clone()).map_err(Failed::Unchanged)?;
        Ok((table, Some(version)))
    }

    /// Has all nodes try code. Returns the number of the deployment, and the nodes, which hold it ready.
    ///
    /// # Errors
    ///
    /// It is not ready on each of them.
    async fn tried_by_all(
        self: &Arc<Deploys>,
        wish: &Wish,
        version: &Version,
    ) -> Result<(u64, Vec<NodeOutcome>), Failed> {
        // Hash keys of the standard library are random.
        let deploy = RandomState::new().hash_one(&version.sha256);
        let asked = Try {
            deploy,
            channel: wish.channel.clone(),
            sha256: version.sha256.clone(),
            bytes: version.bytes,
        };
        let patience = u64::try_from(self.patience().as_millis()).unwrap_or(u64::MAX);
        let mut trials = Coordinator::new(self.now(), patience);
        let (reporting, mut reports) = mpsc::channel(REPORTS);
        let outcome = loop {
            let now = self.now();
            trials.present(&self.nodes().into_iter().map(|node| node.id).collect(), now);
            for node in trials.to_ask(now) {
                let (deploys, asked) = (self.clone(), Step::Try(asked.clone()));
                let reporting = reporting.clone();
                tokio::spawn(async move {
                    if let Some(report) = deploys.tell(node, asked, ANSWER).await {
                        let _ = reporting.send((node, report)).await;
                    }
                });
            }
            // The sender is here as well, so that it does not end.
            if let Ok(Some((node, report))) = tokio::time::timeout(TICK, reports.recv()).await {
                trials.heard(node, &report, self.now());
            }
            if let Some(outcome) = trials.outcome(self.now()) {
                break outcome;
            }
        };
        let nodes = self.standings(&trials);
        match outcome {
            Outcome::Ready => Ok((deploy, nodes)),
            Outcome::Failed => {
                self.tell_all(Step::Forget { deploy }, ANSWER).await;
                Err(Failed::Refused(nodes))
            }
        }
    }

    fn standings(&self, trials: &Coordinator) -> Vec<NodeOutcome> {
        let names = self.names();
        let outcome = |(id, standing): (NodeId, &Standing)| {
            let (state, reason) = match standing {
                Standing::Ready => ("ready", None),
                Standing::Refused(reason) => ("refused", Some(reason.clone())),
                Standing::Busy => (
                    "busy",
                    Some("it still tries code of another deployment; try again".to_owned()),
                ),
                Standing::Asked | Standing::Silent => (
                    "unanswered",
                    Some(
                        "it has not answered; its version of wharf may not know deployments"
                            .to_owned(),
                    ),
                ),
                Standing::Trying | Standing::Late => (
                    "late",
                    Some(
                        "it has not compiled and tried the code in time (compile_timeout_ms)"
                            .to_owned(),
                    ),
                ),
            };
            let name = names.get(&id).cloned().unwrap_or_default();
            NodeOutcome { id, name, state, generation: None, reason }
        };
        by_name(trials.standings().map(outcome))
    }

    fn outcomes(&self, mut reports: BTreeMap<NodeId, Report>, table: u64) -> Vec<NodeOutcome> {
        let outcome = |(id, name)| {
            let (state, generation, reason) = match reports.remove(&id) {
                Some(Report::Looked { number, generation, reason: None }) if number >= table => {
                    let state = if generation.is_some() { "serving" } else { "absent" };
                    (state, generation, None)
                }
                Some(Report::Looked { generation, reason, .. }) => ("refused", generation, reason),
                _ => {
                    let reason = "it has not answered; it follows by itself within seconds";
                    ("unanswered", None, Some(reason.to_owned()))
                }
            };
            NodeOutcome { id, name, state, generation, reason }
        };
        by_name(self.names().into_iter().map(outcome))
    }

    fn names(&self) -> BTreeMap<NodeId, String> {
        self.nodes().into_iter().map(|node| (node.id, node.name)).collect()
    }

    /// Returns the name of the node with this id.
    fn name_of(&self, id: &str) -> String {
        let found = self.names().into_iter().find(|(node, _)| node.to_string() == id);
        found.map_or_else(|| id.to_owned(), |(_, name)| name)
    }

    /// Has one node take a step, this one or another. `None` if it does not answer in time.
    async fn tell(self: &Arc<Deploys>, to: NodeId, step: Step, limit: Duration) -> Option<Report> {
        if to == NodeId::local() {
            return Some(self.step(step).await);
        }
        let request = Request::Deploy(step);
        let mut found = self.node.as_ref()?.ask([to].into(), &request, limit).await;
        match found.remove(&to)? {
            Reply::Deploy(report) => Some(report),
            Reply::Operator { .. } => None,
        }
    }

    /// Has all nodes take a step at the same time.
    async fn tell_all(
        self: &Arc<Deploys>,
        step: Step,
        limit: Duration,
    ) -> BTreeMap<NodeId, Report> {
        let nodes: BTreeSet<NodeId> = self.nodes().into_iter().map(|node| node.id).collect();
        let told = nodes.into_iter().map(|node| {
            let (deploys, step) = (self.clone(), step.clone());
            async move { deploys.tell(node, step, limit).await.map(|report| (node, report)) }
        });
        futures_util::future::join_all(told).await.into_iter().flatten().collect()
    }
}

/// Returns outcomes in the order of the nodes' names.
fn by_name(outcomes: impl Iterator<Item = NodeOutcome>) -> Vec<NodeOutcome> {
    let mut outcomes: Vec<NodeOutcome> = outcomes.collect();
    outcomes.sort_by(|one, other| one.name.cmp(&other.name));
    outcomes
}
