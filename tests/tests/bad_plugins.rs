//! Bad code never replaces good code, and the log has the reason.

use std::fs;

use wharf_tests::artefacts::{component, replaced, with_core_instances};
use wharf_tests::{Client, Line, Wharf};

/// An empty component: only the binary format's preamble.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// An empty core module.
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Replaces good code that serves by bad bytes. No client may notice, and the log has the reason
/// for the refusal. The lines about refusals are counted when the next good version has been
/// loaded.
async fn refused(wharf: &Wharf, client: &mut Client, bytes: &[u8], serving: u64) -> Line {
    let start = wharf.log.len();
    let before = client.ask_for_json("before").await;
    wharf.install("counts", bytes);
    let line = wharf.refused_after(start, "counts").await;
    assert_eq!(line.message(), format!("plugin refused; generation {serving} keeps serving"));
    assert_eq!(line.number("serving"), Some(serving));
    assert!(line.str("file").ends_with("counts.wasm"), "{line}");
    assert!(!line.str("reason").is_empty(), "{line}");
    let after = client.ask_for_json("after").await;
    assert_eq!(after["generation"], serving);
    assert_eq!(after["count"].as_u64(), before["count"].as_u64().map(|count| count + 1));
    line
}

#[tokio::test]
async fn whatever_is_no_channel_leaves_the_last_good_generation_serving() {
    let wharf = Wharf::start(&["counts"], &[]).await;
    let mut client = wharf.connect("/counts/a").await;
    let good = component("counts-v2");
    let noise: Vec<u8> =
        (0..50_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let cases: [(&str, &[u8], &str); 9] = [
        ("an empty file", b"", "not WebAssembly"),
        ("text", b"(component)", "not WebAssembly"),
        ("noise", &noise, "not WebAssembly"),
        ("a core module", EMPTY_MODULE, "wasm32-wasip2"),
        ("a component of nothing", EMPTY_COMPONENT, "#[wharf::channel]"),
        ("half of a good one", &good[..good.len() / 2], "does not compile"),
        ("all but the last byte", &good[..good.len() - 1], "does not compile"),
        ("one that panics when it is asked what it is", &component("undescribed"), "describe"),
        ("one with a path that is no pattern", &component("misrouted"), "/misrouted/:"),
    ];
    for (what, bytes, reason) in cases {
        let line = refused(&wharf, &mut client, bytes, 1).await;
        assert!(line.str("reason").contains(reason), "{what}: {line}");
    }
    wharf.swap("counts", &good).await;
    assert_eq!(client.ask_for_json("good again").await["version"], 2);
    let lines = wharf.log.find(|line| line.begins("plugin refused"));
    assert_eq!(lines.len(), cases.len(), "one line for each");
}

#[tokio::test]
async fn a_component_of_another_contract_names_both_versions() {
    let wharf = Wharf::start(&["counts"], &[]).await;
    let mut client = wharf.connect("/counts/a").await;
    // The version is part of the interfaces' names, throughout the component.
    for (theirs, advice) in [("@0.9.0", "update the host"), ("@0.0.9", "newer SDK")] {
        let bytes = replaced(&component("counts"), b"@0.1.2", theirs.as_bytes());
        let line = refused(&wharf, &mut client, &bytes, 1).await;
        let reason = line.str("reason");
        assert!(reason.contains(&theirs[1..]) && reason.contains("0.1"), "{reason}");
        assert!(reason.contains(advice), "{reason}");
    }
}

#[tokio::test]
async fn flipped_bits_never_harm_the_host() {
    const FLIPS: usize = 40;
    let wharf = Wharf::start(&["echo", "counts"], &[]).await;
    let mut other = wharf.connect("/echo").await;
    let good = component("counts");
    for flip in 0..FLIPS {
        let mut bytes = good.clone();
        // The flips are spread over the file, and over the bits of a byte.
        bytes[(flip * 2 + 1) * good.len() / (FLIPS * 2)] ^= 1 << (flip % 8);
        let start = wharf.log.len();
        wharf.install("counts", &bytes);
        let decided = |line: &Line| line.begins("plugin ") && line.str("channel") == "counts";
        wharf.log.wait_for_after(start, &format!("flip {flip}"), decided).await;
        // A component that still compiles may fail in any way.
        if let Ok(mut client) = wharf.try_connect("/counts/a", &[]).await {
            client.try_send("hello".into()).await;
        }
        assert_eq!(other.ask("hello").await, "hello");
    }
    // This code differs from any code that serves now.
    wharf.swap("counts", &component("counts-v2")).await;
    let mut client = wharf.connect("/counts/a").await;
    assert_eq!(client.ask_for_json("hello").await["version"], 2);
}

#[tokio::test]
async fn a_refused_file_is_looked_at_again_when_it_changes() {
    let wharf = Wharf::start(&[], &[]).await;
    wharf.install("counts", b"nothing yet");
    let line = wharf.refused_after(0, "counts").await;
    assert_eq!(line.message(), "plugin refused", "there is nothing that keeps serving");
    wharf.swap("counts", &component("counts")).await;
    assert_eq!(wharf.connect("/counts/a").await.ask_for_json("hello").await["generation"], 1);
}

#[tokio::test]
async fn bad_files_at_the_start_do_not_keep_the_good_ones_from_serving() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).expect("a folder");
    fs::write(plugins.join("echo.wasm"), component("echo")).expect("a good one");
    fs::write(plugins.join("empty.wasm"), b"").expect("a bad one");
    fs::write(plugins.join("notes.txt"), b"no plugin at all").expect("a text");
    fs::write(plugins.join(".hidden.wasm"), b"").expect("a hidden one");
    fs::write(plugins.join("Not A Name!\n.wasm"), component("counts")).expect("a bad name");
    fs::create_dir(plugins.join("folder.wasm")).expect("a folder");
    std::os::unix::fs::symlink("nowhere", plugins.join("dangling.wasm")).expect("a link");
    let wharf = Wharf::start_in(folder, &[]).await;
    for (name, reason) in [
        ("empty", "not WebAssembly"),
        ("Not A Name!\\n", "name"),
        ("folder", "folder"),
        ("dangling", "link"),
    ] {
        let line = wharf.refused_after(0, name).await;
        assert!(line.str("reason").contains(reason), "{line}");
    }
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
    let all = wharf.log.find(|line| line.begins("plugin refused"));
    assert!(
        all.iter().all(|line| !line.text.contains("notes")),
        "other files are nobody's business"
    );
    let listening = wharf.log.wait_for("the start", |line| line.says("listening")).await;
    assert_eq!(listening.str("channels"), "echo");
}

#[tokio::test]
async fn a_link_that_finds_its_file_at_last_is_loaded() {
    let wharf = Wharf::start(&[], &[]).await;
    let target = wharf.folder().join("later.wasm");
    std::os::unix::fs::symlink(&target, wharf.plugin("echo")).expect("a link");
    wharf.refused_after(0, "echo").await;
    let start = wharf.log.len();
    fs::write(&target, component("echo")).expect("the file");
    wharf.in_service_after(start, "echo").await;
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
}

#[tokio::test]
async fn a_path_that_another_channel_has_is_refused_with_both_names_until_it_is_free() {
    let wharf = Wharf::start(&["counts"], &["--removal-grace-ms 100"]).await;
    wharf.install("claims", &component("claims"));
    let line = wharf.refused_after(0, "claims").await;
    let reason = line.str("reason");
    assert!(reason.contains("counts") && reason.contains("/counts/"), "{reason}");
    let rejected = wharf.try_connect("/claims", &[]).await.expect_err("all or nothing");
    assert_eq!(rejected.status, 404);
    assert_eq!(wharf.connect("/counts/a").await.ask_for_json("hello").await["version"], 1);

    let start = wharf.log.len();
    fs::remove_file(wharf.plugin("counts")).expect("the other goes");
    wharf.in_service_after(start, "claims").await;
    assert_eq!(wharf.connect("/counts/a").await.ask_for_json("hello").await["claims"], "here");
    wharf.connect("/claims").await;
}

#[tokio::test]
async fn where_two_claim_a_path_at_the_start_file_names_decide() {
    for _ in 0..3 {
        let wharf = Wharf::start(&["counts", "claims"], &[]).await;
        let line = wharf.refused_after(0, "counts").await;
        assert!(line.str("reason").contains("claims"), "{line}");
        assert_eq!(wharf.connect("/counts/a").await.ask_for_json("hello").await["claims"], "here");
    }
}

#[tokio::test]
async fn new_code_may_not_take_a_path_that_another_channel_has() {
    let wharf = Wharf::start(&["counts", "echo"], &[]).await;
    let start = wharf.log.len();
    let mut echo = wharf.connect("/echo").await;
    wharf.install("echo", &component("claims"));
    let line = wharf.refused_after(start, "echo").await;
    assert_eq!(line.number("serving"), Some(1), "{line}");
    assert_eq!(echo.ask("hello").await, "hello");
    assert_eq!(wharf.connect("/counts/a").await.ask_for_json("hello").await["version"], 1);
}

#[tokio::test]
async fn a_path_is_free_when_new_code_gives_it_up() {
    let wharf = Wharf::start(&["counts"], &[]).await;
    wharf.install("claims", &component("claims"));
    wharf.refused_after(0, "claims").await;
    let mut client = wharf.connect("/counts/a").await;
    client.ask("hello").await;
    let start = wharf.log.len();
    // This is another channel's code, with other paths.
    wharf.install("counts", &component("echo"));
    wharf.in_service_after(start, "claims").await;
    assert_eq!(wharf.connect("/counts/a").await.ask_for_json("hello").await["claims"], "here");
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
    assert_eq!(client.ask("hello").await, "hello", "the open connection goes on with the new code");

    let start = wharf.log.len();
    wharf.install("counts", &component("counts"));
    let line = wharf.refused_after(start, "counts").await;
    assert_eq!(line.number("serving"), Some(2), "{line}");
}

#[tokio::test]
async fn many_that_claim_one_path_take_it_over_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).expect("a folder");
    for name in ["c", "a", "b"] {
        fs::write(plugins.join(format!("{name}.wasm")), component("echo")).expect("a plugin");
    }
    let wharf = Wharf::start_in(folder, &["--removal-grace-ms 100"]).await;
    for (name, next) in [("a", Some("b")), ("b", Some("c")), ("c", None)] {
        let start = wharf.log.len();
        let mut client = wharf.connect("/echo").await;
        fs::remove_file(wharf.plugin(name)).expect("it is removed");
        assert_eq!(client.close_code().await, 1001, "{name} has served it");
        if let Some(next) = next {
            wharf.in_service_after(start, next).await;
        }
    }
    assert_eq!(wharf.try_connect("/echo", &[]).await.expect_err("nobody is left").status, 404);
}

#[tokio::test]
async fn a_guest_that_never_says_what_it_is_is_given_up() {
    let wharf = Wharf::start(&["counts"], &["--start-budget-ms 300"]).await;
    let mut client = wharf.connect("/counts/a").await;
    let line = refused(&wharf, &mut client, &component("endless"), 1).await;
    assert!(line.str("reason").contains("describe"), "{line}");
    assert!(line.str("reason").contains("start_budget_ms"), "{line}");

    // As the first generation of its channel it waits, which costs no CPU time.
    let start = wharf.log.len();
    wharf.install("waiting", &component("endless"));
    let line = wharf.refused_after(start, "waiting").await;
    assert!(line.str("reason").contains("waiting included (start_budget_ms)"), "{line}");
}

#[tokio::test]
async fn names_that_are_far_too_long_are_refused_by_a_line_that_is_not() {
    let wharf = Wharf::start(&["counts"], &[]).await;
    let mut client = wharf.connect("/counts/a").await;
    wharf.install("overlong", &component("overlong"));
    let path = wharf.refused_after(0, "overlong").await;
    // A later generation of a channel declares something else.
    let subprotocol = refused(&wharf, &mut client, &component("overlong"), 1).await;
    for (line, what) in [(path, "path"), (subprotocol, "subprotocol")] {
        let reason = line.str("reason");
        assert!(reason.contains(what) && reason.contains("255 are allowed"), "{reason}");
        assert!(line.text.len() < 4 * 1024, "a line of {} bytes", line.text.len());
    }
}

#[tokio::test]
async fn what_is_no_regular_file_or_enormous_is_refused() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let large = fs::File::create(wharf.plugin("large")).expect("a file");
    // A sparse file takes no room on a disk.
    large.set_len((64 << 20) + 1).expect("a large file");
    let line = wharf.refused_after(0, "large").await;
    assert!(line.str("reason").contains("at most"), "{line}");

    let made = std::process::Command::new("mkfifo").arg(wharf.plugin("pipe")).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    let line = wharf.refused_after(0, "pipe").await;
    assert!(line.str("reason").contains("regular"), "{line}");
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
}

#[tokio::test]
async fn a_component_of_many_modules_serves_within_the_limits_and_is_told_which_one_it_exceeds() {
    let wharf = Wharf::start(&[], &[]).await;
    let counts = component("counts");
    for (count, memories) in [(480, 0), (6, 1), (3, 2)] {
        let many = with_core_instances(&counts, count, memories);
        wharf.swap("counts", &many).await;
        assert_eq!(wharf.connect("/counts/a").await.ask_for_json("hello").await["count"], 1);
    }
    let cases = [(520, 0, "more than 512 core instances"), (9, 1, "more than 8 memories")];
    for (count, memories, reason) in cases {
        let start = wharf.log.len();
        wharf.install("counts", &with_core_instances(&counts, count, memories));
        let line = wharf.refused_after(start, "counts").await;
        assert!(line.str("reason").contains(reason), "{line}");
    }
}
