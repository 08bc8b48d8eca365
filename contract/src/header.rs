//! Headers: their form, and those that a channel may set.

use crate::refusal::CallRefusal;
use crate::text::Shown;

/// Largest number of headers that a channel may add to a response.
pub(crate) const MAX_HEADERS: usize = 32;
/// Longest value of a header that a channel adds to a response, in bytes.
pub const MAX_VALUE_BYTES: usize = 8 * 1024;
/// Longest name of a header, in bytes. HTTP libraries accept no longer ones.
const MAX_NAME_BYTES: usize = 65_535;

/// Headers of a response that the handshake or the HTTP library sets.
const OWNED: [&str; 5] = ["connection", "upgrade", "content-length", "transfer-encoding", "date"];

/// Headers of a plugin's own requests that the host sets.
pub(crate) const OWNED_OF_REQUESTS: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "host",
    "http2-settings",
];

/// Checks a header of a plugin's own request.
///
/// # Errors
///
/// `http-header-invalid`.
pub fn check_of_request(name: &str, value: &[u8]) -> Result<(), CallRefusal> {
    if OWNED_OF_REQUESTS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(CallRefusal::HttpHeaderOwned { name: name.to_owned() });
    }
    match is_token(name) && is_value(value) {
        true => Ok(()),
        false => Err(CallRefusal::HttpHeaderInvalid { name: name.to_owned() }),
    }
}

/// Returns true if a text is a token of RFC 9110, 5.6.2, such as the name of a header.
pub fn is_token(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

/// Returns true if bytes can be the value of a header (RFC 9110, 5.5).
pub fn is_value(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

/// Returns true if a channel may put this header into a response: well-formed, and not one that the
/// handshake or the HTTP library owns.
pub fn is_channel_header(name: &str, value: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    name.len() <= MAX_NAME_BYTES
        && is_token(name)
        && !OWNED.contains(&lower.as_str())
        && !lower.starts_with("sec-websocket-")
        && value.len() <= MAX_VALUE_BYTES
        && is_value(value)
}

/// Checks one more header of a response; `set` is the number of those before.
///
/// # Errors
///
/// `too-many-headers`, `header-invalid`.
pub fn check(set: usize, name: &str, value: &[u8]) -> Result<(), CallRefusal> {
    if set >= MAX_HEADERS {
        return Err(CallRefusal::TooManyHeaders);
    }
    match is_channel_header(name, value) {
        true => Ok(()),
        false => Err(CallRefusal::HeaderInvalid { name: Shown::name(name) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_cannot_split_a_response_or_take_over_the_handshake() {
        for (name, value) in [
            ("x-a\r\nset-cookie", "b"),
            ("x-a", "b\r\nset-cookie: c"),
            ("", "b"),
            ("x a", "b"),
            ("Upgrade", "h2c"),
            ("Sec-WebSocket-Accept", "no"),
            ("content-length", "5"),
        ] {
            assert!(!is_channel_header(name, value.as_bytes()), "{name:?}: {value:?}");
        }
        assert!(is_channel_header("Set-Cookie", b"a=b; Path=/"));
    }

    #[test]
    fn a_value_has_8_kib_at_most() {
        assert!(is_channel_header("x-a", &[b'v'; MAX_VALUE_BYTES]));
        assert!(!is_channel_header("x-a", &[b'v'; MAX_VALUE_BYTES + 1]));
    }

    #[test]
    fn a_response_takes_so_many_headers() {
        assert_eq!(check(MAX_HEADERS - 1, "x-a", b"v"), Ok(()));
        assert_eq!(check(MAX_HEADERS, "x-a", b"v"), Err(CallRefusal::TooManyHeaders));
        let refused = check(0, "x\na", b"v").map_err(|refusal| refusal.to_string());
        assert_eq!(refused, Err("x\\na is not a header that a channel can set".to_owned()));
    }
}
