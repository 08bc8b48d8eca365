use std::path::Path;

use wharf_engine::{Disk, Durability};

use super::*;
use crate::inbox::Posted;

const HOUR: Duration = Duration::from_secs(3600);

/// Opens the hub of a channel in a folder, which the last one has to have left.
fn open(folder: &Path) -> Hub {
    let disk = Disk::open(folder, Durability::Never).expect("the folder is free");
    let records = disk.records("chat").expect("a channel");
    Hub::default().recorded(records).expect("readable records")
}

/// Keeps everybody from writing, until the connection is dropped.
fn hold(folder: &Path) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(folder.join("wharf.db")).expect("the database");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    other
}

async fn write(hub: &Hub, changes: RecordedChanges) -> Result<(), Unavailable> {
    match hub.record(changes, &mut Effects::default())? {
        Some(written) => written.wait().await,
        None => Ok(()),
    }
}

/// Gives a room a state, on disk as well.
async fn keep(hub: &Hub, room: &str) {
    let mut changes = RecordedChanges::default();
    changes.room_state(room, Bytes::from_static(b"state"));
    write(hub, changes).await.expect("written");
    let state = hub.states.open(&Arc::from(room), 10).expect("a room");
    assert!(state.keep(Bytes::from_static(b"state"), usize::MAX));
}

/// Sets a timer of the channel, on disk as well.
async fn set(hub: &Hub, number: u64, delay: Duration, interval: Option<Duration>) {
    let (room, name, due_at, payload) = (String::new(), "tide".to_owned(), 0, Bytes::new());
    let record = TimerRecord { room, name, due_at, interval, payload: payload.clone() };
    write(hub, RecordedChanges { changes: vec![record.change(number)], ..Default::default() })
        .await
        .expect("written");
    let (scope, name, to) = (Scope::Channel, Arc::from("tide"), hub.channel_inbox());
    let (record, replaces) = (number, 0);
    hub.set_timer(NewTimer { record, replaces, scope, name, delay, interval, payload, to });
}

/// Waits for the firing of a timer of the channel, and begins its turn.
async fn begin(hub: &Hub) -> (Arc<Firing>, Begun) {
    loop {
        if let Some(Posted::Timer(firing)) = hub.channel_inbox().inbox().pop() {
            let begun = hub.begin_timer(&firing).expect("it is set");
            return (firing, begun);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn recorded_timers(hub: &Hub) -> usize {
    hub.loaded_timers.lock().len()
}

#[tokio::test]
async fn what_is_forgotten_while_the_disk_refuses_is_gone_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path());
    for room in ["red", "blue", "green"] {
        keep(&hub, room).await;
    }
    set(&hub, 1, HOUR, None).await;
    let other = hold(folder.path());
    hub.record_forgotten("red");
    while hub.record_failure().is_none() {
        tokio::task::yield_now().await;
    }
    hub.cancel_timers();
    hub.record_forgotten("blue");
    drop(other);
    // A state that comes after it is kept.
    loop {
        let mut changes = RecordedChanges::default();
        changes.room_state("blue", Bytes::from_static(b"new"));
        if write(&hub, changes).await.is_ok() {
            break;
        }
        tokio::task::yield_now().await;
    }
    drop(hub);
    let hub = open(folder.path());
    let states = ["red", "blue", "green"].map(|room| hub.room_state(room));
    let kept = |state: &'static [u8]| Some(Bytes::from_static(state));
    assert_eq!(states, [None, kept(b"new"), kept(b"state")]);
    assert_eq!(recorded_timers(&hub), 0);
}

#[tokio::test]
async fn a_room_whose_reset_the_disk_refuses_is_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path());
    keep(&hub, "red").await;
    assert_eq!(hub.reset_room("blue").await, Ok(false));
    let other = hold(folder.path());
    assert!(hub.reset_room("red").await.is_err());
    assert!(hub.room_state("red").is_some());
    drop(other);
    while hub.reset_room("red").await != Ok(true) {
        tokio::task::yield_now().await;
    }
    assert!(hub.room_state("red").is_none());
    assert_eq!(hub.reset_room("red").await, Ok(false));
    drop(hub);
    assert!(open(folder.path()).room_state("red").is_none());
}

#[tokio::test]
async fn a_timer_that_is_cancelled_before_its_firing_is_recorded_stays_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path());
    set(&hub, 1, Duration::ZERO, Some(HOUR)).await;
    let (firing, begun) = begin(&hub).await;
    let mut changes = RecordedChanges::default();
    changes.fired(&firing, &begun);
    // The record of the firing comes after the deletion.
    hub.cancel_timer(&Scope::Channel, "tide");
    write(&hub, changes).await.expect("written");
    hub.end_record_if_gone(&firing, &begun);
    drop(hub);
    assert_eq!(recorded_timers(&open(folder.path())), 0);
}

#[tokio::test]
async fn a_timer_whose_firing_cannot_be_recorded_fires_again_unless_it_was_set_anew() {
    for is_set_anew in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let hub = open(folder.path());
        set(&hub, 1, Duration::ZERO, None).await;
        let (firing, begun) = begin(&hub).await;
        if is_set_anew {
            set(&hub, 2, HOUR, None).await;
        }
        let other = hold(folder.path());
        let mut changes = RecordedChanges::default();
        changes.fired(&firing, &begun);
        assert!(write(&hub, changes).await.is_err());
        drop(other);
        hub.fire_again(&firing, begun, hub.channel_inbox(), Duration::ZERO);
        if is_set_anew {
            let left = hub.remaining(&Scope::Channel, "tide").expect("it is set");
            assert!(left > HOUR / 2, "{left:?}");
        } else {
            let (_, again) = begin(&hub).await;
            assert_eq!(again.record, 1);
        }
    }
}
