//! From an event to the author's handler and back: decoding, the transaction, the new session.
//!
//! Both the exports of a component and the test kit come through here, so a plugin's tests see the
//! same as the host.

use crate::backend;
use crate::channel::Channel;
use crate::connection::Connection;
use crate::encoding::{payload, session};
use crate::error::{Context, Error, Result};
use crate::event;
use crate::fault::Fault;
use crate::incoming::{Incoming, decode};
use crate::log::{debug, own_target};
use crate::outside_messages::{self, OutsideRefusal};
use crate::presence::{PresenceDiff, Present};
use crate::reference::Ref;
use crate::refusal::{Answer, Refusal};
use crate::room::Room;
use crate::timers::Timer;

/// Lets the channel do the work that is done once. The error is for the operator.
pub(crate) fn on_start<C: Channel>() -> Result<(), String> {
    C::on_start().map_err(|error| error.to_string())
}

/// Returns the first session, or the refusal.
pub(crate) fn on_connect<C: Channel>(conn: &Connection) -> Result<Vec<u8>, Answer> {
    let connected = C::on_connect(conn).and_then(|channel| Ok(session::encode(&channel)?));
    connected.map_err(|Refusal { answer, cause }| {
        match cause {
            // A stranger has named somebody who is not there.
            Some(error) if error.names_nobody() => noted("on_connect", &error),
            Some(error) => note("on_connect", &error),
            None => {}
        }
        answer
    })
}

pub(crate) fn on_message<C: Channel>(
    conn: &Connection,
    session: &[u8],
    message: Incoming,
) -> Option<Vec<u8>> {
    match message {
        Incoming::Text(text) => match decode(text) {
            Ok((message, reference)) => {
                answer::<C>("on_message", conn, session, reference, |channel| {
                    channel.on_message(conn, message)
                })
            }
            Err(invalid) => {
                let reference = invalid.reference();
                answer::<C>("on_invalid_message", conn, session, reference, |channel| {
                    channel.on_invalid_message(conn, invalid)
                })
            }
        },
        Incoming::Binary(data) => {
            answered::<C>("on_binary", conn, session, |channel| channel.on_binary(conn, data))
        }
    }
}

pub(crate) fn on_ping<C: Channel>(
    conn: &Connection,
    session: &[u8],
    data: Vec<u8>,
) -> Option<Vec<u8>> {
    answered::<C>("on_ping", conn, session, |channel| channel.on_ping(conn, data))
}

pub(crate) fn on_pong<C: Channel>(
    conn: &Connection,
    session: &[u8],
    data: Vec<u8>,
) -> Option<Vec<u8>> {
    answered::<C>("on_pong", conn, session, |channel| channel.on_pong(conn, data))
}

pub(crate) fn on_notify<C: Channel>(
    conn: &Connection,
    session: &[u8],
    payload: &[u8],
) -> Option<Vec<u8>> {
    answered::<C>("on_notify", conn, session, |channel| {
        let notice = payload::decode(payload).context("the notice")?;
        channel.on_notify(conn, notice)
    })
}

pub(crate) fn on_timer<C: Channel>(
    conn: &Connection,
    session: &[u8],
    timer: Timer,
) -> Option<Vec<u8>> {
    answered::<C>("on_timer", conn, session, |channel| channel.on_timer(conn, timer))
}

pub(crate) fn on_room_event<C: Channel>(
    room: String,
    state: Option<&[u8]>,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let handled = with_state::<C>(state, |state| {
        let event = payload::decode(payload).context("the event")?;
        C::on_room_event(state, &Room::new(room), event)
    });
    handled.unwrap_or_else(|error| {
        if error.for_sender().is_some() {
            backend::report_invalid(OutsideRefusal::of(&error).body.to_string().as_bytes());
        }
        let state = undone("on_room_event", &error);
        tell_sender(error);
        state
    })
}

/// Tells the client whose message has led to a room event that it has failed: its own mistake, or as
/// much as it may know if it waits for an answer.
fn tell_sender(error: Error) {
    let error = match error.reference() {
        None => error.in_reply_to(&event::reference()),
        Some(_) => error,
    };
    if error.for_sender().is_none() && error.reference().is_none() {
        return;
    }
    if let Err(error) = event::send(error.for_client()) {
        undone("on_room_event", &error);
    }
}

pub(crate) fn on_room_timer<C: Channel>(
    room: String,
    state: Option<&[u8]>,
    timer: Timer,
) -> Option<Vec<u8>> {
    let handled = with_state::<C>(state, |state| C::on_room_timer(state, &Room::new(room), timer));
    handled.unwrap_or_else(|error| undone("on_room_timer", &error))
}

pub(crate) fn on_presence<C: Channel>(
    room: String,
    sequence: u64,
    joins: Vec<(String, Vec<String>)>,
    leaves: Vec<String>,
) {
    let diff = PresenceDiff { sequence, joins: Present::all(joins), leaves };
    if let Err(error) = C::on_presence(&Room::new(room), diff) {
        undone("on_presence", &error);
    }
}

pub(crate) fn on_channel_timer<C: Channel>(timer: Timer) {
    if let Err(error) = C::on_channel_timer(timer) {
        undone("on_channel_timer", &error);
    }
}

/// Returns the reply to a message from outside, as JSON, or the reason why there is none.
pub(crate) fn on_outside_message<C: Channel>(payload: &[u8]) -> Result<Vec<u8>, OutsideRefusal> {
    let handled = || {
        let reply = C::on_outside_message(outside_messages::decode(payload)?)?;
        serde_json::to_vec(&reply).context("the reply cannot be written as JSON")
    };
    handled().map_err(|error: Error| {
        backend::discard();
        note("on_outside_message", &error);
        OutsideRefusal::of(&error)
    })
}

/// Runs a handler on a room's state, and encodes that if it changed.
fn with_state<C: Channel>(
    before: Option<&[u8]>,
    handler: impl FnOnce(&mut C::RoomState) -> Result,
) -> Result<Option<Vec<u8>>> {
    let mut state: C::RoomState = match before {
        Some(bytes) => session::decode(bytes).map_err(|error| {
            let error = explained_state::<C>(bytes, error);
            error.context("the operator's API can reset the room")
        })?,
        None => Default::default(),
    };
    handler(&mut state)?;
    session::changed(ROOM_STATE, &state, before.unwrap_or_default())
}

pub(crate) fn on_fault<C: Channel>(
    conn: &Connection,
    session: &[u8],
    fault: Fault,
) -> Option<Vec<u8>> {
    // A session that cannot be read is the fault itself, and has been reported.
    let mut channel = session::decode::<C>(session).ok()?;
    let handled = channel.on_fault(conn, fault);
    let changed = handled.and_then(|()| session::changed(SESSION, &channel, session));
    changed.unwrap_or_else(|error| undone("on_fault", &error))
}

pub(crate) fn on_close<C: Channel>(
    conn: &Connection,
    bytes: &[u8],
    code: Option<u16>,
    reason: &str,
) {
    let closed = match session::decode::<C>(bytes) {
        Ok(mut channel) => channel.on_close(conn, code, reason),
        // An event before this one failed for the same reason, and has reported it.
        Err(_) if conn.ending().is_some_and(|ending| ending == "guest-failure") => return,
        Err(error) => Err(explained::<C>(bytes, error)),
    };
    if let Err(error) = closed {
        undone("on_close", &error);
    }
}

/// Runs a handler whose failure the client may be told of: an `Err` undoes its effects and is
/// followed by `on_error`, on the session as it was before.
fn answered<C: Channel>(
    name: &str,
    conn: &Connection,
    session: &[u8],
    handler: impl FnOnce(&mut C) -> Result,
) -> Option<Vec<u8>> {
    answer(name, conn, session, None, handler)
}

/// Runs the handler of a message like [`answered`]. An error that answers no message answers this
/// one.
fn answer<C: Channel>(
    name: &str,
    conn: &Connection,
    session: &[u8],
    reference: Option<Ref>,
    handler: impl FnOnce(&mut C) -> Result,
) -> Option<Vec<u8>> {
    let carried = event::Carried::set(reference.as_ref());
    let result = handled(session, handler);
    drop(carried);
    result.unwrap_or_else(|error| {
        backend::discard();
        note(name, &error);
        let error = match error.reference() {
            None => error.in_reply_to(&reference),
            Some(_) => error,
        };
        handled::<C>(session, |channel| channel.on_error(conn, error)).unwrap_or_else(|error| {
            backend::discard();
            // Nobody else hears of it, also if it is the client's mistake.
            report("on_error", &error);
            None
        })
    })
}

/// The name of a session in errors.
const SESSION: &str = "the session";

/// The name of a room's state in errors.
const ROOM_STATE: &str = "the room's state";

/// Decodes the session, runs the handler, and encodes the session if it changed.
fn handled<C: Channel>(
    bytes: &[u8],
    handler: impl FnOnce(&mut C) -> Result,
) -> Result<Option<Vec<u8>>> {
    let mut channel = decoded::<C>(bytes);
    handler(&mut channel)?;
    session::changed(SESSION, &channel, bytes)
}

/// Discards the effects of a failed handler, and reports the error to the operator. The session is
/// unchanged.
fn undone(handler: &str, error: &Error) -> Option<Vec<u8>> {
    backend::discard();
    note(handler, error);
    None
}

/// Reports an error to the operator, unless it is the client's own mistake, which must not fill a
/// log.
fn note(handler: &str, error: &Error) {
    match error.for_sender() {
        Some(_) => noted(handler, error),
        None => report(handler, error),
    }
}

fn noted(handler: &str, error: &Error) {
    debug!(target: own_target(), "{handler} refused: {error}");
}

fn report(handler: &str, error: &Error) {
    backend::report_error(&format!("{handler} failed: {error}"));
}

/// Decodes the author's struct from the bytes that the host kept.
///
/// Panics if they do not fit, which the host answers like every panic: the event fails and the
/// connection is closed. There is no session that `on_error` could run on.
fn decoded<C: Channel>(bytes: &[u8]) -> C {
    session::decode(bytes).unwrap_or_else(|error| {
        let error = explained::<C>(bytes, error).to_string();
        backend::report_unreadable_session(&error);
        // The operator has the reason: without the panic's own text it is one line.
        std::panic::resume_unwind(Box::new(error))
    })
}

/// Tries to read a session that earlier code wrote.
#[cfg(target_family = "wasm")]
pub(crate) fn check_session<C: Channel>(bytes: &[u8]) -> Result<(), String> {
    let read = session::decode::<C>(bytes);
    read.map(drop).map_err(|error| explained::<C>(bytes, error).to_string())
}

/// Tries to read a room's state that earlier code wrote.
#[cfg(target_family = "wasm")]
pub(crate) fn check_room_state<C: Channel>(bytes: &[u8]) -> Result<(), String> {
    let read = session::decode::<C::RoomState>(bytes);
    read.map(drop).map_err(|error| explained_state::<C>(bytes, error).to_string())
}

fn explained_state<C: Channel>(bytes: &[u8], error: Error) -> Error {
    session::explained::<C::RoomState>(ROOM_STATE, bytes, error, backend::generation())
}

fn explained<C: Channel>(bytes: &[u8], error: Error) -> Error {
    session::explained::<C>(SESSION, bytes, error, backend::generation())
}
