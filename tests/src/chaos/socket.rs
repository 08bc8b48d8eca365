//! A client's connection, whose host may end at any moment.

use std::net::SocketAddr;

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::{Ended, PATIENCE, Value};

/// Messages that wait for their reader at most.
const WAITING: usize = 1024;

type Stream = WebSocketStream<TcpStream>;

/// A connection. Unlike [`Client`](crate::Client) it fails no test by itself. Dropping it resets nothing: the stream
/// is closed as the end of a program closes it.
pub struct Socket {
    write: SplitSink<Stream, Message>,
    incoming: mpsc::Receiver<Result<Value, Ended>>,
    reading: JoinHandle<()>,
}

impl Socket {
    /// Connects, or says why not.
    pub async fn connect(address: SocketAddr, path: &str) -> Result<Socket, String> {
        let handshake = async {
            let socket = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
            socket.set_nodelay(true).map_err(|e| e.to_string())?;
            let url = format!("ws://{address}{path}");
            let shaken = tokio_tungstenite::client_async(url, socket).await;
            shaken.map(|(stream, _)| stream).map_err(|e| e.to_string())
        };
        let stream = timeout(PATIENCE, handshake).await.map_err(|_| "no answer".to_owned())??;
        let (write, read) = stream.split();
        let (sender, incoming) = mpsc::channel(WAITING);
        let reading = tokio::spawn(async move {
            let mut read = read;
            // The code of a close frame counts, however the stream ends behind it.
            let mut ended = Ended::Cut;
            while let Some(Ok(message)) = read.next().await {
                match message {
                    Message::Close(Some(frame)) => {
                        ended = Ended::Closed(frame.code.into(), frame.reason.to_string());
                    }
                    Message::Close(None) => ended = Ended::ClosedWithoutCode,
                    Message::Text(text) => {
                        let value = serde_json::from_str(&text).unwrap_or(Value::Null);
                        if sender.send(Ok(value)).await.is_err() {
                            return;
                        }
                    }
                    _ => {}
                }
            }
            let _ = sender.send(Err(ended)).await;
        });
        Ok(Socket { write, incoming, reading })
    }

    /// Sends JSON. The end of the connection is told by [`Socket::next`] only.
    pub async fn send(&mut self, value: &Value) {
        let _ = timeout(PATIENCE, self.write.send(Message::text(value.to_string()))).await;
    }

    /// Returns the next message, or the end. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Value, Ended> {
        self.incoming.recv().await.unwrap_or(Err(Ended::Cut))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.reading.abort();
    }
}
