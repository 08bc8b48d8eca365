//! The peer `axum`: its WebSockets as its documentation has them, with 4 KiB read buffers, a
//! task for each connection and, in a room, a queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use futures_util::SinkExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// The rooms by their names.
type Rooms = Arc<Mutex<HashMap<String, Arc<Room>>>>;

/// The members' queues. They have no bound: the load checks that nothing is dropped.
#[derive(Default)]
struct Room {
    members: Mutex<Vec<UnboundedSender<Message>>>,
}

const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Serves until it fails.
pub async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let app = Router::new()
        .route("/echo", any(open_echo))
        .route("/room/{id}", any(open_room))
        .with_state(Rooms::default());
    let listener = listener.tap_io(|stream| {
        // It fails only where the connection has ended already.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).await?;
    Ok(())
}

async fn open_echo(upgrade: WebSocketUpgrade) -> Response {
    // What a connection fails of is seen by the generator, at its other end.
    upgrade.read_buffer_size(READ_BUFFER_BYTES).on_upgrade(|socket| async {
        let _ = echo(socket).await;
    })
}

async fn open_room(
    upgrade: WebSocketUpgrade,
    Path(name): Path<String>,
    State(rooms): State<Rooms>,
) -> Response {
    upgrade.read_buffer_size(READ_BUFFER_BYTES).on_upgrade(|socket| async move {
        let room = {
            let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
            rooms.entry(name).or_default().clone()
        };
        let (sender, queue) = mpsc::unbounded_channel();
        room.members.lock().unwrap_or_else(PoisonError::into_inner).push(sender.clone());
        let _ = relay(socket, &room, queue).await;
        let mut members = room.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| !member.same_channel(&sender));
    })
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}

async fn echo(mut socket: WebSocket) -> Result<(), axum::Error> {
    while let Some(message) = socket.recv().await {
        let message = message?;
        if is_data(&message) {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn relay(
    mut socket: WebSocket,
    room: &Room,
    mut queue: UnboundedReceiver<Message>,
) -> Result<(), axum::Error> {
    loop {
        tokio::select! {
            // As the peer `tungstenite` does it.
            biased;
            message = socket.recv() => {
                let Some(message) = message.transpose()? else {
                    return Ok(());
                };
                if is_data(&message) {
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
