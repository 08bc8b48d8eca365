//! The sockets that listen for clients.

pub(crate) mod entrance;
mod proxy_protocol;
mod unix;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use wharf_config::Listen;
use wharf_hub::remote::Remote;
use wharf_hub::transport::Transport;
use wharf_runtime::log_budget::LogBudget;

use unix::SocketFile;

/// Clients that may wait to be accepted, for which the kernel keeps its own, lower bound
/// (`net.core.somaxconn`). After a restart thousands come back at once.
const BACKLOG: u32 = 4096;

/// Further tries to find a port that is free on all addresses.
const TRIES: u32 = 16;

/// Pause after `accept` has failed for a reason of this process, such as too few file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// The sockets of all addresses to listen on.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<Socket>,
    bound: Vec<Listen>,
    /// Socket that is asked first, so that none keeps the others waiting.
    turn: AtomicUsize,
    /// Budget of the log lines about failures: a lack of descriptors can last.
    failures: LogBudget,
    /// Its clients, for the log.
    clients: &'static str,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix {
        /// File of the socket, unless it belongs to somebody else. It is removed before the socket is
        /// closed: until then no other host can have its number.
        _file: Option<SocketFile>,
        listener: UnixListener,
    },
}

impl Listener {
    /// Binds the sockets of these addresses and listens. The log calls its clients `clients`.
    ///
    /// # Errors
    ///
    /// An address is taken, or not this machine's.
    pub fn bind(listen: &[Listen], clients: &'static str) -> anyhow::Result<Listener> {
        let (mut sockets, mut bound) = (Vec::new(), Vec::new());
        for listen in listen {
            if let Listen::Unix(path) = listen {
                let (listener, file) = unix::bind(path, BACKLOG)?;
                sockets.push(Socket::Unix { _file: Some(file), listener });
                bound.push(listen.clone());
                continue;
            }
            let mut tries = 0..TRIES;
            let (listeners, first) = loop {
                match bind_all(listen) {
                    Ok(found) => break found,
                    // A port that was free for the first socket need not be free for the second.
                    Err(_) if listen.is_any_port() && tries.next().is_some() => {}
                    Err(error) => return Err(error),
                }
            };
            sockets.extend(listeners.into_iter().map(Socket::Tcp));
            bound.push(match listen {
                Listen::Localhost(_) => Listen::Localhost(first.port()),
                _ => Listen::Address(first),
            });
        }
        Ok(Listener::of(sockets, bound, clients))
    }

    /// Takes over sockets that listen already. They are removed by those who have made them.
    ///
    /// # Errors
    ///
    /// One of them does not listen for streams of bytes.
    pub fn inherit(descriptors: Vec<OwnedFd>, clients: &'static str) -> anyhow::Result<Listener> {
        let (mut sockets, mut bound) = (Vec::new(), Vec::new());
        for descriptor in descriptors {
            let (socket, listen) = inherited(descriptor)
                .context("a socket of the service manager cannot be used (LISTEN_FDS)")?;
            sockets.push(socket);
            bound.push(listen);
        }
        Ok(Listener::of(sockets, bound, clients))
    }

    fn of(sockets: Vec<Socket>, bound: Vec<Listen>, clients: &'static str) -> Listener {
        let (turn, failures) = (AtomicUsize::new(0), LogBudget::of_clients("accept", 1));
        Listener { sockets, bound, turn, failures, clients }
    }

    /// Returns the addresses at which it listens, with the ports that were free.
    pub fn bound(&self) -> &[Listen] {
        &self.bound
    }

    /// Returns these addresses as the log shows them, without spaces and quotes; `localhost` as the
    /// first of its two.
    pub fn addresses(&self) -> String {
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '"';
        let shown = |listen: &Listen| match listen.addresses().first() {
            Some(address) => address.to_string(),
            None => listen.to_string().replace(is_odd, "?"),
        };
        self.bound.iter().map(shown).collect::<Vec<_>>().join(",")
    }

    /// Returns true if only this machine can reach it.
    pub fn is_local(&self) -> bool {
        self.bound.iter().all(Listen::is_local)
    }

    /// Accepts the next socket. A failure is logged, at most once a second, and waited out.
    pub async fn accept(&self) -> (Transport, Remote) {
        loop {
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(accepted) => return accepted,
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

    /// Asks each socket, another one first each time.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Transport, Remote)>> {
        let count = self.sockets.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(count).unwrap_or(0);
        let in_turns = self.sockets.iter().cycle().skip(first).take(count);
        let mut accepted = in_turns.map(|socket| socket.poll_accept(cx));
        accepted.find(Poll::is_ready).unwrap_or(Poll::Pending)
    }
}

/// Returns addresses as they are written, separated by commas.
pub(crate) fn listed(listen: &[Listen]) -> String {
    listen.iter().map(Listen::to_string).collect::<Vec<_>>().join(",")
}

impl Socket {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Transport, Remote)>> {
        match self {
            Socket::Tcp(listener) => listener
                .poll_accept(cx)
                .map_ok(|(stream, remote)| (Transport::tcp(stream), canonical(remote).into())),
            Socket::Unix { listener, .. } => {
                listener.poll_accept(cx).map_ok(|(stream, _)| (stream.into(), Remote::Unix))
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

/// Returns a descriptor as the socket that it is, and its address.
fn inherited(descriptor: OwnedFd) -> anyhow::Result<(Socket, Listen)> {
    let is_stream = sockopt::socket_type(&descriptor)? == SocketType::STREAM;
    if !is_stream || !sockopt::socket_acceptconn(&descriptor)? {
        bail!("it does not listen for streams (ListenStream=, Accept=no)");
    }
    match sockopt::socket_domain(&descriptor)? {
        AddressFamily::UNIX => {
            let socket = std::os::unix::net::UnixListener::from(descriptor);
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            let path = address.as_pathname().map_or_else(|| PathBuf::from("@"), PathBuf::from);
            let listener = UnixListener::from_std(socket)?;
            Ok((Socket::Unix { _file: None, listener }, Listen::Unix(path)))
        }
        AddressFamily::INET | AddressFamily::INET6 => {
            let socket = std::net::TcpListener::from(descriptor);
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok((Socket::Tcp(TcpListener::from_std(socket)?), Listen::Address(address)))
        }
        _ => bail!("it is neither a TCP nor a Unix socket"),
    }
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
