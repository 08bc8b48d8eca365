//! A guest call from its first step to its last: wait for a slot, check out an instance of the
//! generation that serves by then, call it, give it back.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::channel::Channel;
use crate::channel_context::ChannelContext;
use crate::event_kind::EventKind;
use crate::instance::{Failure, Instance, bounded};
use crate::slots::Slot;
use wharf_contract::fault::Fault;
use wharf_hub::connection::ConnectionRecord;
use wharf_metrics::limits::Limit;

/// Further attempts of a [persistent](Patience::Persistent) event whose instance cannot be started.
const RETRIES: u32 = 6;

/// Time before the first of these attempts. It doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A call that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct GuestCall<'a> {
    /// The channel to be called.
    pub channel: &'a Channel,
    /// The subject of the event, for the log.
    pub about: About<'a>,
    /// The kind of the event.
    pub event: EventKind,
    /// The time that the event may wait.
    pub patience: Patience,
}

/// The subject of an event, for the operator.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    /// A connection.
    Connection(&'a ConnectionRecord),
    /// A room, by its name; the one without a name is the channel itself.
    Room(&'a str),
    /// No connection and no room.
    Channel,
}

impl About<'_> {
    /// Returns the connection's id, if it is one.
    fn connection(&self) -> Option<String> {
        match self {
            About::Connection(client) => Some(client.id.to_string()),
            About::Room(_) | About::Channel => None,
        }
    }
}

/// The time that an event waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// `instance_wait_ms` at most.
    Bounded,
    /// As long as necessary. The event keeps its place, and the operator is told of each
    /// `instance_wait_ms` that it waits.
    Unbounded,
    /// The same, and an instance that cannot be started for a reason of its own is tried again.
    Persistent,
}

/// The thing that an event has waited for in vain.
#[derive(Debug)]
pub enum Shortage {
    /// A slot.
    Slots,
    /// An instance: memory for it, or time to start it. The failure names the limit.
    Start(Failure),
}

/// The reason why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// There was no slot, or an instance could not be started for a passing reason, for
    /// `instance_wait_ms`.
    Exhausted(Shortage),
    /// No instance could be made, and the guest was not called.
    NotStarted {
        /// The number of the generation.
        generation: u64,
        /// The reason.
        failure: Failure,
    },
    /// The guest failed.
    Failed {
        /// The number of the generation.
        generation: u64,
        /// The reason.
        failure: Failure,
    },
}

/// An instance in use, and the right to use one. The instance ends first if the task ends that waits
/// for its call.
struct Lease<'a> {
    instance: Box<Instance>,
    _slot: Slot<'a>,
}

impl GuestCall<'_> {
    /// Calls an instance of the generation that serves when it is the event's turn: one that was
    /// swapped out meanwhile gets no new events. A failed call is logged.
    ///
    /// # Errors
    ///
    /// It was never the event's turn, no instance could be made, or `call` has failed.
    pub async fn run<R>(
        self,
        call: impl AsyncFnOnce(&mut Instance) -> Result<R, Failure>,
    ) -> Result<R, CallError> {
        let result = match self.lease().await {
            Ok(mut lease) => {
                self.channel.context.counters.event(self.event);
                let result = call(&mut lease.instance).await;
                let generation = lease.instance.generation();
                self.channel.note_outcome(generation, result.is_ok());
                self.channel.give_back(lease.instance);
                result.map_err(|failure| CallError::Failed { generation, failure })
            }
            Err(error) => Err(error),
        };
        result.inspect_err(|error| {
            self.count(error);
            self.log(error);
        })
    }

    async fn lease(&self) -> Result<Lease<'_>, CallError> {
        let mut retries = if self.patience == Patience::Persistent { RETRIES } else { 0 };
        let mut pause = FIRST_PAUSE;
        loop {
            match self.lease_once().await {
                Err(CallError::NotStarted { .. }) if retries > 0 => {
                    // Boxed: it is rare, and other calls need not carry the room for it.
                    Box::pin(tokio::time::sleep(pause)).await;
                    retries -= 1;
                    pause *= 2;
                }
                leased => return leased,
            }
        }
    }

    async fn lease_once(&self) -> Result<Lease<'_>, CallError> {
        let slot = match self.channel.slots.take_now() {
            Some(slot) => slot,
            // Boxed: it is rare, and other calls need not carry the room for it.
            None => Box::pin(self.wait_for_slot()).await?,
        };
        let warm = self.channel.current().pool.take_warm();
        let instance = match warm {
            Some(instance) => instance,
            // Boxed: it is rare, and other calls need not carry the room for it.
            None => Box::pin(self.start()).await?,
        };
        Ok(Lease { instance, _slot: slot })
    }

    async fn wait_for_slot(&self) -> Result<Slot<'_>, CallError> {
        let ChannelContext { config, counters, .. } = &*self.channel.context;
        let begun = std::time::Instant::now();
        let mut slot = pin!(self.channel.slots.take());
        let waited = loop {
            match bounded(config.instance_wait, slot.as_mut()).await {
                Some(slot) => break Ok(slot),
                None if self.patience == Patience::Bounded => {
                    break Err(CallError::Exhausted(Shortage::Slots));
                }
                None => {
                    let exhausted = CallError::Exhausted(Shortage::Slots);
                    self.count(&exhausted);
                    self.log(&exhausted);
                }
            }
        };
        counters.waited_for_slot(begun.elapsed());
        waited
    }

    /// Starts an instance. If others have the memory for it, or the machine is too busy, the event waits
    /// like for a slot.
    async fn start(&self) -> Result<Box<Instance>, CallError> {
        match self.start_once().await {
            Err(CallError::NotStarted { failure, .. }) if failure.is_passing => {}
            started => return started,
        }
        let ChannelContext { memory, config, .. } = &*self.channel.context;
        let waiting = memory.wait();
        let mut until = Instant::now() + config.instance_wait;
        loop {
            let mut sign = pin!(waiting.sign());
            sign.as_mut().enable();
            if let Some(instance) = self.channel.current().pool.take_warm() {
                return Ok(instance);
            }
            match self.start_once().await {
                Err(CallError::NotStarted { failure, .. }) if failure.is_passing => {
                    if Instant::now() >= until {
                        let exhausted = CallError::Exhausted(Shortage::Start(failure));
                        if self.patience == Patience::Bounded {
                            return Err(exhausted);
                        }
                        self.count(&exhausted);
                        self.log(&exhausted);
                        until = Instant::now() + config.instance_wait;
                    }
                }
                started => return started,
            }
            waiting.until(sign, until).await;
        }
    }

    async fn start_once(&self) -> Result<Box<Instance>, CallError> {
        // It is cloned, because a swap may come before there is an instance.
        let generation = Arc::clone(&self.channel.current());
        let started = generation.pool.start().await;
        let generation = generation.number;
        started.map_err(|failure| CallError::NotStarted { generation, failure })
    }

    fn count(&self, error: &CallError) {
        match error {
            CallError::Exhausted(_) => Limit::InstanceWait.reached(),
            CallError::NotStarted { generation, failure }
            | CallError::Failed { generation, failure } => {
                self.channel.context.counters.failed(*generation, failure.kind);
            }
        }
    }

    /// Tells the operator, within the channel's budget of such lines.
    fn log(&self, error: &CallError) {
        let GuestCall { channel, about, event, .. } = *self;
        let event = event.name();
        if let CallError::Failed { generation, failure } = error
            && failure.kind == Fault::SessionUnreadable
        {
            return self.log_unreadable(*generation, failure);
        }
        if !channel.context.failure_budget.take() {
            return;
        }
        let name = channel.name();
        let connection = about.connection();
        let room = match about {
            About::Room(room) if !room.is_empty() => Some(channel.context.shown(room, usize::MAX)),
            _ => None,
        };
        let (generation, event, failure) = match error {
            CallError::Exhausted(Shortage::Start(failure)) => {
                tracing::warn!(
                    channel = name,
                    connection,
                    room,
                    event,
                    kind = failure.kind.token(),
                    detail = failure.detail,
                    "no other instance could be started within instance_wait_ms"
                );
                return;
            }
            CallError::Exhausted(Shortage::Slots) => {
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
            CallError::NotStarted { generation, failure } => (generation, "start", failure),
            CallError::Failed { generation, failure } => (generation, event, failure),
        };
        tracing::error!(
            channel = name,
            generation,
            connection,
            room,
            event,
            kind = failure.kind.token(),
            detail = failure.detail,
            place = failure.place,
            backtrace = failure.backtrace,
            "guest call failed"
        );
    }

    /// Tells the operator of sessions that a generation cannot read: one line for many of them.
    fn log_unreadable(&self, generation: u64, failure: &Failure) {
        let GuestCall { channel, about, event, .. } = *self;
        let event = event.name();
        let Some(connections) = channel.note_unreadable_session(generation) else { return };
        if channel.context.failure_budget.take() {
            tracing::error!(
                channel = channel.name(),
                generation,
                connections,
                connection = about.connection(),
                event,
                kind = failure.kind.token(),
                detail = failure.detail,
                "sessions of earlier code do not fit this generation; their connections end with code 1011"
            );
        }
    }
}
