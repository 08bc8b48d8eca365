//! What waits in an outbound queue: a frame as it was encoded, or small ones one behind the other.
//!
//! A frame that finds the queue empty is mostly written at once, and is shared by all of its
//! receivers. Small frames that find another one waiting are copied behind it, so that a burst
//! is one piece of memory and one write.

use std::ops::Deref;

use bytes::{Buf, Bytes};

use crate::frame::Frame;

/// What a waiting frame counts for at least, in bytes: about what it costs beside its payload. So
/// a client that provokes tiny frames and reads none of them costs no more than any other.
pub(super) const MIN_CHARGE: usize = 64;

/// The largest frame that is copied; larger ones are dearer to copy than to write as a piece.
const MAX_COPIED_BYTES: usize = 1024;

/// How long copied frames become before a new segment begins.
const MAX_SEGMENT_BYTES: usize = 16 * 1024;

/// What copied frames make room for, step by step.
const CAPACITIES: [usize; 3] = [512, 4 * 1024, MAX_SEGMENT_BYTES];

/// Waiting bytes that follow each other in memory.
#[derive(Debug)]
pub(super) struct Segment {
    bytes: Waiting,
    /// What its frames count for.
    pub(super) charge: usize,
}

#[derive(Debug)]
enum Waiting {
    Shared(Bytes),
    Copied {
        bytes: Vec<u8>,
        /// How much has been written.
        written: usize,
    },
}

/// What a waiting frame counts for.
pub(super) fn charge(frame: &Frame) -> usize {
    frame.len().max(MIN_CHARGE)
}

impl Segment {
    /// One frame.
    pub(super) fn of(frame: &Frame) -> Segment {
        Segment { charge: charge(frame), bytes: Waiting::Shared(frame.wire().clone()) }
    }

    /// Put a frame behind what waits here, if all of it is small. Says whether it was.
    pub(super) fn append(&mut self, frame: &Frame) -> bool {
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
        if length > MAX_SEGMENT_BYTES {
            return false;
        }
        if length > bytes.capacity() {
            // In few steps, because each may copy what is there.
            let capacity = CAPACITIES.into_iter().find(|capacity| *capacity >= length);
            bytes.reserve_exact(capacity.unwrap_or(length) - bytes.len());
        }
        bytes.extend_from_slice(frame);
        self.charge += charge(frame);
        true
    }

    /// Note that so many bytes have been written, but not all. Returns by how much the charge is
    /// less for it.
    pub(super) fn advance(&mut self, written: usize) -> usize {
        match &mut self.bytes {
            Waiting::Shared(frame) => frame.advance(written),
            Waiting::Copied { written: before, .. } => *before += written,
        }
        let less = written.min(self.charge.saturating_sub(MIN_CHARGE));
        self.charge -= less;
        less
    }
}

impl Deref for Segment {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Waiting::Shared(frame) => frame,
            Waiting::Copied { bytes, written } => &bytes[*written..],
        }
    }
}
