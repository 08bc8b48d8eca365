//! A TLS stream over a TCP socket.
//!
//! Both directions share the state of the encryption, behind a lock that is held for a record at a time. So every
//! task that flushes an outbound may write, as to a socket without encryption, and no task or buffer stands between.
//!
//! Encryption makes a write harder to take back: bytes that were encrypted must be sent. When the kernel does not
//! take a whole record, the writer says that it has taken one byte less than it has. The owner keeps that byte as the
//! rest of a frame, waits for the socket and writes again; then the record is finished and the byte is counted.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, tcp};

/// Bytes that may be encrypted and not sent: they wait here, beside the queue of the outbound and its bound.
const MAX_UNSENT_BYTES: usize = 16 * 1024;

/// The answer to a client that speaks HTTP without encryption.
const PLAIN_ANSWER: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 77\r\nConnection: close\r\n\r\n\
    this address speaks TLS; use https:// or wss:// in place of http:// or ws://\n";

/// A TLS stream. Reading it does the handshake, unless that was waited for.
#[derive(Debug)]
pub struct Stream {
    reader: ReadHalf,
    writer: WriteHalf,
}

impl Stream {
    /// Makes the server's side of a TLS stream on a socket that nothing was read from.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used.
    pub fn accept(socket: TcpStream, config: Arc<ServerConfig>) -> Result<Stream, rustls::Error> {
        let mut connection = ServerConnection::new(config)?;
        connection.set_buffer_limit(Some(MAX_UNSENT_BYTES));
        let session =
            Arc::new(Mutex::new(Session { connection, owes_one: false, is_plain: false }));
        let (reader, writer) = socket.into_split();
        let reader = ReadHalf { socket: reader, session: session.clone(), first: None };
        Ok(Stream { reader, writer: WriteHalf { socket: Some(writer), session } })
    }

    /// Waits until the handshake is done.
    ///
    /// # Errors
    ///
    /// The client has ended the connection, or what it sends is not TLS or not acceptable. It was told so; the error
    /// has the [`rustls::Error`] in it.
    pub async fn handshake(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.reader.poll_handshake(cx)).await
    }

    /// Splits the stream into its two directions. The connection is closed when both are dropped.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (self.reader, self.writer)
    }

    /// Writes as much of several slices as is taken, and waits until something is.
    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.writer.try_write_vectored(slices) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.writer.poll_write_ready(cx))?;
                }
                result => return Poll::Ready(result),
            }
        }
    }

    /// Waits until the kernel has taken all that was encrypted.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.writer.flush()? {
            ready!(self.writer.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the other side that nothing follows.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.session.lock().connection.send_close_notify();
        ready!(self.poll_flush(cx))?;
        if let Some(socket) = self.writer.socket.take() {
            drop(socket);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().reader).poll_read(cx, buffer)
    }
}

/// The state of the encryption of both directions.
#[derive(Debug)]
struct Session {
    connection: ServerConnection,
    /// True if the next byte to be written was encrypted already.
    owes_one: bool,
    /// True if the client was answered without encryption, so that no record must follow.
    is_plain: bool,
}

impl Session {
    /// Hands the kernel what was encrypted. Returns true if nothing is left.
    fn flush(&mut self, socket: &TcpStream) -> io::Result<bool> {
        if self.is_plain {
            return Err(ErrorKind::BrokenPipe.into());
        }
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut SocketWriter(socket)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads from the socket and decrypts, after what is left to be written. Returns the number of bytes; none at the
    /// end.
    fn poll_records(
        &mut self,
        socket: &mut tcp::OwnedReadHalf,
        first: &mut Option<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // The handshake's own messages, and what a flush of an outbound has left. A direction that has failed or ended
        // does not keep the other one from being read to its end.
        while let Ok(false) = self.flush((*socket).as_ref()) {
            match (*socket).as_ref().poll_write_ready(cx) {
                Poll::Ready(ready) => ready?,
                // The client is read even so: it may be waiting for that before it reads.
                Poll::Pending => break,
            }
        }
        let mut records = SocketReader { socket, cx, first };
        let read = match self.connection.read_tls(&mut records) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let Err(error) = self.connection.process_new_packets() else {
            return Poll::Ready(Ok(read));
        };
        match first {
            // No record of TLS begins with a letter, and every request of HTTP does.
            Some(b'A'..=b'Z') => {
                self.is_plain = true;
                let _ = (*socket).as_ref().try_write(PLAIN_ANSWER.as_bytes());
            }
            // The client is told the reason, if it still listens.
            _ => drop(self.flush((*socket).as_ref())),
        }
        Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, error)))
    }
}

/// The incoming direction.
#[derive(Debug)]
pub struct ReadHalf {
    socket: tcp::OwnedReadHalf,
    session: Arc<Mutex<Session>>,
    /// First byte of all, which tells other protocols from TLS.
    first: Option<u8>,
}

impl ReadHalf {
    /// Waits until the handshake is done.
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ReadHalf { socket, session, first } = self;
        let mut session = session.lock();
        while session.connection.is_handshaking() {
            if ready!(session.poll_records(socket, first, cx))? == 0 {
                return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let ReadHalf { socket, session, first } = self.get_mut();
        let mut session = session.lock();
        while buffer.remaining() > 0 {
            match session.connection.reader().read(buffer.initialize_unfilled()) {
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                // WebSocket and HTTP have ends of their own, so that a client that only closes the socket has not
                // been cut off by somebody in between.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(session.poll_records(socket, first, cx))?;
        }
        Poll::Ready(Ok(()))
    }
}

/// The outgoing direction. Dropping it tells the other side that nothing follows.
#[derive(Debug)]
pub struct WriteHalf {
    /// `None` once the direction has ended.
    socket: Option<tcp::OwnedWriteHalf>,
    session: Arc<Mutex<Session>>,
}

impl WriteHalf {
    /// Writes as much as the socket accepts at once.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it takes nothing now; any other error ends the connection.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(bytes)])
    }

    /// Writes as much of several slices, in their order, as the socket accepts at once.
    ///
    /// # Errors
    ///
    /// The errors are those of [`try_write`](WriteHalf::try_write).
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = self.socket()?;
        let mut session = self.session.lock();
        if !session.flush(socket)? {
            return Err(ErrorKind::WouldBlock.into());
        }
        if std::mem::take(&mut session.owes_one) {
            return Ok(1);
        }
        let taken = session.connection.writer().write_vectored(slices)?;
        if taken == 0 || session.flush(socket)? {
            return Ok(taken);
        }
        session.owes_one = true;
        match taken - 1 {
            // A frame has at least two bytes, so that this one is the rest of one already.
            0 => Err(ErrorKind::WouldBlock.into()),
            all_but_one => Ok(all_but_one),
        }
    }

    /// Returns true if the next byte to be written was sent in part already, so that it must not be replaced.
    pub(crate) fn owes_a_byte(&self) -> bool {
        self.session.lock().owes_one
    }

    /// Waits until a write may succeed. One task at a time is woken for it: the last to ask.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_write_ready(cx)
    }

    /// Drops the half without ending the socket's direction. The other side is told that nothing follows.
    pub fn forget(mut self) {
        self.say_goodbye();
        if let Some(socket) = self.socket.take() {
            socket.forget();
        }
    }

    fn flush(&self) -> io::Result<bool> {
        self.session.lock().flush(self.socket()?)
    }

    fn socket(&self) -> io::Result<&TcpStream> {
        self.socket.as_ref().map(AsRef::as_ref).ok_or_else(|| ErrorKind::BrokenPipe.into())
    }

    /// Sends the end of the stream (RFC 8446, 6.1), if the socket takes it at once: nobody waits for a stream that is
    /// given up.
    fn say_goodbye(&self) {
        if let Some(socket) = &self.socket {
            let mut session = self.session.lock();
            session.connection.send_close_notify();
            let _ = session.flush(socket.as_ref());
        }
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.say_goodbye();
    }
}

/// A socket to read records from, for as long as a poll lasts.
struct SocketReader<'a, 'b> {
    socket: &'a mut tcp::OwnedReadHalf,
    cx: &'a mut Context<'b>,
    first: &'a mut Option<u8>,
}

impl Read for SocketReader<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(&mut *self.socket).poll_read(self.cx, &mut buffer) {
            Poll::Ready(result) => result?,
            Poll::Pending => return Err(ErrorKind::WouldBlock.into()),
        }
        if self.first.is_none() {
            *self.first = buffer.filled().first().copied();
        }
        Ok(buffer.filled().len())
    }
}

/// A socket to write records to.
struct SocketWriter<'a>(&'a TcpStream);

impl Write for SocketWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
