//! The place where deployed files and their table are kept: the engine of the cluster, the data folder of a single host,
//! or its memory.

mod engine;
mod folder;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use wharf_cluster::Engine;
use wharf_node::deploy::Table;
use wharf_runtime::registry::hex;

use engine::EngineShelf;
pub(super) use engine::Lease;
use folder::FolderShelf;

/// The place.
#[derive(Debug)]
pub(crate) enum Shelf {
    /// The engine of the cluster.
    Engine(EngineShelf),
    /// A folder.
    Folder(FolderShelf),
    /// The memory of this process.
    Memory(Mutex<Kept>),
}

/// Files and a table in memory.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    table: Option<Table>,
    files: std::collections::BTreeMap<String, Bytes>,
}

/// A table, and the version of its record.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) table: Option<Table>,
    /// The version; `None` if there is no record.
    version: Option<u64>,
}

/// The reason why the table was not replaced.
#[derive(Debug)]
pub(super) enum NotReplaced {
    /// It has changed.
    Overtaken,
    /// The place refuses, or does not answer. In an engine it may have been done nevertheless.
    Unavailable(String),
}

impl Shelf {
    /// Returns the place of a node in a cluster.
    pub(crate) fn of_cluster(engine: Arc<dyn Engine>) -> Shelf {
        Shelf::Engine(EngineShelf::new(engine))
    }

    /// Returns the place of a single host with this data folder, or without one.
    pub(crate) fn of_host(data: Option<PathBuf>) -> Shelf {
        match data {
            Some(data) => Shelf::Folder(FolderShelf::new(&data)),
            None => Shelf::Memory(Mutex::default()),
        }
    }

    /// Returns the name of the place, for the operator.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Shelf::Engine(_) => "engine",
            Shelf::Folder(_) => "folder",
            Shelf::Memory(_) => "memory",
        }
    }

    /// Returns true if others may change the table.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Shelf::Engine(_))
    }

    /// Takes the turn of the one node that deploys.
    ///
    /// # Errors
    ///
    /// Another node has it, or the engine does not answer. The sentence says which.
    pub(super) async fn lease(&self) -> Result<Option<Lease>, Taken> {
        match self {
            Shelf::Engine(shelf) => shelf.lease().await.map(Some),
            Shelf::Folder(_) | Shelf::Memory(_) => Ok(None),
        }
    }

    /// Returns the table.
    ///
    /// # Errors
    ///
    /// It cannot be read, for the reason in the sentence.
    pub(super) async fn table(&self) -> Result<Seen, String> {
        match self {
            Shelf::Engine(shelf) => shelf.table().await,
            Shelf::Folder(shelf) => shelf.table().await,
            Shelf::Memory(kept) => Ok(Seen { table: kept.lock().table.clone(), version: None }),
        }
    }

    /// Replaces the table that was seen.
    ///
    /// # Errors
    ///
    /// Another one has replaced it meanwhile, or it cannot be written.
    pub(super) async fn replace(&self, seen: &Seen, table: &Table) -> Result<(), NotReplaced> {
        match self {
            Shelf::Engine(shelf) => shelf.replace(seen, table).await,
            Shelf::Folder(shelf) => shelf.replace(table).await.map_err(NotReplaced::Unavailable),
            Shelf::Memory(kept) => {
                kept.lock().table = Some(table.clone());
                Ok(())
            }
        }
    }

    /// Keeps a file, if it is not kept already.
    ///
    /// # Errors
    ///
    /// It cannot be written, for the reason in the sentence.
    pub(super) async fn put(&self, sha256: &str, bytes: &Bytes) -> Result<(), String> {
        match self {
            Shelf::Engine(shelf) => shelf.put(sha256, bytes).await,
            Shelf::Folder(shelf) => shelf.put(sha256, bytes).await,
            Shelf::Memory(kept) => {
                kept.lock().files.insert(sha256.to_owned(), bytes.clone());
                Ok(())
            }
        }
    }

    /// Returns a file; `None` if it is not kept, or is not what was put there.
    ///
    /// # Errors
    ///
    /// It cannot be read, for the reason in the sentence.
    pub(super) async fn file(&self, sha256: &str) -> Result<Option<Arc<[u8]>>, String> {
        let found = match self {
            Shelf::Engine(shelf) => shelf.file(sha256).await?,
            Shelf::Folder(shelf) => shelf.file(sha256).await?,
            Shelf::Memory(kept) => kept.lock().files.get(sha256).map(|bytes| Arc::from(&**bytes)),
        };
        let Some(bytes) = found else { return Ok(None) };
        // A large file takes a while.
        let wanted = sha256.to_owned();
        let checked = tokio::task::spawn_blocking(move || {
            (hex(&Sha256::digest(&bytes)) == wanted).then_some(bytes)
        });
        checked.await.map_err(|panicked| panicked.to_string())
    }

    /// Removes the files that are not wanted any more, as long as this node has the turn. What fails is tried with the next
    /// deployment.
    pub(super) async fn keep_only(&self, wanted: &BTreeSet<&str>, turn: Option<&Lease>) {
        match self {
            Shelf::Engine(shelf) => {
                // Without it another node may have put files there for its own deployment.
                if let Some(turn) = turn {
                    shelf.keep_only(wanted, turn).await;
                }
            }
            Shelf::Folder(shelf) => shelf.keep_only(wanted).await,
            Shelf::Memory(kept) => {
                kept.lock().files.retain(|sha256, _| wanted.contains(&**sha256));
            }
        }
    }
}

/// The reason why a node cannot deploy now.
#[derive(Debug)]
pub(super) enum Taken {
    /// This node deploys.
    By(String),
    /// The engine does not answer, for this reason.
    Unavailable(String),
}
