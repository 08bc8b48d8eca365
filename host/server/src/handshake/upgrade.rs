//! The headers of a request that asks for an upgrade (RFC 6455, 4.2.1).

use hyper::body::Body;
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use wharf_contract::handshake::TurnedAway;

/// Checks the headers that a client must send to get an upgrade. Returns the value that proves that
/// the host has understood it. Public so that it can be measured by itself.
///
/// # Errors
///
/// The reason that names the missing part.
pub fn check_upgrade<B: Body>(request: &Request<B>) -> Result<String, TurnedAway> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(TurnedAway::Method);
    }
    if !request.body().is_end_stream() {
        return Err(TurnedAway::Body);
    }
    if request.version() < Version::HTTP_11 {
        return Err(TurnedAway::HttpVersion);
    }
    if only(headers, &HOST).is_none() {
        return Err(TurnedAway::Host);
    }
    let upgrades = has_token(headers, &UPGRADE, "websocket");
    if !upgrades || !has_token(headers, &CONNECTION, "upgrade") {
        return Err(TurnedAway::NoUpgrade);
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return Err(TurnedAway::WebSocketVersion);
    }
    match only(headers, &SEC_WEBSOCKET_KEY) {
        Some(key) if is_key(key) => Ok(derive_accept_key(key)),
        _ => Err(TurnedAway::Key),
    }
}

/// Returns true for 16 bytes in base64 (RFC 4648): 22 characters, of which the last carries 2 bits,
/// and padding.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits = key.strip_suffix(b"==");
    digits.is_some_and(|digits| digits.len() == 22 && digits.iter().all(is_base64))
}

/// Returns true if a request asks for a WebSocket.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket")
}

/// Returns the value of a header that occurs exactly once.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// Returns true if a list header names a token, in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::is_key;

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for bad in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=?", "c2hvcnQ="] {
            assert!(!is_key(bad.as_bytes()), "{bad}");
        }
    }
}
