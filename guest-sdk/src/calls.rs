//! The calls that know the types of a channel.

use serde::Serialize;

use crate::backend;
use crate::channel::Channel;
use crate::encoding::{payload, session};
use crate::error::{Context, Result};
use crate::event;

/// The calls that know a channel's types: what is posted is what its handler takes. Every channel has
/// them; call them as `Self::post(…)` in the channel, or as `Auction::post(…)` elsewhere.
///
/// ```
/// use wharf::prelude::*;
/// # use wharf::testing::TestHost;
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Lot { highest: u64 }
///
/// #[derive(Serialize, Deserialize)]
/// struct Bid { amount: u64 }
///
/// #[derive(Serialize, Deserialize)]
/// struct Bidder { lot: String }
///
/// #[wharf::channel]
/// impl Channel for Bidder {
///     const PATHS: &[&str] = &["/auction/:lot"];
///
///     fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
///         let lot = conn.param("lot")?;
///         let highest = Self::room_state(&lot)?.highest;
///         conn.send(json!({ "type": "welcome", "highest": highest }))?;
///         Ok(Bidder { lot })
///     }
///
///     fn on_message(&mut self, _: &Connection, amount: String) -> Result {
///         // `Self::post(&self.lot, &42)` does not compile.
///         Self::post(&self.lot, &Bid { amount: amount.parse()? })
///     }
///
///     fn on_room_event(lot: &mut Lot, _: &Room, bid: Bid) -> Result {
///         lot.highest = lot.highest.max(bid.amount);
///         Ok(())
///     }
/// }
///
/// # let host = TestHost::new::<Bidder>();
/// # let ann = host.connect("/auction/7").expect_open();
/// # ann.assert_received(json!({ "type": "welcome", "highest": 0 }));
/// # ann.send("5");
/// # let ben = host.connect("/auction/7").expect_open();
/// # ben.assert_received(json!({ "type": "welcome", "highest": 5 }));
/// ```
///
/// ```compile_fail,E0308
/// # use wharf::prelude::*;
/// # #[derive(Serialize, Deserialize)]
/// # struct Bidder;
/// # #[derive(Serialize, Deserialize)]
/// # struct Bid { amount: u64 }
/// # #[wharf::channel]
/// # impl Channel for Bidder {
/// #   const PATHS: &[&str] = &["/auction"];
/// #   fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Bidder) }
/// #   fn on_room_event(_: &mut (), _: &Room, bid: Bid) -> Result { Ok(()) }
/// fn on_message(&mut self, _: &Connection, _: String) -> Result {
///     Self::post("lot-1", &42u8)
/// }
/// # }
/// ```
pub trait ChannelCalls: Channel {
    /// Posts an event to a room, which [`on_room_event`](Channel::on_room_event) handles: one at a
    /// time for each room, in the order posted, with the room's state. The room needs no members. An
    /// effect: it is posted when this event commits. With several nodes, one node at a time handles
    /// the events of a room, wherever they are posted.
    ///
    /// In a [`Request`](crate::Request) the event carries on its `ref`, so that
    /// [`event::reply`] answers it.
    ///
    /// Errors: `room-name-invalid`, `inbox-full` (too many events wait for the room),
    /// `payload-too-big`, `too-many-room-states`, `too-many-hops` (events that cause each other),
    /// `no-handler` (there is no `on_room_event`).
    fn post(room: impl AsRef<str>, event: &Self::RoomEvent) -> Result
    where
        Self::RoomEvent: Serialize,
    {
        let payload = payload::room_event(event)?;
        event::carry_reference()?;
        Ok(backend::post(room.as_ref(), &payload)?)
    }

    /// Returns the state of a room as its last event committed it; the default if it has none. Its
    /// events may change it at any time: decide in [`on_room_event`](Channel::on_room_event), which
    /// has the state to itself. With several nodes the answer may lag behind.
    ///
    /// Errors: `room-name-invalid`, and a state of an older version that cannot be read.
    fn room_state(room: impl AsRef<str>) -> Result<Self::RoomState> {
        match backend::read_room(room.as_ref())? {
            Some(bytes) => session::decode(&bytes).context("the room's state"),
            None => Ok(Self::RoomState::default()),
        }
    }

    /// Posts a notice to one connection of this channel by its id, which
    /// [`on_notify`](Channel::on_notify) handles; see [`notices`](crate::notices). An effect.
    ///
    /// Errors: `unknown-connection` (it never existed, has ended, or its node is known to be gone),
    /// `inbox-full` (too many notices wait for it), `payload-too-big`, `too-many-hops` (notices that
    /// cause each other), `no-handler` (there is no `on_notify`).
    fn notify(id: &str, notice: &Self::Notice) -> Result
    where
        Self::Notice: Serialize,
    {
        Ok(backend::notify(id, &noticed::<Self>(notice)?)?)
    }

    /// Posts a notice to every member of a room, the event's own connection included if it is one.
    /// Returns the number of receivers, which is advisory if some are on other nodes. A member whose
    /// inbox is full does not keep up with its notices: it is closed with code 1013 when the event
    /// commits, and the others get the notice. The errors are those of
    /// [`notify`](ChannelCalls::notify) without `inbox-full`, and `room-name-invalid`.
    fn notify_room(room: impl AsRef<str>, notice: &Self::Notice) -> Result<u32>
    where
        Self::Notice: Serialize,
    {
        Ok(backend::notify_room(room.as_ref(), &noticed::<Self>(notice)?, None)?)
    }

    /// Posts a notice like [`notify_room`](ChannelCalls::notify_room), without the connection of this
    /// id: mostly the event's own.
    fn notify_room_except(id: &str, room: impl AsRef<str>, notice: &Self::Notice) -> Result<u32>
    where
        Self::Notice: Serialize,
    {
        Ok(backend::notify_room(room.as_ref(), &noticed::<Self>(notice)?, Some(id))?)
    }

    /// Posts a notice to every connection of a user, on any device. Returns the number of receivers,
    /// as [`notify_room`](ChannelCalls::notify_room) does. The errors are those of `notify_room`,
    /// `user-id-invalid`, and `user-offline` if the user has no connection.
    fn notify_user(user: &str, notice: &Self::Notice) -> Result<u32>
    where
        Self::Notice: Serialize,
    {
        Ok(backend::notify_user(user, &noticed::<Self>(notice)?, None)?)
    }

    /// Posts a notice like [`notify_user`](ChannelCalls::notify_user), without the connection of this
    /// id: mostly to the user's other devices.
    fn notify_user_except(id: &str, user: &str, notice: &Self::Notice) -> Result<u32>
    where
        Self::Notice: Serialize,
    {
        Ok(backend::notify_user(user, &noticed::<Self>(notice)?, Some(id))?)
    }
}

impl<C: Channel> ChannelCalls for C {}

/// Encodes a notice, which carries on the `ref` of the message that is handled.
fn noticed<C: Channel<Notice: Serialize>>(notice: &C::Notice) -> Result<Vec<u8>> {
    let payload = payload::notice(notice)?;
    event::carry_reference()?;
    Ok(payload)
}
