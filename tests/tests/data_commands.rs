//! The operator's commands for the data folder: beside a host that serves, and without one.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wharf_tests::script::{enter, perform};
use wharf_tests::{Value, Wharf, folder, json, run_in};

fn increment() -> Value {
    json!({ "do": "increment", "milliseconds": 3_600_000 })
}

/// Runs a command of the operator to its end, without keeping the test's clients from going on.
async fn run(folder: &Path, arguments: &[&str]) -> Output {
    let folder = folder.to_owned();
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run_in(&folder, &arguments, &[])
    })
    .await
    .expect("it ends")
}

/// Returns what a command has printed, which must have succeeded.
async fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments).await;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    String::from_utf8(output.stdout).expect("text")
}

/// Returns the complaint of a command, which must have failed.
async fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments).await;
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).expect("text")
}

/// Makes an export of these lines between the first and the last.
fn export_of(records: &[Value]) -> String {
    let first = json!({ "content": "wharf-data", "format": 1, "version": "0.1.0" });
    let last = json!({ "records": records.len() });
    let lines = [&first].into_iter().chain(records).chain([&last]);
    lines.map(|line| format!("{line}\n")).collect()
}

fn record(channel: &str, kind: &str, key: &str, value: &str) -> Value {
    json!({ "channel": channel, "kind": kind, "key": key, "value": value, "version": 3 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_has_everything_that_was_answered_before_it() {
    let place = folder(&["scripted"]);
    // Enough that the copy takes a while.
    let large: Vec<Value> = (0..20_000)
        .map(|number| record("large", "store", &format!("k{number}"), &"x".repeat(1000)))
        .collect();
    fs::write(place.path().join("large.jsonl"), export_of(&large)).expect("a file");
    said(place.path(), &["data", "import", "large.jsonl"]).await;
    let wharf = Wharf::start_in(place, &[]).await;
    let mut ann = enter(&wharf, "ann").await;
    perform(&mut ann, json!({ "do": "join", "room": "red" })).await;
    perform(&mut ann, json!({ "do": "post", "room": "red" })).await;
    let after = json!({ "do": "room_after", "room": "blue", "milliseconds": 3_600_000 });
    assert_eq!(perform(&mut ann, after).await, "ok");

    let (answered, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut writers = Vec::new();
    for number in 0..8 {
        let mut client = enter(&wharf, &format!("writer-{number}")).await;
        let (answered, is_over) = (answered.clone(), is_over.clone());
        writers.push(tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let count = perform(&mut client, increment()).await;
                answered.fetch_max(count.as_u64().expect("a number"), Ordering::Relaxed);
            }
        }));
    }
    let mut copies = Vec::new();
    for number in 0..3 {
        let before = answered.load(Ordering::Relaxed);
        let text = said(wharf.folder(), &["backup", &format!("copy-{number}")]).await;
        assert!(text.starts_with("copied 20,00") && text.contains("of 2 channels"), "{text}");
        copies.push((format!("copy-{number}"), before, answered.load(Ordering::Relaxed)));
    }
    is_over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("each write is answered");
    }
    let (first, last) = (&copies[0], &copies[2]);
    assert!(last.2 > first.1 + 100, "the host was not held up: {copies:?}");

    for (name, before, after) in &copies {
        let place = folder(&["scripted"]);
        let copy = wharf.folder().join(name);
        assert_eq!(fs::read_dir(&copy).expect("a copy").count(), 1, "one file");
        fs::rename(copy, place.path().join("wharf-data")).expect("put in place");
        let second = Wharf::start_in(place, &[]).await;
        let mut ann = enter(&second, "ann").await;
        let count = perform(&mut ann, increment()).await.as_u64().expect("a number") - 1;
        // A write that is under way has no answer yet: one for each of the writers.
        assert!((*before..=after + 8).contains(&count), "{before} <= {count} <= {after}");
        let events = perform(&mut ann, json!({ "do": "read_room", "room": "red" })).await;
        assert_eq!(events, 1);
        let left = perform(&mut ann, json!({ "do": "left_in_room", "room": "blue" })).await;
        assert!((3_000_000..3_600_000).contains(&left.as_u64().expect("the timer is set")));
        let large = said(second.folder(), &["data", "show", "large"]).await;
        assert!(large.starts_with("store: 20,000 records\n"), "{}", &large[..100]);
    }
}

#[tokio::test]
async fn a_backup_that_cannot_be_made_says_what_to_do() {
    let mut wharf = Wharf::start(&["scripted"], &[]).await;
    perform(&mut enter(&wharf, "ann").await, increment()).await;
    let place = wharf.folder().to_owned();
    let why = refused(&place, &["backup", "wharf-data"]).await;
    assert!(why.contains("is not empty; name a new or an empty one"), "{why}");
    let why = refused(&place, &["backup", "x", "--data", ""]).await;
    assert!(why.contains("data is kept in memory") && why.contains("--data"), "{why}");
    let why = refused(&place, &["backup", "x", "--data", "elsewhere"]).await;
    assert!(why.contains("nothing is stored in the data folder elsewhere"), "{why}");
    fs::write(place.join("file"), "").expect("a file");
    let why = refused(&place, &["backup", "file/x"]).await;
    assert!(why.contains("nothing is left there"), "{why}");
    assert!(!place.join("x").exists());

    wharf.signal("TERM");
    wharf.stopped().await;
    let database = place.join("wharf-data/wharf.db");
    let mut bytes = fs::read(&database).expect("the database");
    let at = bytes.windows(7).position(|part| part == b"counter").expect("the key");
    bytes[at] ^= 1;
    fs::write(&database, bytes).expect("damaged");
    let why = refused(&place, &["backup", "x"]).await;
    assert!(why.contains("a record is damaged (store \"bounter\")"), "{why}");
    assert!(!place.join("x").exists());
    let why = refused(&place, &["data", "export"]).await;
    assert!(why.contains("damaged") && why.contains("--skip-damaged"), "{why}");
    let output = run(&place, &["data", "export", "--skip-damaged", "rest"]).await;
    assert!(output.status.success());
    let named = String::from_utf8_lossy(&output.stderr);
    assert!(named.contains("channel scripted: a record is damaged (store \"bounter\")"), "{named}");
    let rest = fs::read_to_string(place.join("rest")).expect("an export");
    assert!(!rest.contains("bounter") && rest.contains("{\"records\":"), "{rest}");
}

#[tokio::test]
async fn an_export_that_is_imported_elsewhere_is_the_same_export() {
    let mut wharf = Wharf::start(&["scripted"], &[]).await;
    let mut ann = enter(&wharf, "ann").await;
    perform(&mut ann, json!({ "do": "join", "room": "red" })).await;
    perform(&mut ann, json!({ "do": "post", "room": "red" })).await;
    for _ in 0..5 {
        perform(&mut ann, increment()).await;
    }
    let after = json!({ "do": "room_after", "room": "blue", "milliseconds": 3_600_000 });
    assert_eq!(perform(&mut ann, after).await, "ok");
    let place = wharf.folder().to_owned();
    // While the host runs, reading works, and writing is refused.
    let all = said(&place, &["data"]).await;
    assert!(all.contains("in use by  process ") && all.contains("format     2"), "{all}");
    let row = all.lines().find(|line| line.starts_with("scripted")).expect("the channel");
    assert_eq!(row.matches(" B)").count(), 3, "store, rooms and timers: {row}");
    let keys = said(&place, &["data", "show", "scripted", "--kind", "store"]).await;
    assert!(keys.starts_with("store: 1 record\n"), "{keys}");
    assert!(keys.contains("59 min  \"counter\""), "{keys}");
    let export = said(&place, &["data", "export"]).await;
    assert_eq!(export, said(&place, &["data", "export", "-", "--channel", "scripted"]).await);
    fs::write(place.join("export"), &export).expect("a file");
    for writing in [&["data", "import", "export"][..], &["data", "drop", "scripted"]] {
        let why = refused(&place, writing).await;
        assert!(why.contains("is in use by process ") && why.contains("stop it"), "{why}");
    }
    wharf.kill();

    let other = folder(&["scripted"]);
    let text =
        said(other.path(), &["data", "import", &place.join("export").to_string_lossy()]).await;
    assert!(text.starts_with("imported 3 records of 1 channel into wharf-data"), "{text}");
    assert_eq!(said(other.path(), &["data", "export"]).await, export);
    let second = Wharf::start_in(other, &[]).await;
    let mut ann = enter(&second, "ann").await;
    assert_eq!(perform(&mut ann, increment()).await, 6);
    let events = perform(&mut ann, json!({ "do": "read_room", "room": "red" })).await;
    assert_eq!(events, 1);
    let left = perform(&mut ann, json!({ "do": "left_in_room", "room": "blue" })).await;
    assert!(left.as_u64().expect("the timer is set") > 3_000_000);
}

#[tokio::test]
async fn an_import_is_whole_or_changes_nothing() {
    let place = tempfile::tempdir().expect("a folder");
    let place = place.path();
    let write = |name: &str, text: &str| fs::write(place.join(name), text).expect("a file");
    let (a, b) = (record("chat", "store", "a", "1"), record("game", "rooms", "red", "2"));
    write("first", &export_of(&[a.clone(), b.clone()]));
    said(place, &["data", "import", "first"]).await;
    let before = said(place, &["data", "export"]).await;

    let new = record("new", "store", "n", "3");
    let whole = export_of(&[new.clone(), a.clone()]);
    let cut = whole.lines().take(2).collect::<Vec<_>>().join("\n");
    let odd = whole.replace("\"kind\":\"store\"", "\"kind\":\"stores\"");
    let twice = export_of(&[new.clone(), new.clone()]);
    let fewer = whole.replace("{\"records\":2}", "{\"records\":3}");
    let newer = whole.replace("\"format\":1", "\"format\":2");
    for (text, reason) in [
        (&*whole, "line 3: channel chat has 1 record already; add --replace"),
        (&cut, "the export was cut off"),
        (&odd, "line 2: unknown kind \"stores\": there are store, rooms, timers, epochs, history"),
        (&twice, "line 3: the record (store \"n\") is there twice"),
        (&fewer, "the export should have 3 records, and has 2"),
        (&newer, "format 2, and this version of wharf knows formats up to 1"),
        ("no export", "line 1: this is no export"),
        ("", "line 1: this is no export"),
    ] {
        write("other", text);
        // Only the first one is refused for what is there already.
        let arguments = match text == whole {
            true => &["data", "import", "other"][..],
            false => &["data", "import", "other", "--replace"],
        };
        let why = refused(place, arguments).await;
        assert!(why.contains("nothing is imported") && why.contains(reason), "{why}");
        assert_eq!(said(place, &["data", "export"]).await, before, "{reason}");
    }
    let changed = record("chat", "store", "z", "9");
    write("other", &export_of(&[changed]));
    let text = said(place, &["data", "import", "--replace", "other"]).await;
    assert!(text.starts_with("imported 1 record of 1 channel in place of 1 record"), "{text}");
    let after = said(place, &["data", "export"]).await;
    assert!(
        after.contains("\"z\"") && !after.contains("\"a\"") && after.contains("\"red\""),
        "{after}"
    );
}

#[tokio::test]
async fn a_channel_is_dropped_by_its_exact_name() {
    let place = tempfile::tempdir().expect("a folder");
    let place = place.path();
    assert!(said(place, &["data"]).await.starts_with("nothing is stored in the data folder"));
    assert!(said(place, &["data", "--data", ""]).await.contains("kept in memory"));
    let records = [
        record("chat", "store", "a", "1"),
        record("chat", "rooms", "red", "22"),
        record("game", "store", "b", "3"),
    ];
    fs::write(place.join("export"), export_of(&records)).expect("a file");
    said(place, &["data", "import", "export"]).await;
    let why = refused(place, &["data", "drop", "caht"]).await;
    assert!(why.contains("did you mean chat?"), "{why}");
    let why = refused(place, &["data", "show", "something-else"]).await;
    assert!(why.contains("`wharf data` shows those"), "{why}");
    let text = said(place, &["data", "drop", "chat"]).await;
    assert_eq!(text, "removed chat from wharf-data: store 1 (2 B), rooms 1 (5 B)\n");
    let all = said(place, &["data"]).await;
    assert!(!all.contains("chat") && all.contains("game") && all.contains("no process"), "{all}");
    assert!(refused(place, &["data", "drop", "chat"]).await.contains("nothing is stored of"));
}

#[tokio::test]
async fn data_of_another_version_or_program_is_refused_by_each_command() {
    let place = tempfile::tempdir().expect("a folder");
    let place = place.path();
    fs::write(place.join("export"), export_of(&[record("chat", "store", "a", "1")]))
        .expect("a file");
    said(place, &["data", "import", "export"]).await;
    let commands: [&[&str]; 6] = [
        &["data"],
        &["data", "show", "chat"],
        &["data", "export"],
        &["data", "import", "export"],
        &["data", "drop", "chat"],
        &["backup", "copy"],
    ];
    let database = rusqlite::Connection::open(place.join("wharf-data/wharf.db")).expect("it opens");
    for (pragma, value, reason) in [
        ("user_version", 99, "has format 99, and this version of wharf knows formats up to"),
        ("application_id", 1, "is a database of another program"),
    ] {
        database.pragma_update(None, pragma, value).expect("written");
        for command in commands {
            let why = refused(place, command).await;
            assert!(why.contains(reason), "{command:?}: {why}");
        }
        assert!(!place.join("copy").exists());
    }
}
