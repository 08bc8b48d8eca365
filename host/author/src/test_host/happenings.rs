//! What has happened since the kit's last command.

use std::sync::Arc;

use parking_lot::Mutex;
use wharf_contract::kit::{Bytes, Happened, Headers, Message};
use wharf_hub::frame::FrameKind;

/// What has happened since the last command, in its order, for the next reply. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Happenings(Arc<Mutex<Vec<Happened>>>);

impl Happenings {
    /// Adds something.
    pub(super) fn note(&self, what: Happened) {
        self.0.lock().push(what);
    }

    /// Takes all of it.
    pub(super) fn take(&self) -> Vec<Happened> {
        std::mem::take(&mut self.0.lock())
    }
}

/// A message as the kit is told of it.
pub(super) fn message(kind: FrameKind, data: &[u8]) -> Message {
    match (kind, std::str::from_utf8(data)) {
        (FrameKind::Text, Ok(text)) => Message::Text(text.to_owned()),
        (FrameKind::Ping, _) => Message::Ping(data.into()),
        _ => Message::Binary(data.into()),
    }
}

/// Headers as the kit is told of them.
pub(super) fn headers<'a>(headers: impl Iterator<Item = &'a (String, Vec<u8>)>) -> Headers {
    headers.map(|(name, value)| (name.clone(), Bytes(value.clone()))).collect()
}
