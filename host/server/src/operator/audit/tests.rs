use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hyper::{Request, StatusCode};
use proptest::prelude::*;
use serde_json::Value;
use wharf_hub::remote::Remote;

use super::act::rfc_3339;
use super::*;
use crate::operator::problem::Problem;

const LARGE: usize = 1024 * 1024;

fn opened(folder: &Path, max_bytes: usize) -> Arc<Audit> {
    Audit::start(Some((AuditFile::new(folder, max_bytes, false), false)))
}

fn request(path: &str) -> Request<()> {
    Request::post(path).header("authorization", "Bearer hush").body(()).expect("a request")
}

/// Records an act on a path, and waits until that is written.
async fn act(audit: &Arc<Audit>, path: &str) {
    let act = Act::begin(audit, Remote::Unix, &request(path));
    act.end(&Ok((StatusCode::OK, "secret answer".into()))).await;
}

fn refuse(audit: &Audit, path: &str) {
    Act::refuse(audit, Remote::Unix, &request(path), &Problem::unauthorized(true));
}

async fn listed(audit: &Arc<Audit>, before: u64, limit: usize) -> Vec<Value> {
    let found = audit.list(before, limit).await.expect("it can be read");
    found.iter().map(|(_, json)| json.get().parse().expect("JSON")).collect()
}

async fn paths(audit: &Arc<Audit>) -> Vec<String> {
    let found = listed(audit, u64::MAX, 1_000_000).await;
    found.iter().map(|act| act["path"].as_str().unwrap_or_default().to_owned()).collect()
}

fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

#[tokio::test]
async fn acts_are_in_the_file_before_their_answer_and_listed_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    for round in 1..=3 {
        let audit = opened(folder.path(), LARGE);
        act(&audit, &format!("/{round}")).await;
        assert_eq!(text(folder.path(), "audit.jsonl").lines().count(), round);
        let expected: Vec<_> = (1..=round).rev().map(|number| format!("/{number}")).collect();
        assert_eq!(paths(&audit).await, expected);
    }
    let file = folder.path().join("audit.jsonl");
    let mode = std::fs::metadata(file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for secret in ["hush", "secret answer"] {
        assert!(!text(folder.path(), "audit.jsonl").contains(secret));
    }
}

#[tokio::test]
async fn pages_go_back_through_both_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let audit = opened(folder.path(), 4_000);
    for number in 0..100 {
        act(&audit, &format!("/{number}")).await;
    }
    let sizes = ["audit.jsonl", "audit.1.jsonl"].map(|name| text(folder.path(), name).len());
    assert!(sizes.iter().all(|size| (1..=4_000).contains(size)), "{sizes:?}");
    let names = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(names, 2, "one older file is kept");
    let all = paths(&audit).await;
    assert!(all.len() > 10 && all.len() < 40, "{}", all.len());
    let expected: Vec<_> = (0..100).rev().map(|number| format!("/{number}")).collect();
    assert_eq!(all, expected[..all.len()]);
    let (mut before, mut paged) = (u64::MAX, Vec::new());
    loop {
        let page = listed(&audit, before, 3).await;
        let Some(last) = page.last() else { break };
        before = last["id"].as_u64().expect("a number");
        paged.extend(page.iter().map(|act| act["path"].as_str().expect("text").to_owned()));
    }
    assert_eq!(paged, all);
}

#[tokio::test]
async fn a_torn_line_and_foreign_lines_are_passed_over_and_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    act(&opened(folder.path(), LARGE), "/first").await;
    let path = folder.path().join("audit.jsonl");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("the file");
    let strange = ["\n\n", "{\"id\":1}garbage\n", "no JSON\n", "\u{0}\n", &"x".repeat(200_000)];
    for text in strange.into_iter().chain(["\n{\"id\":18446744073709551616}\n", "{\"id\":17,\"ti"])
    {
        file.write_all(text.as_bytes()).expect("written");
    }
    let audit = opened(folder.path(), LARGE);
    act(&audit, "/second").await;
    act(&audit, "/third").await;
    assert_eq!(paths(&audit).await, ["/third", "/second", "/first"]);
    let after = text(folder.path(), "audit.jsonl");
    assert!(after.contains("{\"id\":17,\"ti\n{\"id\":"), "the torn line is a line of its own");
}

#[tokio::test]
async fn a_line_across_blocks_of_the_file_is_read_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let audit = opened(folder.path(), LARGE);
    for number in 0..1000 {
        act(&audit, &format!("/{number}/{}", "x".repeat(number % 190))).await;
    }
    assert!(text(folder.path(), "audit.jsonl").len() > 3 * 64 * 1024);
    let all = paths(&audit).await;
    assert_eq!(all.len(), 1000);
    assert!(all.iter().rev().enumerate().all(|(n, path)| path.starts_with(&format!("/{n}/"))));
}

#[tokio::test]
async fn an_act_goes_on_while_the_disk_refuses_and_is_written_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    // No file can be made in its place.
    std::fs::create_dir(&file).expect("a folder");
    let audit = opened(folder.path(), LARGE);
    let begun = Instant::now();
    for number in 0..100 {
        act(&audit, &format!("/{number}")).await;
    }
    // Only the first may have waited.
    assert!(begun.elapsed() < PATIENCE * 20, "{:?}", begun.elapsed());
    std::fs::remove_dir(&file).expect("it is empty");
    let mut progress = audit.shared.progress.subscribe();
    progress.wait_for(|now| now.written > 0 && !now.is_failing).await.expect("it goes on");
    assert_eq!(text(folder.path(), "audit.jsonl").lines().count(), 100);
    assert_eq!(paths(&audit).await.len(), 100);
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let audit = opened(folder.path(), LARGE);
    act(&audit, "/first").await;
    let file = folder.path().join("audit.jsonl");
    std::fs::rename(&file, folder.path().join("archive")).expect("moved");
    act(&audit, "/second").await;
    assert_eq!(paths(&audit).await, ["/second"]);
}

#[tokio::test]
async fn the_records_in_memory_are_bounded_and_those_that_were_dropped_counted() {
    let audit = Audit::start(None);
    for number in 0..MAX_WAITING + 7 {
        act(&audit, &format!("/{number}")).await;
    }
    let all = listed(&audit, u64::MAX, 1_000_000).await;
    assert_eq!(all.len(), MAX_WAITING);
    let oldest = all.last().expect("there are some");
    assert_eq!(oldest["path"], "/7");
    assert_eq!(oldest["lost"], 7);
    assert!(all[0].get("lost").is_none());
}

#[tokio::test]
async fn strangers_fill_nothing_and_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let audit = opened(folder.path(), LARGE);
    for number in 0..10_000 {
        refuse(&audit, &format!("/{number}"));
    }
    act(&audit, "/act").await;
    drop(audit);
    let audit = opened(folder.path(), LARGE);
    let all = listed(&audit, u64::MAX, 1000).await;
    assert_eq!(all.len(), 12);
    assert_eq!((&all[0]["path"], &all[0]["times"]), (&"/9999".into(), &9_990.into()));
    assert_eq!(all[1]["path"], "/act");
    assert_eq!((&all[2]["code"], &all[2]["status"]), (&"wrong-token".into(), &401.into()));
    assert_eq!(all[2]["credential"], Value::Null);
    assert_eq!(all[1]["credential"], "operator_token");
}

#[test]
fn strangers_get_one_record_a_minute_after_a_burst() {
    let mut strangers = Strangers::default();
    let record = || Record::of_stranger(&request("/"));
    let mut now = Instant::now();
    let mut told = Vec::new();
    for _ in 0..600 {
        for _ in 0..5 {
            let settled = strangers.settle(now);
            told.extend(settled.into_iter().chain(strangers.take(record(), now)));
        }
        now += Duration::from_secs(1);
    }
    let (records, times) = (told.len(), told.iter().map(|record| record.times).sum::<u64>());
    assert!((18..=20).contains(&records), "{records} records in ten minutes");
    let left = strangers.counted.as_ref().map_or(0, |record| record.times);
    assert_eq!(times + left, 3_000, "none is missing");
}

#[test]
fn times_are_written_as_the_rfc_has_them() {
    for (milliseconds, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_800_000, "2000-03-01T00:00:00.000Z"),
        (1_709_210_096_007, "2024-02-29T12:34:56.007Z"),
        (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(rfc_3339(Duration::from_millis(milliseconds)), expected);
    }
}

proptest! {
    #[test]
    fn any_name_is_one_short_line(name in ".{0,2000}", method in "[A-Z]{1,300}") {
        let request = Request::builder().method(&*method).uri("/").body(()).expect("a request");
        let mut act = Act::begin(&Audit::start(None), Remote::Unix, &request);
        act.names(&name, &crate::operator::route::Command::Reset(name.clone()));
        let json = act.record().expect("a record").to_json(1, 0);
        prop_assert!(!json.contains('\n') && json.len() < 5_000, "{}", json.len());
        prop_assert!(json.parse::<Value>().is_ok() && !json.chars().any(char::is_control));
    }
}
