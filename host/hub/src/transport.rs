//! The byte stream of a connection: a TCP or Unix socket, with TLS or without, or a pair of queues within this
//! process.
//!
//! A transport is split into a [`Reader`], which belongs to the connection's task, and a
//! [`Writer`], which belongs to the [`Outbound`](crate::outbound::Outbound). Every task that
//! flushes an outbound may write: writing takes `&self` and never waits.
//!
//! The variants are an enum, so that a socket is read and written without a virtual call.

pub mod memory;
pub mod tls;

#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

/// The byte stream of one connection.
#[derive(Debug)]
pub enum Transport {
    /// A TCP socket.
    Tcp(TcpStream),
    /// A TCP socket that speaks TLS.
    Tls(Box<tls::Stream>),
    /// A Unix socket.
    Unix(UnixStream),
    /// An end of a connection within this process.
    Memory(memory::Stream),
}

impl Transport {
    /// Wraps a TCP socket, and makes it send small writes at once: frames are written whole, and
    /// waiting for more of them only delays them.
    pub fn tcp(socket: TcpStream) -> Transport {
        // A socket that refuses the option is slower, but works.
        let _ = socket.set_nodelay(true);
        Transport::Tcp(socket)
    }

    /// Splits the stream into its two directions. The connection is closed when both are dropped.
    pub fn into_split(self) -> (Reader, Writer) {
        match self {
            Transport::Tcp(socket) => {
                let (reader, writer) = socket.into_split();
                (Reader::Tcp(reader), Writer::Tcp(writer))
            }
            Transport::Tls(stream) => {
                let (reader, writer) = stream.into_split();
                (Reader::Tls(Box::new(reader)), Writer::Tls(Box::new(writer)))
            }
            Transport::Unix(socket) => {
                let (reader, writer) = socket.into_split();
                (Reader::Unix(reader), Writer::Unix(Box::new(writer)))
            }
            Transport::Memory(stream) => {
                let (reader, writer) = stream.into_split();
                (Reader::Memory(reader), Writer::Memory(writer))
            }
        }
    }
}

impl From<tls::Stream> for Transport {
    fn from(stream: tls::Stream) -> Transport {
        Transport::Tls(Box::new(stream))
    }
}

impl From<UnixStream> for Transport {
    fn from(socket: UnixStream) -> Transport {
        Transport::Unix(socket)
    }
}

impl From<memory::Stream> for Transport {
    fn from(stream: memory::Stream) -> Transport {
        Transport::Memory(stream)
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(socket) => Pin::new(socket).poll_read(cx, buffer),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
            Transport::Unix(socket) => Pin::new(socket).poll_read(cx, buffer),
            Transport::Memory(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

/// HTTP writes with this before the connection is split.
impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Transport::Tls(stream) => stream.poll_write(cx, &[IoSlice::new(bytes)]),
            Transport::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            Transport::Memory(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Transport::Tls(stream) => stream.poll_write(cx, slices),
            Transport::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Transport::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Transport::Tcp(socket) => socket.is_write_vectored(),
            Transport::Tls(_) => true,
            Transport::Unix(socket) => socket.is_write_vectored(),
            Transport::Memory(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Transport::Tls(stream) => stream.poll_flush(cx),
            Transport::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Transport::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Transport::Tls(stream) => stream.poll_shutdown(cx),
            Transport::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Transport::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The incoming direction of a transport.
#[derive(Debug)]
pub enum Reader {
    /// The half of a TCP socket.
    Tcp(tcp::OwnedReadHalf),
    /// The half of a TLS stream.
    Tls(Box<tls::ReadHalf>),
    /// The half of a Unix socket.
    Unix(unix::OwnedReadHalf),
    /// The half of a connection within this process.
    Memory(memory::ReadHalf),
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Reader::Tcp(half) => Pin::new(half).poll_read(cx, buffer),
            Reader::Tls(half) => Pin::new(&mut **half).poll_read(cx, buffer),
            Reader::Unix(half) => Pin::new(half).poll_read(cx, buffer),
            Reader::Memory(half) => Pin::new(half).poll_read(cx, buffer),
        }
    }
}

/// The outgoing direction of a transport. Dropping it ends the stream: the other side reads to the
/// end of the written bytes, and then finds the end.
#[derive(Debug)]
pub enum Writer {
    /// The half of a TCP socket.
    Tcp(tcp::OwnedWriteHalf),
    /// The half of a TLS stream.
    Tls(Box<tls::WriteHalf>),
    /// The half of a Unix socket. Boxed, so that the writer of a TCP socket takes no more room than its
    /// half.
    Unix(Box<unix::OwnedWriteHalf>),
    /// The half of a connection within this process.
    Memory(memory::WriteHalf),
}

impl Writer {
    /// Writes as much as the transport accepts at once.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it takes nothing now; any other error ends the connection.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Writer::Tcp(half) => half.try_write(bytes),
            Writer::Tls(half) => half.try_write(bytes),
            Writer::Unix(half) => half.try_write(bytes),
            Writer::Memory(half) => half.try_write(bytes),
        }
    }

    /// Writes as much of several slices, in their order, as the transport accepts at once.
    ///
    /// # Errors
    ///
    /// The errors are those of [`try_write`](Writer::try_write).
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Writer::Tcp(half) => half.try_write_vectored(slices),
            Writer::Tls(half) => half.try_write_vectored(slices),
            Writer::Unix(half) => half.try_write_vectored(slices),
            Writer::Memory(half) => half.try_write_vectored(slices),
        }
    }

    /// Returns true if the next byte to be written is on its way already, so that it must not be replaced by another.
    pub(crate) fn owes_a_byte(&self) -> bool {
        match self {
            Writer::Tls(half) => half.owes_a_byte(),
            Writer::Tcp(_) | Writer::Unix(_) | Writer::Memory(_) => false,
        }
    }

    /// Waits until a write may succeed. One task at a time is woken for it: the last to ask.
    ///
    /// # Errors
    ///
    /// The connection has failed.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Writer::Tcp(half) => half.as_ref().poll_write_ready(cx),
            Writer::Tls(half) => half.poll_write_ready(cx),
            Writer::Unix(half) => (**half).as_ref().poll_write_ready(cx),
            Writer::Memory(half) => half.poll_write_ready(cx),
        }
    }

    /// Drops the writer without ending the stream. It ends when the reader is dropped as well.
    pub fn forget(self) {
        match self {
            Writer::Tcp(half) => half.forget(),
            Writer::Tls(half) => half.forget(),
            Writer::Unix(half) => half.forget(),
            Writer::Memory(half) => half.forget(),
        }
    }
}
