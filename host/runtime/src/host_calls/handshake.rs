//! `wharf:channel/handshake` and `description`: resources that a guest fills.

use http::header::{HeaderName, HeaderValue};
use wasmtime::component::Resource;

use super::bindings::wharf::channel::description::{Host as DescriptionHost, HostDescription};
use super::bindings::wharf::channel::handshake::{Host, HostHandshake};
use super::bindings::wharf::channel::types::{Error, Remedy};

use super::{DescriptionHandle, HandshakeHandle, cut, escape, fix_call, refused};
use crate::instance::InstanceState;

/// Headers that a channel may add to a `101`.
const MAX_HEADERS: usize = 32;
/// Bytes that one header's value may have.
const MAX_VALUE_BYTES: usize = 8 * 1024;
/// Path patterns that a channel may declare, and the bytes of one.
const MAX_PATHS: usize = 64;
const MAX_PATH_BYTES: usize = 255;
/// Subprotocols that a channel may declare, and the bytes of one.
const MAX_SUBPROTOCOLS: usize = 16;
const MAX_SUBPROTOCOL_BYTES: usize = 255;
/// Bytes of a name that is refused that an error repeats.
const MAX_SHOWN_NAME_BYTES: usize = 100;

impl Host for InstanceState {}

impl HostHandshake for InstanceState {
    fn set_header(
        &mut self,
        _: Resource<HandshakeHandle>,
        name: String,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        let call = self.call()?;
        if call.response_headers.len() >= MAX_HEADERS {
            return Err(refused(
                Remedy::ShedLoad,
                "too-many-headers",
                format!("a response takes at most {MAX_HEADERS} headers of a channel"),
            ));
        }
        if !is_channel_header(&name, &value) {
            return Err(fix_call(
                "header-invalid",
                format!("{} is no header that a channel can set", shown(&name)),
            ));
        }
        call.response_headers.push((name, value));
        Ok(())
    }

    fn drop(&mut self, _: Resource<HandshakeHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// Whether a channel may put this header into a response: well-formed (RFC 9110, 5) and not one
/// that the handshake or the HTTP library owns.
pub fn is_channel_header(name: &str, value: &[u8]) -> bool {
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        return false;
    };
    let owned = ["connection", "upgrade", "content-length", "transfer-encoding", "date"];
    let name = parsed.as_str();
    !owned.contains(&name)
        && !name.starts_with("sec-websocket-")
        && value.len() <= MAX_VALUE_BYTES
        && HeaderValue::from_bytes(value).is_ok()
}

impl DescriptionHost for InstanceState {}

impl HostDescription for InstanceState {
    fn path(&mut self, _: Resource<DescriptionHandle>, pattern: String) {
        if pattern.len() > MAX_PATH_BYTES {
            self.problem(format!(
                "its path {}… has {} bytes; {MAX_PATH_BYTES} are allowed",
                shown(&pattern),
                pattern.len()
            ));
        } else if self.description.paths.len() < MAX_PATHS {
            self.description.paths.push(pattern);
        } else {
            self.problem(format!("it declares more than {MAX_PATHS} paths"));
        }
    }

    fn subprotocol(&mut self, _: Resource<DescriptionHandle>, name: String) {
        // A token of RFC 9110 is what a subprotocol's name is (RFC 6455, 4.1); header names are
        // tokens too, in lower case.
        if name.len() > MAX_SUBPROTOCOL_BYTES {
            self.problem(format!(
                "its subprotocol {}… has {} bytes; {MAX_SUBPROTOCOL_BYTES} are allowed",
                shown(&name),
                name.len()
            ));
        } else if HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).is_err() {
            self.problem(format!("{} is no name for a subprotocol", shown(&name)));
        } else if self.description.subprotocols.len() < MAX_SUBPROTOCOLS {
            self.description.subprotocols.push(name);
        } else {
            self.problem(format!("it declares more than {MAX_SUBPROTOCOLS} subprotocols"));
        }
    }

    fn session_format(&mut self, _: Resource<DescriptionHandle>, version: u32) {
        self.description.session_format = version;
    }

    fn drop(&mut self, _: Resource<DescriptionHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl InstanceState {
    fn problem(&mut self, problem: String) {
        self.description.problem.get_or_insert(problem);
    }
}

/// As much of a name as an error shows.
fn shown(name: &str) -> String {
    escape(cut(name, MAX_SHOWN_NAME_BYTES))
}

#[cfg(test)]
mod tests {
    use super::is_channel_header;

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
}
