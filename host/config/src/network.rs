//! Addresses and networks.

use std::fmt;
use std::net::IpAddr;

/// The word for programs that come through a Unix socket.
const UNIX: &str = "unix";

/// An IP address, a network of them, or the programs of this machine that come through a Unix
/// socket and have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IP addresses.
    Addresses {
        /// One of them.
        address: IpAddr,
        /// Number of leading bits that they have in common.
        prefix: u32,
    },
    /// Programs that come through a Unix socket.
    Unix,
}

impl Network {
    /// Parses `10.0.0.1`, `10.0.0.0/8`, `::1`, `2001:db8::/32` or `unix`.
    pub fn parse(text: &str) -> Option<Network> {
        if text.trim() == UNIX {
            return Some(Network::Unix);
        }
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = bits(address);
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= bits)?,
            None => bits,
        };
        Some(Network::Addresses { address, prefix })
    }

    /// Returns true if an address is in it. An IPv4 address may be written as one of IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        let Network::Addresses { address: own, prefix } = *self else {
            return false;
        };
        let same_bits = |one: u128, other: u128, bits: u32| {
            // A shift by all bits is none at all.
            let others = (one ^ other).checked_shr(bits - prefix);
            prefix == 0 || others == Some(0)
        };
        match (own, address.to_canonical()) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                same_bits(one.to_bits().into(), other.to_bits().into(), 32)
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => same_bits(one.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

fn bits(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::Addresses { address, prefix } if *prefix == bits(*address) => address.fmt(f),
            Network::Addresses { address, prefix } => write!(f, "{address}/{prefix}"),
            Network::Unix => f.write_str(UNIX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        let network = Network::parse(network).expect(network);
        network.contains(address.parse().expect(address))
    }

    #[test]
    fn a_network_has_the_addresses_with_its_first_bits() {
        for (network, address) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.0/8", "10.255.0.1"),
            ("10.0.0.1", "::ffff:10.0.0.1"),
            ("0.0.0.0/0", "203.0.113.9"),
            ("::1", "::1"),
            ("2001:db8::/32", "2001:db8:1::9"),
            ("::/0", "2001:db8::1"),
        ] {
            assert!(contains(network, address), "{network} {address}");
        }
        for (network, address) in [
            ("10.0.0.1", "10.0.0.2"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/31", "10.0.0.2"),
            ("0.0.0.0/0", "::1"),
            ("::/0", "10.0.0.1"),
            ("2001:db8::/32", "2001:db9::1"),
        ] {
            assert!(!contains(network, address), "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "10.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "a", "10.0.0.1:80", "*", "unix/8"]
        {
            assert_eq!(Network::parse(text), None, "{text:?}");
        }
        for text in ["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "unix"] {
            assert_eq!(Network::parse(text).map(|it| it.to_string()).as_deref(), Some(text));
        }
    }
}
