//! The peer `tungstenite`: tokio-tungstenite with a task and, in a room, a queue for each
//! connection. An echo is flushed at once, message for message; what waits for a member is
//! flushed together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// The rooms by their names.
type Rooms = Arc<Mutex<HashMap<String, Arc<Room>>>>;

/// The members' queues. They have no bound: the load checks that nothing is dropped.
#[derive(Default)]
struct Room {
    members: Mutex<Vec<UnboundedSender<Message>>>,
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
        // What a connection fails of is seen by the generator, at its other end.
        tokio::spawn(attend(stream, config, rooms.clone()));
    }
}

async fn attend(stream: TcpStream, config: WebSocketConfig, rooms: Rooms) -> Result<(), Error> {
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
        None => echo(socket).await,
        Some(name) => {
            let room = rooms
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(name)
                .or_default()
                .clone();
            let (sender, queue) = mpsc::unbounded_channel();
            room.members.lock().unwrap_or_else(PoisonError::into_inner).push(sender.clone());
            let done = relay(socket, &room, queue).await;
            let mut members = room.members.lock().unwrap_or_else(PoisonError::into_inner);
            members.retain(|member| !member.same_channel(&sender));
            done
        }
    }
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.feed(message).await?;
            socket.flush().await?;
        }
    }
    Ok(())
}

async fn relay(
    mut socket: WebSocketStream<TcpStream>,
    room: &Room,
    mut queue: UnboundedReceiver<Message>,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            // All that has arrived is passed on before what waits here is written, so that it is
            // written together.
            biased;
            message = socket.next() => {
                let Some(message) = message.transpose()? else {
                    return Ok(());
                };
                if message.is_text() || message.is_binary() {
                    // One lock for all members: each sees the same order. The payload is shared.
                    let members = room.members.lock().unwrap_or_else(PoisonError::into_inner);
                    for member in members.iter() {
                        let _ = member.send(message.clone());
                    }
                }
            }
            message = queue.recv() => {
                let mut waiting = message;
                while let Some(message) = waiting {
                    socket.feed(message).await?;
                    waiting = queue.try_recv().ok();
                }
                socket.flush().await?;
            }
        }
    }
}
