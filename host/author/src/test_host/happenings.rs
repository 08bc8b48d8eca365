//! The events since the kit's last command.

use std::sync::Arc;

use parking_lot::Mutex;
use wharf_contract::kit::{Happened, Headers, HexBytes, Message};
use wharf_hub::frame::FrameKind;

/// The events since the last command, in their order, for the next reply. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Happenings(Arc<Mutex<Vec<Happened>>>);

impl Happenings {
    /// Adds an event.
    pub(super) fn note(&self, what: Happened) {
        self.0.lock().push(what);
    }

    /// Takes all events.
    pub(super) fn take(&self) -> Vec<Happened> {
        std::mem::take(&mut self.0.lock())
    }
}

/// Returns a message in the kit's form.
pub(super) fn message(kind: FrameKind, data: &[u8]) -> Message {
    match (kind, std::str::from_utf8(data)) {
        (FrameKind::Text, Ok(text)) => Message::Text(text.to_owned()),
        (FrameKind::Ping, _) => Message::Ping(data.into()),
        _ => Message::Binary(data.into()),
    }
}

/// Returns headers in the kit's form.
pub(super) fn headers<'a>(headers: impl Iterator<Item = &'a (String, Vec<u8>)>) -> Headers {
    headers.map(|(name, value)| (name.clone(), HexBytes(value.clone()))).collect()
}
