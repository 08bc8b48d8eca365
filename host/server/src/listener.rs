//! The sockets that listen for clients.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use wharf_config::Listen;
use wharf_runtime::log_budget::LogBudget;

/// Clients that may wait to be accepted, for which the kernel keeps its own, lower bound
/// (`net.core.somaxconn`). After a restart thousands come back at once.
const BACKLOG: u32 = 4096;

/// Further tries to find a port that is free on all addresses.
const TRIES: u32 = 16;

/// Pause after `accept` has failed for a reason of this process, such as too few file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// The sockets of one address to listen on.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    address: SocketAddr,
    /// Budget of the log lines about failures: a lack of descriptors can last.
    failures: LogBudget,
    /// Its clients, for the log.
    clients: &'static str,
}

impl Listener {
    /// Binds the sockets of an address and listens. The log calls its clients `clients`.
    ///
    /// # Errors
    ///
    /// The address is taken, or not this machine's.
    pub fn bind(listen: &Listen, clients: &'static str) -> anyhow::Result<Listener> {
        let mut tries = 0..TRIES;
        loop {
            match bind_all(listen) {
                Ok((sockets, address)) => {
                    let failures = LogBudget::of_clients(1);
                    return Ok(Listener { sockets, address, failures, clients });
                }
                // A port that was free for the first socket need not be free for the second.
                Err(_) if listen.is_any_port() && tries.next().is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the address at which it listens, with the port that was free; the first one if there
    /// are two.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts the next socket. A failure is logged, at most once a second, and waited out.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            let accepted = poll_fn(|cx| {
                let mut accepted = self.sockets.iter().map(|socket| socket.poll_accept(cx));
                accepted.find(Poll::is_ready).unwrap_or(Poll::Pending)
            });
            match accepted.await {
                Ok((stream, remote)) => return (stream, canonical(remote)),
                Err(error) if is_of_one_socket(&error) => {}
                Err(error) => {
                    if self.failures.take() {
                        let clients = self.clients;
                        let error = error.to_string();
                        tracing::warn!(error, clients, "accepting a connection failed");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Binds a socket for each address. Those after the first get the first one's port, and are left
/// out on a machine without such addresses.
fn bind_all(listen: &Listen) -> anyhow::Result<(Vec<TcpListener>, SocketAddr)> {
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut first: Option<SocketAddr> = None;
    for mut wanted in listen.addresses() {
        wanted.set_port(first.map_or(wanted.port(), |first| first.port()));
        match bind(wanted) {
            Ok(socket) => {
                first.get_or_insert(socket.local_addr()?);
                sockets.push(socket);
            }
            Err(error) if first.is_some() && is_unknown_here(&error) => {
                tracing::debug!(
                    error = error.to_string(),
                    address = %wanted,
                    "this machine has no such address"
                );
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot listen on {wanted}"));
            }
        }
    }
    Ok((sockets, first.context("there is no address to listen on")?))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted host gets its address back although connections of the last one linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Returns true if this machine has no such address, or speaks no such protocol.
fn is_unknown_here(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
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
