//! The store of a channel on the engine of its cluster, so that all nodes see one store.

mod changes;
mod count;
mod ledger;
mod pages;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wharf_cluster::{Engine, Unavailable};
use wharf_contract::CallRefusal;
use wharf_hub::store::{Entry, ListedEntry, Store, StoreAnswer};

use ledger::{Ledger, Rules};
use pages::Pages;

/// Most tries of a step that others always forestall.
const TRIES: u32 = 16;

/// Returns the store of a channel: all nodes whose engines share a server have the same one. It takes `max_bytes`, with
/// about 160 bytes for each entry beside its key and its value.
pub fn store(engine: Arc<dyn Engine>, channel: &str, max_bytes: usize) -> EngineStore {
    EngineStore::with_rules(engine, channel, Rules::new(max_bytes))
}

/// A store on the engine of a cluster. It keeps the promises of [`Store`] among all nodes, but for these:
///
/// - **The bound of the bytes is nearly kept.** The nodes share a count of the bytes, and each may write a 64th of the
///   bound before it tells the count. So each node may exceed the bound by that much, and by as much again if it deletes
///   while another one counts. A single change that is larger is told before it is made. A node that is killed
///   has not told all; therefore the count expires after an hour, and the store is counted anew at a write.
/// - **Room of expired entries is found late.** The count has them until the store seems to be full. Then it is counted
///   anew, each second at most and for a twentieth of the time at most, and writes are refused meanwhile.
/// - **A call that fails with `data-unavailable` may have been done**, if the link broke before the answer.
/// - **A list is not one step.** Each entry is as it was at some moment of the call.
/// - **A step has a bounded number of tries** if others always change the key in between; then it fails with
///   `data-unavailable`, and nothing has changed. A set, a deletion and an increment of a plain number end without a
///   comparison here, and fail so only if the engine gives up (NATS does, after 64 tries).
/// - **What was written may be lost with the server** of the engine, or with a server of it that had not yet copied it.
/// - **An increment of a number that is not written plainly**, as `+1` or `007`, begins what is left of the time to live
///   again: it may be longer by the time of a round trip.
///
/// Versions are those of the engine. Times to live are measured by its clock. Reads take one round trip, writes two,
/// and two more when the count is told.
///
/// No key is too long for the engine: names have at most 583 bytes.
pub struct EngineStore {
    engine: Arc<dyn Engine>,
    ledger: Arc<Ledger>,
}

impl fmt::Debug for EngineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineStore").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl EngineStore {
    fn with_rules(engine: Arc<dyn Engine>, channel: &str, rules: Rules) -> EngineStore {
        // Names of channels have no colon, so that no channel has the entries or the count of another one.
        let (prefix, count) = (format!("store:{channel}:"), format!("store-bytes:{channel}"));
        let ledger = Ledger::new(engine.clone(), prefix, count, rules);
        EngineStore { engine, ledger }
    }

    /// Returns the name of a key on the engine.
    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.ledger.prefix)
    }

    async fn listed(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, wharf_cluster::Entry)>, CallRefusal> {
        let mut pages = Pages::new(&*self.engine, &self.ledger.prefix, prefix, after);
        let mut listed = Vec::new();
        while let Some(page) =
            pages.next(limit.saturating_sub(listed.len())).await.map_err(refusal)?
        {
            listed.extend(page);
        }
        Ok(listed)
    }
}

impl Store for EngineStore {
    fn get<'a>(&'a self, key: &'a str) -> StoreAnswer<'a, Option<Entry>> {
        Box::pin(async move {
            let found = self.engine.get(&self.name(key)).await.map_err(refusal)?;
            Ok(found.map(|entry| Entry { value: entry.value, version: entry.version }))
        })
    }

    fn set<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreAnswer<'a, u64> {
        Box::pin(self.write(key, value, None, ttl))
    }

    fn delete<'a>(&'a self, key: &'a str) -> StoreAnswer<'a, bool> {
        Box::pin(self.remove(key))
    }

    fn increment<'a>(
        &'a self,
        key: &'a str,
        by: i64,
        ttl: Option<Duration>,
    ) -> StoreAnswer<'a, i64> {
        Box::pin(self.add(key, by, ttl))
    }

    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        expected: Option<u64>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreAnswer<'a, u64> {
        Box::pin(self.write(key, value, Some(expected), ttl))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreAnswer<'a, Vec<String>> {
        Box::pin(async move {
            let listed = self.listed(prefix, after, limit).await?;
            Ok(listed.into_iter().map(|(key, _)| key).collect())
        })
    }

    fn entries<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreAnswer<'a, Vec<ListedEntry>> {
        Box::pin(async move {
            let listed = self.listed(prefix, after, limit).await?;
            let entries = listed.into_iter().map(|(key, entry)| ListedEntry {
                key,
                value: entry.value,
                version: entry.version,
                expires_in: entry.expires_in,
            });
            Ok(entries.collect())
        })
    }

    fn bytes(&self) -> usize {
        // Nothing is in the memory of this process.
        0
    }

    fn stored_bytes(&self) -> usize {
        self.ledger.size()
    }

    fn sweep(&self) -> bool {
        // The engine drops what has expired.
        false
    }
}

fn refusal(why: Unavailable) -> CallRefusal {
    CallRefusal::DataUnavailable { why: why.to_string() }
}

fn busy() -> CallRefusal {
    let why = "too many change the same part of the store at the same time";
    CallRefusal::DataUnavailable { why: why.to_owned() }
}

#[cfg(test)]
mod tests;
