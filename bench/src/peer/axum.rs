//! The peer `axum`: its WebSockets as its documentation shows them, with 4 KiB read buffers.

use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use super::room::{self, Rooms};

const READ_BUFFER_BYTES: usize = 4 * 1024;

impl room::Message for Message {
    fn is_data(&self) -> bool {
        matches!(self, Message::Text(_) | Message::Binary(_))
    }
}

/// Serves until it fails.
pub async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let app = Router::new()
        .route("/echo", any(open_echo))
        .route("/room/{id}", any(open_room))
        .with_state(Rooms::default());
    let listener = listener.tap_io(|stream| {
        // This fails only if the connection has ended already.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).await?;
    Ok(())
}

async fn open_echo(upgrade: WebSocketUpgrade) -> Response {
    // The generator sees the errors of a connection at its own end.
    upgrade.read_buffer_size(READ_BUFFER_BYTES).on_upgrade(|socket| async {
        let _ = room::echo(socket).await;
    })
}

async fn open_room(
    upgrade: WebSocketUpgrade,
    Path(name): Path<String>,
    State(rooms): State<Rooms<Message>>,
) -> Response {
    upgrade.read_buffer_size(READ_BUFFER_BYTES).on_upgrade(|socket| async move {
        let _ = rooms.attend(name, socket).await;
    })
}
