//! The work that a connection may do in a row before other tasks of its thread get their turn.
//!
//! A message gives its turn up by itself when its handler waits. Frames that need no handler, such as
//! pongs and fragments, are counted here: each costs next to nothing, but a client can send them by
//! the hundred thousand.

/// Frames that are taken in one turn.
const FRAMES: u32 = 256;

/// Frames that one read from the socket counts for, so that a turn reads 32 times at most.
const FRAMES_A_READ: u32 = 8;

/// The rest of a turn.
#[derive(Debug)]
pub(super) struct Turn {
    left: u32,
}

impl Turn {
    /// Begins a turn.
    pub(super) fn new() -> Turn {
        Turn { left: FRAMES }
    }

    /// Makes a turn that is never over in practice.
    pub(super) fn endless() -> Turn {
        Turn { left: u32::MAX }
    }

    /// Returns true if others are next.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Notes a frame.
    pub(super) fn frame(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// Notes a read.
    pub(super) fn read(&mut self) {
        self.left = self.left.saturating_sub(FRAMES_A_READ);
    }
}
