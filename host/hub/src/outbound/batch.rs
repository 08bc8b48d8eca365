//! One write of an outbound: some chunks of its queue.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use super::chunk::Chunk;
use crate::transport::Writer;

/// Chunks that one `writev` takes at most; the rest needs another.
pub(super) const CHUNKS_PER_WRITE: usize = 16;

/// The chunks of one write. One is by far the most common number, and costs no allocation.
pub(super) enum Batch {
    One(Chunk),
    Several(Vec<Chunk>),
}

impl Batch {
    /// Takes the first chunks out of a queue; `None` if it is empty.
    pub(super) fn take(queue: &mut VecDeque<Chunk>) -> Option<Batch> {
        if queue.len() > 1 {
            let chunks = queue.len().min(CHUNKS_PER_WRITE);
            return Some(Batch::Several(queue.drain(..chunks).collect()));
        }
        queue.pop_front().map(Batch::One)
    }

    /// Writes as much as the socket accepts at once.
    pub(super) fn write(&self, socket: &Writer) -> io::Result<usize> {
        match self {
            Batch::One(chunk) => socket.try_write(chunk),
            Batch::Several(chunks) => {
                let mut slices = [IoSlice::new(&[]); CHUNKS_PER_WRITE];
                for (slice, chunk) in slices.iter_mut().zip(chunks) {
                    *slice = IoSlice::new(chunk);
                }
                let (used, _) = slices.split_at(chunks.len().min(CHUNKS_PER_WRITE));
                socket.try_write_vectored(used)
            }
        }
    }

    /// Returns the chunks.
    pub(super) fn into_chunks(self) -> Vec<Chunk> {
        match self {
            Batch::One(chunk) => vec![chunk],
            Batch::Several(chunks) => chunks,
        }
    }
}
