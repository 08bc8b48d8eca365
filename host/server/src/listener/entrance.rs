//! The way from an accepted socket to its first request: the header of a proxy, then TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use wharf_config::{Config, Network};
use wharf_hub::remote::Remote;
use wharf_hub::transport::{Transport, tls};
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
    ) -> Option<(Transport, Remote)> {
        let is_plain = self.tls.is_none() || !matches!(transport, Transport::Tcp(_));
        if is_plain && !is_trusted(&self.proxies, &remote) {
            return Some((transport, remote));
        }
        // The tasks of sockets that go on would have room for this as well.
        Box::pin(async {
            tokio::select! {
                admitted = self.begin(transport, remote) => admitted,
                () = tokio::time::sleep(self.patience) => {
                    if self.lines.take() {
                        let handshake_timeout_ms = self.patience.as_millis() as u64;
                        tracing::info!(%remote, handshake_timeout_ms, "socket closed: TLS has not begun in time");
                    }
                    None
                }
                () = seat.evicted() => None,
            }
        })
        .await
    }

    async fn begin(
        &self,
        mut transport: Transport,
        mut remote: Remote,
    ) -> Option<(Transport, Remote)> {
        if is_trusted(&self.proxies, &remote) {
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
        let encrypted = match (transport, &self.tls) {
            (Transport::Tcp(socket), Some(tls)) => encrypted(socket, tls).await,
            (plain, _) => Ok(plain),
        };
        match encrypted {
            Ok(transport) => Some((transport, remote)),
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
