//! The refusals of a client before the upgrade, and the parts of a channel's own refusal that are
//! sent.

use crate::sentences::sentences;

/// Longest request target, in bytes.
///
/// A token of 16 KiB in the query fits, if `max_header_bytes` leaves room for it.
pub const MAX_TARGET_BYTES: usize = 32 * 1024;
/// Bytes of the body of a channel's refusal that are sent at most.
pub const MAX_REFUSAL_BYTES: usize = 64 * 1024;
/// Headers of a channel's refusal that are sent at most.
pub const MAX_REFUSAL_HEADERS: usize = 32;
/// Messages that a channel's refusal by close code sends at most.
pub const MAX_REFUSAL_MESSAGES: usize = 16;

sentences! {
    /// The reason why the host turns a client away: the one line of the body.
    pub enum TurnedAway {
        /// The target is too long.
        TargetTooLong = "the request target is too long";
        /// The path cannot be decoded.
        BadEncoding = "the path is not properly percent-encoded UTF-8";
        /// No channel has the path.
        NotFound = "no channel is mounted on this path";
        /// The method is not GET.
        Method = "a WebSocket begins with GET";
        /// The request has a body.
        Body = "a handshake has no body";
        /// The version of HTTP is older.
        HttpVersion = "a WebSocket needs HTTP/1.1";
        /// No `Host`, or several.
        Host = "a request has exactly one Host";
        /// The request is not an upgrade.
        NoUpgrade = "this path speaks WebSocket; connect with ws:// or wss://";
        /// The version of the protocol is another.
        WebSocketVersion = "Sec-WebSocket-Version must be 13";
        /// There is no key, or an invalid one.
        Key = "Sec-WebSocket-Key must be there once, 16 bytes in base64";
        /// Several origins.
        SeveralOrigins = "more than one Origin";
        /// No origin.
        OriginRequired = "an Origin is required here";
        /// An origin with other characters.
        OriginNotAscii = "the Origin is not ASCII";
        /// A page without an origin.
        NullOrigin = "pages without an origin may not connect (allow_null_origin)";
        /// An origin that is not allowed.
        Origin = "this origin may not connect; the operator can add it to allowed_origins";
        /// The page is asked for under a name that is not the host's.
        UnknownHost = "this server is not known by that name; the operator can add it to allowed_hosts";
        /// None of the subprotocols is the channel's.
        Subprotocol = "the channel speaks none of these subprotocols";
        /// No token.
        TokenRequired = "a token is required here";
        /// A token that has expired.
        TokenExpired = "the token has expired";
        /// An invalid token.
        TokenInvalid = "the token is not valid";
        /// A token that the host has no keys for, which is not the client's fault.
        TokenUnchecked = "the server cannot check tokens at present";
        /// The channel failed.
        ChannelFailed = "the channel failed";
        /// The channel took too long.
        ChannelBusy = "the channel did not answer in time";
        /// The host has as many connections as it may have.
        Full = "the server has as many connections as it may have";
        /// The channel has as many connections as it may have.
        ChannelFull = "the channel has as many connections as it may have";
        /// The client's address has as many connections as it may have.
        AddressFull = "your address has as many connections as it may have";
        /// The host has not looked at all plugins yet.
        Starting = "the server is starting, and may serve this path in a moment";
        /// The host is shutting down.
        Stopping = "the server is shutting down";
    }
}

impl TurnedAway {
    /// Every reason, for tables and tests.
    pub const ALL: [TurnedAway; 28] = [
        TurnedAway::TargetTooLong,
        TurnedAway::BadEncoding,
        TurnedAway::NotFound,
        TurnedAway::Method,
        TurnedAway::Body,
        TurnedAway::HttpVersion,
        TurnedAway::Host,
        TurnedAway::NoUpgrade,
        TurnedAway::WebSocketVersion,
        TurnedAway::Key,
        TurnedAway::SeveralOrigins,
        TurnedAway::OriginRequired,
        TurnedAway::OriginNotAscii,
        TurnedAway::NullOrigin,
        TurnedAway::Origin,
        TurnedAway::UnknownHost,
        TurnedAway::Subprotocol,
        TurnedAway::TokenRequired,
        TurnedAway::TokenExpired,
        TurnedAway::TokenInvalid,
        TurnedAway::TokenUnchecked,
        TurnedAway::ChannelFailed,
        TurnedAway::ChannelBusy,
        TurnedAway::Full,
        TurnedAway::ChannelFull,
        TurnedAway::AddressFull,
        TurnedAway::Starting,
        TurnedAway::Stopping,
    ];

    /// Returns the token, for metrics.
    pub const fn token(&self) -> &'static str {
        match self {
            TurnedAway::TargetTooLong => "target-too-long",
            TurnedAway::BadEncoding => "bad-encoding",
            TurnedAway::NotFound => "not-found",
            TurnedAway::Method => "method",
            TurnedAway::Body => "body",
            TurnedAway::HttpVersion => "http-version",
            TurnedAway::Host => "host",
            TurnedAway::NoUpgrade => "no-upgrade",
            TurnedAway::WebSocketVersion => "websocket-version",
            TurnedAway::Key => "key",
            TurnedAway::SeveralOrigins => "several-origins",
            TurnedAway::OriginRequired => "origin-required",
            TurnedAway::OriginNotAscii => "origin-not-ascii",
            TurnedAway::NullOrigin => "null-origin",
            TurnedAway::Origin => "origin",
            TurnedAway::UnknownHost => "unknown-host",
            TurnedAway::Subprotocol => "subprotocol",
            TurnedAway::TokenRequired => "token-required",
            TurnedAway::TokenExpired => "token-expired",
            TurnedAway::TokenInvalid => "token-invalid",
            TurnedAway::TokenUnchecked => "token-unchecked",
            TurnedAway::ChannelFailed => "channel-failed",
            TurnedAway::ChannelBusy => "channel-busy",
            TurnedAway::Full => "full",
            TurnedAway::ChannelFull => "channel-full",
            TurnedAway::AddressFull => "address-full",
            TurnedAway::Starting => "starting",
            TurnedAway::Stopping => "stopping",
        }
    }

    /// Returns the HTTP status.
    pub const fn status(&self) -> u16 {
        match self {
            TurnedAway::BadEncoding
            | TurnedAway::HttpVersion
            | TurnedAway::Host
            | TurnedAway::Key
            | TurnedAway::Subprotocol => 400,
            TurnedAway::TokenRequired | TurnedAway::TokenExpired | TurnedAway::TokenInvalid => 401,
            TurnedAway::SeveralOrigins
            | TurnedAway::OriginRequired
            | TurnedAway::OriginNotAscii
            | TurnedAway::NullOrigin
            | TurnedAway::Origin => 403,
            TurnedAway::NotFound => 404,
            TurnedAway::Method => 405,
            TurnedAway::Body => 413,
            TurnedAway::TargetTooLong => 414,
            TurnedAway::UnknownHost => 421,
            TurnedAway::NoUpgrade | TurnedAway::WebSocketVersion => 426,
            TurnedAway::AddressFull => 429,
            TurnedAway::ChannelFailed => 500,
            TurnedAway::TokenUnchecked
            | TurnedAway::ChannelBusy
            | TurnedAway::Full
            | TurnedAway::ChannelFull
            | TurnedAway::Starting
            | TurnedAway::Stopping => 503,
        }
    }
}

/// Returns true if a channel's refusal may have this HTTP status; 500 is sent instead of others.
pub const fn is_refusal_status(status: u16) -> bool {
    matches!(status, 300..=599)
}

/// Returns the agreed subprotocol: the first of the channel's that the client asks for. `asked` are
/// the values of its headers `Sec-WebSocket-Protocol`.
pub fn agree_on_subprotocol<'a, S: AsRef<str>>(offered: &'a [S], asked: &[&[u8]]) -> Option<&'a S> {
    let is_asked_for = |name: &str| {
        let mut asked = asked.iter().flat_map(|value| value.split(|byte| *byte == b','));
        asked.any(|value| value.trim_ascii() == name.as_bytes())
    };
    offered.iter().find(|name| is_asked_for(name.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channels_order_decides_on_the_subprotocol() {
        let asked = [&b"chat.v1 , chat.v2"[..], b"other"];
        let agreed =
            |offered: &[&str]| agree_on_subprotocol(offered, &asked).map(|name| (*name).to_owned());
        assert_eq!(agreed(&["chat.v2", "chat.v1"]).as_deref(), Some("chat.v2"));
        assert_eq!(agreed(&["other"]).as_deref(), Some("other"));
        assert_eq!(agreed(&["chat"]), None);
        assert_eq!(agreed(&[]), None);
    }

    #[test]
    fn channels_refuse_with_redirections_and_errors() {
        assert!(!is_refusal_status(299));
        assert!(is_refusal_status(300) && is_refusal_status(599));
        assert!(!is_refusal_status(600));
    }
}
