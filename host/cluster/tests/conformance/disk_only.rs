//! The engine on disk: a restart loses nothing.

use std::time::Duration;

use bytes::Bytes;
use wharf_cluster::{Bounds, Expected, Fence, Keys, Leases, Limits, LogEntry, Logs, disk};

const BOUNDS: Bounds = Bounds { messages: 3, bytes: 1_000, age: None, idle: None };

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_keys_logs_and_leases() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut positions, mut fences, mut versions) = (Vec::new(), vec![Fence(0)], Vec::new());
    for round in 0..3_u64 {
        let (disk, _deliveries) = disk::open(folder.path(), &Limits::default()).expect("open");
        for number in 0..4 {
            let entry = Bytes::from(format!("{round} {number}"));
            positions.push(disk.append("l", entry, BOUNDS).await.expect("appended"));
        }
        let slice = disk.read("l", 0, 100, 1_000).await.expect("read");
        let last = round * 4 + 4;
        assert_eq!((slice.first, slice.last), (last - 2, last));
        assert_eq!(
            slice.entries[0],
            LogEntry { offset: last - 2, entry: format!("{round} 1").into() }
        );
        assert_eq!(disk.increment("n", 1, None).await.expect("added").0, round as i64 + 1);
        let ttl = Some(Duration::from_secs(60));
        let version = disk.put("k", Bytes::new(), Expected::Any, ttl).await.expect("written");
        assert!(!versions.contains(&version));
        versions.push(version);
        disk.delete("k", Expected::Version(version)).await.expect("deleted");
        let fence = disk.acquire("room", "me", Duration::from_secs(60)).await.expect("an answer");
        let fence = fence.expect("my own");
        assert!(fence > fences[fences.len() - 1]);
        fences.push(fence);
        let other = disk.acquire("room", "other", Duration::from_secs(60)).await;
        assert_eq!(other.expect("an answer").expect_err("held").holder, "me");
    }
    assert!(positions.iter().all(|position| position.epoch == positions[0].epoch));
    assert_eq!(
        positions.iter().map(|p| p.offset).collect::<Vec<_>>(),
        (1..=12).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_log_stays_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || disk::open(folder.path(), &Limits::default()).expect("open");
    let first = {
        let (disk, _deliveries) = open();
        let position = disk.append("l", Bytes::from_static(b"a"), BOUNDS).await.expect("appended");
        disk.remove("l").await.expect("removed");
        position
    };
    let (disk, _deliveries) = open();
    assert_eq!(disk.read("l", 0, 100, 1_000).await.expect("read").epoch, 0);
    let second = disk.append("l", Bytes::from_static(b"b"), BOUNDS).await.expect("appended");
    assert!(second.epoch != first.epoch && second.offset == 1);
}
