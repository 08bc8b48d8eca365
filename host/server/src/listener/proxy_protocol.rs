//! The header by which a proxy tells the address of its client: version 1 (text) and 2 (binary) of HAProxy's PROXY
//! protocol.
//!
//! Not a byte more than the header is read: TLS or HTTP follows at once.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};
use wharf_hub::remote::Remote;

use super::canonical;

/// Bytes that both versions have at least, and that tell one from the other.
const SIGNATURE_BYTES: usize = v2::PROTOCOL_PREFIX.len();

/// Longest header of version 1, with its end (section 2.1 of the specification).
const MAX_TEXT_BYTES: usize = 107;

/// Longest rest of a header of version 2 after its first 16 bytes. Proxies add certificates of clients and the like;
/// nothing of that is used.
const MAX_REST_BYTES: usize = 4 * 1024;

/// Reads the header. Returns the client's address; `None` if the proxy itself is the client, as in its checks of
/// health.
///
/// # Errors
///
/// The stream does not begin with a header, or has ended.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Remote>> {
    let mut bytes = vec![0; SIGNATURE_BYTES];
    stream.read_exact(&mut bytes).await?;
    if bytes == v2::PROTOCOL_PREFIX {
        return read_binary(stream, bytes).await;
    }
    if !bytes.starts_with(b"PROXY ") {
        return Err(invalid("it begins otherwise"));
    }
    while !bytes.ends_with(b"\n") {
        if bytes.len() == MAX_TEXT_BYTES {
            return Err(invalid("its line does not end"));
        }
        bytes.push(stream.read_u8().await?);
    }
    let header =
        v1::Header::try_from(bytes.as_slice()).map_err(|error| invalid(&error.to_string()))?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(pair) => address((pair.source_address, pair.source_port)),
        v1::Addresses::Tcp6(pair) => address((pair.source_address, pair.source_port)),
        v1::Addresses::Unknown => None,
    })
}

async fn read_binary(
    stream: &mut (impl AsyncRead + Unpin),
    mut bytes: Vec<u8>,
) -> io::Result<Option<Remote>> {
    let kind = stream.read_u16().await?;
    let rest = stream.read_u16().await?;
    bytes.extend(kind.to_be_bytes());
    bytes.extend(rest.to_be_bytes());
    let rest = usize::from(rest);
    if rest > MAX_REST_BYTES {
        return Err(invalid("it is too long"));
    }
    let begin = bytes.len();
    bytes.resize(begin + rest, 0);
    if let Some(rest) = bytes.get_mut(begin..) {
        stream.read_exact(rest).await?;
    }
    let header =
        v2::Header::try_from(bytes.as_slice()).map_err(|error| invalid(&error.to_string()))?;
    if header.command == v2::Command::Local {
        return Ok(None);
    }
    Ok(match header.addresses {
        v2::Addresses::IPv4(pair) => address((pair.source_address, pair.source_port)),
        v2::Addresses::IPv6(pair) => address((pair.source_address, pair.source_port)),
        v2::Addresses::Unix(_) => Some(Remote::Unix),
        v2::Addresses::Unspecified => None,
    })
}

fn address(address: impl Into<SocketAddr>) -> Option<Remote> {
    Some(canonical(address.into()).into())
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(bytes: &[u8]) -> Result<(String, Vec<u8>), ErrorKind> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut rest = bytes;
        let read = runtime.block_on(read(&mut rest)).map_err(|error| error.kind())?;
        Ok((read.map_or("none".to_owned(), |remote| remote.to_string()), rest.to_vec()))
    }

    fn binary(kind: [u8; 2], rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [v2::PROTOCOL_PREFIX, &kind, &length, rest, b"GET /"].concat()
    }

    #[test]
    fn the_address_of_the_client_is_read_and_not_a_byte_more() {
        let ipv4 = [192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];
        let ipv6 = [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[7], &[0; 16], &[0, 80, 1, 187]];
        let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1], &[0; 16], &[0, 80, 1, 187]];
        let with_more = [&ipv4[..], &[0x04, 0, 1, 9]].concat();
        for (bytes, client) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\nGET /".to_vec(), "192.0.2.1:12345"),
            (b"PROXY TCP6 2001:db8::7 ::1 80 443\r\nGET /".to_vec(), "[2001:db8::7]:80"),
            (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 80 443\r\nGET /".to_vec(), "192.0.2.1:80"),
            (b"PROXY UNKNOWN\r\nGET /".to_vec(), "none"),
            (b"PROXY UNKNOWN some more of it\r\nGET /".to_vec(), "none"),
            (binary([0x21, 0x11], &ipv4), "192.0.2.1:12345"),
            (binary([0x21, 0x11], &with_more), "192.0.2.1:12345"),
            (binary([0x21, 0x21], &ipv6.concat()), "[2001:db8::7]:80"),
            (binary([0x21, 0x21], &mapped.concat()), "192.0.2.1:80"),
            (binary([0x21, 0x31], &[b'/'; 216]), "unix"),
            (binary([0x20, 0x00], &[]), "none"),
            (binary([0x20, 0x11], &ipv4), "none"),
        ] {
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(of(&bytes), Ok((client.to_owned(), b"GET /".to_vec())), "{shown}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = binary([0x21, 0x11], &[0; MAX_REST_BYTES + 1]);
        let endless = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
        for bytes in [
            b"GET /chat HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 123456 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2 10.0.0.1 1 443\r\n".to_vec(),
            b"PROXY TCP5 192.0.2.1 10.0.0.1 1 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1 443\n".to_vec(),
            b"\x16\x03\x01 a client of TLS".to_vec(),
            binary([0x11, 0x11], &[0; 12]),
            binary([0x21, 0x11], &[0; 11]),
            long,
            endless,
        ] {
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(of(&bytes), Err(ErrorKind::InvalidData), "{shown}");
        }
        assert_eq!(of(b"PROXY TCP4"), Err(ErrorKind::UnexpectedEof));
        assert_eq!(of(b"PROXY TCP4 192.0.2"), Err(ErrorKind::UnexpectedEof));
    }

    proptest! {
        #[test]
        fn nothing_that_a_proxy_sends_makes_the_host_panic(
            kind in any::<[u8; 2]>(),
            rest in prop::collection::vec(any::<u8>(), 0..300),
            text in "PROXY (TCP4|TCP6|UNKNOWN)?[ 0-9a-f:.]{0,120}\r?\n",
        ) {
            let _ = of(&binary(kind, &rest));
            let _ = of(text.as_bytes());
            let _ = of(&rest);
        }
    }
}
