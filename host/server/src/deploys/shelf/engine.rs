//! Deployed files in the engine of a cluster.
//!
//! A file is cut into parts, since an engine takes values of 1 MiB. Its head is written before its parts, so that a file
//! whose writer has ended half-way is found and removed by the next deployment.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use wharf_cluster::{Engine, Expected, Fence, PutError, Unavailable};
use wharf_hub::connection_id::NodeId;
use wharf_node::deploy::Table;

use super::{NotReplaced, Seen, Taken};

/// Name of the record with the table.
const TABLE: &str = "deployed";

/// Beginning of the names of heads: the hash follows.
const HEADS: &str = "deployed-file:";

/// Beginning of the names of parts: the hash and the number follow.
const PARTS: &str = "deployed-part:";

/// Name of the lease of the one node that deploys.
const LEASE: &str = "deploy";

/// Time after which the lease of a node that has ended is free again, and that between two renewals.
const LEASE_TIME: Duration = Duration::from_secs(10);
const RENEW_EVERY: Duration = Duration::from_secs(3);

/// Size of a part: a fourth of the value that every engine takes.
const PART_BYTES: usize = 256 << 10;

/// Largest number of parts: those of the largest file.
const MAX_PARTS: usize = (64 << 20) / PART_BYTES;

/// Tries of one step, since links are lost and come back.
const TRIES: u32 = 5;

/// Heads that are listed at a time.
const PAGE: u32 = 100;

/// The files in an engine.
pub(crate) struct EngineShelf {
    engine: Arc<dyn Engine>,
}

impl fmt::Debug for EngineShelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineShelf").finish_non_exhaustive()
    }
}

/// The turn of the one node that deploys. It is given back when this is dropped.
pub(crate) struct Lease {
    engine: Arc<dyn Engine>,
    fence: Fence,
    renewing: JoinHandle<()>,
}

impl Lease {
    /// Returns true if no other node has the turn, for as long as a lease lasts.
    async fn holds(&self) -> bool {
        self.engine.renew(LEASE, self.fence, LEASE_TIME).await == Ok(true)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
        let (engine, fence) = (self.engine.clone(), self.fence);
        tokio::spawn(async move {
            // It ends by itself otherwise.
            let _ = engine.release(LEASE, fence).await;
        });
    }
}

impl EngineShelf {
    pub(super) fn new(engine: Arc<dyn Engine>) -> EngineShelf {
        EngineShelf { engine }
    }

    pub(super) async fn lease(&self) -> Result<Lease, Taken> {
        let holder = NodeId::local().to_string();
        let acquired = self.engine.acquire(LEASE, &holder, LEASE_TIME).await;
        let fence = match acquired {
            Ok(Ok(fence)) => fence,
            Ok(Err(held)) => return Err(Taken::By(held.holder)),
            Err(why) => return Err(Taken::Unavailable(why.to_string())),
        };
        let engine = self.engine.clone();
        let renewing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEW_EVERY).await;
                // A node that loses it is still stopped by the version of the table.
                let _ = engine.renew(LEASE, fence, LEASE_TIME).await;
            }
        });
        Ok(Lease { engine: self.engine.clone(), fence, renewing })
    }

    pub(super) async fn table(&self) -> Result<Seen, String> {
        let found = self.engine.get(TABLE).await.map_err(|why| why.to_string())?;
        let Some(entry) = found else { return Ok(Seen::default()) };
        let table = Table::read(&entry.value).map_err(|why| why.to_string())?;
        Ok(Seen { table: Some(table), version: Some(entry.version) })
    }

    pub(super) async fn replace(&self, seen: &Seen, table: &Table) -> Result<(), NotReplaced> {
        let expected = seen.version.map_or(Expected::Absent, Expected::Version);
        match self.engine.put(TABLE, table.write().into(), expected, None).await {
            Ok(_) => Ok(()),
            Err(PutError::Conflict { .. }) => Err(NotReplaced::Overtaken),
            Err(PutError::Unavailable(why)) => {
                // It may have been done all the same.
                let now = self.table().await.ok().and_then(|seen| seen.table);
                match now.as_ref() == Some(table) {
                    true => Ok(()),
                    false => Err(NotReplaced::Unavailable(why.to_string())),
                }
            }
        }
    }

    pub(super) async fn put(&self, sha256: &str, bytes: &Bytes) -> Result<(), String> {
        let parts = bytes.len().div_ceil(PART_BYTES);
        self.write(&head(sha256), parts.to_string().into()).await?;
        for number in 0..parts {
            let from = number * PART_BYTES;
            let part = bytes.slice(from..bytes.len().min(from + PART_BYTES));
            self.write(&part_of(sha256, number), part).await?;
        }
        Ok(())
    }

    async fn write(&self, key: &str, value: Bytes) -> Result<(), String> {
        let mut tries = 0;
        loop {
            match self.engine.put(key, value.clone(), Expected::Any, None).await {
                // It was not asked for a version.
                Ok(_) | Err(PutError::Conflict { .. }) => return Ok(()),
                Err(PutError::Unavailable(why)) => once_more(&mut tries, &why).await?,
            }
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Bytes>, String> {
        let mut tries = 0;
        loop {
            match self.engine.get(key).await {
                Ok(found) => return Ok(found.map(|entry| entry.value)),
                Err(why) => once_more(&mut tries, &why).await?,
            }
        }
    }

    pub(super) async fn file(&self, sha256: &str) -> Result<Option<Arc<[u8]>>, String> {
        let Some(head) = self.read(&head(sha256)).await? else { return Ok(None) };
        let parts = std::str::from_utf8(&head).ok().and_then(|text| text.parse().ok());
        let Some(parts) = parts.filter(|parts: &usize| *parts <= MAX_PARTS) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        for number in 0..parts {
            match self.read(&part_of(sha256, number)).await? {
                Some(part) if part.len() <= PART_BYTES => bytes.extend_from_slice(&part),
                _ => return Ok(None),
            }
        }
        Ok(Some(bytes.into()))
    }

    pub(super) async fn keep_only(&self, wanted: &BTreeSet<&str>, turn: &Lease) {
        let mut after: Option<String> = None;
        while let Ok(heads) = self.engine.list(HEADS, after.as_deref(), PAGE).await {
            for (key, entry) in &heads {
                let Some(sha256) = key.strip_prefix(HEADS) else { continue };
                if wanted.contains(sha256) {
                    continue;
                }
                // A node that stood still for longer than its turn must not remove files of the next one's deployment.
                if !turn.holds().await {
                    return;
                }
                let parts = std::str::from_utf8(&entry.value).ok();
                let parts = parts.and_then(|text| text.parse().ok()).unwrap_or(0).min(MAX_PARTS);
                for number in 0..parts {
                    if self.engine.delete(&part_of(sha256, number), Expected::Any).await.is_err() {
                        return;
                    }
                }
                // The last one, so that the parts can be found until they are gone.
                let _ = self.engine.delete(key, Expected::Any).await;
            }
            match heads.last() {
                Some((last, _)) if heads.len() == PAGE as usize => after = Some(last.clone()),
                _ => return,
            }
        }
    }
}

fn head(sha256: &str) -> String {
    format!("{HEADS}{sha256}")
}

fn part_of(sha256: &str, number: usize) -> String {
    format!("{PARTS}{sha256}:{number}")
}

/// Waits before a step that has failed is taken again.
///
/// # Errors
///
/// It has failed too often.
async fn once_more(tries: &mut u32, why: &Unavailable) -> Result<(), String> {
    *tries += 1;
    if *tries == TRIES {
        return Err(why.to_string());
    }
    tokio::time::sleep(Duration::from_millis(100) * *tries).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_cluster::{Limits, memory};
    use wharf_node::deploy::Version;

    fn shelf() -> EngineShelf {
        let (node, _) = memory::Server::new(0).node("alone", &Limits::default());
        EngineShelf::new(Arc::new(node))
    }

    fn version() -> Version {
        Version {
            sha256: "one".to_owned(),
            bytes: 1,
            at_ms: 0,
            by: String::new(),
            node: String::new(),
        }
    }

    #[tokio::test]
    async fn files_of_any_size_come_back_as_they_were_and_leave_nothing_when_they_are_removed() {
        let shelf = shelf();
        for size in [0, 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES] {
            let bytes: Bytes = (0..size).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
            let name = size.to_string();
            shelf.put(&name, &bytes).await.expect("it is kept");
            let found = shelf.file(&name).await.expect("it can be read");
            assert_eq!(found.as_deref(), Some(&*bytes), "{size}");
        }
        let turn = shelf.lease().await.unwrap_or_else(|_| panic!("nobody has the turn"));
        shelf.keep_only(&["1"].into(), &turn).await;
        assert_eq!(shelf.file("1").await.expect("it can be read").as_deref(), Some(&[0][..]));
        assert_eq!(shelf.file("0").await, Ok(None));
        let parts = shelf.engine.list("deployed", None, 1000).await.expect("the engine answers");
        assert_eq!(parts.len(), 2, "a head and a part");
    }

    #[tokio::test]
    async fn a_node_that_has_lost_its_turn_removes_nothing() {
        let shelf = shelf();
        let turn = shelf.lease().await.unwrap_or_else(|_| panic!("nobody has the turn"));
        shelf.engine.release(LEASE, turn.fence).await.expect("it is there");
        let next = shelf.lease().await.unwrap_or_else(|_| panic!("nobody has the turn"));
        shelf.put("new", &Bytes::from_static(b"1")).await.expect("it is kept");
        shelf.keep_only(&BTreeSet::new(), &turn).await;
        assert!(shelf.file("new").await.expect("it can be read").is_some());
        shelf.keep_only(&BTreeSet::new(), &next).await;
        assert!(shelf.file("new").await.expect("it can be read").is_none());
    }

    #[tokio::test]
    async fn a_file_without_one_of_its_parts_is_not_there() {
        let shelf = shelf();
        let bytes = Bytes::from(vec![7; PART_BYTES + 1]);
        shelf.put("one", &bytes).await.expect("it is kept");
        shelf.engine.delete(&part_of("one", 1), Expected::Any).await.expect("it is there");
        assert_eq!(shelf.file("one").await, Ok(None));
    }

    #[tokio::test]
    async fn of_two_changes_of_one_table_the_second_is_refused() {
        let shelf = shelf();
        let seen = shelf.table().await.expect("the engine answers");
        let table = Table::default().with("chat", version()).expect("there is room");
        shelf.replace(&seen, &table).await.expect("it is the first");
        let overtaken = shelf.replace(&seen, &table).await;
        assert!(matches!(overtaken, Err(NotReplaced::Overtaken)), "{overtaken:?}");
        let seen = shelf.table().await.expect("the engine answers");
        assert_eq!(seen.table.as_ref(), Some(&table));
        let gone = table.without("chat").expect("it is there");
        shelf.replace(&seen, &gone).await.expect("it is the one that was seen");
    }
}
