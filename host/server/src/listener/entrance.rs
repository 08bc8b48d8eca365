//! The way from an accepted socket to its first request: the header of a proxy, then TLS.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use wharf_config::{Config, Network};
use wharf_hub::remote::Remote;
use wharf_hub::transport::{Transport, tls};
use wharf_metrics::limits::Limit;
use wharf_runtime::log_budget::LogBudget;

use super::proxy_protocol;
use crate::handshake::forwarded::is_trusted;
use crate::pending::Seat;
use crate::tls::Tls;

/// Largest number of lines a second in the log about sockets that do not come in.
const MAX_LINES_PER_SECOND: u32 = 10;

/// The rules of one listener for its new sockets.
#[derive(Debug)]
pub(crate) struct Entrance {
    tls: Option<Arc<Tls>>,
    /// Proxies that begin with the address of their client, if there are any.
    proxies: Vec<Network>,
    patience: Duration,
    lines: LogBudget,
}

/// A socket that was let in.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Its stream, from the first request on.
    pub transport: Transport,
    /// Address of the client, as far as it is known without a request.
    pub remote: Remote,
    /// True if a proxy has told the address, or that it has none to tell. Then no header of a request is believed: such a
    /// proxy passes on what the client has written.
    pub is_told: bool,
}

impl Entrance {
    /// Makes the entrance of the clients of channels.
    pub(crate) fn of_clients(config: &Config, tls: Option<Arc<Tls>>) -> Entrance {
        let proxies =
            if config.proxy_protocol { config.trusted_proxies.clone() } else { Vec::new() };
        Entrance { proxies, ..Entrance::of_operator(config, tls) }
    }

    /// Makes the entrance of the operator's clients.
    pub(crate) fn of_operator(config: &Config, tls: Option<Arc<Tls>>) -> Entrance {
        let lines = LogBudget::of_clients("entrance", MAX_LINES_PER_SECOND);
        Entrance { tls, proxies: Vec::new(), patience: config.handshake_timeout, lines }
    }

    /// Lets a socket in. Returns `None` if it is closed instead.
    pub(crate) async fn admit(
        &self,
        transport: Transport,
        remote: Remote,
        seat: &Seat,
        closing: &mut watch::Receiver<()>,
    ) -> Option<Admitted> {
        let is_plain = self.tls.is_none() || !matches!(transport, Transport::Tcp(_));
        if is_plain && !is_trusted(&self.proxies, &remote) {
            return Some(Admitted { transport, remote, is_told: false });
        }
        let has_begun_tls = AtomicBool::new(false);
        // The tasks of sockets that go on would have room for this as well.
        Box::pin(async {
            tokio::select! {
                admitted = self.begin(transport, remote, &has_begun_tls) => admitted,
                () = tokio::time::sleep(self.patience) => {
                    Limit::HandshakeTimeout.reached();
                    if self.lines.take() {
                        let handshake_timeout_ms = self.patience.as_millis() as u64;
                        let awaited = match has_begun_tls.load(Ordering::Relaxed) {
                            true => "the handshake of TLS",
                            false => "the header of the PROXY protocol",
                        };
                        tracing::info!(%remote, handshake_timeout_ms, awaited, "socket closed: it has not begun in time");
                    }
                    None
                }
                () = seat.evicted() => None,
                _ = closing.changed() => None,
            }
        })
        .await
    }

    async fn begin(
        &self,
        mut transport: Transport,
        mut remote: Remote,
        has_begun_tls: &AtomicBool,
    ) -> Option<Admitted> {
        let is_told = is_trusted(&self.proxies, &remote);
        if is_told {
            match proxy_protocol::read(&mut transport).await {
                Ok(client) => remote = client.unwrap_or(remote),
                Err(error) => {
                    if self.lines.take() {
                        let error = error.to_string();
                        tracing::info!(
                            %remote,
                            error,
                            "a proxy's connection is closed: it does not begin with the PROXY protocol"
                        );
                    }
                    return None;
                }
            }
        }
        has_begun_tls.store(true, Ordering::Relaxed);
        let encrypted = match (transport, &self.tls) {
            (Transport::Tcp(socket), Some(tls)) => encrypted(socket, tls).await,
            (plain, _) => Ok(plain),
        };
        match encrypted {
            Ok(transport) => Some(Admitted { transport, remote, is_told }),
            Err(reason) => {
                if self.lines.take() {
                    tracing::info!(%remote, reason = reason.to_string(), "TLS handshake failed");
                }
                None
            }
        }
    }
}

async fn encrypted(socket: TcpStream, tls: &Tls) -> io::Result<Transport> {
    let mut stream = tls::Stream::accept(socket, tls.config()).map_err(io::Error::other)?;
    stream.handshake().await?;
    Ok(stream.into())
}
