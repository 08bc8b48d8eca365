//! A test's client: one end of a connection in memory, at whose other end is the server.
//!
//! It answers the frames that clients answer by themselves: a close frame, and the host's
//! keep-alive pings, which tests should not see. It hands all others on as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use wharf_contract::kit::{Happened, Headers, encoded_target};
use wharf_hub::frame::FrameKind;
use wharf_hub::transport::memory::{self, ReadHalf, WriteHalf};

use super::happenings::{Happenings, message};

/// Payload of the host's keep-alive pings.
const KEEP_ALIVE: &[u8] = b"wharf-keep-alive";

/// A key that clients might send (RFC 6455, 4.1); the answer to it is not checked.
const KEY: &str = "d2hhcmYgdGVzdHMgdGhpcw==";

/// Bytes that are under way in one direction at most, as with a socket.
const CAPACITY: usize = 64 * 1024;

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// Code that stands for a close frame without one (RFC 6455, 7.4.1).
const NO_CODE: u16 = 1005;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VisitorOpcode {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
    /// A reserved kind of RFC 6455.
    Reserved = 3,
}

/// A client's request.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) target: String,
    pub(super) headers: Headers,
}

/// The response to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Headers, names in lower case.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

/// One client.
#[derive(Debug)]
pub(super) struct Visitor {
    shared: Arc<Shared>,
    frames: UnboundedSender<Vec<u8>>,
    tasks: [AbortHandle; 2],
}

#[derive(Debug)]
struct Shared {
    number: usize,
    happened: Happenings,
    response: Mutex<Option<Response>>,
    /// True if the client has sent a close frame.
    has_closed: AtomicBool,
}

impl Visitor {
    /// Creates a client that has sent its request. Also returns the server's end of its connection.
    pub(super) fn ask(number: usize, ask: &Ask, happened: Happenings) -> (Visitor, memory::Stream) {
        let (server, client) = memory::pair(CAPACITY);
        let (reader, writer) = client.into_split();
        let (frames, to_write) = unbounded_channel();
        let _ = frames.send(request(ask));
        let (response, has_closed) = Default::default();
        let shared = Arc::new(Shared { number, happened, response, has_closed });
        let input = ServerBytes { reader, bytes: Vec::new(), at: 0 };
        let tasks = [
            tokio::spawn(write(writer, to_write)).abort_handle(),
            tokio::spawn(read(input, shared.clone(), frames.clone())).abort_handle(),
        ];
        (Visitor { shared, frames, tasks }, server)
    }

    /// Returns the response, once it is there.
    pub(super) fn response(&self) -> Option<Response> {
        self.shared.response.lock().clone()
    }

    /// Sends a frame.
    pub(super) fn send(&self, opcode: VisitorOpcode, payload: &[u8]) {
        if opcode == VisitorOpcode::Close {
            self.shared.has_closed.store(true, Ordering::SeqCst);
        }
        let _ = self.frames.send(frame(opcode, payload));
    }

    /// Announces a frame of `bytes` bytes, and sends nothing of it.
    pub(super) fn announce(&self, bytes: usize) {
        let _ = self.frames.send(header(VisitorOpcode::Text, bytes));
    }

    /// Vanishes without a close frame.
    pub(super) fn vanish(&self) {
        self.shared.has_closed.store(true, Ordering::SeqCst);
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.vanish();
    }
}

/// Returns the request in the form of the wire.
fn request(ask: &Ask) -> Vec<u8> {
    let mut head = format!("GET {} HTTP/1.1\r\n", encoded_target(&ask.target)).into_bytes();
    let given = |name: &str| ask.headers.iter().any(|(known, _)| known == name);
    let own = [
        ("host", "wharf.test"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];
    let own = own.into_iter().filter(|(name, _)| !given(name));
    let own = own.map(|(name, value)| (name, value.as_bytes()));
    let theirs = ask.headers.iter().map(|(name, value)| (name.as_str(), value.0.as_slice()));
    for (name, value) in own.chain(theirs) {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Returns the header of a client's frame. Its mask is zero, so that payloads stay as they are.
fn header(opcode: VisitorOpcode, bytes: usize) -> Vec<u8> {
    const FINAL: u8 = 0x80;
    const MASKED: u8 = 0x80;
    let mut header = vec![FINAL | opcode as u8];
    match (u8::try_from(bytes), u16::try_from(bytes)) {
        (Ok(short @ 0..=125), _) => header.push(MASKED | short),
        (_, Ok(length)) => {
            header.push(MASKED | 126);
            header.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            header.push(MASKED | 127);
            header.extend_from_slice(&(bytes as u64).to_be_bytes());
        }
    }
    header.extend_from_slice(&[0; 4]);
    header
}

fn frame(opcode: VisitorOpcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(opcode, payload.len());
    frame.extend_from_slice(payload);
    frame
}

async fn write(mut writer: WriteHalf, mut to_write: UnboundedReceiver<Vec<u8>>) {
    while let Some(frame) = to_write.recv().await {
        if writer.write_all(&frame).await.is_err() {
            // The reader sees the end as well.
            return;
        }
    }
}

async fn read(mut input: ServerBytes, shared: Arc<Shared>, frames: UnboundedSender<Vec<u8>>) {
    let Some(response) = input.response().await else {
        return;
    };
    let is_open = response.status == 101;
    *shared.response.lock() = Some(response);
    if !is_open {
        return;
    }
    let Shared { number, happened, has_closed, .. } = &*shared;
    let received = |kind, payload: &[u8]| {
        happened.note(Happened::Received { client: *number, message: message(kind, payload) });
    };
    while let Some((opcode, payload)) = input.frame().await {
        match opcode {
            1 => received(FrameKind::Text, &payload),
            2 => received(FrameKind::Binary, &payload),
            9 if payload == KEEP_ALIVE => drop(frames.send(frame(VisitorOpcode::Pong, &payload))),
            9 => received(FrameKind::Ping, &payload),
            8 if !has_closed.swap(true, Ordering::SeqCst) => {
                let (code, reason) = close_frame(&payload);
                happened.note(Happened::Closed { client: *number, code, reason });
                let _ = frames.send(frame(VisitorOpcode::Close, &payload));
            }
            // A pong, or the answer to the client's own close frame.
            _ => {}
        }
    }
    happened.note(Happened::Ended { client: *number });
}

/// Returns the code and reason of a close frame.
pub(super) fn close_frame(payload: &[u8]) -> (u16, String) {
    match payload.split_first_chunk() {
        Some((code, reason)) => {
            (u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into_owned())
        }
        None => (NO_CODE, String::new()),
    }
}

/// The bytes that a server has written, and the position in them.
struct ServerBytes {
    reader: ReadHalf,
    bytes: Vec<u8>,
    at: usize,
}

impl ServerBytes {
    /// Returns the next `count` bytes. `None` at the end.
    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.bytes.len() - self.at < count {
            self.more().await?;
        }
        let taken = self.bytes.get(self.at..self.at + count)?.to_vec();
        self.at += count;
        if self.at == self.bytes.len() {
            self.bytes.clear();
            self.at = 0;
        }
        Some(taken)
    }

    async fn more(&mut self) -> Option<()> {
        let known = self.bytes.len();
        self.bytes.reserve(CHUNK);
        match self.reader.read_buf(&mut self.bytes).await {
            Ok(_) if self.bytes.len() > known => Some(()),
            _ => None,
        }
    }

    async fn response(&mut self) -> Option<Response> {
        let end = loop {
            let found = self.bytes.windows(4).position(|four| four == b"\r\n\r\n");
            match found {
                Some(end) => break end,
                None => self.more().await?,
            }
        };
        let head = self.take(end + 4).await?;
        let mut response = read_head(&head)?;
        let length = response.headers.iter().find(|(name, _)| name == "content-length");
        let length = length.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        if let Some(length) = length {
            response.body = self.take(length).await?;
        }
        Some(response)
    }

    /// Returns the next frame. Servers do not mask frames, and this one does not fragment them.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, second] = *self.take(2).await?.first_chunk()?;
        let length = match second & 0x7f {
            126 => self.take(2).await?.into_iter().fold(0, |sum, byte| sum << 8 | u64::from(byte)),
            127 => self.take(8).await?.into_iter().fold(0, |sum, byte| sum << 8 | u64::from(byte)),
            short => u64::from(short),
        };
        let payload = self.take(usize::try_from(length).ok()?).await?;
        Some((first & 0x0f, payload))
    }
}

/// Returns the status line and the headers of a response.
fn read_head(head: &[u8]) -> Option<Response> {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let status = lines.next()?.split(|byte| *byte == b' ').nth(1)?;
    let status = std::str::from_utf8(status).ok()?.parse().ok()?;
    let mut headers = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next()?, parts.next()?.trim_ascii());
        headers.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
    }
    Some(Response { status, headers, body: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_shortest_header() {
        assert_eq!(frame(VisitorOpcode::Text, b"hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(header(VisitorOpcode::Binary, 126)[..4], [0x82, 0xfe, 0, 126]);
        assert_eq!(
            header(VisitorOpcode::Binary, 65_536)[..10],
            [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]
        );
    }

    #[test]
    fn a_response_is_its_status_and_its_headers() {
        let head = b"HTTP/1.1 401 Unauthorized\r\nX-A: b: c\r\ncontent-length: 3\r\n\r\n";
        let response = read_head(head).expect("a response");
        assert_eq!(response.status, 401);
        let headers = [("x-a", "b: c"), ("content-length", "3")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        assert_eq!(response.headers, headers);
        assert_eq!(read_head(b"nonsense"), None);
    }
}
