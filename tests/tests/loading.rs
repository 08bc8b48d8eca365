//! From the folder to service: several files at a time, paths that move, starts, removals.

use std::fs;

use wharf_tests::artefacts::{component, replaced, slow_to_compile};
use wharf_tests::operator::Operated;
use wharf_tests::{Ended, Line, Wharf, eventually, json};

/// Returns the status and the lines of the answer to a request for a page.
async fn asked(wharf: &Wharf, path: &str) -> (u16, Vec<String>) {
    let mut raw = wharf.raw().await;
    raw.request(&format!("GET {path}"), &[]).await;
    let answer = raw.answer().await;
    (answer.status, answer.text().lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn a_host_is_ready_once_each_file_of_the_start_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).expect("a folder");
    fs::write(plugins.join("echo.wasm"), component("echo")).expect("a good one");
    fs::write(plugins.join("counts.wasm"), b"rubbish").expect("a bad one");
    let wharf = Wharf::start_in(folder, &[]).await;
    assert_eq!(asked(&wharf, "/healthz").await.0, 200);
    wharf.readiness_becomes(503, "not ready").await;
    wharf.swap("counts", &component("counts")).await;
    wharf.readiness_becomes(200, "refused 0").await;
    // The good code goes on, and with it the host.
    wharf.install("counts", b"rubbish");
    wharf.readiness_becomes(200, "refused 1").await;
    wharf.swap("counts", &component("counts-v2")).await;
    wharf.readiness_becomes(200, "refused 0").await;
}

#[tokio::test]
async fn a_host_without_plugins_is_not_ready() {
    let wharf = Wharf::start(&[], &[]).await;
    wharf.readiness_becomes(503, "not ready, no plugin is loaded").await;
    wharf.swap("echo", &component("echo")).await;
    wharf.readiness_becomes(200, "ready").await;
}

#[tokio::test]
async fn the_operator_sees_what_is_refused_and_what_serves_instead() {
    let it = Operated::start(&["counts"], &[]).await;
    it.wharf.install("counts", b"rubbish");
    it.wharf.refused_after(0, "counts").await;
    let (_, listed) = it.get("").await;
    let refused = &listed["refused"][0];
    assert_eq!((refused["name"].as_str(), refused["serving"].as_u64()), (Some("counts"), Some(1)));
    assert!(refused["reason"].as_str().is_some_and(|reason| reason.contains("WebAssembly")));
    fs::remove_file(it.wharf.plugin("counts")).expect("removed");
}

#[tokio::test]
async fn bad_code_that_is_there_at_a_start_does_not_replace_the_last_good_code() {
    let cache = tempfile::tempdir().expect("a folder");
    let flag = format!("--cache {}", cache.path().join("cache").display());
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("inner");
    fs::create_dir_all(place.join("plugins")).expect("a folder");
    fs::write(place.join("plugins/counts.wasm"), component("counts")).expect("a plugin");
    let plugins = format!("--plugins {}", place.join("plugins").display());
    let first = Wharf::start(&[], &[&flag, &plugins]).await;
    eventually("code and a note", async || {
        let files = fs::read_dir(cache.path().join("cache")).ok()?.flatten();
        let names: Vec<_> = files.map(|file| file.file_name()).collect();
        let ends = |end: &str| names.iter().any(|name| name.to_string_lossy().ends_with(end));
        (ends(".native") && ends(".last")).then_some(())
    })
    .await;
    drop(first);
    fs::write(place.join("plugins/counts.wasm"), b"rubbish").expect("a bad one");
    let second = Wharf::start(&[], &[&flag, &plugins]).await;
    second.refused_after(0, "counts").await;
    assert_eq!(second.connect("/counts/a").await.ask_for_json("hello").await["count"], 1);
    assert_eq!(second.log.find(|line| line.begins("the last good code serves")).len(), 1);
    second.readiness_becomes(200, "refused 1").await;
}

#[tokio::test]
async fn a_path_that_moves_to_another_file_is_never_out() {
    let wharf = Wharf::start(&["echo"], &["--removal-grace-ms 300"]).await;
    let start = wharf.log.len();
    fs::rename(wharf.plugin("echo"), wharf.plugin("other")).expect("renamed");
    while wharf
        .log
        .find(|line| line.says("plugin loaded") && line.str("channel") == "other")
        .is_empty()
    {
        // The old channel or the new one: never 404.
        let mut client = wharf.connect("/echo").await;
        client.try_send("hello".into()).await;
    }
    wharf.in_service_after(start, "other").await;
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
}

#[tokio::test]
async fn a_path_is_not_out_while_the_code_of_another_file_that_takes_it_over_is_compiled() {
    let cache = tempfile::tempdir().expect("a folder");
    let flag = format!("--cache {}", cache.path().join("cache").display());
    let wharf = Wharf::start(&["echo"], &[&flag, "--removal-grace-ms 10"]).await;
    let mut client = wharf.connect("/echo").await;
    let start = wharf.log.len();
    wharf.install("other", &slow_to_compile(&component("echo"), 1));
    fs::remove_file(wharf.plugin("echo")).expect("removed");
    let is_loaded = |line: &Line| line.says("plugin loaded") && line.str("channel") == "other";
    while wharf.log.find(is_loaded).is_empty() {
        // The old channel or the new one: never 404.
        wharf.connect("/echo").await.try_send("hello".into()).await;
    }
    assert_eq!(client.close_code().await, 1001, "the old channel is gone");
    let put_off = |line: &Line| line.begins("a plugin's file is gone; it serves until");
    assert_eq!(wharf.log.wait_for_after(start, "a line", put_off).await.str("loading"), "other");
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
}

#[tokio::test]
async fn a_removal_waits_no_longer_than_a_compilation_may_take() {
    let cache = tempfile::tempdir().expect("a folder");
    let flag = format!("--cache {}", cache.path().join("cache").display());
    let flags = [&flag, "--removal-grace-ms 10", "--compile-timeout-ms 100"];
    let wharf = Wharf::start(&["echo"], &flags).await;
    wharf.in_service_after(0, "echo").await;
    let start = wharf.log.len();
    wharf.install("slow", &slow_to_compile(&component("rooms"), 2));
    fs::remove_file(wharf.plugin("echo")).expect("removed");
    let removed = |line: &Line| line.says("plugin removed") && line.str("channel") == "echo";
    wharf.log.wait_for_after(start, "the removal", removed).await;
    let slow = |line: &Line| line.says("plugin loaded") && line.str("channel") == "slow";
    assert!(wharf.log.find(slow).is_empty(), "the other file is not ready by then");
}

#[tokio::test]
async fn a_file_that_is_back_before_its_removal_was_never_gone() {
    let cache = tempfile::tempdir().expect("a folder");
    let flag = format!("--cache {}", cache.path().join("cache").display());
    let wharf = Wharf::start(&["echo"], &[&flag, "--removal-grace-ms 10"]).await;
    let mut client = wharf.connect("/echo").await;
    wharf.install("slow", &slow_to_compile(&component("rooms"), 3));
    fs::remove_file(wharf.plugin("echo")).expect("removed");
    let put_off = |line: &Line| line.begins("a plugin's file is gone; it serves until");
    wharf.log.wait_for("a line", put_off).await;
    wharf.install("echo", &component("echo"));
    wharf.in_service_after(0, "slow").await;
    assert_eq!(client.ask("hello").await, "hello");
    assert!(wharf.log.find(|line| line.says("plugin removed")).is_empty());
}

#[tokio::test]
async fn names_that_come_and_go_leave_nothing_behind() {
    const NAMES: usize = 60;
    let flags = ["--removal-grace-ms 10", "--removed-data-grace-ms 0"];
    let wharf = Wharf::start(&["counts"], &flags).await;
    let echo = component("echo");
    let cycle = async |number: usize| {
        let name = format!("n{number}");
        wharf.swap(&name, &echo).await;
        assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
        let start = wharf.log.len();
        fs::remove_file(wharf.plugin(&name)).expect("removed");
        let is_removed = |line: &Line| line.says("plugin removed");
        wharf.log.wait_for_after(start, "the removal", is_removed).await;
    };
    for number in 0..10 {
        cycle(number).await;
    }
    let (files, mappings) = (wharf.open_files(), wharf.mappings());
    for number in 10..NAMES {
        cycle(number).await;
    }
    // Freed within the time between two looks.
    eventually("channels to be freed", async || {
        (wharf.open_files() <= files + 5 && wharf.mappings() <= mappings + 100).then_some(())
    })
    .await;
}

#[tokio::test]
async fn everything_gone_at_once_is_no_removal() {
    let wharf = Wharf::start(&["echo", "counts"], &["--removal-grace-ms 50"]).await;
    let mut client = wharf.connect("/echo").await;
    let aside = wharf.folder().join("aside");
    fs::rename(wharf.folder().join("plugins"), &aside).expect("moved");
    fs::create_dir(wharf.folder().join("plugins")).expect("made anew");
    wharf.log.wait_for("a warning", |line| line.begins("all plugins have vanished")).await;
    assert_eq!(client.ask("still here").await, "still here");
    fs::rename(aside.join("echo.wasm"), wharf.plugin("echo")).expect("back");
    wharf.log.wait_for("a line", |line| line.begins("plugins are back")).await;
    let removed = |line: &Line| line.says("plugin removed");
    let line = wharf.log.wait_for("the other's removal", removed).await;
    assert_eq!(line.str("channel"), "counts");
    assert_eq!(client.ask("still here").await, "still here");
}

#[tokio::test]
async fn events_wait_for_memory_of_their_channel() {
    const CLIENTS: usize = 12;
    let flags = ["--max-memory-bytes 2MiB", "--max-channel-memory-bytes 4MiB"];
    let wharf = Wharf::start(&["waits"], &flags).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = wharf.connect("/waits").await;
        client.send("wait 50").await;
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.json().await["count"], 1, "it has waited for its turn");
    }
}

#[tokio::test]
async fn events_that_get_no_memory_in_time_end_as_an_overload() {
    let flags =
        ["--max-memory-bytes 2MiB", "--max-channel-memory-bytes 2MiB", "--instance-wait-ms 100"];
    let wharf = Wharf::start(&["waits"], &flags).await;
    let mut observer = wharf.connect("/waits?observe").await;
    let (mut first, mut second) = (wharf.connect("/waits").await, wharf.connect("/waits").await);
    first.send("tell 1500").await;
    assert_eq!(observer.text().await, "waiting");
    second.send("now").await;
    assert_eq!(second.ended().await, Ended::Closed(1013, "overload".to_owned()));
    let line = wharf.log.wait_for("a warning", |line| line.begins("no other instance")).await;
    assert!(line.str("detail").contains("max_channel_memory_bytes"), "{line}");
    assert_eq!(observer.text().await, "waited", "the event that had the memory goes on");
}

#[tokio::test]
async fn a_plugin_of_a_newer_patch_that_uses_an_addition_names_both_versions() {
    let wharf = Wharf::start(&[], &[]).await;
    let newer = replaced(&component("rooms"), b"@0.1.2", b"@0.1.9");
    wharf.swap("rooms", &newer).await;
    let using = replaced(&newer, b"broadcast-to-room", b"broadcast-to-best");
    let start = wharf.log.len();
    wharf.install("rooms", &using);
    let line = wharf.refused_after(start, "rooms").await;
    let reason = "it was built for wharf:channel 0.1.9, this host speaks 0.1.2; update the host";
    assert_eq!(line.str("reason"), reason);
}

#[tokio::test]
async fn a_compilation_that_comes_late_is_used() {
    let cache = tempfile::tempdir().expect("a folder");
    let flag = format!("--cache {}", cache.path().join("cache").display());
    let wharf = Wharf::start(&[], &[&flag, "--compile-timeout-ms 100"]).await;
    wharf.swap("counts", &slow_to_compile(&component("counts"), 4)).await;
    assert_eq!(wharf.connect("/counts/a").await.ask_for_json("hello").await["count"], 1);
    let refused = wharf.log.find(|line| line.begins("plugin refused"));
    let [late] = refused.as_slice() else { panic!("one line says that it is late: {refused:?}") };
    assert!(late.str("reason").contains("compile_timeout_ms"), "{late}");
    wharf.readiness_becomes(200, "refused 0").await;
}

#[tokio::test]
async fn a_plugin_may_name_the_sdk_otherwise_and_forbid_unsafe_code() {
    let wharf = Wharf::start(&["renamed"], &[]).await;
    let mut client = wharf.connect("/renamed").await;
    client.send("hello").await;
    assert_eq!(client.json().await, json!({ "heard": "hello" }));
}
