//! The servers that the host is compared with, written by hand for two paths only: `/echo`, which
//! sends back, and `/room/ID`, which passes on to all members, the sender included. Each runs as a
//! process of its own, which is this program again.

mod axum;
mod floor;
mod room;
mod tungstenite;

use std::net::SocketAddr;

use clap::ValueEnum;
use serde_json::json;
use tokio::net::TcpListener;

/// The options of a peer.
#[derive(clap::Args)]
pub struct Options {
    /// Server to run
    #[arg(value_enum)]
    pub peer: Peer,
    /// Address to listen on
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
    /// axum, one task per connection
    Axum,
    /// A bare loop around epoll, on one thread
    Floor,
}

/// Serves until it is killed.
///
/// # Errors
///
/// It cannot listen.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if let Peer::Floor = options.peer {
        return floor::serve(options.listen, announce);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.workers)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen).await?;
        announce(listener.local_addr()?);
        match options.peer {
            Peer::Floor => Ok(()),
            Peer::Axum => tokio::spawn(axum::serve(listener)).await?,
            Peer::Tungstenite => tokio::spawn(tungstenite::serve(listener)).await?,
        }
    })
}

/// Logs the address as the host does, so that all servers are waited for in the same way.
fn announce(address: SocketAddr) {
    eprintln!("{}", json!({ "message": "listening", "address": address.to_string() }));
}
