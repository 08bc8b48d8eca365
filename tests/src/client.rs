//! A well-behaved WebSocket client.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use crate::soon;

/// A connected client. Every call waits for its subject, and fails the test if it does not come.
#[derive(Debug)]
pub struct Client {
    stream: WebSocketStream<TcpStream>,
    /// The headers of the `101`.
    pub headers: HeaderMap,
}

/// A handshake that was answered with something other than `101`.
#[derive(Debug)]
pub struct Rejected {
    /// The HTTP status.
    pub status: u16,
    /// The response's headers.
    pub headers: HeaderMap,
}

/// The end of a connection, as its client sees it.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server sent a close frame with this code and reason.
    Closed(u16, String),
    /// The server sent a close frame without a code.
    ClosedWithoutCode,
    /// The stream ended or failed without a close frame.
    Cut,
}

impl Client {
    /// Connects; the server must accept.
    pub async fn connect(address: SocketAddr, path: &str) -> Client {
        match Client::try_connect(address, path, &[]).await {
            Ok(client) => client,
            Err(rejected) => panic!("{path} answers {}", rejected.status),
        }
    }

    /// Connects with further headers.
    pub async fn try_connect(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Client, Rejected> {
        let url = format!("ws://{address}{path}");
        let mut request = url.into_client_request().expect("a request");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a header name");
            request
                .headers_mut()
                .append(name, HeaderValue::from_str(value).expect("a header value"));
        }
        let handshake = async {
            let socket = TcpStream::connect(address).await.map_err(Error::Io)?;
            socket.set_nodelay(true).map_err(Error::Io)?;
            tokio_tungstenite::client_async(request, socket).await
        };
        match soon(&format!("an answer of {path}"), handshake).await {
            Ok((stream, response)) => Ok(Client { stream, headers: response.headers().clone() }),
            Err(Error::Http(response)) => Err(rejected(&response)),
            Err(error) => panic!("the handshake with {path} failed: {error}"),
        }
    }

    /// Sends text.
    pub async fn send(&mut self, text: impl Into<String>) {
        self.send_message(Message::text(text.into())).await;
    }

    /// Sends JSON as text.
    pub async fn send_json(&mut self, value: Value) {
        self.send(value.to_string()).await;
    }

    /// Sends any message.
    pub async fn send_message(&mut self, message: Message) {
        soon("a message to be sent", self.stream.send(message)).await.expect("the message is sent");
    }

    /// Sends any message if the connection still accepts it, for a client that does not know yet
    /// that it has ended.
    pub async fn try_send(&mut self, message: Message) -> bool {
        soon("a message to be sent or not", self.stream.send(message)).await.is_ok()
    }

    /// Queues text without writing it yet; [`flush`](Client::flush) writes all of it at once.
    pub async fn feed(&mut self, text: impl Into<String>) {
        let message = Message::text(text.into());
        soon("a message to be queued", self.stream.feed(message)).await.expect("it is queued");
    }

    /// Writes the queued messages.
    pub async fn flush(&mut self) {
        soon("messages to be sent", self.stream.flush()).await.expect("the messages are sent");
    }

    /// Returns the next message, text or binary.
    pub async fn message(&mut self) -> Message {
        match soon("a message", self.next()).await {
            Ok(message) => message,
            Err(ended) => panic!("a message was expected, but the connection ended: {ended:?}"),
        }
    }

    /// Returns the next message, which must be text.
    pub async fn text(&mut self) -> String {
        match self.message().await {
            Message::Text(text) => text.to_string(),
            other => panic!("text was expected, not {other:?}"),
        }
    }

    /// Returns the next message, which must be binary.
    pub async fn binary(&mut self) -> Bytes {
        match self.message().await {
            Message::Binary(data) => data,
            other => panic!("binary was expected, not {other:?}"),
        }
    }

    /// Returns the next message, which must be JSON.
    pub async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?} is no JSON: {error}"))
    }

    /// Sends text and waits for the next message, which must be text.
    pub async fn ask(&mut self, text: &str) -> String {
        self.send(text).await;
        self.text().await
    }

    /// Sends JSON and waits for the next message, which must be JSON.
    pub async fn ask_json(&mut self, value: Value) -> Value {
        self.send_json(value).await;
        self.json().await
    }

    /// Sends JSON and waits for the next message, which must be text.
    pub async fn ask_json_text(&mut self, value: Value) -> String {
        self.send_json(value).await;
        self.text().await
    }

    /// Sends text and waits for the next message, which must be JSON.
    pub async fn ask_for_json(&mut self, text: &str) -> Value {
        self.send(text).await;
        self.json().await
    }

    /// Waits for the end, which must come next: a message fails the test.
    pub async fn ended(&mut self) -> Ended {
        match soon("the connection to end", self.next()).await {
            Ok(message) => panic!("the end was expected, not {message:?}"),
            Err(ended) => ended,
        }
    }

    /// Waits for the end, and returns the messages before it as text.
    pub async fn rest(&mut self) -> (Vec<String>, Ended) {
        let mut messages = Vec::new();
        loop {
            match soon("the connection to end", self.next()).await {
                Ok(message) => messages.push(message.into_text().unwrap_or_default().to_string()),
                Err(ended) => return (messages, ended),
            }
        }
    }

    /// Returns the close code of an end that must come next.
    pub async fn close_code(&mut self) -> u16 {
        match self.ended().await {
            Ended::Closed(code, _) => code,
            other => panic!("a close code was expected, not {other:?}"),
        }
    }

    /// Closes with a code and a reason, and waits for the closing handshake to be finished.
    pub async fn close(mut self, code: u16, reason: &str) {
        self.begin_close(code, reason).await;
        let _ = self.rest().await;
    }

    /// Sends a close frame.
    pub async fn begin_close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        soon("a close frame to be sent", self.stream.close(Some(frame))).await.expect("it is sent");
    }

    /// Ends the TCP connection with a reset, like a client that crashes.
    pub fn reset(self) {
        let socket = self.stream.get_ref();
        socket.set_zero_linger().expect("the socket is open");
    }

    /// Returns the socket below.
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Returns the next message or control frame.
    pub async fn anything(&mut self) -> Message {
        soon("anything", self.stream.next()).await.expect("a message").expect("a message")
    }

    /// Returns the next message, text or binary, or the end of the connection.
    pub async fn message_or_end(&mut self) -> Result<Message, Ended> {
        soon("a message or the end", self.next()).await
    }

    /// Returns the next message, text or binary, or the end of the connection. Bytes that break the
    /// protocol fail the test, also behind a close frame.
    async fn next(&mut self) -> Result<Message, Ended> {
        let mut ended = Ended::Cut;
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Message::Text(text)),
                Some(Ok(Message::Binary(data))) => return Ok(Message::Binary(data)),
                Some(Ok(Message::Close(Some(frame)))) => {
                    ended = Ended::Closed(frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(Message::Close(None))) => ended = Ended::ClosedWithoutCode,
                Some(Ok(_)) => {}
                // After a close frame the stream may end in any way: the frame counts.
                None
                | Some(Err(
                    Error::ConnectionClosed
                    | Error::AlreadyClosed
                    | Error::Io(_)
                    | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
                )) => return Err(ended),
                Some(Err(error)) => panic!("the server broke the protocol: {error}"),
            }
        }
    }
}

fn rejected(response: &Response) -> Rejected {
    Rejected { status: response.status().as_u16(), headers: response.headers().clone() }
}
