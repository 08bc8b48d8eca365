//! Reasons that pass: files that are tried again, compilations that others overtake, starts that take
//! long.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use wharf_tests::artefacts::{component, padded, slow_to_compile};
use wharf_tests::raw::upgrade_headers;
use wharf_tests::{Line, Wharf, eventually};

/// Returns a folder for a cache of the test's own, and the flag for it.
fn cache() -> (TempDir, String) {
    let cache = tempfile::tempdir().expect("a folder");
    let flag = format!("--cache {}", cache.path().join("cache").display());
    (cache, flag)
}

fn is_loaded(line: &Line, name: &str) -> bool {
    line.says("plugin loaded") && line.str("channel") == name
}

#[tokio::test]
async fn a_file_that_is_refused_for_a_passing_reason_is_tried_again() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("plugins")).expect("a folder");
    // It does not describe itself before this time.
    let until = SystemTime::now() + Duration::from_secs(5);
    let until = until.duration_since(UNIX_EPOCH).expect("it is later").as_millis();
    let table = format!("[channels.late.settings]\nuntil = \"{until}\"\npath = \"/late\"\n");
    fs::write(folder.path().join("wharf.toml"), table).expect("a file");
    let wharf = Wharf::start_in(folder, &["--start-budget-ms 100"]).await;
    wharf.install("late", &component("endless"));
    let line = wharf.refused_after(0, "late").await;
    assert!(line.str("reason").contains("waiting included (start_budget_ms)"), "{line}");
    assert!(line.str("reason").ends_with("it is tried again"), "{line}");
    wharf.in_service_after(0, "late").await;
    wharf.connect("/late").await;
    let refused = wharf.log.find(|line| line.begins("plugin refused"));
    assert_eq!(refused.len(), 1, "further attempts repeat no line");
}

#[tokio::test]
async fn files_that_wait_for_another_attempt_take_no_memory() {
    const PADDING: usize = 48 << 20;
    let wharf = Wharf::start(&[], &["--start-budget-ms 100"]).await;
    let before = wharf.resident_bytes();
    let bytes = padded(&component("endless"), PADDING);
    for name in ["one", "two", "three"] {
        wharf.install(name, &bytes);
        let line = wharf.refused_after(0, name).await;
        assert!(line.str("reason").ends_with("it is tried again"), "{line}");
    }
    eventually("memory to be free again", async || {
        (wharf.resident_bytes() < before + 2 * PADDING).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_refused_file_that_changes_is_not_tried_again_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("plugins")).expect("a folder");
    let (_cache, flag) = cache();
    let wharf = Wharf::start_in(folder, &[&flag, "--start-budget-ms 100"]).await;
    // The first one waits for ever.
    wharf.install("counts", &component("endless"));
    wharf.refused_after(0, "counts").await;
    let (start, slow) = (wharf.log.len(), slow_to_compile(&component("counts"), 5));
    wharf.install("counts", &slow);
    // It is being compiled when the first one would have its next attempt.
    let line = wharf.in_service_after(start, "counts").await;
    assert_eq!(line.number("bytes"), Some(slow.len() as u64));
}

#[tokio::test]
async fn code_that_was_compiled_before_overtakes_compilations() {
    let (_cache, flag) = cache();
    let wharf = Wharf::start(&["counts"], &[&flag]).await;
    let start = wharf.log.len();
    wharf.swap("counts", &component("counts-v2")).await;
    // More than are compiled at a time.
    let slow = ["echo", "rooms", "posts"];
    for (salt, name) in slow.iter().enumerate() {
        wharf.install(name, &slow_to_compile(&component(name), 10 + salt as u8));
    }
    let line = wharf.swap("counts", &component("counts")).await;
    assert_eq!(line.fields["cached"], true, "{line}");
    let loaded = wharf.log.lines().split_off(start);
    assert!(!slow.iter().any(|name| loaded.iter().any(|line| is_loaded(line, name))));
    for name in slow {
        wharf.in_service_after(start, name).await;
    }
}

#[tokio::test]
async fn a_plugin_that_takes_long_to_load_is_told_of_meanwhile() {
    let (_cache, flag) = cache();
    let wharf = Wharf::start(&["counts"], &[&flag]).await;
    let mut slow = component("echo");
    for salt in 40..52 {
        slow = slow_to_compile(&slow, salt);
    }
    wharf.install("echo", &slow);
    let told =
        |line: &Line| line.begins("a plugin is being compiled") && line.str("channel") == "echo";
    wharf.log.wait_for("a line meanwhile", told).await;
    wharf.in_service_after(0, "echo").await;
    assert_eq!(wharf.log.find(told).len(), 1);
}

#[tokio::test]
async fn a_path_that_is_asked_for_while_the_host_starts_is_not_there_yet() {
    let (_cache, flag) = cache();
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).expect("a folder");
    let slow = slow_to_compile(&component("echo"), 20);
    fs::write(plugins.join("echo.wasm"), slow).expect("a plugin");
    let wharf = Wharf::start_early(folder, &[&flag]).await;
    let status = async |path: &str, headers: &[(&str, &str)]| {
        let mut raw = wharf.raw().await;
        raw.request(&format!("GET {path}"), headers).await;
        raw.answer().await.status
    };
    let upgrade = upgrade_headers();
    assert_eq!((status("/echo", &upgrade).await, status("/nowhere", &upgrade).await), (503, 503));
    assert_eq!((status("/healthz", &[]).await, status("/readyz", &[]).await), (200, 503));
    assert!(wharf.log.find(|line| is_loaded(line, "echo")).is_empty(), "it was still loading");
    wharf.log.wait_for("the end of the start", |line| line.says("listening")).await;
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
    assert_eq!(status("/nowhere", &upgrade).await, 404);
}

#[tokio::test]
async fn code_whose_first_events_all_fail_is_told_of_once() {
    let wharf = Wharf::start(&["panics"], &[]).await;
    let fail = async || {
        let refused = wharf.try_connect("/panics?panic", &[]).await.expect_err("it panics");
        assert_eq!(refused.status, 500);
    };
    let is_warning = |line: &Line| line.begins("the first 5 events of this generation");
    for _ in 0..4 {
        fail().await;
    }
    assert!(wharf.log.find(is_warning).is_empty());
    for _ in 0..4 {
        fail().await;
    }
    let line = wharf.log.wait_for("a warning", is_warning).await;
    assert_eq!((line.str("channel"), line.number("generation")), ("panics", Some(1)));
    // One success is enough.
    wharf.swap("panics", &padded(&component("panics"), 1)).await;
    wharf.connect("/panics").await;
    for _ in 0..8 {
        fail().await;
    }
    assert_eq!(wharf.log.find(is_warning).len(), 1);
}
