//! Disks that are slow, full or broken, and folders that go away under the host.

use std::path::Path;

use wharf_tests::operator::Operated;
use wharf_tests::script::{enter_room, perform, result};
use wharf_tests::{Client, FaultyDisk, Line, Value, Wharf, configured, folder, json};

/// Returns a step that adds one to a number in the store.
fn increment() -> Value {
    json!({ "do": "increment", "milliseconds": 3_600_000 })
}

/// Posts an event to the room, and returns the number of it that the room's state has.
async fn post(client: &mut Client) -> u64 {
    client.send_json(json!({ "do": "post", "room": "red" })).await;
    loop {
        let message = client.json().await;
        if let Some(number) = message["event"].as_u64() {
            return number;
        }
    }
}

const READY: &str = "ready";
const FAILING: &str = "not ready, data cannot be written to disk";

/// Waits for the line of the log which says that writing fails, after the first `start` ones. Returns the reason.
async fn reason(wharf: &Wharf, start: usize) -> String {
    let told = |line: &Line| line.begins("data cannot be written to disk");
    let line = wharf.log.wait_for_after(start, "the line about the disk", told).await;
    line.str("reason").to_owned()
}

#[tokio::test]
async fn a_disk_that_stands_still_holds_up_those_who_wait_for_it_and_nobody_else() {
    let disk = FaultyDisk::new();
    let flags = ["--data-sync group"];
    let wharf = Wharf::start_under(&disk.wrapper(), folder(&["scripted"]), &flags).await;
    let (mut ann, mut bob) =
        (enter_room(&wharf, "ann", "red").await, enter_room(&wharf, "bob", "red").await);
    assert_eq!(perform(&mut ann, increment()).await, 1);
    disk.set("delay=600000");
    ann.send_json(increment()).await;
    ann.send_json(json!({ "do": "post", "room": "red" })).await;
    for _ in 0..50 {
        perform(&mut bob, json!({ "do": "broadcast", "room": "red" })).await;
    }
    assert_eq!(wharf.readiness().await.0, 200, "it is slow, and refuses nothing");
    disk.set("");
    assert_eq!(result(&mut ann).await, 2);
    assert_eq!(post(&mut bob).await, 1, "the one of ann was handled");
    assert_eq!(post(&mut ann).await, 1);
    assert_eq!(post(&mut ann).await, 2);
    assert!(!wharf.log.lines().iter().any(|line| line.begins("data cannot")));
}

#[tokio::test]
async fn a_slow_disk_loses_nothing() {
    for milliseconds in [10, 1000] {
        let disk = FaultyDisk::new();
        let flags = ["--data-sync group"];
        let mut wharf = Wharf::start_under(&disk.wrapper(), folder(&["scripted"]), &flags).await;
        disk.set(&format!("delay={milliseconds}"));
        let mut clients = Vec::new();
        for name in 0..8 {
            clients.push(enter_room(&wharf, &name.to_string(), "red").await);
        }
        for client in &mut clients {
            client.send_json(increment()).await;
        }
        let mut counts = Vec::new();
        for client in &mut clients {
            counts.push(result(client).await.as_u64().expect("a number"));
        }
        counts.sort_unstable();
        assert_eq!(counts, (1..=8).collect::<Vec<_>>());
        assert_eq!(post(&mut clients[0]).await, 1);
        wharf.kill();
        wharf.start_again(&[]).await;
        let mut ann = enter_room(&wharf, "ann", "red").await;
        assert_eq!(perform(&mut ann, increment()).await, 9);
        assert_eq!(post(&mut ann).await, 2);
    }
}

#[tokio::test]
async fn every_refusal_of_the_disk_is_named_and_undone_and_passes() {
    let disk = FaultyDisk::new();
    let kept = "channels.scripted.history = { rooms = \"kept\", messages = 100 }";
    let place = configured(&["scripted"], kept);
    let flags = ["--data-sync group"];
    let mut it = Operated::start_under(&disk.wrapper(), place, &flags).await;
    let mut ann = enter_room(&it.wharf, "ann", "red").await;
    let mut bob = enter_room(&it.wharf, "bob", "red").await;
    // No space, an error of the device, a disk that is read-only; when writing and when syncing.
    let faults = [
        ("write=28", "the disk is full"),
        ("write=5", "the disk has failed: "),
        ("write=30", "the disk has failed: "),
        ("sync=5", "the disk has failed: "),
        ("sync=28", "the disk has failed: "),
    ];
    for (round, (fault, why)) in (1..).zip(faults) {
        assert_eq!(perform(&mut ann, increment()).await, round, "before {fault}");
        assert_eq!(post(&mut ann).await, round);
        let start = it.wharf.log.len();
        disk.set(fault);
        assert_eq!(perform(&mut ann, increment()).await, "data-unavailable", "{fault}");
        let told = reason(&it.wharf, start).await;
        assert!(told.starts_with(why), "{fault}: {told}");
        it.wharf.readiness_becomes(503, FAILING).await;
        let post = "/scripted/rooms/red/post?wait=true";
        let (status, answer) = it.post(post, json!({ "event": "eve" })).await;
        assert_eq!((status, &answer["error"]["code"]), (503, &json!("data-unavailable")));
        let said = json!({ "rooms": ["kept"], "text": "?" });
        let said = it.post("/scripted/broadcast", said).await;
        assert_eq!(said.0, 503, "{}", said.1);
        // Messages that need no disk go on, for those who are there and for newcomers.
        perform(&mut bob, json!({ "do": "broadcast", "room": "red" })).await;
        let mut new = it.wharf.connect("/scripted/new").await;
        assert_eq!(new.json().await, json!({ "welcome": "new" }), "{fault}");
        disk.set("");
        it.wharf.readiness_becomes(200, READY).await;
    }
    let rounds = faults.len();
    assert_eq!(perform(&mut ann, increment()).await, rounds + 1);
    it.wharf.kill();
    it.start_again(&[]).await;
    let mut ann = enter_room(&it.wharf, "ann", "red").await;
    assert_eq!(perform(&mut ann, increment()).await, rounds + 2);
    assert_eq!(post(&mut ann).await, rounds as u64 + 1);
    let history = it.get("/scripted/rooms/kept/history").await;
    assert_eq!(history.1["messages"], json!([]), "nothing of what was refused: {}", history.1);
}

/// Removes a folder as if it had never been there, or puts another one in its place.
fn replace(folder: &Path, with_another: bool) {
    let aside = folder.with_extension("aside");
    std::fs::rename(folder, &aside).expect("the folder is moved");
    if with_another {
        std::fs::create_dir(folder).expect("a folder");
        std::fs::copy(aside.join("wharf.db"), folder.join("wharf.db")).expect("a copy");
    }
}

#[tokio::test]
async fn a_folder_that_is_taken_away_is_noticed_and_nothing_is_written_into_nowhere() {
    for with_another in [false, true] {
        let mut wharf = Wharf::start(&["scripted"], &[]).await;
        let mut ann = enter_room(&wharf, "ann", "red").await;
        assert_eq!(perform(&mut ann, increment()).await, 1);
        let data = wharf.folder().join("wharf-data");
        replace(&data, with_another);
        assert_eq!(perform(&mut ann, increment()).await, "data-unavailable");
        let told = reason(&wharf, 0).await;
        assert!(told.starts_with("wharf.db was moved or deleted; put it back"), "{told}");
        wharf.readiness_becomes(503, FAILING).await;
        perform(&mut ann, json!({ "do": "broadcast", "room": "red" })).await;
        if with_another {
            std::fs::remove_dir_all(&data).expect("the other one goes");
        }
        std::fs::rename(data.with_extension("aside"), &data).expect("it is back");
        wharf.readiness_becomes(200, READY).await;
        assert_eq!(perform(&mut ann, increment()).await, 2, "nothing of what was refused");
        wharf.kill();
        wharf.start_again(&[]).await;
        let mut ann = enter_room(&wharf, "ann", "red").await;
        assert_eq!(perform(&mut ann, increment()).await, 3);
    }
}

#[tokio::test]
async fn a_deleted_folder_is_made_anew_by_a_restart() {
    let mut wharf = Wharf::start(&["scripted"], &[]).await;
    let mut ann = enter_room(&wharf, "ann", "red").await;
    assert_eq!(perform(&mut ann, increment()).await, 1);
    std::fs::remove_dir_all(wharf.folder().join("wharf-data")).expect("it is deleted");
    assert_eq!(perform(&mut ann, increment()).await, "data-unavailable");
    wharf.signal("TERM");
    assert!(wharf.stopped().await.status.success());
    wharf.start_again(&[]).await;
    let mut ann = enter_room(&wharf, "ann", "red").await;
    assert_eq!(perform(&mut ann, increment()).await, 1);
}

/// Overwrites all pages of the database but the first one, which has the tables.
fn damage(database: &Path) {
    let mut bytes = std::fs::read(database).expect("the database");
    assert!(bytes.len() > 4096, "it has pages");
    bytes[4096..].fill(0xa5);
    std::fs::write(database, bytes).expect("it is written");
}

#[tokio::test]
async fn damaged_pages_refuse_the_start_with_the_mend() {
    let mut wharf = Wharf::start(&["scripted", "echo"], &[]).await;
    let mut ann = enter_room(&wharf, "ann", "red").await;
    assert_eq!(perform(&mut ann, increment()).await, 1);
    wharf.signal("TERM");
    assert!(wharf.stopped().await.status.success());
    let data = wharf.folder().join("wharf-data");
    let whole = std::fs::read(data.join("wharf.db")).expect("the database");
    damage(&data.join("wharf.db"));
    let end = wharf_tests::run_in(
        wharf.folder(),
        &["serve", "--plugins", "plugins", "--listen", "127.0.0.1:0"],
        &[],
    );
    let text = String::from_utf8_lossy(&end.stderr);
    assert!(!end.status.success(), "{text}");
    assert!(text.contains("the database is damaged; restore a backup"), "{text}");
    std::fs::write(data.join("wharf.db"), whole).expect("the backup is in place");
    wharf.start_again(&[]).await;
    let mut ann = enter_room(&wharf, "ann", "red").await;
    assert_eq!(perform(&mut ann, increment()).await, 2);
}
