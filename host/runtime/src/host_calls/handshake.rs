//! `wharf:channel/handshake` and `description`: resources that a guest fills.

use wasmtime::component::Resource;

use super::bindings::wharf::channel::description::{Host as DescriptionHost, HostDescription};
use super::bindings::wharf::channel::handshake::{Host, HostHandshake};
use super::bindings::wharf::channel::types::Error;

use super::{DescriptionHandle, HandshakeHandle};
use crate::instance::InstanceState;
use wharf_contract::header::check;

impl Host for InstanceState {}

impl HostHandshake for InstanceState {
    fn set_header(
        &mut self,
        _: Resource<HandshakeHandle>,
        name: String,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        let call = self.call()?;
        check(call.response_headers.len(), &name, &value)?;
        call.response_headers.push((name, value));
        Ok(())
    }

    fn drop(&mut self, _: Resource<HandshakeHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl DescriptionHost for InstanceState {}

impl HostDescription for InstanceState {
    fn path(&mut self, _: Resource<DescriptionHandle>, pattern: String) {
        self.description.path(pattern);
    }

    fn subprotocol(&mut self, _: Resource<DescriptionHandle>, name: String) {
        self.description.subprotocol(name);
    }

    fn session_format(&mut self, _: Resource<DescriptionHandle>, version: u32) {
        self.description.session_format = version;
    }

    fn drop(&mut self, _: Resource<DescriptionHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;
    use wharf_contract::header::{is_token, is_value};

    proptest! {
        #[test]
        fn headers_are_what_the_http_library_takes(name in "\\PC{0,6}|[ -~]{0,6}", value: Vec<u8>) {
            prop_assert_eq!(is_token(&name), HeaderName::from_bytes(name.as_bytes()).is_ok());
            prop_assert_eq!(is_value(&value), HeaderValue::from_bytes(&value).is_ok());
        }
    }
}
