//! What a handler asked for, until the event commits or fails.
//!
//! Everything is checked when it is recorded, so that a commit cannot fail. A receiver that
//! overruns its outbound queue at the commit is ended, nobody else.

use std::sync::Arc;

use bytes::Bytes;

use crate::client::Client;
use crate::hub::Hub;
use crate::outbound::{Drains, Outbound};

/// One thing a handler asked for.
#[derive(Debug)]
pub enum Effect {
    /// Queue a frame for the event's own connection.
    Send(Bytes),
    /// Queue a frame for another connection.
    SendTo(Arc<Outbound>, Bytes),
    /// Queue a frame for a room's members, except one of them.
    BroadcastToRoom(Arc<str>, Bytes, Option<u64>),
    /// Queue a frame for the members of several rooms, once each, except one of them.
    BroadcastToRooms(Box<[Arc<str>]>, Bytes, Option<u64>),
    /// Queue a frame for every connection of the channel, except one of them.
    BroadcastToAll(Bytes, Option<u64>),
    /// Become a member.
    Join(Arc<str>),
    /// End a membership.
    Leave(Arc<str>),
}

/// The channel's wish to close the event's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// A code that [channels may use](crate::close::is_channel_code).
    pub code: u16,
    /// At most [`crate::close::MAX_REASON_BYTES`].
    pub reason: String,
}

/// The effects of one event, in the order recorded.
#[derive(Debug, Default)]
pub struct Effects {
    list: Vec<Effect>,
    /// Payload bytes recorded, each broadcast counted once.
    bytes: usize,
    close: Option<Close>,
}

/// How many effects of how many bytes one event may record between commits.
#[derive(Clone, Copy, Debug)]
pub struct EffectLimits {
    /// Effects.
    pub count: usize,
    /// Bytes of payload.
    pub bytes: usize,
}

/// An event has recorded as much as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Effects {
    /// Record an effect with its payload's size.
    pub fn record(
        &mut self,
        effect: Effect,
        bytes: usize,
        limits: EffectLimits,
    ) -> Result<(), TooMany> {
        if self.list.len() >= limits.count || self.bytes.saturating_add(bytes) > limits.bytes {
            return Err(TooMany);
        }
        self.bytes += bytes;
        self.list.push(effect);
        Ok(())
    }

    /// Record the wish to close; the first one stays.
    pub fn record_close(&mut self, close: Close) {
        self.close.get_or_insert(close);
    }

    /// What the recorded joins and leaves make of a membership: `Some(true)` joined, `Some(false)`
    /// left, `None` untouched.
    pub fn membership(&self, room: &str) -> Option<bool> {
        self.list.iter().rev().find_map(|effect| match effect {
            Effect::Join(name) if &**name == room => Some(true),
            Effect::Leave(name) if &**name == room => Some(false),
            _ => None,
        })
    }

    /// The connection's rooms as the recorded joins and leaves make them.
    pub fn rooms(&self, mut rooms: Vec<Arc<str>>) -> Vec<Arc<str>> {
        for effect in &self.list {
            match effect {
                Effect::Join(name) if !rooms.contains(name) => rooms.push(name.clone()),
                Effect::Leave(name) => rooms.retain(|room| room != name),
                _ => {}
            }
        }
        rooms
    }

    /// Forget everything.
    pub fn discard(&mut self) {
        self.list.clear();
        self.bytes = 0;
        self.close = None;
    }

    /// Make everything happen, in the order recorded; writing is left to the drains. Returns
    /// the wish to close, which is the connection's task's to fulfil.
    pub fn commit(&mut self, client: &Client, hub: &Hub, drains: &mut Drains) -> Option<Close> {
        self.bytes = 0;
        for effect in self.list.drain(..) {
            match effect {
                Effect::Send(frame) => {
                    drains.push(&client.outbound, frame);
                }
                Effect::SendTo(outbound, frame) => {
                    drains.push(&outbound, frame);
                }
                Effect::BroadcastToRoom(name, frame, skip) => {
                    hub.broadcast_to_room(&name, &frame, skip, drains);
                }
                Effect::BroadcastToRooms(names, frame, skip) => {
                    hub.broadcast_to_rooms(&names, &frame, skip, drains);
                }
                Effect::BroadcastToAll(frame, skip) => hub.broadcast_to_all(&frame, skip, drains),
                Effect::Join(name) => client.join(hub, &name),
                Effect::Leave(name) => client.leave(hub, &name),
            }
        }
        self.close.take()
    }
}
