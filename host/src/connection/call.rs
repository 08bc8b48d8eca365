//! A guest call of a connection: a slot is waited for, then an instance of the generation that
//! serves by then is called and given back.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use super::wire::Wire;
use crate::channel::{Channel, Generation};
use crate::client::Client;
use crate::config::Config;
use crate::host_calls::{Call, Phase};
use crate::instance::{Event, Failure, Finished, bounded};
use crate::outbound::Drains;
use crate::pool::{Lease, Slot};

/// Why a call came to nothing. With a failure goes the number of the generation that failed.
pub(super) enum Unanswered {
    /// There was no slot for `instance_wait_ms`.
    Exhausted,
    /// No instance could be made; nothing was called.
    NotStarted(u64, Failure),
    /// The guest failed.
    Failed(u64, Failure),
}

/// Run an event's handler.
pub(super) async fn start(
    config: &Config,
    channel: &Channel,
    client: &Arc<Client>,
    session: &[u8],
    event: &Event<'_>,
) -> Result<Finished<Option<Vec<u8>>>, Unanswered> {
    let phase = match event {
        Event::Close { .. } => Phase::Closing,
        _ => Phase::Open,
    };
    let (generation, mut lease) = match phase {
        // It keeps its place for as long as it takes: nobody waits for it, and it must run.
        Phase::Closing => patient_lease(config, channel, client).await?,
        _ => lease(config, channel).await?,
    };
    let call = Call::new(client.clone(), phase);
    let finished = lease.instance.handle(call, session, event).await;
    generation.pool.give_back(lease);
    finished.map_err(|failure| Unanswered::Failed(generation.number, failure))
}

/// Wait for a slot, `instance_wait_ms` at most, and take an instance of the generation that
/// serves by then: one that was swapped out meanwhile gets no new events.
pub(super) async fn lease(
    config: &Config,
    channel: &Channel,
) -> Result<(Arc<Generation>, Lease), Unanswered> {
    let slot = bounded(config.instance_wait, channel.slots.take()).await;
    lease_with(slot.ok_or(Unanswered::Exhausted)?, channel).await
}

async fn patient_lease(
    config: &Config,
    channel: &Channel,
    client: &Client,
) -> Result<(Arc<Generation>, Lease), Unanswered> {
    let mut slot = pin!(channel.slots.take());
    let slot = loop {
        match bounded(config.instance_wait, slot.as_mut()).await {
            Some(slot) => break slot,
            None => Unanswered::Exhausted.log(channel, client, "on-close"),
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

/// Wait for a guest call. Most are finished when they are first polled; while one is not, the
/// socket is looked after.
pub(super) async fn attend<F: Future>(
    mut call: Pin<&mut F>,
    wire: &mut Wire,
    drains: &mut Drains,
) -> F::Output {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = call.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        // What earlier events caused must not wait for this one.
        drains.drain_now();
        wire.poll_ahead(cx);
        Poll::Pending
    })
    .await
}

impl Unanswered {
    /// Tell the operator, within the channel's budget of such lines.
    pub(super) fn log(&self, channel: &Channel, client: &Client, event: &str) {
        if !channel.context.failure_budget.take() {
            return;
        }
        let name = channel.name();
        let (generation, event, failure) = match self {
            Unanswered::Exhausted => {
                tracing::warn!(
                    channel = name,
                    connection = %client.id,
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
            connection = %client.id,
            event,
            kind = failure.kind.token(),
            detail = failure.detail,
            backtrace = failure.backtrace,
            "guest call failed"
        );
    }
}
