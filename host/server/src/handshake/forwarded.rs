//! The address of a client that comes through a proxy.

use std::net::{IpAddr, SocketAddr};

use hyper::header::HeaderMap;
use wharf_config::Network;
use wharf_hub::remote::Remote;

/// The header in which proxies pass on addresses.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Returns the address of the client behind a socket's other side. If that is a trusted proxy, it is the
/// last address in the header that is not one: what stands before it was written by somebody else.
/// Its port is 0 unless the proxy has written that as well.
pub(super) fn client(trusted: &[Network], peer: Remote, headers: &HeaderMap) -> Remote {
    let is_trusted = |remote: &Remote| match remote.ip() {
        Some(address) => trusted.iter().any(|network| network.contains(address)),
        None => trusted.contains(&Network::Unix),
    };
    if trusted.is_empty() || !is_trusted(&peer) {
        return peer;
    }
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let items = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let mut client = peer;
    for item in items {
        match std::str::from_utf8(item).ok().and_then(|item| parse(item.trim())) {
            Some(address) => client = Remote::Address(address),
            // Nothing before it can be told from a client's text.
            None => break,
        }
        if !is_trusted(&client) {
            break;
        }
    }
    client
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
        let peer = peer.parse().map_or(Remote::Unix, Remote::Address);
        let trusted: Vec<Network> =
            trusted.iter().map(|text| Network::parse(text).expect(text)).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().expect("a header"));
        }
        client(&trusted, peer, &headers).to_string()
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
}
