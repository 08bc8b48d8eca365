//! The peer `floor`: not a usable server, but the work that the kernel asks of every server. It has
//! one thread, one epoll and one read buffer for all. Frames are unmasked and written as they are,
//! those of one read in one write. It understands only whole messages of a client that keeps to the
//! protocol.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 64 * 1024;

struct Connection {
    stream: TcpStream,
    /// The path of its room; `None` before the handshake and for echoes.
    room: Option<String>,
    is_open: bool,
    /// Received bytes that do not make a whole request or frame yet.
    unparsed: Vec<u8>,
    /// Bytes that the socket had no room for.
    unsent: Vec<u8>,
}

struct Floor {
    poll: Poll,
    /// The connections by their numbers, which are not used again.
    connections: Vec<Option<Connection>>,
    rooms: HashMap<String, Vec<usize>>,
    scratch: Vec<u8>,
    /// The frames of one read, as they are sent.
    frames: Vec<u8>,
}

/// Serves until it fails. Announces its address first.
pub fn serve(listen: SocketAddr, announce: impl Fn(SocketAddr)) -> anyhow::Result<()> {
    let mut listener = TcpListener::bind(listen)?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    announce(listener.local_addr()?);
    let mut events = Events::with_capacity(1024);
    let mut floor = Floor {
        poll,
        connections: Vec::new(),
        rooms: HashMap::new(),
        scratch: vec![0; READ_BYTES],
        frames: Vec::new(),
    };
    loop {
        match floor.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == LISTENER {
                floor.accept(&listener)?;
                continue;
            }
            let number = event.token().0;
            if event.is_writable() {
                floor.flush(number);
            }
            if event.is_readable() && floor.read(number).is_err() {
                floor.forget(number);
            }
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> anyhow::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("cannot accept"),
            };
            let number = self.connections.len();
            stream.set_nodelay(true)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(number), interest)?;
            self.connections.push(Some(Connection {
                stream,
                room: None,
                is_open: false,
                unparsed: Vec::new(),
                unsent: Vec::new(),
            }));
        }
    }

    fn forget(&mut self, number: usize) {
        let gone = self.connections.get_mut(number).and_then(Option::take);
        let room = gone.and_then(|connection| connection.room);
        if let Some(members) = room.and_then(|room| self.rooms.get_mut(&room)) {
            members.retain(|member| *member != number);
        }
    }

    /// Writes the waiting bytes and then these. The next read sees an error.
    fn write(&mut self, number: usize, bytes: &[u8]) {
        let Some(connection) = at(&mut self.connections, number) else {
            return;
        };
        if connection.unsent.is_empty() {
            let written = connection.stream.write(bytes).unwrap_or(0);
            connection.unsent.extend(&bytes[written..]);
            return;
        }
        connection.unsent.extend(bytes);
        self.flush(number);
    }

    /// Writes the waiting bytes, if any: most events say that there is room.
    fn flush(&mut self, number: usize) {
        let waiting = at(&mut self.connections, number).filter(|c| !c.unsent.is_empty());
        if let Some(Connection { stream, unsent, .. }) = waiting
            && let Ok(written) = stream.write(unsent)
        {
            unsent.drain(..written);
        }
    }

    /// Reads until there is nothing more, and answers. An error ends the connection.
    fn read(&mut self, number: usize) -> anyhow::Result<()> {
        loop {
            let Some(connection) = at(&mut self.connections, number) else {
                return Ok(());
            };
            let read = match connection.stream.read(&mut self.scratch) {
                Ok(0) => bail!("the client has gone"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let mut rest = std::mem::take(&mut connection.unparsed);
            let is_whole = rest.is_empty();
            let mut scratch = std::mem::take(&mut self.scratch);
            let result = if is_whole {
                let result = self.answer(number, &mut scratch[..read]);
                result.map(|parsed| rest.extend(&scratch[parsed..read]))
            } else {
                rest.extend(&scratch[..read]);
                let result = self.answer(number, &mut rest);
                result.map(|parsed| drop(rest.drain(..parsed)))
            };
            let is_last = read < scratch.len();
            self.scratch = scratch;
            result?;
            if let Some(connection) = at(&mut self.connections, number) {
                connection.unparsed = rest;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Answers the whole frames. Returns their size in bytes.
    fn answer(&mut self, number: usize, bytes: &mut [u8]) -> anyhow::Result<usize> {
        let Some(connection) = at(&mut self.connections, number) else {
            return Ok(0);
        };
        if !connection.is_open {
            let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
                return Ok(0);
            };
            let head = std::str::from_utf8(&bytes[..end])?;
            let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
            let accept = derive_accept_key(key.context("there is no key")?.as_bytes());
            let path = head.split(' ').nth(1).context("there is no path")?;
            if path.starts_with("/room/") {
                connection.room = Some(path.to_owned());
                self.rooms.entry(path.to_owned()).or_default().push(number);
            }
            connection.is_open = true;
            let response = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            self.write(number, response.as_bytes());
            return Ok(end + 4);
        }
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        let (parsed, is_end) = unmask(bytes, &mut frames);
        let room = connection.room.clone();
        match room.filter(|_| !is_end) {
            None => self.write(number, &frames),
            Some(room) => {
                let members = self.rooms.remove(&room).unwrap_or_default();
                for member in &members {
                    self.write(*member, &frames);
                }
                self.rooms.insert(room, members);
            }
        }
        self.frames = frames;
        if is_end {
            bail!("the client has said goodbye");
        }
        Ok(parsed)
    }
}

fn at(connections: &mut [Option<Connection>], number: usize) -> Option<&mut Connection> {
    connections.get_mut(number)?.as_mut()
}

/// Makes frames of a server from those of a client. Returns their size in bytes, and whether the
/// last one closes the connection.
fn unmask(bytes: &[u8], frames: &mut Vec<u8>) -> (usize, bool) {
    let mut parsed = 0;
    loop {
        let [first, second, rest @ ..] = &bytes[parsed..] else {
            return (parsed, false);
        };
        let (extended, length): (usize, usize) = match (second & 0x7F, rest) {
            (126, [a, b, ..]) => (2, usize::from(u16::from_be_bytes([*a, *b]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (8, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize)
            }
            (126 | 127, _) => return (parsed, false),
            (length, _) => (0, usize::from(length)),
        };
        let end = length.saturating_add(extended + 4);
        let (Some(mask), Some(payload)) =
            (rest.get(extended..extended + 4), rest.get(extended + 4..end))
        else {
            return (parsed, false);
        };
        frames.extend([*first, second & 0x7F]);
        frames.extend(&rest[..extended]);
        frames.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        parsed += 2 + end;
        // The answer to a close frame is the same frame.
        if first & 0x0F == 0x8 {
            return (parsed, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{self, Opcode};

    #[test]
    fn frames_of_a_client_become_those_of_a_server() {
        let mask = [1, 2, 3, 4];
        for size in [0, 5, 200, 70_000] {
            let payload = vec![b'x'; size];
            let one = frame::encode(Opcode::Text, &payload, mask);
            let mut bytes = [&one[..], &one[..]].concat();
            let mut frames = Vec::new();
            bytes.pop();
            assert_eq!(unmask(&bytes, &mut frames), (one.len(), false));
            let parsed = frame::parse(&frames).expect("valid").expect("whole");
            assert_eq!((parsed.payload, parsed.length), (&payload[..], frames.len()));
        }
    }

    #[test]
    fn a_close_frame_is_the_end() {
        let close = frame::encode(Opcode::Close, &[3, 0xE8], [9, 9, 9, 9]);
        let mut frames = Vec::new();
        assert_eq!(unmask(&close, &mut frames), (close.len(), true));
        assert_eq!(frames, [0x88, 2, 3, 0xE8]);
    }
}
