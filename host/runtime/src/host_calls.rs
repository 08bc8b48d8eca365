//! Guest → host: one file for each interface of the contract.
//!
//! A host call finds its data in the [`Call`] of its instance's state: the connection, the effects
//! recorded so far, and the rules for this kind of event. Each file does the same in the same
//! order: it checks the guest's arguments, then records an effect or answers. Numbers and strings
//! from guests are clamped or refused, never trusted.

mod audience;
mod channels;
mod connection;
mod event;
mod handshake;
mod history;
mod http;
mod labels;
mod limits;
mod log;
mod notices;
pub(crate) mod optional;
mod presence;
mod printing;
mod rooms;
mod settings;
mod store;
mod timers;
mod users;
mod wasi;

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};

use crate::instance::InstanceState;
use wharf_config::Config;
use wharf_contract::close::{Close, Reason};
use wharf_contract::effects::EffectLimits;
use wharf_contract::{CallRefusal, Remedy};
use wharf_engine::{Unavailable, Written};
use wharf_hub::connection::ConnectionRecord;
use wharf_hub::effects::{Effect, Effects};
use wharf_hub::frame::{Frame, FrameKind};
use wharf_hub::hub::{Hub, RecordedChanges};
use wharf_hub::inbox::Cause;
use wharf_hub::outbound::PendingWrites;

pub use audience::AudienceHandle;
pub(crate) use event::MAX_DETAIL_BYTES;
pub use http::Http;
pub use printing::Printing;
pub(crate) use wasi::guest_clocks;
pub use wasi::{GuestOutput, OutputName};

use bindings::wharf::channel::types::{Error, Kind, Remedy as WitRemedy};

/// The contract's world, as generated from `wit/`.
#[allow(missing_docs)]
pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "channel",
        imports: {
            "wharf:channel/event.flush": async,
            "wharf:channel/history.read": async,
            "wharf:channel/notices.notify-room": async,
            "wharf:channel/notices.notify-user": async,
            "wharf:channel/room-posts.read": async,
            "wharf:channel/rooms.count": async,
            "wharf:channel/rooms.members": async,
            "wharf:channel/store": async,
            "wharf:channel/timers.remaining-for-channel": async,
            "wharf:channel/timers.remaining-for-room": async,
            "wharf:channel/users.connections-of": async,
            "wharf:channel/users.is-online": async,
            "wharf:channel/users.send-to-user": async,
            "wharf:channel/audience": trappable,
        },
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "wharf:channel/audience.audience": super::AudienceHandle,
            "wharf:channel/connection.connection": super::ConnectionHandle,
            "wharf:channel/handshake.handshake": super::HandshakeHandle,
            "wharf:channel/description.description": super::DescriptionHandle,
        },
    });
}

/// The `connection` resource. An instance serves one event at a time and a borrow cannot outlive
/// its call, so the handle names nothing: it always means the call's connection.
#[derive(Debug)]
pub struct ConnectionHandle;

/// The `handshake` resource, of the call's connection as well.
#[derive(Debug)]
pub struct HandshakeHandle;

/// The `description` resource, of the generation being loaded.
#[derive(Debug)]
pub struct DescriptionHandle;

/// Makes every interface of the contract, and the WASI ones that the standard library of a guest
/// needs, available to components.
pub(crate) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    bindings::wharf::channel::types::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::connection::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::handshake::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::rooms::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::users::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::labels::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::limits::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::history::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::presence::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::audience::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::event::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::log::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::settings::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::store::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::description::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::notices::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::room_posts::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::timers::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    bindings::wharf::channel::channels::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}

impl bindings::wharf::channel::types::Host for InstanceState {}

/// The kind of the event being handled, as far as host calls depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `on-connect`: the connection is not open yet.
    Connecting,
    /// Any event of an open connection.
    Open,
    /// `on-close`: the connection has ended.
    Closing,
    /// An event of a room, or of the channel itself: there is no connection.
    Detached,
}

/// The event that an instance is handling.
#[derive(Debug)]
pub struct Call {
    /// Connection of the event; `None` for an event of a room or of the channel itself.
    pub client: Option<Arc<ConnectionRecord>>,
    /// Room of the event, if it is one of a room.
    pub room: Option<Arc<str>>,
    /// Kind of the event.
    pub phase: Phase,
    /// Effects recorded since the last commit.
    pub effects: Effects,
    /// Wish to close that a flush has committed already.
    pub close: Option<Close>,
    /// True for an event that runs on the owner of its room only.
    pub is_owned: bool,
    /// Headers for the `101`, while connecting.
    pub response_headers: Vec<(String, Vec<u8>)>,
    /// Number of notices and room events that led to this event, each causing the next.
    pub hops: u8,
    /// Connection whose handler posted this event, if one did.
    pub cause: Option<Arc<Cause>>,
    /// The guest's own words about the outcome, for an event that somebody waits for.
    pub report: Option<Box<Report>>,
    /// The last write of the store that it may have seen and that may not be on disk yet: its effects
    /// wait for it.
    pub seen: Option<Written>,
}

/// The guest's own words about the outcome of an event.
#[derive(Debug, Default)]
pub struct Report {
    /// True if it has discarded its effects.
    pub is_undone: bool,
    /// The error that it has reported, without the channel's secrets.
    pub failure: Option<String>,
    /// The sender's mistake that it has reported, as JSON.
    pub invalid: Option<Vec<u8>>,
}

impl Call {
    /// Begins an event of a connection.
    pub fn new(client: Arc<ConnectionRecord>, phase: Phase) -> Box<Call> {
        Call::begin(Some(client), phase)
    }

    /// Begins an event without a connection.
    pub(crate) fn detached() -> Box<Call> {
        Call::begin(None, Phase::Detached)
    }

    /// Begins an event. It is boxed, because it moves through every future of a guest call.
    fn begin(client: Option<Arc<ConnectionRecord>>, phase: Phase) -> Box<Call> {
        Box::new(Call {
            client,
            room: None,
            phase,
            effects: Effects::default(),
            close: None,
            is_owned: false,
            response_headers: Vec::new(),
            hops: 0,
            report: None,
            cause: None,
            seen: None,
        })
    }

    /// Records the timers of rooms and of the channel that the event sets or cancels and the messages for rooms
    /// that keep them, and performs the effects. Returns the wish to close, of these or of an earlier flush.
    ///
    /// # Errors
    ///
    /// Nothing can be recorded; the effects are dropped.
    pub async fn commit(
        &mut self,
        hub: &Hub,
        writes: &mut PendingWrites,
    ) -> Result<Option<Close>, Unavailable> {
        self.record(hub).await?;
        Ok(self.perform(hub, writes).await)
    }

    /// Records the timers of rooms and of the channel that the event sets or cancels, and the messages for rooms
    /// that keep them.
    ///
    /// # Errors
    ///
    /// Nothing can be recorded; the effects are dropped.
    pub async fn record(&mut self, hub: &Hub) -> Result<(), Unavailable> {
        if !hub.is_recorded() && !hub.keeps_history() {
            return Ok(());
        }
        if self.seen.is_some()
            && let Err(why) = Box::pin(self.wait_for_seen()).await
        {
            self.effects.discard();
            return Err(why);
        }
        let mut changes = RecordedChanges::default();
        changes.timers(&mut self.effects, hub);
        changes.history(&mut self.effects, hub);
        // Few events have any.
        if !changes.is_empty()
            && let Err(why) = Box::pin(recorded(hub, changes, &mut self.effects)).await
        {
            self.effects.discard();
            return Err(why);
        }
        Ok(())
    }

    /// Waits until all that the event has seen is on disk.
    ///
    /// # Errors
    ///
    /// It was undone.
    pub(crate) async fn wait_for_seen(&mut self) -> Result<(), Unavailable> {
        match self.seen.take() {
            Some(seen) => seen.wait().await,
            None => Ok(()),
        }
    }

    /// Performs the effects, whose timers are recorded. Returns the wish to close, of these or of an
    /// earlier flush.
    pub async fn perform(&mut self, hub: &Hub, writes: &mut PendingWrites) -> Option<Close> {
        let close = self.effects.commit(self.client.as_deref(), self.hops, hub, writes).await;
        self.close.take().or(close)
    }
}

/// Records changes, and waits until they are on disk, or in the logs of the cluster.
pub(crate) async fn recorded(
    hub: &Hub,
    changes: RecordedChanges,
    effects: &mut Effects,
) -> Result<(), Unavailable> {
    hub.record_all(changes, effects).await
}

/// Returns the end of a connection whose event cannot be recorded. The reason is in the log, and not for
/// clients.
pub fn unavailable() -> Close {
    let code = Reason::Overload.code().unwrap_or_default();
    Close { code, reason: "the host cannot keep data at present; try again later".to_owned() }
}

/// An event's own connection, while it can receive messages.
struct OwnConnection<'a> {
    client: &'a Arc<ConnectionRecord>,
    effects: &'a mut Effects,
    phase: Phase,
}

impl From<CallRefusal> for Error {
    fn from(refusal: CallRefusal) -> Error {
        let remedy = match refusal.remedy() {
            Remedy::FixCall => WitRemedy::FixCall,
            Remedy::ShedLoad => WitRemedy::ShedLoad,
            Remedy::Gone => WitRemedy::Gone,
            Remedy::AskOperator => WitRemedy::AskOperator,
            Remedy::RetryLater => WitRemedy::RetryLater,
            Remedy::Other => WitRemedy::Other,
        };
        Error { remedy, code: refusal.code().to_owned(), detail: refusal.to_string() }
    }
}

impl InstanceState {
    /// Returns the event being handled; there is none during the description.
    fn call(&mut self) -> Result<&mut Call, CallRefusal> {
        self.call.as_deref_mut().ok_or(CallRefusal::NoEvent)
    }

    /// Returns the event's own connection, which must be able to receive messages.
    fn own(&mut self) -> Result<OwnConnection<'_>, CallRefusal> {
        let Some(Call { client: Some(client), effects, phase, .. }) = self.call.as_deref_mut()
        else {
            return Err(CallRefusal::NoEvent);
        };
        if *phase == Phase::Closing {
            return Err(CallRefusal::ConnectionEnded);
        }
        Ok(OwnConnection { client, effects, phase: *phase })
    }

    /// Returns the connection of the event, if there is one.
    fn client(&self) -> Option<&Arc<ConnectionRecord>> {
        self.call.as_ref()?.client.as_ref()
    }

    /// Records an effect, within the event's limits.
    fn record(&mut self, effect: Effect) -> Result<(), CallRefusal> {
        let limits = effect_limits(&self.channel.config);
        // The call is borrowed apart from `self.call`, so that no counter goes up and down for it.
        let call = self.call.as_deref_mut().ok_or(CallRefusal::NoEvent)?;
        call.effects.record(effect, &self.channel.hub, limits)
    }

    /// Checks a message and encodes its frame.
    fn encode(&self, kind: Kind, data: &[u8]) -> Result<Frame, CallRefusal> {
        let limit = self.channel.config.max_outbound_message_bytes;
        if data.len() > limit {
            return Err(CallRefusal::MessageTooBig { bytes: data.len(), limit });
        }
        let kind = match kind {
            Kind::Text if std::str::from_utf8(data).is_err() => {
                return Err(CallRefusal::InvalidUtf8);
            }
            Kind::Text => FrameKind::Text,
            Kind::Binary => FrameKind::Binary,
        };
        Ok(Frame::encode(kind, data))
    }
}

fn effect_limits(config: &Config) -> EffectLimits {
    EffectLimits { count: config.max_effects_per_event, bytes: config.max_effect_bytes_per_event }
}
