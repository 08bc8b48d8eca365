use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::database::FILE;

mod operator;

fn put(key: &str, value: &str) -> Change {
    let record = Record { value: value.to_owned().into(), version: 1, expires_at: None };
    Change { kind: Kind::Store, key: key.to_owned().into(), to: Some(record) }
}

fn delete(key: &str) -> Change {
    Change { kind: Kind::Store, key: key.to_owned().into(), to: None }
}

fn all(records: &Records) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("text");
    records
        .load(Kind::Store, |key, record| all.push((text(&key), text(&record.value))))
        .expect("readable");
    all
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

const DURABILITIES: [Durability; 3] =
    [Durability::EachGroup, Durability::Every(Duration::from_millis(5)), Durability::Never];

#[tokio::test]
async fn records_are_there_when_the_folder_is_opened_again() {
    for durability in DURABILITIES {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::open(folder.path(), durability).expect("a new folder");
        let (chat, game) = (disk.records("chat").expect("a"), disk.records("game").expect("b"));
        let first =
            chat.write([put("a", "1"), put("b", "1"), put("c", "1")], None).expect("queued");
        let second = chat.write([put("a", "2"), delete("b")], None).expect("queued");
        game.write([put("a", "other")], None).expect("queued").wait().await.expect("written");
        assert!(first.wait().await.is_ok() && second.wait().await.is_ok());
        let kept = pairs(&[("a", "2"), ("c", "1")]);
        assert_eq!(all(&chat), kept);
        drop((chat, game, disk));
        let disk = Disk::open(folder.path(), durability).expect("the same folder");
        assert_eq!(all(&disk.records("chat").expect("a")), kept);
        assert_eq!(all(&disk.records("game").expect("b")), pairs(&[("a", "other")]));
    }
}

#[tokio::test]
async fn all_fields_of_a_record_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::open(folder.path(), Durability::Never).expect("a new folder");
    let records = disk.records("chat").expect("a channel");
    let given: Vec<(bytes::Bytes, Record)> = [0, 1, u64::MAX]
        .into_iter()
        .map(|number| {
            let value = vec![number as u8; number.min(3) as usize].into();
            let record = Record { value, version: number, expires_at: Some(number) };
            (number.to_be_bytes().to_vec().into(), record)
        })
        .collect();
    let kind = Kind::Timer;
    let changes = given.iter().cloned();
    let changes = changes.map(|(key, record)| Change { kind, key, to: Some(record) });
    records.write(changes, None).expect("queued").wait().await.expect("written");
    let mut found = Vec::new();
    records.load(kind, |key, record| found.push((key, record))).expect("readable");
    assert_eq!(found, given);
    records.load(Kind::RoomState, |_, _| panic!("kinds are apart")).expect("readable");
}

/// Keeps everybody from writing, until the connection is dropped.
fn hold(folder: &Path) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(folder.join(FILE)).expect("the database");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    other
}

#[tokio::test]
async fn a_group_that_fails_is_undone_with_all_after_it_and_later_ones_succeed() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::open(folder.path(), Durability::Never).expect("a new folder");
    let records = disk.records("chat").expect("a channel");
    records.write([put("a", "1")], None).expect("queued").wait().await.expect("written");
    // Another program that holds the database is one of the passing reasons.
    let other = hold(folder.path());
    let undone = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let undo = |number: u32| -> Option<records::Undo> {
        let undone = undone.clone();
        Some(Box::new(move || undone.lock().push(number)))
    };
    let first = records.write([put("a", "2")], undo(1)).expect("queued");
    let second = records.write([put("a", "3")], undo(2)).expect("queued");
    let why = first.wait().await.expect_err("the database is locked");
    assert!(second.wait().await.is_err());
    assert_eq!(*undone.lock(), [2, 1], "the last one first");
    assert_eq!(disk.failure(), Some(why));
    drop(other);
    let third = loop {
        // Writes are refused while those that failed are undone.
        if let Ok(third) = records.write([put("b", "4")], undo(3)) {
            break third;
        }
        tokio::task::yield_now().await;
    };
    third.wait().await.expect("written");
    assert_eq!(disk.failure(), None);
    assert_eq!(undone.lock().len(), 2);
    assert_eq!(all(&records), pairs(&[("a", "1"), ("b", "4")]));
}

#[tokio::test]
async fn a_disk_that_is_mended_is_found_out_without_a_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::open(folder.path(), Durability::Never).expect("a new folder");
    let records = disk.records("chat").expect("a channel");
    let other = hold(folder.path());
    let written = records.write([put("a", "1")], None).expect("queued");
    assert!(written.wait().await.is_err() && disk.failure().is_some());
    drop(other);
    let begun = std::time::Instant::now();
    while disk.failure().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", disk.failure());
        tokio::task::yield_now().await;
    }
}

fn keys(keys: &[&'static str]) -> Vec<(Kind, bytes::Bytes)> {
    keys.iter().map(|key| (Kind::Store, bytes::Bytes::from_static(key.as_bytes()))).collect()
}

#[tokio::test]
async fn deletions_that_nobody_waits_for_are_made_up_for_when_the_disk_takes_writes_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::open(folder.path(), Durability::Never).expect("a new folder");
    let records = disk.records("chat").expect("a channel");
    let before = [put("a", "1"), put("b", "1"), put("c", "1"), put("d", "1")];
    records.write(before, None).expect("queued").wait().await.expect("written");
    let other = hold(folder.path());
    // In the group that fails, behind it, and while nothing is taken.
    let first = records.write([put("c", "lost")], None).expect("queued");
    records.delete_later(keys(&["a"]));
    assert!(first.wait().await.is_err());
    records.delete_later(keys(&["b", "c"]));
    assert_eq!(all(&records), pairs(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]));
    drop(other);
    // One that is written anew after its deletion stays.
    let written = loop {
        if let Ok(written) = records.write([put("c", "new")], None)
            && written.wait().await.is_ok()
        {
            break written;
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(written.get(), Some(Ok(()))));
    assert_eq!(all(&records), pairs(&[("c", "new"), ("d", "1")]));
    // Nothing else needs to be written for it.
    let other = hold(folder.path());
    records.delete_later(keys(&["d"]));
    let begun = std::time::Instant::now();
    while disk.failure().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::task::yield_now().await;
    }
    drop(other);
    // The writer takes its complaint back after the write.
    while all(&records) != pairs(&[("c", "new")]) || disk.failure().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", all(&records));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn deletions_that_are_owed_are_written_at_the_end_or_lost_with_it() {
    for is_held in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::open(folder.path(), Durability::Never).expect("a new folder");
        let records = disk.records("chat").expect("a channel");
        records.write([put("a", "1")], None).expect("queued").wait().await.expect("written");
        let mut other = Some(hold(folder.path()));
        records.delete_later(keys(&["a"]));
        while disk.failure().is_none() {
            tokio::task::yield_now().await;
        }
        other = other.filter(|_| is_held);
        disk.close();
        drop((records, disk, other));
        let disk = Disk::open(folder.path(), Durability::Never).expect("free again");
        let left = all(&disk.records("chat").expect("a channel"));
        assert_eq!(left.is_empty(), !is_held, "{left:?}");
    }
}

#[tokio::test]
async fn what_waits_is_written_when_the_folder_is_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::open(folder.path(), Durability::EachGroup).expect("a new folder");
    let records = disk.records("chat").expect("a channel");
    let written: Vec<Written> = (0..100)
        .map(|number| records.write([put("n", &number.to_string())], None).expect("queued"))
        .collect();
    disk.close();
    assert!(written.iter().all(|written| written.get() == Some(&Ok(()))));
    assert!(records.write([put("n", "late")], None).is_err());
    drop((records, disk));
    let disk = Disk::open(folder.path(), Durability::EachGroup).expect("free again");
    assert_eq!(all(&disk.records("chat").expect("a channel")), pairs(&[("n", "99")]));
}

fn refusal(folder: &Path) -> String {
    Disk::open(folder, Durability::Never).expect_err("a refusal").to_string()
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_with_what_to_do() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = |name: &str| root.path().join(name);

    let _disk = Disk::open(&folder("held"), Durability::Never).expect("a new folder");
    let why = refusal(&folder("held"));
    assert!(why.contains(&format!("process {}", std::process::id())), "{why}");
    assert!(why.contains("stop it, or set `data`"), "{why}");

    std::fs::write(folder("file"), "").expect("a file");
    let why = refusal(&folder("file"));
    assert!(why.contains("or set it to \"\""), "{why}");

    drop(Disk::open(&folder("newer"), Durability::Never).expect("a new folder"));
    let database = rusqlite::Connection::open(folder("newer").join(FILE)).expect("a database");
    database.pragma_update(None, "user_version", 99).expect("a newer format");
    drop(database);
    let why = refusal(&folder("newer"));
    assert!(why.contains("format 99") && why.contains("run the version that wrote it"), "{why}");

    std::fs::create_dir(folder("foreign")).expect("a folder");
    let database = rusqlite::Connection::open(folder("foreign").join(FILE)).expect("a database");
    database.execute_batch("CREATE TABLE other (a)").expect("a table");
    drop(database);
    assert!(refusal(&folder("foreign")).contains("another program"));

    std::fs::create_dir(folder("text")).expect("a folder");
    std::fs::write(folder("text").join(FILE), "no database ".repeat(1000)).expect("a file");
    assert!(refusal(&folder("text")).contains("the file is no database"));
}

/// Changes a value in the file, once its folder is closed.
fn damage(folder: &Path, value: &str) {
    let path = folder.join(FILE);
    let mut bytes = std::fs::read(&path).expect("the database");
    let at = bytes.windows(value.len()).position(|part| part == value.as_bytes());
    bytes[at.expect("the value")] ^= 1;
    std::fs::write(&path, bytes).expect("written");
}

#[tokio::test]
async fn a_damaged_record_is_refused_and_not_returned() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::open(folder.path(), Durability::Never).expect("a new folder");
    let records = disk.records("chat").expect("a channel");
    let value = "what is to be found in the file";
    records.write([put("a", value)], None).expect("queued").wait().await.expect("written");
    drop((records, disk));
    damage(folder.path(), value);
    let disk = Disk::open(folder.path(), Durability::Never).expect("a whole database");
    let records = disk.records("chat").expect("a channel");
    let why = records.load(Kind::Store, |_, _| panic!("damaged")).expect_err("a refusal");
    assert!(why.to_string().starts_with("a record is damaged (store \"a\")"), "{why}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Cuts the log as a loss of power does, at any length: the records are those of the groups that are
    /// whole in it.
    #[test]
    fn a_log_that_is_cut_anywhere_holds_whole_groups_in_their_order(
        sizes in proptest::collection::vec(1..40_usize, 1..12),
        cut in 0.0..1.0_f64,
        damage in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let disk = Disk::open(folder.path(), Durability::Never).expect("a new folder");
        let records = disk.records("chat").expect("a channel");
        let mut lengths = Vec::new();
        let log = |folder: &Path| folder.join(format!("{FILE}-wal"));
        for (number, size) in sizes.iter().enumerate() {
            let mut changes: Vec<Change> =
                (0..*size).map(|key| put(&format!("k{key}"), &number.to_string())).collect();
            changes.push(put("number", &number.to_string()));
            let written = records.write(changes, None).expect("queued");
            runtime.block_on(written.wait()).expect("written");
            lengths.push(std::fs::metadata(log(folder.path())).expect("the log").len());
        }
        // As a crash leaves it: the process has not closed the database.
        let crashed = tempfile::tempdir().expect("a folder");
        std::fs::copy(folder.path().join(FILE), crashed.path().join(FILE)).expect("copied");
        let mut bytes = std::fs::read(log(folder.path())).expect("the log");
        let end = (bytes.len() as f64 * cut) as usize;
        if damage {
            bytes[end..].fill(0xa5);
        } else {
            bytes.truncate(end);
        }
        std::fs::write(log(crashed.path()), bytes).expect("written");
        let whole = lengths.iter().take_while(|length| **length <= end as u64).count();

        let disk = Disk::open(crashed.path(), Durability::Never).expect("it opens");
        let found = all(&disk.records("chat").expect("a channel"));
        let mut expected = std::collections::BTreeMap::new();
        for (number, size) in sizes.iter().enumerate().take(whole) {
            expected.extend((0..*size).map(|key| (format!("k{key}"), number.to_string())));
            expected.insert("number".to_owned(), number.to_string());
        }
        prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_new_era_begins_with_a_copy_and_not_with_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let era = |folder: &Path| {
        let disk = Disk::open(folder, Durability::Never).expect("a folder");
        let era = disk.era();
        disk.close();
        era
    };
    let first = era(folder.path());
    assert_eq!(era(folder.path()), first, "closed in order");
    let crashed = tempfile::tempdir().expect("a folder");
    {
        let _open = Disk::open(folder.path(), Durability::Never).expect("a folder");
        for name in [FILE, "wharf.db-wal"] {
            std::fs::copy(folder.path().join(name), crashed.path().join(name)).expect("a copy");
        }
        crate::backup::backup(folder.path(), &folder.path().join("copy"), |_| ()).expect("a copy");
    }
    assert_eq!(era(crashed.path()), first, "the machine was not started since");
    assert_eq!(era(&folder.path().join("copy")), first + 1);
    assert_eq!(era(&folder.path().join("copy")), first + 1);
    let edit = crate::Edit::begin(folder.path()).expect("nobody has it");
    edit.commit().expect("a disk that writes");
    assert_eq!(era(folder.path()), first + 1);
}
