//! Why a connection ends: a closed set of reasons, each with its close code.
//!
//! Inside the host a [`Reason`] is an enum, so that every match over it is complete; guests
//! and logs see its [token](Reason::token), which is an open set to them.

use std::fmt;

/// Why a connection ended or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The client sent a close frame.
    ClientClosed,
    /// The channel called `close`, or accepted only to refuse.
    ChannelClosed,
    /// The socket ended or failed without a close frame.
    NetworkLost,
    /// No answer to a keep-alive ping within `keep_alive_timeout_ms`.
    KeepAliveTimeout,
    /// The client broke RFC 6455.
    ProtocolError,
    /// A text message or a close reason was not UTF-8.
    InvalidUtf8,
    /// A message was larger than `max_message_bytes` or a frame than `max_frame_bytes`.
    MessageTooBig,
    /// A handler trapped, missed its deadline, or returned what the host cannot keep.
    GuestFailure,
    /// The client read too slowly: `outbound_queue_bytes` were waiting for it.
    SlowConsumer,
    /// The host had no instance for the connection's event within `instance_wait_ms`.
    Overload,
    /// The host is shutting down.
    Shutdown,
    /// The channel's plugin was removed.
    Removed,
    /// The token that the client was let in with has expired, and was not renewed.
    TokenExpired,
}

impl Reason {
    /// Every reason, for tables and tests.
    pub const ALL: [Reason; 13] = [
        Reason::ClientClosed,
        Reason::ChannelClosed,
        Reason::NetworkLost,
        Reason::KeepAliveTimeout,
        Reason::ProtocolError,
        Reason::InvalidUtf8,
        Reason::MessageTooBig,
        Reason::GuestFailure,
        Reason::SlowConsumer,
        Reason::Overload,
        Reason::Shutdown,
        Reason::Removed,
        Reason::TokenExpired,
    ];

    /// The token that guests read from `connection.ending` and that logs carry.
    pub fn token(self) -> &'static str {
        match self {
            Reason::ClientClosed => "client-closed",
            Reason::ChannelClosed => "channel-closed",
            Reason::NetworkLost => "network-lost",
            Reason::KeepAliveTimeout => "keep-alive-timeout",
            Reason::ProtocolError => "protocol-error",
            Reason::InvalidUtf8 => "invalid-utf8",
            Reason::MessageTooBig => "message-too-big",
            Reason::GuestFailure => "guest-failure",
            Reason::SlowConsumer => "slow-consumer",
            Reason::Overload => "overload",
            Reason::Shutdown => "shutdown",
            Reason::Removed => "removed",
            Reason::TokenExpired => "token-expired",
        }
    }

    /// The code of the close frame that the host sends for this reason (RFC 6455, 7.4.1, and
    /// the IANA registry for 1012 and 1013). `None` where the host sends none of its own: the
    /// client or the channel chose the code, or the network is gone.
    pub fn code(self) -> Option<u16> {
        match self {
            Reason::ClientClosed | Reason::ChannelClosed => None,
            Reason::NetworkLost | Reason::KeepAliveTimeout => None,
            Reason::ProtocolError => Some(1002),
            Reason::InvalidUtf8 => Some(1007),
            Reason::MessageTooBig => Some(1009),
            Reason::GuestFailure => Some(1011),
            Reason::Shutdown => Some(1012),
            Reason::Overload | Reason::SlowConsumer => Some(1013),
            Reason::Removed => Some(1001),
            Reason::TokenExpired => Some(1008),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// A channel's wish to close a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// A code that [channels may use](is_channel_code).
    pub code: u16,
    /// At most [`MAX_REASON_BYTES`].
    pub reason: String,
}

/// Whether a channel may send this close code: 1000, or one of the ranges that RFC 6455, 7.4.2
/// leaves to applications.
pub fn is_channel_code(code: u16) -> bool {
    code == 1000 || (3000..=4999).contains(&code)
}

/// The longest reason a close frame has room for, in bytes (RFC 6455, 5.5: 125 less the code).
pub const MAX_REASON_BYTES: usize = 123;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_unique_and_kebab_case() {
        let mut tokens: Vec<_> = Reason::ALL.iter().map(|reason| reason.token()).collect();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), Reason::ALL.len());
        assert!(tokens.iter().all(|token| {
            token.bytes().all(|b| b == b'-' || b.is_ascii_lowercase() || b.is_ascii_digit())
        }));
    }

    #[test]
    fn the_host_never_sends_a_code_that_rfc_6455_reserves() {
        for reason in Reason::ALL {
            if let Some(code) = reason.code() {
                assert!((1000..=1013).contains(&code) && ![1004, 1005, 1006].contains(&code));
            }
        }
    }
}
