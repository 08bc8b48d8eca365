//! One event on a connection.

use super::input::Payload;
use wharf_contract::close::Reason;
use wharf_hub::inbox::Posted;

/// One event on a connection.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A text message, if it is UTF-8.
    Text(Payload),
    Binary(Payload),
    Ping(Payload),
    /// A pong that is not the answer to a keep-alive ping.
    Pong(Payload),
    /// The client's close frame.
    Closed {
        code: Option<u16>,
        reason: String,
    },
    /// The end of the input: the client broke a rule, or is gone.
    Broken {
        reason: Reason,
        detail: String,
    },
    /// Another handler's event for this connection, or a timer's.
    Posted(Posted),
    /// The wish to end the connection, of the host or the outbound queue.
    Ended(Reason),
}

impl Arrival {
    /// Returns true for a message.
    pub(super) fn is_message(&self) -> bool {
        matches!(self, Arrival::Text(_) | Arrival::Binary(_))
    }

    /// Returns the length of its payload.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Arrival::Text(data)
            | Arrival::Binary(data)
            | Arrival::Ping(data)
            | Arrival::Pong(data) => data.len(),
            _ => 0,
        }
    }

    /// Returns the same event without a block for reading around its payload.
    pub(super) fn into_owned(self) -> Arrival {
        match self {
            Arrival::Text(data) => Arrival::Text(data.into_owned()),
            Arrival::Binary(data) => Arrival::Binary(data.into_owned()),
            Arrival::Ping(data) => Arrival::Ping(data.into_owned()),
            Arrival::Pong(data) => Arrival::Pong(data.into_owned()),
            other => other,
        }
    }
}
