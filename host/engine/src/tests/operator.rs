//! The operator's ways to a folder: reading it while a host has it, copies, changes.

use crate::backup::{BackupError, backup};
use crate::stored::{Count, bytes_on_disk};

use super::*;

/// Writes records into a new folder, which is closed then.
async fn filled(changes: &[(&str, &str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::open(folder.path(), Durability::Never).expect("a new folder");
    for (channel, key, value) in changes {
        let records = disk.records(channel).expect("a channel");
        let written = records.write([put(key, value)], None).expect("queued");
        written.wait().await.expect("written");
    }
    folder
}

/// Returns all records as (channel, key, value), and those that are damaged as (channel, key).
type Found = (Vec<(String, String, String)>, Vec<(String, String)>);

fn found(folder: &Path) -> Found {
    let stored = Stored::open(folder).expect("readable").expect("a database");
    let (mut whole, mut damaged) = (Vec::new(), Vec::new());
    let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
    stored
        .read(None, None, |entry| {
            let (channel, key) = (entry.channel.to_owned(), text(&entry.key));
            match entry.is_damaged {
                true => damaged.push((channel, key)),
                false => whole.push((channel, key, text(&entry.record.value))),
            }
            Ok::<(), Unavailable>(())
        })
        .expect("readable");
    (whole, damaged)
}

fn triples(triples: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    let owned = |(a, b, c): &(&str, &str, &str)| ((*a).into(), (*b).into(), (*c).into());
    triples.iter().map(owned).collect()
}

#[test]
fn each_kind_has_a_name_and_a_number_of_its_own() {
    for kind in Kind::ALL {
        assert_eq!(Kind::named(kind.name()), Some(kind));
        assert_eq!(Kind::numbered(kind as u8), Some(kind));
    }
    assert_eq!((Kind::named("Store"), Kind::numbered(0)), (None, None));
}

#[tokio::test]
async fn records_are_read_in_order_and_counted_while_a_host_has_the_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(Stored::open(folder.path()).expect("readable").is_none());
    assert_eq!(holder(folder.path()), None);
    let disk = Disk::open(folder.path(), Durability::Never).expect("a new folder");
    let (game, chat) = (disk.records("game").expect("a"), disk.records("chat").expect("b"));
    let state = Change { kind: Kind::RoomState, ..put("red", "12345") };
    game.write([put("b", "22"), put("a", "1"), state], None)
        .expect("queued")
        .wait()
        .await
        .expect("");
    chat.write([put("c", "333")], None).expect("queued").wait().await.expect("written");
    assert_eq!(holder(folder.path()), Some(format!("process {}", std::process::id())));
    let stored = Stored::open(folder.path()).expect("readable").expect("a database");
    // Later writes are not seen.
    chat.write([put("late", "")], None).expect("queued").wait().await.expect("written");
    let count = |channel: &str, kind, records, bytes| Count {
        channel: channel.to_owned(),
        kind: Some(kind),
        records,
        bytes,
    };
    let expected = vec![
        count("chat", Kind::Store, 1, 4),
        count("game", Kind::Store, 2, 5),
        count("game", Kind::RoomState, 1, 8),
    ];
    assert_eq!(stored.counts(), Ok(expected));
    assert_eq!(stored.channels(), Ok(vec!["chat".to_owned(), "game".to_owned()]));
    assert!(bytes_on_disk(folder.path()) > 4096);
    drop(stored);
    let (whole, damaged) = found(folder.path());
    let expected = [
        ("chat", "c", "333"),
        ("chat", "late", ""),
        ("game", "a", "1"),
        ("game", "b", "22"),
        ("game", "red", "12345"),
    ];
    assert_eq!((whole, damaged), (triples(&expected), Vec::new()));
    drop((chat, game, disk));
    assert_eq!(holder(folder.path()), None);
}

#[tokio::test]
async fn a_copy_that_is_made_while_a_host_writes_is_that_of_one_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::open(folder.path(), Durability::Never).expect("a new folder");
    let records = disk.records("chat").expect("a channel");
    let value = |number: u32| format!("{number} {}", "x".repeat(1000));
    let changes = |number: u32| ["a", "z"].map(|key| put(key, &value(number)));
    let fill = (0..20_000).map(|number| put(&format!("k{number}"), &value(number)));
    records.write(fill, None).expect("queued").wait().await.expect("written");
    records.write(changes(0), None).expect("queued").wait().await.expect("written");
    let from = folder.path().to_owned();
    let copies = std::thread::spawn(move || {
        let copy = |_| {
            let to = tempfile::tempdir().expect("a folder");
            let mut reports = 0;
            let copied = backup(&from, to.path(), |_| reports += 1).expect("a copy");
            assert!(reports > 4 && copied.bytes > 20_000_000, "{reports}, {copied:?}");
            assert_eq!((copied.records, copied.channels), (20_002, 1));
            to
        };
        (0..3).map(copy).collect::<Vec<_>>()
    });
    let mut written = 0;
    while !copies.is_finished() {
        written += 1;
        let waiting = records.write(changes(written), None).expect("queued");
        waiting.wait().await.expect("the copy keeps nobody from writing");
    }
    let copies = copies.join().expect("copied");
    assert!(written > 100, "{written} writes meanwhile");
    for copy in copies {
        let names: Vec<_> = std::fs::read_dir(copy.path())
            .expect("readable")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, [FILE], "one file");
        let disk = Disk::open(copy.path(), Durability::Never).expect("a folder like any");
        let all = all(&disk.records("chat").expect("a channel"));
        assert_eq!((all.len(), &all[0].1), (20_002, &all[20_001].1), "one moment");
    }
}

#[tokio::test]
async fn a_backup_that_cannot_be_whole_leaves_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let source =
        filled(&[("chat", "a", "what is to be found in the file"), ("chat", "b", "1")]).await;
    let to = root.path().join("copy");
    let nothing = backup(&root.path().join("none"), &to, |_| {}).expect_err("nothing there");
    assert!(matches!(nothing, BackupError::Nothing { .. }), "{nothing}");
    assert!(!to.exists());

    std::fs::create_dir(root.path().join("taken")).expect("a folder");
    std::fs::write(root.path().join("taken/other"), "kept").expect("a file");
    let why = backup(source.path(), &root.path().join("taken"), |_| {}).expect_err("taken");
    assert!(why.to_string().contains("is not empty; name a new"), "{why}");
    assert_eq!(std::fs::read_dir(root.path().join("taken")).expect("a folder").count(), 1);

    std::fs::create_dir(&to).expect("a folder");
    std::fs::write(to.join("wharf.db.partial"), "half").expect("a file");
    let why = backup(source.path(), &to, |_| {}).expect_err("cut off");
    assert!(why.to_string().contains("remove wharf.db.partial"), "{why}");
    assert_eq!(std::fs::read_dir(&to).expect("a folder").count(), 1);
    std::fs::remove_dir_all(&to).expect("removed");

    let why = backup(source.path(), source.path(), |_| {}).expect_err("itself");
    assert!(matches!(why, BackupError::Taken { .. }), "{why}");

    damage(source.path(), "what is to be found in the file");
    let why = backup(source.path(), &to, |_| {}).expect_err("damaged").to_string();
    assert!(why.contains("a record is damaged (store \"a\")"), "{why}");
    assert!(why.contains("--skip-damaged"), "{why}");
    assert!(!to.exists(), "nothing is left");
    let (whole, damaged) = found(source.path());
    assert_eq!(whole, triples(&[("chat", "b", "1")]));
    assert_eq!(damaged, [("chat".to_owned(), "a".to_owned())]);
}

#[tokio::test]
async fn changes_of_the_operator_are_made_as_a_whole_and_without_a_host_only() {
    let folder = filled(&[("chat", "a", "1"), ("game", "b", "2")]).await;
    let record = Record { value: "3".into(), version: 7, expires_at: None };

    let mut edit = Edit::begin(folder.path()).expect("nobody has it");
    let refused = Disk::open(folder.path(), Durability::Never).expect_err("in use");
    assert!(matches!(refused, OpenError::Held { .. }), "{refused}");
    edit.remove("chat").expect("removed");
    let new = edit.channel("new").expect("a channel");
    assert_eq!(edit.insert(new, Kind::Store, b"c", &record), Ok(true));
    assert_eq!(edit.insert(new, Kind::Store, b"c", &record), Ok(false), "it is there");
    drop(edit);
    assert_eq!(found(folder.path()).0, triples(&[("chat", "a", "1"), ("game", "b", "2")]));

    let mut edit = Edit::begin(folder.path()).expect("nobody has it");
    edit.remove("chat").expect("removed");
    let new = edit.channel("new").expect("a channel");
    assert_eq!(edit.insert(new, Kind::Store, b"c", &record), Ok(true));
    assert_eq!(edit.counts().expect("readable").len(), 2);
    edit.commit().expect("written");
    assert_eq!(found(folder.path()).0, triples(&[("game", "b", "2"), ("new", "c", "3")]));

    let disk = Disk::open(folder.path(), Durability::Never).expect("free again");
    let refused = Edit::begin(folder.path()).expect_err("a host has it").to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    drop(disk);
}

#[test]
fn a_folder_of_another_version_or_program_is_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(Disk::open(folder.path(), Durability::Never).expect("a new folder"));
    let database = rusqlite::Connection::open(folder.path().join(FILE)).expect("a database");
    database.pragma_update(None, "user_version", 99).expect("a newer format");
    let why = Stored::open(folder.path()).expect_err("newer").to_string();
    assert!(why.contains("format 99"), "{why}");
    database.pragma_update(None, "application_id", 1).expect("of another program");
    let why = Stored::open(folder.path()).expect_err("foreign").to_string();
    assert!(why.contains("another program"), "{why}");
}
