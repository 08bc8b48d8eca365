//! The event that is being handled.

use std::cell::RefCell;

use serde::Serialize;

use crate::backend;
use crate::error::Result;
use crate::outgoing::Outgoing;
use crate::reference::Ref;
use crate::rooms::{reply_to, send_to};

/// Returns the number of the generation that handles this event; it grows by one with each reload
/// of the plugin.
pub fn generation() -> u64 {
    backend::generation()
}

/// Returns the id of the connection whose handler posted the event being handled: a notice or a
/// room event. `None` for other events, and for posts of a room's or the channel's own handler.
pub fn sender() -> Option<String> {
    backend::sender()
}

/// Returns the user of the [`sender`] when it posted the event, if the connection was
/// [identified](crate::Connection::identify). A user is the same after a reconnect, which a
/// connection's id is not.
pub fn user() -> Option<String> {
    backend::sender_user()
}

/// Returns the `ref` of the client's message that has led to this event: of the
/// [`Request`](crate::Request) whose handler posted this notice or room event, if the client gave it
/// one.
pub fn reference() -> Option<Ref> {
    serde_json::from_str(&backend::reference()?).ok()
}

/// Sends to the [`sender`] of this notice or room event, such as the state of a room to a connection
/// that has just joined. Nothing is sent if there is none, or if it has gone meanwhile.
///
/// Errors: as for [`send_to`], without `unknown-connection`.
pub fn send(message: impl Outgoing) -> Result {
    match sender() {
        Some(id) => unless_gone(send_to(&id, message)),
        None => Ok(()),
    }
}

/// Answers the client's request that has led to this notice or room event, as
/// [`Connection::reply`](crate::Connection::reply) does in the request's own handler. Nothing is sent
/// if the request has no `ref`, or if its client has gone meanwhile.
///
/// Errors: as for [`send_to`], without `unknown-connection`.
///
/// ```
/// use wharf::prelude::*;
/// # use wharf::testing::TestHost;
/// # #[derive(Default, Serialize, Deserialize)]
/// # struct Lot { highest: u64 }
/// # #[derive(Serialize, Deserialize)]
/// # struct Bid { amount: u64 }
/// # #[derive(Serialize, Deserialize)]
/// # struct Bidder;
///
/// #[wharf::channel]
/// impl Channel for Bidder {
///     const PATHS: &[&str] = &["/auction"];
/// #   fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Bidder) }
///
///     fn on_message(&mut self, _: &Connection, bid: Request<Bid>) -> Result {
///         Self::post("lot", &bid.message)
///     }
///
///     fn on_room_event(lot: &mut Lot, _: &Room, bid: Bid) -> Result {
///         if bid.amount <= lot.highest {
///             // The bidder gets this, with the `ref` of its message.
///             return Err(Invalid::new("bid more").code("TOO_LOW").into());
///         }
///         lot.highest = bid.amount;
///         wharf::event::reply(json!({ "highest": lot.highest }))
///     }
/// }
///
/// let host = TestHost::new::<Bidder>();
/// let ann = host.connect("/auction").expect_open();
/// ann.send(json!({ "amount": 5, "ref": 1 }));
/// ann.assert_received(json!({ "type": "reply", "ref": 1, "status": "ok", "payload": { "highest": 5 } }));
/// ann.send(json!({ "amount": 5, "ref": 2 }));
/// ann.assert_received(json!({
///     "type": "error", "ref": 2, "status": "error", "code": "TOO_LOW", "message": "bid more",
/// }));
/// ```
pub fn reply<T: Serialize>(payload: T) -> Result {
    match sender() {
        Some(id) => unless_gone(reply_to(&id, &reference(), payload)),
        None => Ok(()),
    }
}

/// Commits the effects recorded so far, like [`Connection::flush`](crate::Connection::flush).
pub fn flush() -> Result {
    Ok(backend::flush()?)
}

fn unless_gone(sent: Result) -> Result {
    match sent {
        Err(error) if error.is_gone() => Ok(()),
        sent => sent,
    }
}

thread_local! {
    /// The `ref` of the message that is being handled, until a post carries it on.
    static TO_CARRY: RefCell<Option<Ref>> = const { RefCell::new(None) };
}

/// Sets the `ref` that posts carry on, until it is dropped.
pub(crate) struct Carried;

impl Carried {
    pub(crate) fn set(reference: Option<&Ref>) -> Self {
        TO_CARRY.set(reference.cloned());
        Self
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        TO_CARRY.set(None);
    }
}

/// Tells the host the `ref` of the message that is being handled, before the first post.
pub(crate) fn carry_reference() -> Result {
    if let Some(reference) = TO_CARRY.take() {
        backend::set_reference(&serde_json::to_string(&reference)?)?;
    }
    Ok(())
}
