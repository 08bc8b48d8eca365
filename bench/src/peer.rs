//! The servers that the host is compared with: what somebody would write by hand who needs
//! nothing but an echo. Each runs as a process of its own, which is this program again.

use std::net::SocketAddr;

use clap::ValueEnum;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{self, protocol::WebSocketConfig};

/// How to be a peer.
#[derive(clap::Args)]
pub struct Options {
    /// Which one
    #[arg(value_enum)]
    pub peer: Peer,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Threads that serve connections
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
}

/// A server written by hand.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Peer {
    /// tokio-tungstenite, one task per connection
    Tungstenite,
}

/// Serves until it is killed.
///
/// # Errors
///
/// It cannot listen.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.workers)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen).await?;
        // As the host says it, so that both are waited for in the same way.
        let address = listener.local_addr()?.to_string();
        eprintln!("{}", json!({ "message": "listening", "address": address }));
        match options.peer {
            Peer::Tungstenite => serve_tungstenite(listener).await,
        }
    })
}

/// The settings are the host's: tungstenite's own 128 KiB of read buffer would cost 20 times
/// the memory.
async fn serve_tungstenite(listener: TcpListener) -> anyhow::Result<()> {
    let config = WebSocketConfig::default().read_buffer_size(4 * 1024);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // What a connection fails of is seen by the generator, at its other end.
        tokio::spawn(echo(stream, config));
    }
}

async fn echo(stream: TcpStream, config: WebSocketConfig) -> Result<(), tungstenite::Error> {
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.feed(message).await?;
            socket.flush().await?;
        }
    }
    Ok(())
}
