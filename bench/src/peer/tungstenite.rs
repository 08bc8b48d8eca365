//! The peer `tungstenite`: tokio-tungstenite on bare sockets, with 4 KiB read buffers.

use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::room::{self, Rooms};

impl room::Message for Message {
    fn is_data(&self) -> bool {
        self.is_text() || self.is_binary()
    }
}

/// Serves until it fails.
///
/// The settings are the host's: tungstenite's own 128 KiB of read buffer would cost 20 times
/// the memory.
pub async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let config = WebSocketConfig::default().read_buffer_size(4 * 1024);
    let rooms = Rooms::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // The generator sees the errors of a connection at its own end.
        tokio::spawn(attend(stream, config, rooms.clone()));
    }
}

async fn attend(
    stream: TcpStream,
    config: WebSocketConfig,
    rooms: Rooms<Message>,
) -> Result<(), Error> {
    let mut room = None;
    // The type of the callback's error is tungstenite's.
    #[allow(clippy::result_large_err)]
    let see_path = |request: &Request, response: Response| {
        room = request.uri().path().strip_prefix("/room/").map(str::to_owned);
        Ok(response)
    };
    let socket =
        tokio_tungstenite::accept_hdr_async_with_config(stream, see_path, Some(config)).await?;
    match room {
        None => room::echo(socket).await,
        Some(name) => rooms.attend(name, socket).await,
    }
}
