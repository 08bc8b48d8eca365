//! The count of a store's bytes, which is a record on the engine.
//!
//! It has the sum and the number of times that the store was counted, as text. It expires, so that the store is counted
//! anew now and then: a node that is killed has told less than it has written.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wharf_cluster::{Entry, Expected, PutError, Reason, Unavailable};
use wharf_contract::store::entry_bytes;

use super::ledger::{Ledger, Told, signed};
use super::{TRIES, pages};

/// Time after which a store is counted anew.
const LIFE: Duration = Duration::from_secs(3_600);

/// Time between two counts, in times that one takes.
const PAUSE_FACTOR: u32 = 20;

/// The count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    bytes: i64,
    /// Number of times that the store was counted.
    number: u64,
    /// State of the record that a change of it demands.
    state: Expected,
    /// Time that is left to it.
    life: Duration,
}

impl Count {
    /// Reads the record. One of an unknown form is none, and is overwritten.
    fn read(entry: Option<&Entry>) -> Result<Count, Expected> {
        let Some(entry) = entry else { return Err(Expected::Absent) };
        let state = Expected::Version(entry.version);
        let text = std::str::from_utf8(&entry.value).ok();
        let parts = text.and_then(|text| text.split_once(' '));
        let numbers = parts.and_then(|(bytes, number)| {
            Some((bytes.parse().ok().filter(|bytes| *bytes >= 0)?, number.parse().ok()?))
        });
        let (bytes, number) = numbers.ok_or(state)?;
        let life = entry.expires_in.unwrap_or(LIFE).clamp(Duration::from_millis(1), LIFE);
        Ok(Count { bytes, number, state, life })
    }

    fn write(bytes: i64, number: u64) -> Bytes {
        format!("{} {number}", bytes.max(0)).into()
    }
}

impl Ledger {
    /// Tells the count the changes that it does not have, and one that is about to be made.
    pub(super) async fn tell(&self, change: i64) -> Result<Told, Unavailable> {
        for _ in 0..TRIES {
            let Ok(count) = self.count().await? else { return Ok(Told::Uncounted) };
            let untold = {
                let mut book = self.book.lock();
                book.known = Some(count.bytes);
                book.untold
            };
            let sum = count.bytes.saturating_add(untold);
            let next = sum.saturating_add(change);
            if change > 0 && next > signed(self.rules.max_bytes) {
                return Ok(Told::Full);
            }
            let value = Count::write(next, count.number);
            match self.engine.put(&self.name, value, count.state, Some(count.life)).await {
                Ok(_) => {
                    let mut book = self.book.lock();
                    book.known = Some(next.max(0));
                    book.untold = book.untold.saturating_sub(untold);
                    return Ok(Told::Yes);
                }
                Err(PutError::Conflict { .. }) => {}
                Err(PutError::Unavailable(why)) => return Err(why),
            }
        }
        Ok(Told::Busy)
    }

    /// Begins to count the store, if this node knows a size to go on with. Nobody waits for it.
    pub(super) fn begin_to_count(self: &Arc<Self>) {
        if self.book.lock().known.is_none() {
            return;
        }
        if let Ok(turn) = self.counting.clone().try_lock_owned() {
            let ledger = self.clone();
            tokio::spawn(async move {
                // The next write that needs it tries again.
                let _ = ledger.count_all().await;
                drop(turn);
            });
        }
    }

    /// Counts the store. The one that waits may be dropped: the count goes on, and the next one waits for it.
    pub(super) async fn count_anew(self: &Arc<Self>) -> Result<(), Unavailable> {
        let before = self.book.lock().counted;
        let turn = self.counting.clone().lock_owned().await;
        if self.book.lock().counted != before {
            return Ok(());
        }
        let ledger = self.clone();
        let counted = tokio::spawn(async move {
            let counted = ledger.count_all().await;
            drop(turn);
            counted
        });
        let failed = |_| Unavailable::new(Reason::Other, "the store could not be counted");
        counted.await.map_err(failed)?
    }

    /// Adds up the entries, and writes the sum. Changes that others tell meanwhile are added: they may be of entries that
    /// were not seen.
    async fn count_all(&self) -> Result<(), Unavailable> {
        let begun = Instant::now();
        let before = self.count().await?;
        let (settled, under_way) = {
            let book = self.book.lock();
            (book.untold, book.under_way)
        };
        let mut sum = under_way;
        let mut pages = pages::Pages::new(&*self.engine, &self.prefix, "", None);
        while let Some(page) = pages.next(usize::MAX).await? {
            for (key, entry) in page {
                sum = sum.saturating_add(signed(entry_bytes(&key, &entry.value)));
            }
        }
        for _ in 0..TRIES {
            let now = self.count().await?;
            let (told, number, state) = match (before, now) {
                (Ok(before), Ok(now)) if before.number == now.number => {
                    (now.bytes.saturating_sub(before.bytes).max(0), now.number, now.state)
                }
                // Another node was faster.
                (_, Ok(now)) => {
                    self.has_counted(now.bytes, 0, begun);
                    return Ok(());
                }
                (Ok(before), Err(state)) => (0, before.number, state),
                (Err(_), Err(state)) => (0, 0, state),
            };
            let bytes = sum.saturating_add(told);
            let value = Count::write(bytes, number.wrapping_add(1));
            match self.engine.put(&self.name, value, state, Some(LIFE)).await {
                Ok(_) => {
                    self.has_counted(bytes, settled, begun);
                    return Ok(());
                }
                Err(PutError::Conflict { .. }) => {}
                Err(PutError::Unavailable(why)) => return Err(why),
            }
        }
        Err(Unavailable::new(Reason::Busy, "too many change the count of the store"))
    }

    fn has_counted(&self, bytes: i64, settled: i64, begun: Instant) {
        let now = Instant::now();
        let pause = begun.elapsed().saturating_mul(PAUSE_FACTOR).max(self.rules.pause);
        let mut book = self.book.lock();
        book.known = Some(bytes);
        book.untold = book.untold.saturating_sub(settled);
        book.counted = book.counted.wrapping_add(1);
        book.next_count = now.checked_add(pause);
    }

    /// Returns the count; or if there is none, the state of its record.
    async fn count(&self) -> Result<Result<Count, Expected>, Unavailable> {
        let entry = self.engine.get(&self.name).await?;
        Ok(Count::read(entry.as_ref()))
    }
}
