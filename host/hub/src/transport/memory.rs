//! A connection within this process: a bounded queue of bytes for each direction.
//!
//! It behaves like a pair of connected sockets. A full queue accepts nothing more until the other
//! side has read. A side that ends its direction can still be read to the end. A side that is
//! closed can no longer be written to. One that is closed with unread bytes resets the connection:
//! the other side reads the bytes that had arrived, then an error.
//!
//! Everything happens within the calls, so that no thread and no kernel is involved: a task whose
//! wait is over has been woken when the call returns.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Creates the two ends of a connection, each of whose directions holds at most `capacity` bytes. A
/// capacity of zero counts as one. The memory is taken as it is needed.
pub fn pair(capacity: usize) -> (Stream, Stream) {
    let (there, back) = (Lane::new(capacity), Lane::new(capacity));
    (Stream::new(back.clone(), there.clone()), Stream::new(there, back))
}

/// One end of a connection.
#[derive(Debug)]
pub struct Stream {
    reader: ReadHalf,
    writer: WriteHalf,
}

impl Stream {
    fn new(incoming: Arc<Lane>, outgoing: Arc<Lane>) -> Stream {
        let is_left_open = AtomicBool::new(false);
        let end = Arc::new(End { incoming, outgoing, is_left_open });
        Stream { reader: ReadHalf(end.clone()), writer: WriteHalf(end) }
    }

    /// Splits the end into its two directions. The end is closed when both are dropped.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (self.reader, self.writer)
    }
}

/// The incoming direction of an end.
#[derive(Debug)]
pub struct ReadHalf(Arc<End>);

/// The outgoing direction of an end. Dropping it ends that direction.
#[derive(Debug)]
pub struct WriteHalf(Arc<End>);

impl WriteHalf {
    /// Writes as much as there is room for.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room; `BrokenPipe` if the direction has ended or the other side is
    /// closed.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(bytes)])
    }

    /// Writes as much of several slices, in their order, as there is room for.
    ///
    /// # Errors
    ///
    /// The errors are those of [`try_write`](WriteHalf::try_write).
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.0.outgoing.write(slices, None) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Waits until there is room, or a write would fail.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.outgoing.poll_room(cx)
    }

    /// Drops the half without ending its direction. That ends when the end is closed.
    pub fn forget(self) {
        // `drop` reads it, on this thread.
        self.0.is_left_open.store(true, Ordering::Relaxed);
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        if !self.0.is_left_open.load(Ordering::Relaxed) {
            self.0.outgoing.finish();
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.incoming.poll_read(cx, buffer)
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.outgoing.write(&[IoSlice::new(bytes)], Some(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.outgoing.write(slices, Some(cx))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.outgoing.finish();
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

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().writer).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().writer).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_shutdown(cx)
    }
}

/// The data that the halves of one end share. Dropping it closes the end.
#[derive(Debug)]
struct End {
    incoming: Arc<Lane>,
    outgoing: Arc<Lane>,
    /// True if the write half was dropped by [`WriteHalf::forget`].
    is_left_open: AtomicBool,
}

impl Drop for End {
    fn drop(&mut self) {
        match self.incoming.close() {
            true => self.outgoing.finish(),
            false => self.outgoing.reset(),
        }
    }
}

/// One direction of a connection.
#[derive(Debug)]
struct Lane {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    /// True if nothing more is written.
    is_finished: bool,
    /// True if the writing end was closed with unread bytes.
    is_reset: bool,
    /// True if nothing more is read.
    is_closed: bool,
    /// The task that waits for bytes.
    reader: Option<Waker>,
    /// The task that waits for room.
    writer: Option<Waker>,
}

impl Lane {
    fn new(capacity: usize) -> Arc<Lane> {
        Arc::new(Lane { capacity: capacity.max(1), state: Mutex::default() })
    }

    /// Writes as much as there is room for. Pending if there is none; then `cx` is woken when there
    /// is.
    fn write(
        &self,
        slices: &[IoSlice<'_>],
        cx: Option<&mut Context<'_>>,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state.lock();
        if state.is_finished || state.is_closed {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let mut room = self.capacity - state.bytes.len();
        let mut written = 0;
        for slice in slices {
            let (taken, _) = slice.split_at(slice.len().min(room));
            state.bytes.extend(taken);
            room -= taken.len();
            written += taken.len();
        }
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            if let Some(cx) = cx {
                register(&mut state.writer, cx);
            }
            return Poll::Pending;
        }
        let reader = state.reader.take_if(|_| written > 0);
        drop(state);
        wake(reader);
        Poll::Ready(Ok(written))
    }

    /// Waits until there is room, or writing fails.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.lock();
        if state.is_finished || state.is_closed || state.bytes.len() < self.capacity {
            return Poll::Ready(Ok(()));
        }
        register(&mut state.writer, cx);
        Poll::Pending
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.lock();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if state.bytes.is_empty() {
            if state.is_reset {
                return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
            }
            if state.is_finished {
                return Poll::Ready(Ok(()));
            }
            register(&mut state.reader, cx);
            return Poll::Pending;
        }
        // Two rounds, because the queue may go around the end of its memory.
        for _ in 0..2 {
            let read = state.bytes.read(buffer.initialize_unfilled())?;
            buffer.advance(read);
        }
        let writer = state.writer.take();
        drop(state);
        wake(writer);
        Poll::Ready(Ok(()))
    }

    /// Ends the direction from its writing end.
    fn finish(&self) {
        let mut state = self.state.lock();
        state.is_finished = true;
        let wakers = (state.reader.take(), state.writer.take());
        drop(state);
        wake(wakers.0);
        wake(wakers.1);
    }

    /// Ends the direction from its writing end with an error.
    fn reset(&self) {
        self.state.lock().is_reset = true;
        self.finish();
    }

    /// Closes the reading end. Returns true if everything had been read.
    fn close(&self) -> bool {
        let mut state = self.state.lock();
        state.is_closed = true;
        let unread = std::mem::take(&mut state.bytes);
        let writer = state.writer.take();
        drop(state);
        wake(writer);
        unread.is_empty()
    }
}

fn register(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(known) => known.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

/// Wakes a task. Called without the lock, which the task may take at once.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
