//! This node's place in the logs of the cluster: what it hears, and what it reads because something is missing.

use std::sync::Arc;

use super::Hub;
use crate::history::{Feed, Feeds, Position};
use crate::logs::LogMessage;
use crate::outbound::PendingWrites;

/// Messages that one read takes, and their bytes. What is missing beyond them is read next.
const READ_MESSAGES: usize = 256;
const READ_BYTES: usize = 256 * 1024;

/// Reads in a row. What is missing then is read with the next look at the log.
const READS: usize = 1024;

/// Messages of logs, from the engine.
impl Hub {
    /// Takes a message of a log that this node follows. Returns true if others are missing before it, so that
    /// [`catch_up_with`](Hub::catch_up_with) is due.
    pub async fn hear(
        &self,
        room: &str,
        at: Position,
        message: LogMessage,
        writes: &mut PendingWrites,
    ) -> bool {
        let Some(feeds) = &self.feeds else { return false };
        let Some(feed) = feeds.get(room) else { return false };
        feed.lock().hear(at, message, true);
        self.deliver_ready(feeds, &feed, writes).await;
        self.note_sent(writes);
        feed.lock().wants_read()
    }

    /// Reads what is missing of a log, and delivers it.
    pub async fn catch_up_with(&self, room: &str) {
        let Some(feeds) = &self.feeds else { return };
        let Some(feed) = feeds.get(room) else { return };
        let mut writes = PendingWrites::default();
        self.catch_up(feeds, &feed, &mut writes).await;
        self.note_sent(&mut writes);
        writes.write().await;
    }

    /// Compares the place in a log with the log, and reads what is missing: a lost message may be the last one for a
    /// long time.
    pub async fn check_log(&self, room: &str) {
        let Some(feeds) = &self.feeds else { return };
        let Some(feed) = feeds.get(room) else { return };
        let (from, wants_read) = {
            let state = feed.lock();
            (state.known(), state.wants_read())
        };
        if from.is_some() && !wants_read {
            match feeds.logs.read(room, u64::MAX, 0, 0).await {
                Ok(part) => feed.lock().ends_at(part.last, from),
                // It is looked at again with the next round.
                Err(_) => return,
            }
        }
        if feed.lock().wants_read() {
            self.catch_up_with(room).await;
        }
    }

    /// Returns the rooms whose logs are to be [checked](Hub::check_log).
    pub fn unchecked_logs(&self) -> Vec<Arc<str>> {
        self.feeds.as_ref().map(Feeds::unchecked).unwrap_or_default()
    }

    /// Has all logs be checked soon: messages may have been lost.
    pub fn check_all_logs_soon(&self) {
        if let Some(feeds) = &self.feeds {
            feeds.check_all_soon();
        }
    }

    /// Reads what is missing of a log, and delivers it. Returns false if the log cannot be read.
    pub(super) async fn catch_up(
        &self,
        feeds: &Feeds,
        feed: &Feed,
        writes: &mut PendingWrites,
    ) -> bool {
        // One at a time: the next one finds nothing to do.
        let _one = feed.reader.lock().await;
        for _ in 0..READS {
            let Some(after) = feed.lock().begin_read() else { return true };
            let read = match after {
                Some(after) => feeds.logs.read(feed.name(), after, READ_MESSAGES, READ_BYTES),
                None => feeds.logs.read(feed.name(), u64::MAX, 0, 0),
            };
            match read.await {
                Ok(part) => feed.lock().read(part),
                Err(_) => {
                    feed.lock().read_failed();
                    return false;
                }
            }
            self.deliver_ready(feeds, feed, writes).await;
            if writes.is_urgent() {
                writes.write().await;
            }
        }
        true
    }
}
