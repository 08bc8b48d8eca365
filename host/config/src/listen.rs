//! The addresses at which clients reach the host.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// The beginning of an address that is the path of a socket.
const UNIX: &str = "unix:";

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Both of this machine's own addresses: clients differ in which of the two they take for
    /// `localhost`.
    Localhost(u16),
    /// One address. The IPv6 address `[::]` takes clients of IPv4 as well.
    Address(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Listen {
    /// Parses the operator's text; `None` if it is no address and port, and no path.
    pub fn parse(text: &str) -> Option<Listen> {
        if let Some(path) = text.strip_prefix(UNIX) {
            // Some programs write `unix:///run/wharf.sock`.
            let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
            let is_path = !path.is_empty() && !path.starts_with("//") && !path.contains('\0');
            return is_path.then(|| Listen::Unix(PathBuf::from(path)));
        }
        match text.strip_prefix("localhost:") {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().ok().map(Listen::Localhost)
            }
            Some(_) => None,
            None => text.parse().ok().map(Listen::Address),
        }
    }

    /// Returns the IP addresses, of which the first must be had; none for a path.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match *self {
            Listen::Localhost(port) => {
                vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
            }
            Listen::Address(address) => vec![address],
            Listen::Unix(_) => Vec::new(),
        }
    }

    /// Returns true if any free port will do.
    pub fn is_any_port(&self) -> bool {
        self.addresses().iter().any(|address| address.port() == 0)
    }

    /// Returns true if only this machine can reach the host there.
    pub fn is_local(&self) -> bool {
        self.addresses().iter().all(|address| address.ip().to_canonical().is_loopback())
    }

    /// Returns the path of a socket.
    pub(super) fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Listen::Unix(path) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Localhost(port) => write!(f, "localhost:{port}"),
            Listen::Address(address) => address.fmt(f),
            Listen::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        for text in
            ["localhost:0", "127.0.0.1:80", "[::]:4000", "unix:/run/wharf.sock", "unix:a b.sock"]
        {
            let listen = Listen::parse(text).expect(text);
            assert_eq!(listen.to_string(), text);
        }
        for text in ["", "localhost", "localhost:+1", "127.0.0.1", "host:80", "unix:", "unix://a"] {
            assert_eq!(Listen::parse(text), None, "{text:?}");
        }
        assert_eq!(Listen::parse("unix:///run/a"), Listen::parse("unix:/run/a"));
    }

    #[test]
    fn only_this_machine_reaches_loopback_addresses_and_sockets() {
        for (text, is_local) in [
            ("localhost:1", true),
            ("127.0.0.2:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("unix:/run/wharf.sock", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.0.2.1:1", false),
        ] {
            assert_eq!(Listen::parse(text).expect(text).is_local(), is_local, "{text}");
        }
    }
}
