//! Deployed files of a single host, in its data folder: `deployed/table.json`, and a file for each hash.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use wharf_node::deploy::Table;

use super::Seen;

/// Name of the folder within the data folder.
const FOLDER: &str = "deployed";

/// Name of the file with the table.
const TABLE: &str = "table.json";

/// The files in a folder.
#[derive(Clone, Debug)]
pub(crate) struct FolderShelf {
    folder: PathBuf,
}

impl FolderShelf {
    pub(super) fn new(data: &Path) -> FolderShelf {
        FolderShelf { folder: data.join(FOLDER) }
    }

    pub(super) async fn table(&self) -> Result<Seen, String> {
        let file = self.folder.join(TABLE);
        match on_thread(move || found(fs::read(file))).await? {
            None => Ok(Seen::default()),
            Some(bytes) => {
                let table = Table::read(&bytes).map_err(|why| why.to_string())?;
                Ok(Seen { table: Some(table), version: None })
            }
        }
    }

    pub(super) async fn replace(&self, table: &Table) -> Result<(), String> {
        let (folder, bytes) = (self.folder.clone(), table.write());
        on_thread(move || write(&folder, TABLE, &bytes)).await
    }

    pub(super) async fn put(&self, sha256: &str, bytes: &Bytes) -> Result<(), String> {
        let (folder, name, bytes) = (self.folder.clone(), file(sha256), bytes.clone());
        on_thread(move || write(&folder, &name, &bytes)).await
    }

    pub(super) async fn file(&self, sha256: &str) -> Result<Option<Arc<[u8]>>, String> {
        let path = self.folder.join(file(sha256));
        Ok(on_thread(move || found(fs::read(path))).await?.map(Arc::from))
    }

    pub(super) async fn keep_only(&self, wanted: &BTreeSet<&str>) {
        let folder = self.folder.clone();
        let kept: BTreeSet<String> =
            wanted.iter().map(|sha256| file(sha256)).chain([TABLE.to_owned()]).collect();
        // A file that cannot be removed is tried with the next deployment.
        let _ = on_thread(move || {
            for entry in fs::read_dir(folder)?.flatten() {
                if !kept.contains(&*entry.file_name().to_string_lossy()) {
                    let _ = fs::remove_file(entry.path());
                }
            }
            Ok(())
        })
        .await;
    }
}

fn file(sha256: &str) -> String {
    format!("{sha256}.wasm")
}

/// Writes a file in one step, to the disk itself.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let partial = folder.join(format!(".{name}.partial"));
    let mut file = File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&partial, folder.join(name))?;
    File::open(folder)?.sync_all()
}

fn found(read: io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| format!("the data folder: {error}")),
        Err(panicked) => Err(panicked.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_and_the_table_are_there_after_a_restart_and_unwanted_ones_are_not() {
        let data = tempfile::tempdir().expect("a folder");
        let shelf = FolderShelf::new(data.path());
        assert!(shelf.table().await.expect("there is none").table.is_none());
        assert_eq!(shelf.file("one").await, Ok(None));
        for name in ["one", "two"] {
            shelf.put(name, &Bytes::from(name)).await.expect("it is kept");
        }
        let table = Table { number: 4, ..Table::default() };
        shelf.replace(&table).await.expect("it is kept");
        let again = FolderShelf::new(data.path());
        again.keep_only(&["two"].into()).await;
        assert_eq!(again.table().await.expect("it is there").table, Some(table));
        assert_eq!(again.file("one").await, Ok(None));
        assert_eq!(again.file("two").await.expect("it is read").as_deref(), Some(&b"two"[..]));
    }
}
