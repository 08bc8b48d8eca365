//! One room by its name: its events, its timers, its members.

use std::time::Duration;

use serde::Serialize;

use crate::backend;
use crate::encoding::payload;
use crate::error::Result;
use crate::outgoing::Outgoing;
use crate::rooms::{self, RoomMembers};
use crate::timers::{encode, milliseconds};

/// A room of this channel, by its name. It needs no members, and making one creates nothing.
///
/// Handlers of room events are given theirs; [`Room::new`] names any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    name: String,
}

impl Room {
    /// Makes the room of that name: 1 to 255 bytes, which each call checks.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Posts an event to the room, which [`on_room_event`](crate::Channel::on_room_event) handles:
    /// one at a time for each room, in the order posted, with the room's state. An effect: it is
    /// posted when this event commits. With several nodes, one node at a time handles the events of
    /// a room, wherever they are posted.
    ///
    /// Errors: `room-name-invalid`, `inbox-full` (too many events wait for the room),
    /// `payload-too-big`, `too-many-room-states`, `too-many-hops` (events that cause each other),
    /// `no-handler` (there is no `on_room_event`).
    pub fn post(&self, event: &impl Serialize) -> Result {
        Ok(backend::post(&self.name, &payload::room_event(event)?)?)
    }

    /// Sends to every member, like [`broadcast_to_room`](rooms::broadcast_to_room).
    pub fn broadcast(&self, message: impl Outgoing) -> Result {
        rooms::broadcast_to_room(&self.name, message)
    }

    /// Returns the number of members, like [`room_count`](rooms::room_count).
    pub fn count(&self) -> u32 {
        rooms::room_count(&self.name)
    }

    /// Returns the ids of the members, like [`room_members`](rooms::room_members).
    pub fn members(&self) -> RoomMembers {
        rooms::room_members(&self.name)
    }

    /// Sets a timer of the room that fires once; [`on_room_timer`](crate::Channel::on_room_timer)
    /// handles it in its turn among the room's events. The state of a room with a timer is not
    /// forgotten. The errors: `room-name-invalid`, `timer-name-invalid`,
    /// `timer-interval-invalid`, `too-many-timers` (`max_timers_per_room`),
    /// `too-many-room-states`, `payload-too-big`, `no-handler`.
    pub fn after(&self, delay: Duration, name: &str, payload: &impl Serialize) -> Result {
        let payload = encode(payload)?;
        Ok(backend::set_room_timer(&self.name, name, milliseconds(delay), None, &payload)?)
    }

    /// Sets a timer of the room that fires again and again, at intervals of at least 10 ms. The
    /// errors are those of [`after`](Room::after).
    pub fn every(&self, interval: Duration, name: &str, payload: &impl Serialize) -> Result {
        let payload = encode(payload)?;
        let interval = milliseconds(interval);
        Ok(backend::set_room_timer(&self.name, name, interval, Some(interval), &payload)?)
    }

    /// Cancels a timer of the room, including a firing that waits. A timer that is not set is not
    /// an error.
    pub fn cancel_timer(&self, name: &str) -> Result {
        Ok(backend::cancel_room_timer(&self.name, name)?)
    }
}
