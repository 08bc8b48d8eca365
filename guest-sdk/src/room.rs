//! One room by its name: its timers, its members.

use std::time::Duration;

use serde::Serialize;

use crate::backend;
use crate::error::Result;
use crate::history::{self, HistoryEntry};
use crate::outgoing::Outgoing;
use crate::rooms::{self, RoomMembers};
use crate::timers::{NamesTimer, encode, milliseconds};

/// A room of this channel, by its name. It needs no members, and making one creates nothing.
///
/// Handlers of room events are given theirs; [`Room::new`] names any other. Events are posted to a room
/// with [`ChannelCalls::post`](crate::ChannelCalls::post).
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

    /// Returns the last messages that the room keeps, at most `limit` and never more than 1000, in their order.
    /// A room keeps what the operator lets it ([`history`](crate::history)); one that keeps nothing has none. The
    /// messages of this event are not among them.
    ///
    /// Errors: `room-name-invalid`.
    pub fn history(&self, limit: u32) -> Result<Vec<HistoryEntry>> {
        history::read(&self.name, None, limit)
    }

    /// Returns the last messages with an offset less than `before`, like [`history`](Room::history): the page
    /// before one whose first message has this offset.
    ///
    /// Errors: `room-name-invalid`.
    pub fn history_before(&self, before: u64, limit: u32) -> Result<Vec<HistoryEntry>> {
        history::read(&self.name, Some(before), limit)
    }

    /// Sets a timer of the room that fires once; [`on_room_timer`](crate::Channel::on_room_timer)
    /// handles it in its turn among the room's events. The state of a room with a timer is not
    /// forgotten. The errors: `room-name-invalid`, `timer-name-invalid`,
    /// `timer-interval-invalid`, `too-many-timers` (`max_timers_per_room`),
    /// `too-many-room-states`, `payload-too-big`, `no-handler`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wharf::prelude::*;
    /// # use wharf::testing::TestHost;
    /// # #[derive(Default, Serialize, Deserialize)]
    /// # struct Lot { highest: u64 }
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Bidder;
    ///
    /// const CLOSE: TimerName<String> = TimerName::new("close");
    ///
    /// #[wharf::channel]
    /// impl Channel for Bidder {
    ///     const PATHS: &[&str] = &["/auction/:lot"];
    ///
    ///     fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
    ///         let lot = conn.param("lot")?;
    ///         conn.join(&lot)?;
    ///         Room::new(&lot).after(Duration::from_secs(20), CLOSE, &"sold".to_owned())?;
    ///         Ok(Bidder)
    ///     }
    ///
    ///     fn on_room_timer(lot: &mut Lot, room: &Room, timer: Timer) -> Result {
    ///         if let Some(word) = timer.payload_of(CLOSE)? {
    ///             room.broadcast(format!("{word} for {}", lot.highest))?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # let host = TestHost::new::<Bidder>();
    /// # let ann = host.connect("/auction/7").expect_open();
    /// # host.advance(Duration::from_secs(20));
    /// # ann.assert_received("sold for 0");
    /// ```
    pub fn after<P: Serialize + ?Sized>(
        &self,
        delay: Duration,
        name: impl NamesTimer<P>,
        payload: &P,
    ) -> Result {
        let payload = encode(payload)?;
        let delay = milliseconds(delay);
        Ok(backend::set_room_timer(&self.name, name.as_str(), delay, None, &payload)?)
    }

    /// Sets a timer of the room that fires again and again, at intervals of at least 10 ms. The
    /// errors are those of [`after`](Room::after).
    pub fn every<P: Serialize + ?Sized>(
        &self,
        interval: Duration,
        name: impl NamesTimer<P>,
        payload: &P,
    ) -> Result {
        let payload = encode(payload)?;
        let interval = milliseconds(interval);
        let repeat = Some(interval);
        Ok(backend::set_room_timer(&self.name, name.as_str(), interval, repeat, &payload)?)
    }

    /// Cancels a timer of the room, including a firing that waits. A timer that is not set is not
    /// an error.
    pub fn cancel_timer(&self, name: impl AsRef<str>) -> Result {
        Ok(backend::cancel_room_timer(&self.name, name.as_ref())?)
    }

    /// Returns the time until a timer of the room fires the next time, as this event's own changes
    /// make it; `None` if it is not set. With several nodes the answer may lag behind. Errors:
    /// `room-name-invalid`, `timer-name-invalid`.
    pub fn timer_remaining(&self, name: impl AsRef<str>) -> Result<Option<Duration>> {
        let remaining = backend::room_timer_remaining(&self.name, name.as_ref())?;
        Ok(remaining.map(Duration::from_millis))
    }
}

impl AsRef<str> for Room {
    fn as_ref(&self) -> &str {
        &self.name
    }
}
