//! The reasons for the end of a connection: a closed set, each with its close code.
//!
//! A [`Reason`] is an enum, so that every match over it is complete. Guests, clients and logs see
//! its [token](Reason::token), which is an open set to them.

use std::fmt;

use crate::refusal::CallRefusal;

/// Longest payload of a control frame, in bytes (RFC 6455, 5.5).
pub const MAX_CONTROL_BYTES: usize = 125;
/// Longest reason in a close frame, in bytes: a control frame's payload less the code.
pub const MAX_REASON_BYTES: usize = MAX_CONTROL_BYTES - 2;

/// Replacement for a code that a channel's refusal may not use: a violated policy.
pub const FALLBACK_CODE: u16 = 1008;

/// Makes [`Reason`] from a list of `Variant = "token", code, reconnect;`.
macro_rules! reasons {
    ($($(#[$doc:meta])+ $variant:ident = $token:literal, $code:expr, $reconnect:ident;)+) => {
        /// The reason why a connection ended or is about to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason, for tables and tests.
            pub const ALL: &[Reason] = &[$(Reason::$variant),+];

            /// Returns the token that guests read from `connection.ending`, that close frames of the
            /// host carry as their reason, and that logs show.
            pub const fn token(self) -> &'static str {
                match self {
                    $(Reason::$variant => $token,)+
                }
            }

            /// Returns the code of the close frame that the host sends for this reason (RFC 6455,
            /// 7.4.1, and the IANA registry for 1012 and 1013). `None` if the host sends none of
            /// its own: the client or the channel chose the code, or the network is gone.
            pub const fn code(self) -> Option<u16> {
                match self {
                    $(Reason::$variant => $code,)+
                }
            }

            /// Returns the advice for clients: whether to connect again.
            pub const fn reconnect(self) -> Reconnect {
                match self {
                    $(Reason::$variant => Reconnect::$reconnect,)+
                }
            }
        }
    };
}

reasons! {
    /// The client sent a close frame.
    ClientClosed = "client-closed", None, No;
    /// The channel called `close`, or accepted only to refuse.
    ChannelClosed = "channel-closed", None, No;
    /// The socket ended or failed without a close frame.
    NetworkLost = "network-lost", None, Yes;
    /// No answer to a keep-alive ping within `keep_alive_timeout_ms`.
    KeepAliveTimeout = "keep-alive-timeout", None, Yes;
    /// The client broke RFC 6455.
    ProtocolError = "protocol-error", Some(1002), No;
    /// A text message or a close reason was not UTF-8.
    InvalidUtf8 = "invalid-utf8", Some(1007), No;
    /// A message was larger than `max_message_bytes` or a frame than `max_frame_bytes`.
    MessageTooBig = "message-too-big", Some(1009), No;
    /// A message of the client was not whole `message_timeout_ms` after its beginning.
    MessageTimeout = "message-timeout", Some(1008), No;
    /// A handler trapped, missed its deadline, or returned a value that the host cannot keep.
    GuestFailure = "guest-failure", Some(1011), Yes;
    /// The client read too slowly: `outbound_queue_bytes` were waiting for it, or `max_client_bytes` for
    /// all clients.
    SlowConsumer = "slow-consumer", Some(1013), Yes;
    /// The host had no instance for the connection's event within `instance_wait_ms`, its inbox was
    /// full, or all clients together made the host hold `max_client_bytes`.
    Overload = "overload", Some(1013), Yes;
    /// The host is shutting down.
    Shutdown = "shutdown", Some(1012), Yes;
    /// The channel's plugin was removed.
    Removed = "removed", Some(1001), Slowly;
    /// The token that the client was let in with has expired, and was not renewed.
    TokenExpired = "token-expired", Some(1008), WithNewToken;
}

/// The advice for clients whose connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// Do not connect again: it would end in the same way.
    No,
    /// Connect again: the cause passes.
    Yes,
    /// Connect again after a longer wait, and rarely: the cause may pass.
    Slowly,
    /// Connect again with another token.
    WithNewToken,
}

impl Reconnect {
    /// Returns the words of the documents.
    pub const fn words(self) -> &'static str {
        match self {
            Reconnect::No => "no",
            Reconnect::Yes => "yes",
            Reconnect::Slowly => "slowly",
            Reconnect::WithNewToken => "with a new token",
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
    /// Code that [channels may use](is_channel_code).
    pub code: u16,
    /// Reason of at most [`MAX_REASON_BYTES`].
    pub reason: String,
}

impl Close {
    /// Checks the code and the reason that a channel gives.
    ///
    /// # Errors
    ///
    /// `close-code-invalid`, `close-reason-too-long`.
    pub fn new(code: u16, reason: String) -> Result<Close, CallRefusal> {
        if !is_channel_code(code) {
            return Err(CallRefusal::CloseCodeInvalid { code });
        }
        match reason.len() {
            bytes if bytes > MAX_REASON_BYTES => Err(CallRefusal::CloseReasonTooLong { bytes }),
            _ => Ok(Close { code, reason }),
        }
    }
}

/// Returns true if a channel may send this close code: 1000, or one of the ranges that RFC 6455,
/// 7.4.2 leaves to applications.
pub const fn is_channel_code(code: u16) -> bool {
    matches!(code, 1000 | 3000..=4999)
}

/// Returns true if a client may send this close code (RFC 6455, 7.4). Codes that stand for a
/// missing frame, and codes that are not assigned, are left out.
pub const fn is_client_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Checks the payload of a ping.
///
/// # Errors
///
/// `control-frame-too-big`.
pub const fn check_ping(data: &[u8]) -> Result<(), CallRefusal> {
    match data.len() {
        bytes if bytes > MAX_CONTROL_BYTES => Err(CallRefusal::ControlFrameTooBig { bytes }),
        _ => Ok(()),
    }
}

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
        for code in Reason::ALL.iter().filter_map(|reason| reason.code()) {
            assert!((1000..=1013).contains(&code) && is_client_code(code), "{code}");
        }
    }

    #[test]
    fn channels_close_with_1000_or_a_code_of_applications() {
        for (code, allowed) in [
            (0, false),
            (999, false),
            (1000, true),
            (1001, false),
            (1005, false),
            (1011, false),
            (2999, false),
            (3000, true),
            (4999, true),
            (5000, false),
        ] {
            assert_eq!(is_channel_code(code), allowed, "{code}");
            let close = Close::new(code, String::new());
            assert_eq!(close.is_ok(), allowed, "{code}");
        }
    }

    #[test]
    fn a_control_frame_has_room_for_so_much() {
        let reason = |bytes| Close::new(1000, "r".repeat(bytes));
        assert!(reason(123).is_ok());
        assert_eq!(reason(124), Err(CallRefusal::CloseReasonTooLong { bytes: 124 }));
        assert_eq!(check_ping(&[0; 125]), Ok(()));
        assert_eq!(check_ping(&[0; 126]), Err(CallRefusal::ControlFrameTooBig { bytes: 126 }));
    }
}
