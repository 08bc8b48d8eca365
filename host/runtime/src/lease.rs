//! The right to call a guest: a slot is waited for, then there is an instance of the generation
//! that serves by then.

use std::pin::pin;
use std::sync::Arc;

use crate::channel::{Channel, Generation};
use crate::instance::{Failure, bounded};
use crate::pool::{Lease, Slot};
use wharf_config::Config;
use wharf_hub::connection::ConnectionRecord;

/// Why a call came to nothing. With a failure goes the number of the generation that failed.
pub enum Unanswered {
    /// There was no slot for `instance_wait_ms`.
    Exhausted,
    /// No instance could be made; nothing was called.
    NotStarted(u64, Failure),
    /// The guest failed.
    Failed(u64, Failure),
}

/// What an event is about, for the operator.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    /// A connection.
    Connection(&'a ConnectionRecord),
    /// A room, by its name; the one without a name is the channel itself.
    Room(&'a str),
    /// No connection and no room.
    Channel,
}

impl<'a> About<'a> {
    fn client(self) -> Option<&'a ConnectionRecord> {
        match self {
            About::Connection(client) => Some(client),
            About::Room(_) | About::Channel => None,
        }
    }

    fn room(self) -> Option<&'a str> {
        match self {
            About::Room(name) if !name.is_empty() => Some(name),
            _ => None,
        }
    }
}

/// Wait for a slot, `instance_wait_ms` at most, and take an instance of the generation that
/// serves by then: one that was swapped out meanwhile gets no new events.
pub async fn lease(
    config: &Config,
    channel: &Channel,
) -> Result<(Arc<Generation>, Lease), Unanswered> {
    let slot = bounded(config.instance_wait, channel.slots.take()).await;
    lease_with(slot.ok_or(Unanswered::Exhausted)?, channel).await
}

/// The same for an event that must run however long it takes: it keeps its place, and the
/// operator is told of each `instance_wait_ms` that it waits.
pub async fn patient_lease(
    config: &Config,
    channel: &Channel,
    about: About<'_>,
    event: &str,
) -> Result<(Arc<Generation>, Lease), Unanswered> {
    let mut slot = pin!(channel.slots.take());
    let slot = loop {
        match bounded(config.instance_wait, slot.as_mut()).await {
            Some(slot) => break slot,
            None => Unanswered::Exhausted.log(channel, about, event),
        }
    };
    lease_with(slot, channel).await
}

async fn lease_with(slot: Slot, channel: &Channel) -> Result<(Arc<Generation>, Lease), Unanswered> {
    let generation = channel.current();
    match generation.pool.lease(slot).await {
        Ok(lease) => Ok((generation, lease)),
        Err(failure) => Err(Unanswered::NotStarted(generation.number, failure)),
    }
}

impl Unanswered {
    /// Tell the operator, within the channel's budget of such lines.
    pub fn log(&self, channel: &Channel, about: About<'_>, event: &str) {
        if !channel.context.failure_budget.take() {
            return;
        }
        let name = channel.name();
        let connection = about.client().map(|client| client.id.to_string());
        let room = about.room().map(|room| channel.context.shown(room, usize::MAX));
        let (generation, event, failure) = match self {
            Unanswered::Exhausted => {
                tracing::warn!(
                    channel = name,
                    connection,
                    room,
                    event,
                    "no free instance within instance_wait_ms; see max_instances_per_channel and \
                     max_instances"
                );
                return;
            }
            Unanswered::NotStarted(generation, failure) => (generation, "start", failure),
            Unanswered::Failed(generation, failure) => (generation, event, failure),
        };
        tracing::error!(
            channel = name,
            generation,
            connection,
            room,
            event,
            kind = failure.kind.token(),
            detail = failure.detail,
            backtrace = failure.backtrace,
            "guest call failed"
        );
    }
}

/// Tell the operator, within the channel's budget of such lines, that the generation which serves has
/// no handler for what an earlier one has posted or set. The event is dropped.
pub fn log_unhandled(channel: &Channel, handler: &str) {
    if channel.context.failure_budget.take() {
        tracing::warn!(
            channel = channel.name(),
            generation = channel.current().number,
            handler,
            "an event was dropped: an earlier generation caused it, and this one has no handler"
        );
    }
}
