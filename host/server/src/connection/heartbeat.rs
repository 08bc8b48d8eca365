//! Heartbeats in messages, for clients in browsers.
//!
//! A browser answers pings by itself, also for a page that is frozen, and shows a page neither the
//! pings nor the answers. So a client may ask for heartbeats in text messages, by a parameter in the
//! query of its handshake. Each side then answers [`PING`] with [`PONG`]. The host begins, which
//! tells the client that it has understood. The channel sees neither the parameter nor the messages,
//! and on the connections of all other clients they are ordinary text.

use std::borrow::Cow;

/// Parameter of the query that asks for heartbeats.
const PARAMETER: &str = "wharf_heartbeat=1";

/// Asks the other side for a sign of life.
pub const PING: &[u8] = br#"{"type":"wharf:ping"}"#;

/// Answers [`PING`].
pub const PONG: &[u8] = br#"{"type":"wharf:pong"}"#;

/// Returns a query without the parameter, and true if it had it.
pub fn take_parameter(query: &str) -> (Cow<'_, str>, bool) {
    if !query.split('&').any(|pair| pair == PARAMETER) {
        return (Cow::Borrowed(query), false);
    }
    let others: Vec<_> = query.split('&').filter(|pair| *pair != PARAMETER).collect();
    (Cow::Owned(others.join("&")), true)
}

#[cfg(test)]
mod tests {
    use super::take_parameter;

    #[test]
    fn the_parameter_is_taken_out_of_a_query() {
        for (query, rest, asks) in [
            ("", "", false),
            ("wharf_heartbeat=1", "", true),
            ("a=1&wharf_heartbeat=1&b=%20", "a=1&b=%20", true),
            ("a=1&&wharf_heartbeat=1", "a=1&", true),
            (
                "wharf_heartbeat=0&x=wharf_heartbeat=1",
                "wharf_heartbeat=0&x=wharf_heartbeat=1",
                false,
            ),
        ] {
            let (taken, asked) = take_parameter(query);
            assert_eq!((&*taken, asked), (rest, asks), "{query}");
        }
    }
}
