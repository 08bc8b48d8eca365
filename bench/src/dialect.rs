//! The protocols around a message: its envelope, and the exchange before the first message.

use std::io::{Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};

use crate::frame::{self, Opcode};
use crate::handshake::{self, Opened};

/// The protocol between clients and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A message is a text message.
    Plain,
    /// A message is an object of JSON of type `chat_message`, with the text as `message`. The
    /// server's messages may have further fields, and come between messages of other types.
    Chat,
    /// The protocol of socket.io (Engine.IO 4, Socket.IO 5): an event `m` with the message as its
    /// only argument. Engine.IO has one path; ours is in the query.
    SocketIo,
}

/// Socket.IO's packets: connecting to the default namespace, and its answer, which is longer.
const CONNECT: &[u8] = b"40";
const MASK: [u8; 4] = [0x6d, 0x02, 0xb9, 0x58];

impl Dialect {
    /// Returns the text before and after a message that a client sends.
    pub fn around(self) -> (&'static str, &'static str) {
        match self {
            Dialect::Plain => ("", ""),
            Dialect::Chat => (r#"{"type":"chat_message","message":""#, r#""}"#),
            Dialect::SocketIo => (r#"42["m",""#, r#""]"#),
        }
    }

    /// Returns the message of `size` bytes in a payload; `None` if the payload is something else.
    pub fn message(self, payload: &[u8], size: usize) -> Option<&[u8]> {
        match self {
            Dialect::Plain => Some(payload),
            Dialect::Chat => {
                find(payload, br#""type":"chat_message""#)?;
                let field = br#""message":""#;
                let rest = &payload[find(payload, field)? + field.len()..];
                // A shorter message is reported as changed.
                Some(rest.get(..size).unwrap_or(rest))
            }
            Dialect::SocketIo => {
                let (before, after) = self.around();
                payload.strip_prefix(before.as_bytes())?.strip_suffix(after.as_bytes())
            }
        }
    }

    /// Returns the target of the request for a path such as `/room/7`.
    pub fn target(self, path: &str) -> String {
        match self {
            Dialect::Plain | Dialect::Chat => path.to_owned(),
            Dialect::SocketIo => format!("/socket.io/?EIO=4&transport=websocket&path={path}"),
        }
    }

    /// Opens a connection to a path and brings it to where messages may be sent.
    ///
    /// # Errors
    ///
    /// The connection cannot be opened.
    pub fn open(self, address: SocketAddr, path: &str) -> anyhow::Result<Opened> {
        let mut opened = handshake::open(address, &self.target(path))?;
        if self == Dialect::SocketIo {
            opened.stream.write_all(&frame::encode(Opcode::Text, CONNECT, MASK))?;
            while !take_answer(&mut opened.early)? {
                let mut chunk = [0; 4096];
                let read = opened.stream.read(&mut chunk).context("no answer to a connect")?;
                ensure!(read > 0, "the server hung up instead of answering a connect");
                opened.early.extend(&chunk[..read]);
            }
        }
        Ok(opened)
    }
}

/// Takes whole frames up to the answer to a connect; `false` if it has not come.
fn take_answer(bytes: &mut Vec<u8>) -> anyhow::Result<bool> {
    while let Some(frame) = frame::parse(bytes)? {
        let is_answer = match frame.opcode {
            Opcode::Close => bail!("{}", frame::describe_close(frame.payload)),
            _ if frame.payload.starts_with(b"44") => {
                bail!("the server refused: {}", String::from_utf8_lossy(frame.payload))
            }
            _ => frame.payload.starts_with(CONNECT),
        };
        let length = frame.length;
        bytes.drain(..length);
        if is_answer {
            return Ok(true);
        }
    }
    Ok(false)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn an_event_of_socket_io_is_found_and_nothing_else() {
        let message = |payload: &'static str| Dialect::SocketIo.message(payload.as_bytes(), 5);
        assert_eq!(message(r#"42["m","hello"]"#), Some(&b"hello"[..]));
        for other in ["2", r#"0{"sid":"a"}"#, r#"40{"sid":"b"}"#, r#"42["n","hello"]"#] {
            assert_eq!(message(other), None, "{other}");
        }
    }

    /// Starts a server that answers a handshake and then sends these texts.
    fn serve(texts: &'static [&str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            handshake::accept(&mut stream);
            let mut connect = [0; 8];
            stream.read_exact(&mut connect).expect("a connect");
            for text in texts {
                let frame = [&[0x81, text.len() as u8], text.as_bytes()].concat();
                stream.write_all(&frame).expect("a reader");
            }
        });
        address
    }

    #[test]
    fn socket_io_is_connected_to_before_messages_are_sent() {
        let address = serve(&[r#"0{"sid":"a"}"#, r#"40{"sid":"b"}"#]);
        let opened = Dialect::SocketIo.open(address, "/echo").expect("open");
        assert_eq!(opened.early, b"");
    }

    #[test]
    fn a_refusal_of_socket_io_is_an_error() {
        let address = serve(&[r#"0{"sid":"a"}"#, r#"44{"message":"no"}"#]);
        let error = Dialect::SocketIo.open(address, "/echo").err().expect("refused");
        assert!(error.to_string().contains("no"), "{error}");
    }
}
