//! The address at which clients reach the host.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Both of this machine's own addresses: clients differ in which of the two they take for
    /// `localhost`.
    Localhost(u16),
    /// One address. The IPv6 address `[::]` takes clients of IPv4 as well.
    Address(SocketAddr),
}

impl Listen {
    /// Parses the operator's text; `None` if it is no address and port.
    pub fn parse(text: &str) -> Option<Listen> {
        match text.strip_prefix("localhost:") {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().ok().map(Listen::Localhost)
            }
            Some(_) => None,
            None => text.parse().ok().map(Listen::Address),
        }
    }

    /// Returns the addresses, of which the first must be had.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match *self {
            Listen::Localhost(port) => {
                vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
            }
            Listen::Address(address) => vec![address],
        }
    }

    /// Returns true if any free port will do.
    pub fn is_any_port(&self) -> bool {
        self.addresses().iter().all(|address| address.port() == 0)
    }

    /// Returns true if only this machine can reach the host.
    pub fn is_loopback(&self) -> bool {
        self.addresses().iter().all(|address| address.ip().to_canonical().is_loopback())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Localhost(port) => write!(f, "localhost:{port}"),
            Listen::Address(address) => address.fmt(f),
        }
    }
}
