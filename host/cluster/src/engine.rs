//! An engine: the four interfaces together, and the state of its link.

use std::time::Duration;

use crate::answer::Answer;
use crate::error::Unavailable;
use crate::keys::Keys;
use crate::leases::Leases;
use crate::logs::Logs;
use crate::topics::Topics;

/// All that the nodes of a cluster share.
pub trait Engine: Topics + Logs + Keys + Leases + Send + Sync + 'static {
    /// Returns the state of the engine, without asking it.
    fn status(&self) -> Status;

    /// Sends what waits, for [`Limits::timeout`](crate::Limits::timeout) at most, and ends the link. Everything is
    /// refused from then on, and the [deliveries](crate::Deliveries) end.
    fn close(&self) -> Answer<'_, ()>;
}

/// The state of an engine, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// "memory", "disk", "redis" or "nats".
    pub engine: &'static str,
    /// The server and its version, as "redis 7.0.15 at 127.0.0.1:6379". No secret is in it.
    pub server: String,
    /// State of the link.
    pub link: LinkState,
    /// Number of times that the link was lost.
    pub interruptions: u64,
    /// Messages that were queued for sending.
    pub published: u64,
    /// Messages that were queued but not sent: too old, or under way when the link broke.
    pub dropped: u64,
    /// Bytes that wait to be sent.
    pub waiting_bytes: usize,
    /// Messages that were received.
    pub received: u64,
    /// Messages that were received but not taken in time, and dropped.
    pub overrun: u64,
    /// Topics that are subscribed to.
    pub topics: usize,
    /// Time that the server took for its last sign of life; `None` where it is not asked for one.
    pub round_trip: Option<Duration>,
}

/// State of the link to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It stands, and all topics are subscribed to.
    Up,
    /// It is down, for this reason; it is tried again by itself.
    Down(Unavailable),
    /// The engine was closed.
    Closed,
}
