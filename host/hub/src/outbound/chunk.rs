//! The waiting bytes of an outbound queue: a frame as it was encoded, or small frames one behind
//! the other.
//!
//! A frame that finds the queue empty is mostly written at once, and is shared by all of its
//! receivers. Small frames that find another one waiting are copied behind it, so that a burst
//! is one piece of memory and one write.

use std::ops::Deref;

use bytes::{Buf, Bytes};

use crate::client_bytes::is_small;
use crate::frame::Frame;

/// Smallest charge of a waiting frame, in bytes: about its cost beside the payload. So a client
/// that provokes tiny frames and reads none of them costs no more than any other.
pub(super) const MIN_CHARGE: usize = 64;

/// Largest frame that is copied, in bytes. A larger one costs more to copy than to write as a
/// piece.
const MAX_COPIED_BYTES: usize = 1024;

/// Length of copied frames after which a new chunk begins, in bytes.
const MAX_CHUNK_BYTES: usize = 16 * 1024;

/// Capacities of a buffer for copied frames, step by step.
const CAPACITIES: [usize; 3] = [512, 4 * 1024, MAX_CHUNK_BYTES];

/// Waiting bytes that follow each other in memory.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: Waiting,
    /// Charge of its frames. No frame has 4 GiB, and thousands of connections keep room for chunks.
    charge: u32,
    /// True if it counts for this receiver, and not by itself.
    pub(super) is_small: bool,
}

#[derive(Debug)]
enum Waiting {
    Shared(Bytes),
    Copied {
        bytes: Vec<u8>,
        /// Bytes that have been written.
        written: usize,
    },
}

/// Returns the charge of a waiting frame.
pub(super) fn charge(frame: &Frame) -> usize {
    frame.len().max(MIN_CHARGE)
}

/// Returns a charge as it is kept.
fn kept(charge: usize) -> u32 {
    u32::try_from(charge).unwrap_or(u32::MAX)
}

impl Chunk {
    /// Makes a chunk of one frame with this charge.
    pub(super) fn of(frame: &Frame, charge: usize) -> Chunk {
        let is_small = is_small(frame.len());
        Chunk { charge: kept(charge), bytes: Waiting::Shared(frame.wire().clone()), is_small }
    }

    /// Puts a frame behind the waiting ones, if all of them are small. Returns true if it did.
    pub(super) fn append(&mut self, frame: &Frame, charge: usize) -> bool {
        if frame.len() > MAX_COPIED_BYTES {
            return false;
        }
        if let Waiting::Shared(first) = &self.bytes {
            if first.len() > MAX_COPIED_BYTES {
                return false;
            }
            let mut bytes = Vec::with_capacity(CAPACITIES[0].max(first.len() + frame.len()));
            bytes.extend_from_slice(first);
            self.bytes = Waiting::Copied { bytes, written: 0 };
        }
        let Waiting::Copied { bytes, .. } = &mut self.bytes else {
            return false;
        };
        let length = bytes.len() + frame.len();
        if length > MAX_CHUNK_BYTES {
            return false;
        }
        if length > bytes.capacity() {
            // The buffer grows in few steps, because each may copy its content.
            let capacity = CAPACITIES.into_iter().find(|capacity| *capacity >= length);
            bytes.reserve_exact(capacity.unwrap_or(length) - bytes.len());
        }
        bytes.extend_from_slice(frame);
        self.charge += kept(charge);
        true
    }

    /// Returns the charge of its frames.
    pub(super) fn charge(&self) -> usize {
        self.charge as usize
    }

    /// Notes that `written` bytes have been written, but not all. Returns the part of the charge
    /// that this frees.
    pub(super) fn advance(&mut self, written: usize) -> usize {
        match &mut self.bytes {
            Waiting::Shared(frame) => frame.advance(written),
            Waiting::Copied { written: before, .. } => *before += written,
        }
        let less = written.min(self.charge().saturating_sub(MIN_CHARGE));
        self.charge = self.charge.saturating_sub(u32::try_from(less).unwrap_or(u32::MAX));
        less
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[expect(clippy::indexing_slicing, reason = "no more has been written than there is")]
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Waiting::Shared(frame) => frame,
            Waiting::Copied { bytes, written } => &bytes[*written..],
        }
    }
}
