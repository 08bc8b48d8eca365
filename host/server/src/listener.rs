//! A listening socket.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use wharf_runtime::host_calls::LogBudget;

/// Clients that may wait to be accepted, for which the kernel keeps its own, lower bound
/// (`net.core.somaxconn`). After a restart thousands come back at once.
const BACKLOG: u32 = 4096;

/// Pause after `accept` has failed for a reason of this process, such as too few file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Binds a socket to an address and listens.
///
/// # Errors
///
/// The address is taken, or not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted host gets its address back although connections of the last one linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts the sockets of one listener.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    address: SocketAddr,
    /// Budget of the log lines about failures: a lack of descriptors can last.
    failures: LogBudget,
    /// The clients of the listener, for the log.
    clients: &'static str,
}

impl Acceptor {
    /// Takes over a listener. The log calls its clients `clients`.
    ///
    /// # Errors
    ///
    /// The listener has no address.
    pub fn new(listener: TcpListener, clients: &'static str) -> anyhow::Result<Acceptor> {
        let address = listener.local_addr().context("the listener has no address")?;
        Ok(Acceptor { listener, address, failures: LogBudget::of_host(1), clients })
    }

    /// Returns the address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts the next socket. A failure is logged, at most once a second, and waited out.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, remote)) => return (stream, canonical(remote)),
                Err(error) if is_of_one_socket(&error) => {}
                Err(error) => {
                    if self.failures.take() {
                        let clients = self.clients;
                        tracing::warn!(%error, clients, "accepting a connection failed");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Returns an IPv4 address that came through an IPv6 socket in its plain form (RFC 4291, 2.5.5.2).
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Returns true if only the socket that was about to be accepted has failed.
fn is_of_one_socket(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn a_mapped_address_is_shown_in_its_plain_form() {
        let shown = |text: &str| canonical(text.parse().unwrap()).to_string();
        assert_eq!(shown("[::ffff:127.0.0.1]:4000"), "127.0.0.1:4000");
        assert_eq!(shown("[2001:db8::1]:4000"), "[2001:db8::1]:4000");
        assert_eq!(shown("[::1]:1"), "[::1]:1");
    }
}
