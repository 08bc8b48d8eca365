//! A TCP connection that may send anything, or nothing: bad handshakes, bad frames, clients that do
//! not read.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::soon;

/// The key of RFC 6455's example, and the server's answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A TCP connection.
#[derive(Debug)]
pub struct Raw {
    /// The socket itself.
    pub socket: TcpStream,
    /// Bytes that were read and not returned yet.
    buffer: Vec<u8>,
}

/// A response to an HTTP request.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The head as received, with the status line.
    pub head: String,
    /// The body, of the length in `content-length`.
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// Returns the values of a header.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let of_name = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.trim()).collect()
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A frame from a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// The lower half of the first byte.
    pub opcode: u8,
    /// True for the last frame of a message.
    pub is_final: bool,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Returns the code of a close frame.
    pub fn close_code(&self) -> Option<u16> {
        match (self.opcode, self.payload.as_slice()) {
            (8, [high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }
}

impl Raw {
    /// Opens a connection.
    pub async fn open(address: SocketAddr) -> Raw {
        let socket = soon("a TCP connection", TcpStream::connect(address)).await;
        let socket = socket.expect("the server accepts");
        socket.set_nodelay(true).expect("the socket is open");
        Raw { socket, buffer: Vec::new() }
    }

    /// Opens a connection whose receive buffer is as small as the system allows, so that the server
    /// soon notices a client that does not read.
    pub async fn open_narrow(address: SocketAddr) -> Raw {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(2048).expect("a small buffer");
        let socket = soon("a TCP connection", socket.connect(address)).await;
        Raw { socket: socket.expect("the server accepts"), buffer: Vec::new() }
    }

    /// Sends bytes unchanged.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let written = soon("bytes to be written", self.socket.write_all(bytes.as_ref())).await;
        written.expect("the server reads");
    }

    /// Sends bytes if the connection still accepts them.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        soon("bytes to be written or not", self.socket.write_all(bytes.as_ref())).await.is_ok()
    }

    /// Sends a request line with these headers; `Host` is added.
    pub async fn request(&mut self, line: &str, headers: &[(&str, &str)]) {
        let address = self.socket.peer_addr().expect("the socket is open");
        let mut head = format!("{line} HTTP/1.1\r\nHost: {address}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.write(head).await;
    }

    /// Returns the response to a request.
    pub async fn answer(&mut self) -> HttpAnswer {
        self.try_answer().await.expect("an HTTP response")
    }

    /// Returns the response to a request; `None` if the server ends the connection instead.
    pub async fn try_answer(&mut self) -> Option<HttpAnswer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill().await {
                return None;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status in {head:?}"));
        let mut answer = HttpAnswer { status, head, body: Vec::new() };
        let length = answer.header("content-length").first().and_then(|text| text.parse().ok());
        if status >= 200 {
            answer.body = self.take(length.unwrap_or(0)).await.expect("a whole body");
        }
        Some(answer)
    }

    /// Returns the next bytes up to the end of this mark; `None` at the end of the stream.
    pub async fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|bytes| bytes == mark) {
                return Some(self.buffer.drain(..at + mark.len()).collect());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Asks for an upgrade as a client should, and checks the answer.
    pub async fn upgrade(&mut self, path: &str) {
        self.request(&format!("GET {path}"), &upgrade_headers()).await;
        let answer = self.answer().await;
        assert_eq!(answer.status, 101, "{}", answer.head);
        assert_eq!(answer.header("sec-websocket-accept"), [ACCEPT], "{}", answer.head);
    }

    /// Sends a frame as a client should: whole and masked.
    pub async fn send_frame(&mut self, opcode: u8, payload: impl AsRef<[u8]>) {
        self.write(frame(0x80 | opcode, payload.as_ref())).await;
    }

    /// Returns the next frame; `None` if the stream ends.
    pub async fn frame(&mut self) -> Option<Frame> {
        let head = self.take(2).await?;
        let length = match head[1] {
            126 => {
                let bytes = self.take(2).await?;
                usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
            }
            127 => {
                let bytes = self.take(8).await?;
                let bytes: [u8; 8] = bytes.try_into().expect("eight bytes");
                usize::try_from(u64::from_be_bytes(bytes)).expect("a length")
            }
            length => {
                assert!(length < 126, "servers do not mask");
                usize::from(length)
            }
        };
        let payload = self.take(length).await?;
        Some(Frame { opcode: head[0] & 0x0f, is_final: head[0] & 0x80 != 0, payload })
    }

    /// Returns the frames before the close frame, and the close frame; `None` if the stream ends
    /// without one.
    pub async fn until_close(&mut self) -> (Vec<Frame>, Option<Frame>) {
        let mut frames = Vec::new();
        loop {
            match self.frame().await {
                Some(frame) if frame.opcode == 8 => return (frames, Some(frame)),
                Some(frame) => frames.push(frame),
                None => return (frames, None),
            }
        }
    }

    /// Waits until the stream ends, and drops all bytes before that.
    pub async fn ended(&mut self) {
        while self.fill().await {
            self.buffer.clear();
        }
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.socket.set_zero_linger().expect("the socket is open");
    }

    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.buffer.drain(..count).collect())
    }

    /// Reads more; returns false at the end of the stream.
    async fn fill(&mut self) -> bool {
        let read =
            soon("the server to send something", self.socket.read_buf(&mut self.buffer)).await;
        read.is_ok_and(|count| count > 0)
    }
}

/// Returns the headers of a good upgrade request, without `Host`.
pub fn upgrade_headers() -> [(&'static str, &'static str); 4] {
    [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ]
}

/// Makes a masked frame; `first` is its first byte, with any bits.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ ..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
