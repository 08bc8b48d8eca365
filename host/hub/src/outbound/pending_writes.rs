//! Frames that a task has queued on outbounds and must still write.
//!
//! The task writes them itself, some sockets at a time, and lets other tasks run in between. A list
//! for very many receivers is written by several tasks: parts of it go into a queue that as many
//! [writers](Writers) empty as there are threads. Each outbound is in one list at a time, so that
//! the order of its frames does not depend on the task that writes them.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{Outbound, Pushed};
use crate::frame::Frame;

/// Sockets that a task writes in a row before it lets other tasks of its thread run.
const WRITES_PER_TURN: usize = 128;

/// Sockets of one part of a list that several tasks write.
const WRITES_PER_PART: usize = if cfg!(test) { 64 } else { 1024 };

/// Sockets that one task writes alone. Unit tests have few sockets, and need several tasks.
const WRITTEN_ALONE: usize = if cfg!(test) { 256 } else { 4096 };

/// Frames that may be pushed before they are written, even if more follow soon.
const FRAMES_PER_TURN: u32 = 8 * 1024;

/// The same limit in bytes, for each receiver that waits to be written to.
const BYTES_PER_RECEIVER: usize = 64 * 1024;

/// Outbounds that this task has promised to write. Dropping the list keeps the promise.
#[derive(Debug, Default)]
pub struct PendingWrites {
    list: Vec<Arc<Outbound>>,
    /// Outbound of the connection whose events push the frames, if it is one.
    own: Option<Arc<Outbound>>,
    /// Frames and bytes pushed since everything was last written. They stay at the largest number: by then they are
    /// urgent. A connection holds the room for them all the time.
    frames: u32,
    bytes: u32,
    /// Frames and bytes queued since they were last counted for their channel.
    queued: (u64, u64),
    /// Tasks that write parts of the list.
    writers: Option<Box<Writers>>,
}

impl PendingWrites {
    /// Makes the empty list of a connection's own events. Messages to the connection itself find room
    /// that those of others do not have.
    pub fn of(own: &Arc<Outbound>) -> PendingWrites {
        let mut writes = PendingWrites::default();
        writes.own = Some(own.clone());
        writes
    }

    /// Pushes a frame and takes the responsibility for writing it. Returns true if it was queued.
    pub fn push(&mut self, to: &Arc<Outbound>, frame: &Frame) -> bool {
        self.frames = self.frames.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        let is_own = self.own.as_ref().is_some_and(|own| Arc::ptr_eq(own, to));
        let pushed = if is_own { to.push_own(frame) } else { to.push(frame) };
        if pushed.wants_flush() {
            self.list.push(to.clone());
        }
        let is_queued = matches!(pushed, Pushed::Flush | Pushed::Queued);
        if is_queued {
            self.queued.0 += 1;
            self.queued.1 += frame.len() as u64;
        }
        is_queued
    }

    /// Returns the frames and bytes that were queued since this was last asked.
    pub(crate) fn take_queued(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.queued)
    }

    /// Returns the number of frames that were queued and are not counted yet.
    pub(crate) fn queued(&self) -> u64 {
        self.queued.0
    }

    /// Returns true if so much waits that it should be written before anything else.
    pub fn is_urgent(&self) -> bool {
        self.frames > FRAMES_PER_TURN
            || self.bytes as usize > BYTES_PER_RECEIVER.saturating_mul(self.list.len().max(1))
    }

    /// Returns true if more than one connection waits to be written to.
    pub fn reaches_many(&self) -> bool {
        self.list.len() > 1
    }

    /// Takes the promises over to another list.
    pub(crate) fn take(&mut self) -> PendingWrites {
        PendingWrites {
            list: std::mem::take(&mut self.list),
            own: None,
            // They are counted where they were queued.
            queued: (0, 0),
            frames: std::mem::take(&mut self.frames),
            bytes: std::mem::take(&mut self.bytes),
            // The tasks that write the parts of this list are waited for by this one.
            writers: None,
        }
    }

    /// Adds the promises of another list.
    pub(crate) fn adopt(&mut self, mut other: PendingWrites) {
        if self.list.is_empty() {
            std::mem::swap(&mut self.list, &mut other.list);
        } else {
            self.list.append(&mut other.list);
        }
        self.frames = self.frames.saturating_add(std::mem::take(&mut other.frames));
        self.bytes = self.bytes.saturating_add(std::mem::take(&mut other.bytes));
    }

    /// Writes everything that is not passed on, without letting other tasks run.
    pub fn write_now(&mut self) {
        (self.frames, self.bytes) = (0, 0);
        for outbound in self.list.drain(..) {
            outbound.flush();
        }
        if self.list.capacity() > WRITES_PER_TURN {
            self.list = Vec::new();
        }
    }

    /// Writes as much as may be written in a row. Returns true if nothing is left.
    pub fn write_some(&mut self) -> bool {
        match self.list.len().checked_sub(WRITES_PER_TURN) {
            None | Some(0) => {
                self.write_now();
                true
            }
            // Parts are taken from the end, so that nothing is moved.
            Some(rest) => {
                for outbound in self.list.drain(rest..) {
                    outbound.flush();
                }
                false
            }
        }
    }

    /// Writes everything, and waits for the tasks that write a part of it. Other tasks get their
    /// turn now and then.
    pub async fn write(&mut self) {
        if self.list.len() > WRITTEN_ALONE && other_threads() > 0 {
            while !self.list.is_empty() {
                let rest = self.list.len().saturating_sub(WRITES_PER_PART);
                let part = self.list.split_off(rest);
                self.pass_on(part);
            }
        }
        while !self.write_some() {
            tokio::task::yield_now().await;
        }
        if let Some(writers) = self.writers.take() {
            Box::pin(writers.finish()).await;
        }
    }

    /// Passes a part of the list on to other tasks, if it is long enough. For broadcasts to very
    /// many: their first receivers must not wait until the last one is reached.
    pub(crate) fn pass_on_part(&mut self) {
        if self.list.len() >= WRITES_PER_PART {
            let part = std::mem::take(&mut self.list);
            self.pass_on(part);
        }
    }

    fn pass_on(&mut self, part: Vec<Arc<Outbound>>) {
        match Handle::try_current() {
            Ok(runtime) => self.writers.get_or_insert_default().write(Part(part), &runtime),
            // No task could take it.
            Err(_) => drop(Part(part)),
        }
    }
}

impl Drop for PendingWrites {
    fn drop(&mut self) {
        self.write_now();
    }
}

/// Returns the number of threads that could write beside this one.
fn other_threads() -> usize {
    Handle::try_current().map_or(0, |runtime| runtime.metrics().num_workers().saturating_sub(1))
}

/// Outbounds that one task writes. Dropping the part writes what is left of it.
#[derive(Debug)]
struct Part(Vec<Arc<Outbound>>);

impl Part {
    fn write_some(&mut self) {
        let rest = self.0.len().saturating_sub(WRITES_PER_TURN);
        for outbound in self.0.drain(rest..) {
            outbound.flush();
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        while !self.0.is_empty() {
            self.write_some();
        }
    }
}

/// The tasks that write parts. They end when there is none left, even if their end is not waited
/// for.
#[derive(Debug, Default)]
struct Writers {
    queue: Arc<Mutex<Queue>>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    parts: VecDeque<Part>,
    /// Tasks that have not found the queue empty yet.
    running: usize,
}

impl Writers {
    /// Hands a part to the tasks, and starts one more if there are fewer than threads.
    fn write(&mut self, part: Part, runtime: &Handle) {
        let mut queue = self.queue.lock();
        queue.parts.push_back(part);
        if queue.running < runtime.metrics().num_workers() {
            queue.running += 1;
            self.tasks.push(runtime.spawn(write_parts(self.queue.clone())));
        }
    }

    /// Helps, and waits until everything is written.
    async fn finish(self) {
        self.queue.lock().running += 1;
        write_parts(self.queue).await;
        for task in self.tasks {
            // A task that has panicked has said so in the log, and its part is written.
            let _ = task.await;
        }
    }
}

async fn write_parts(queue: Arc<Mutex<Queue>>) {
    loop {
        let mut part = {
            let mut queue = queue.lock();
            match queue.parts.pop_front() {
                Some(part) => part,
                None => {
                    queue.running -= 1;
                    return;
                }
            }
        };
        while !part.0.is_empty() {
            part.write_some();
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests;
