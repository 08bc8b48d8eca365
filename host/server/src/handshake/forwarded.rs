//! The address of a client that comes through a proxy.

use std::net::{IpAddr, SocketAddr};

use hyper::header::HeaderMap;
use wharf_config::{ForwardedHeader, Network};
use wharf_hub::remote::Remote;

/// Returns the address of the client behind a socket's other side. If that is a trusted proxy, it is the
/// last address in the header that is not one: what stands before it was written by somebody else.
/// Its port is 0 unless the proxy has written that as well.
pub(super) fn client(
    trusted: &[Network],
    header: ForwardedHeader,
    peer: Remote,
    headers: &HeaderMap,
) -> Remote {
    if !is_trusted(trusted, &peer) {
        return peer;
    }
    let name = match header {
        ForwardedHeader::XForwardedFor => "x-forwarded-for",
        ForwardedHeader::Forwarded => "forwarded",
    };
    let mut client = peer;
    for line in headers.get_all(name).iter().rev() {
        for item in rsplit(line.as_bytes(), b',') {
            let address = match header {
                ForwardedHeader::XForwardedFor => Some(item),
                ForwardedHeader::Forwarded => forwarded_for(item),
            };
            match address.and_then(|item| parse(std::str::from_utf8(item).ok()?.trim())) {
                Some(address) => client = Remote::Address(address),
                // Nothing before it can be told from a client's text.
                None => return client,
            }
            if !is_trusted(trusted, &client) {
                return client;
            }
        }
    }
    client
}

/// Returns the parts of a line between separators that are not in quotes, the last one first. A proxy appends to a
/// line: read from its end, a quote that a client has left open does not reach the proxy's own part.
fn rsplit(line: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let mut is_quoted = false;
        let found = line.iter().enumerate().rposition(|(at, byte)| {
            let escapes = line.get(..at).into_iter().flatten().rev();
            let is_escaped =
                *byte == b'"' && escapes.take_while(|byte| **byte == b'\\').count() % 2 == 1;
            is_quoted ^= *byte == b'"' && !is_escaped;
            *byte == separator && !is_quoted
        });
        rest = found.and_then(|at| line.get(..at));
        match found {
            Some(at) => line.get(at + 1..),
            None => Some(line),
        }
    })
}

/// Returns the address in an element of `Forwarded`, such as `for="[2001:db8::7]:4711";proto=https`.
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let mut pairs = rsplit(element, b';').map(<[u8]>::trim_ascii);
    let value = pairs.find_map(|pair| {
        let (name, value) = pair.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    })?;
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    Some(unquoted.unwrap_or(value))
}

/// Returns true if the other side of a socket is one of the trusted proxies.
pub(crate) fn is_trusted(trusted: &[Network], remote: &Remote) -> bool {
    match remote.ip() {
        Some(address) => trusted.iter().any(|network| network.contains(address)),
        None => trusted.contains(&Network::Unix),
    }
}

/// Parses an address with or without a port.
fn parse(item: &str) -> Option<SocketAddr> {
    let address = item.parse::<SocketAddr>().or_else(|_| {
        let plain = item.trim_start_matches('[').trim_end_matches(']');
        plain.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0))
    });
    let address = address.ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(trusted: &[&str], peer: &str, lines: &[&str]) -> String {
        by(ForwardedHeader::XForwardedFor, trusted, peer, lines)
    }

    fn by(header: ForwardedHeader, trusted: &[&str], peer: &str, lines: &[&str]) -> String {
        let peer = peer.parse().map_or(Remote::Unix, Remote::Address);
        let trusted: Vec<Network> =
            trusted.iter().map(|text| Network::parse(text).expect(text)).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            let name = match header {
                ForwardedHeader::XForwardedFor => "x-forwarded-for",
                ForwardedHeader::Forwarded => "forwarded",
            };
            headers.append(name, line.parse().expect("a header"));
        }
        client(&trusted, header, peer, &headers).to_string()
    }

    #[test]
    fn the_last_address_that_a_trusted_proxy_has_written_counts() {
        let (proxy, peer) = (["10.0.0.0/8"], "10.0.0.1:999");
        for (lines, expected) in [
            (&["6.6.6.6", "192.0.2.7"][..], "192.0.2.7:0"),
            (&["6.6.6.6, 192.0.2.7"], "192.0.2.7:0"),
            (&["6.6.6.6, 192.0.2.7, 10.0.0.2"], "192.0.2.7:0"),
            (&["192.0.2.7:4711"], "192.0.2.7:4711"),
            (&["2001:db8::7"], "[2001:db8::7]:0"),
            (&["[2001:db8::7]:4711"], "[2001:db8::7]:4711"),
            (&["::ffff:192.0.2.7"], "192.0.2.7:0"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3:0"),
            (&["6.6.6.6, unknown"], peer),
            (&["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2:0"),
            (&[""], peer),
            (&[], peer),
        ] {
            assert_eq!(of(&proxy, peer, lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_proxy_that_comes_through_a_unix_socket_is_trusted_by_that_name() {
        let lines = ["6.6.6.6, 192.0.2.7, 10.0.0.2"];
        assert_eq!(of(&["unix", "10.0.0.0/8"], "unix", &lines), "192.0.2.7:0");
        assert_eq!(of(&["10.0.0.0/8"], "unix", &lines), "unix");
        assert_eq!(of(&["unix"], "10.0.0.1:999", &lines), "10.0.0.1:999");
    }

    #[test]
    fn nobody_else_is_believed() {
        let lines = ["192.0.2.7"];
        assert_eq!(of(&[], "10.0.0.1:999", &lines), "10.0.0.1:999");
        assert_eq!(of(&["10.0.0.2"], "10.0.0.1:999", &lines), "10.0.0.1:999");
    }

    #[test]
    fn the_header_of_rfc_7239_is_read_from_its_end() {
        let (proxy, peer) = (["10.0.0.0/8"], "10.0.0.1:999");
        for (lines, expected) in [
            (&["for=6.6.6.6", "for=192.0.2.7"][..], "192.0.2.7:0"),
            (&["for=6.6.6.6, for=192.0.2.7;proto=https;by=10.0.0.9"], "192.0.2.7:0"),
            (&["proto=https; For=\"192.0.2.7:4711\""], "192.0.2.7:4711"),
            (&["for=\"[2001:db8::7]:4711\", for=10.0.0.2"], "[2001:db8::7]:4711"),
            (&["for=\"[2001:db8::7]\""], "[2001:db8::7]:0"),
            // A client has left a quote open, and the proxy has appended its own part.
            (&["for=\", for=192.0.2.7"], "192.0.2.7:0"),
            (&["for=6.6.6.6;x=\"a, for=192.0.2.7"], "192.0.2.7:0"),
            (&["for=6.6.6.6, for=192.0.2.7;x=\"a,b;for=7.7.7.7\""], "192.0.2.7:0"),
            (&["for=6.6.6.6, for=192.0.2.7;x=\"\\\", for=7.7.7.7\""], "192.0.2.7:0"),
            (&["for=6.6.6.6, for=_hidden"], peer),
            (&["for=6.6.6.6, for=unknown, for=10.0.0.2"], "10.0.0.2:0"),
            (&["for=6.6.6.6, proto=https"], peer),
            (&["6.6.6.6"], peer),
            (&[""], peer),
        ] {
            let found = by(ForwardedHeader::Forwarded, &proxy, peer, lines);
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_a_proxy_appends_counts_whatever_a_client_has_sent(text in "[ -~]{0,60}") {
            let line = format!("{text}, for=192.0.2.7");
            let found = by(ForwardedHeader::Forwarded, &["10.0.0.0/8"], "10.0.0.1:9", &[&line]);
            proptest::prop_assert_eq!(found, "192.0.2.7:0");
            let line = format!("{text}, 192.0.2.7");
            proptest::prop_assert_eq!(of(&["10.0.0.0/8"], "10.0.0.1:9", &[&line]), "192.0.2.7:0");
        }
    }
}
