//! What a task has queued on outbounds and must still write.

use std::sync::Arc;

use super::{Outbound, Pushed};
use crate::frame::Frame;

/// Outbounds that this task has promised to drain. Dropping the list keeps the promise.
#[derive(Debug, Default)]
pub struct Drains {
    list: Vec<Arc<Outbound>>,
    /// Frames and bytes pushed since the last drain.
    frames: usize,
    bytes: usize,
}

/// Sockets that a sender writes in a row before it lets other tasks of its thread run.
const DRAINS_PER_TURN: usize = 128;

/// Frames that may be pushed before they are written even though more is about to follow.
const FRAMES_PER_TURN: usize = 8 * 1024;

/// The same in bytes, for each receiver that waits to be written to.
const BYTES_PER_RECEIVER: usize = 64 * 1024;

impl Drains {
    /// Push a frame and take the responsibility for its being written. Says whether it was
    /// queued.
    pub fn push(&mut self, to: &Arc<Outbound>, frame: &Frame) -> bool {
        self.frames += 1;
        self.bytes += frame.len();
        match to.push(frame) {
            Pushed::Drain => {
                self.list.push(to.clone());
                true
            }
            Pushed::Queued => true,
            Pushed::Refused => false,
        }
    }

    /// Whether nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether so much waits that it should be written before anything else is done.
    pub fn is_urgent(&self) -> bool {
        self.frames > FRAMES_PER_TURN
            || self.bytes > BYTES_PER_RECEIVER.saturating_mul(self.list.len().max(1))
    }

    /// Whether others than one connection wait to be written to.
    pub fn reaches_many(&self) -> bool {
        self.list.len() > 1
    }

    /// Write everything now, without letting others run.
    pub fn drain_now(&mut self) {
        self.frames = 0;
        self.bytes = 0;
        for outbound in self.list.drain(..) {
            outbound.drain();
        }
        if self.list.capacity() > DRAINS_PER_TURN {
            self.list = Vec::new();
        }
    }

    /// Write everything; other tasks get their turn now and then.
    pub async fn drain(&mut self) {
        while self.list.len() > DRAINS_PER_TURN {
            let rest = self.list.split_off(DRAINS_PER_TURN);
            self.drain_now();
            self.list = rest;
            tokio::task::yield_now().await;
        }
        self.drain_now();
    }
}

impl Drop for Drains {
    fn drop(&mut self) {
        self.drain_now();
    }
}
