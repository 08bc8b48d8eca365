//! The host's own messages about places in logs, for clients that ask for them.
//!
//! Each message of a log comes behind a note with its position, in the same piece of memory, so that a
//! client cannot have one without the other.

use super::log::Answer;
use super::position::Position;
use crate::frame::Frame;
use wharf_contract::text::json;

/// Returns the note that a message follows, with the message.
pub(crate) fn noted(room: &str, at: Position, message: &Frame) -> Frame {
    Frame::note(&position(room, at, "")).followed_by(message)
}

/// Returns the note in place of a message that is not for this member.
pub(crate) fn skipped(room: &str, at: Position) -> Frame {
    Frame::note(&position(room, at, r#","skipped":true"#))
}

fn position(room: &str, Position { epoch, offset }: Position, more: &str) -> String {
    let room = json(room);
    format!(
        r#"{{"type":"wharf:position","room":{room},"epoch":"{epoch}","offset":{offset}{more}}}"#
    )
}

/// Returns the note about a room that was joined: the position before the messages that follow, and the
/// outcome for a client that has said where it was.
pub(crate) fn joined(room: &str, answer: &Answer) -> Frame {
    let room = json(room);
    let Position { epoch, offset } = answer.from;
    let outcome = match &answer.recovered {
        None => String::new(),
        Some(Ok(())) => r#","recovered":true"#.to_owned(),
        Some(Err(reason)) => format!(r#","recovered":false,"reason":"{}""#, reason.token()),
    };
    let messages = answer.messages.iter().filter(|(_, message)| message.is_some()).count();
    let note = format!(
        r#"{{"type":"wharf:history","room":{room},"epoch":"{epoch}","offset":{offset},"messages":{messages}{outcome}}}"#
    );
    Frame::note(&note)
}
