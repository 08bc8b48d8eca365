//! The other side of a socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The address of a client, or of the proxy in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// An IP address and a port.
    Address(SocketAddr),
    /// A program of this machine that came through a Unix socket, which has no address.
    Unix,
}

impl Remote {
    /// Returns the IP address, if it has one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Remote::Address(address) => Some(address.ip()),
            Remote::Unix => None,
        }
    }
}

impl From<SocketAddr> for Remote {
    fn from(address: SocketAddr) -> Remote {
        Remote::Address(address)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Address(address) => address.fmt(f),
            Remote::Unix => f.write_str("unix"),
        }
    }
}
