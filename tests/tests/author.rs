//! The authors' commands: `wharf new`, `wharf check`, `wharf dev`, and the README's way from an
//! empty folder to a live channel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use wharf_tests::artefacts::{author_cache, binary, component, replaced};
use wharf_tests::{Client, Dev, Value, Wharf, json, run_in};

/// Limit for the README's commands, in seconds. They run beside other tests, and compile all
/// dependencies of a plugin the first time.
const COMMANDS_LIMIT: &str = "900";

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complained(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Makes an empty folder with the same path in every run, since cargo keeps compiled code by its
/// folder.
pub fn empty_folder(name: &str) -> PathBuf {
    let folder = author_cache().join("crates").join(name);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => {}
    }
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Replaces a text in a file, which must contain it.
pub fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("a text");
    assert!(text.contains(from), "{} has no {from}", file.display());
    fs::write(file, text.replace(from, to)).expect("it is saved");
}

#[test]
fn the_readmes_commands_and_wharf_dev_lead_from_an_empty_folder_to_an_answer() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("author.sh");
    let mut command = Command::new("bash");
    command.arg(script).arg(binary()).arg(author_cache()).arg(COMMANDS_LIMIT);
    let output = command.output().expect("bash runs");
    assert!(output.status.success(), "{}{}", complained(&output), said(&output));
    for words in ["to an answer in", "to a live channel in", "a change serves after"] {
        assert!(said(&output).contains(words), "no {words:?} in {}", said(&output));
    }
}

#[tokio::test]
async fn the_channel_in_the_readme_answers_everybody_in_the_room() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("a text");
    let (readme, source) = (read("README.md"), read("tests/fixtures/hello/src/lib.rs"));
    let (_, code) = source.split_once("\n\n").expect("code below the fixture's description");
    assert!(readme.contains(&format!("```rust\n{code}```")), "README.md should show:\n{code}");

    let wharf = Wharf::start(&["hello"], &[]).await;
    let mut ann = wharf.connect("/hello/lobby?name=ann").await;
    let mut bob = wharf.connect("/hello/lobby?name=bob").await;
    bob.send_json(json!({ "type": "say", "text": "hi" })).await;
    for client in [&mut ann, &mut bob] {
        let said = json!({ "type": "said", "by": "bob", "text": "hi" });
        assert_eq!(client.json().await, said);
    }
    let nameless = wharf.try_connect("/hello/lobby", &[]).await.expect_err("a name is needed");
    assert_eq!(nameless.status, 400);
}

#[tokio::test]
async fn what_is_saved_runs_on_open_connections_and_what_does_not_compile_changes_nothing() {
    let place = empty_folder("dev");
    let made = run_in(&place, &["new", "saved"], &[]);
    assert!(made.status.success(), "{}", complained(&made));
    let folder = place.join("saved");
    let source = folder.join("src/lib.rs");

    let dev = Dev::start(&folder).await;
    dev.tells(&["saved: built in", "generation 1 serves"]).await;
    let mut ann = Client::connect(dev.address, "/saved/lobby?name=ann").await;
    let said = ann.ask_json(json!({ "type": "say", "text": "hello" })).await;
    assert_eq!(said, json!({ "type": "said", "by": "ann", "text": "hello" }));

    edit(&source, "\"type\": \"counted\"", "\"type\": \"tally\"");
    dev.tells(&["saved: built in", "generation 2 serves"]).await;
    // The connection and its session are the same.
    let count = ann.ask_json(json!({ "type": "count" })).await;
    assert_eq!(count, json!({ "type": "tally", "count": 1, "said": 1 }));

    edit(&source, "self.said += 1;", "self.said += \"one\";");
    dev.tells(&["saved: does not build", "generation 2 keeps serving"]).await;
    // The compiler's message follows.
    dev.logged("error[E").await;
    dev.logged("src/lib.rs:").await;
    let count = ann.ask_json(json!({ "type": "count" })).await;
    assert_eq!(count["type"], "tally", "the old code goes on");

    edit(&source, "self.said += \"one\";", "self.said += 10;");
    dev.tells(&["saved: built in", "generation 3 serves"]).await;
    ann.ask_json(json!({ "type": "say", "text": "again" })).await;
    assert_eq!(ann.ask_json(json!({ "type": "count" })).await["said"], 11);

    // It compiles, but no host would load it.
    edit(&source, "&[\"/saved/:room\"]", "&[\"/saved/:room\", \"/saved/:other\"]");
    dev.tells(&["saved: built in", "refused: ", "/saved/:other", "generation 3 keeps serving"])
        .await;

    assert_eq!(dev.interrupt().await, Some(0));
    assert_eq!(ann.close_code().await, 1012);
}

#[test]
fn dev_says_where_it_is_of_use() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = std::env::var("PATH").expect("a path");
    let dev = || {
        let arguments = ["dev", "--listen", "127.0.0.1:0"];
        let output = run_in(folder.path(), &arguments, &[("PATH", &path)]);
        assert_eq!(output.status.code(), Some(1));
        complained(&output)
    };
    let complaint = dev();
    assert!(complaint.contains("no Cargo.toml") && complaint.contains("wharf new"), "{complaint}");
    assert!(!folder.path().join("plugins").exists(), "nothing is made");

    let manifest = "[package]\nname = \"x\"\nversion = \"0.1.0\"\n\n[workspace]\n";
    fs::write(folder.path().join("Cargo.toml"), manifest).expect("a manifest");
    fs::create_dir(folder.path().join("src")).expect("a folder");
    fs::write(folder.path().join("src/lib.rs"), "").expect("a source");
    assert!(dev().contains("crate-type = [\"cdylib\"]"), "{}", dev());
}

#[test]
fn new_refuses_what_cannot_be_a_name_and_writes_over_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let new = |arguments: &[&str]| {
        let arguments: Vec<_> = ["new"].iter().chain(arguments).copied().collect();
        run_in(folder.path(), &arguments, &[])
    };
    let output = new(&["MyChat"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complained(&output).contains("`my-chat`"), "{}", complained(&output));

    fs::create_dir(folder.path().join("hello")).expect("a folder");
    fs::write(folder.path().join("hello/precious"), "work").expect("a file");
    let output = new(&["hello"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complained(&output).contains("--path"), "{}", complained(&output));
    let left: Vec<_> = fs::read_dir(folder.path().join("hello")).expect("a folder").collect();
    assert_eq!(left.len(), 1, "nothing was added");

    let output = new(&["my-chat", "--path", "deep/inside"]);
    assert_eq!(output.status.code(), Some(0), "{}", complained(&output));
    let steps = said(&output);
    let copy = "release/my_chat.wasm PLUGINS/my-chat.wasm";
    for step in ["cd deep/inside", "cargo test", "--target wasm32-wasip2", copy, "wharf dev"] {
        assert!(steps.contains(step), "no {step:?} in {steps}");
    }
    for file in ["Cargo.toml", "Cargo.lock", ".gitignore", "src/lib.rs", "vendor/wharf/src/lib.rs"]
    {
        assert!(folder.path().join("deep/inside").join(file).is_file(), "{file}");
    }
}

/// Puts files into a folder and checks them. Returns the JSON reports and the exit code.
fn checked(files: &[(&str, &[u8])], settings: &str) -> (Vec<Value>, Option<i32>) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("wharf.toml"), settings).expect("a file");
    let mut arguments = vec!["check", "--json"];
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("a file");
        arguments.push(name);
    }
    let output = run_in(folder.path(), &arguments, &[]);
    let reports = serde_json::from_slice(&output.stdout);
    (
        reports.unwrap_or_else(|error| panic!("{error}: {}", complained(&output))),
        output.status.code(),
    )
}

#[test]
fn a_file_is_checked_beside_the_plugins_of_the_folder_that_it_is_for() {
    let place = empty_folder("beside");
    fs::create_dir_all(place.join("plugins")).expect("a folder");
    fs::write(place.join("plugins/counts.wasm"), component("counts")).expect("a file");
    fs::write(place.join("claims.wasm"), component("claims")).expect("a file");
    let check = |file| {
        let output = run_in(&place, &["check", file], &[]);
        (output.status.code(), said(&output))
    };
    let (code, text) = check("claims.wasm");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("would not load it") && text.contains("counts"), "{text}");
    // Under the other's name it takes the other's place.
    fs::rename(place.join("claims.wasm"), place.join("counts.wasm")).expect("it is renamed");
    let (code, text) = check("counts.wasm");
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_good_plugin_is_described() {
    let chat = component("chat");
    let (reports, code) = checked(&[("chat.wasm", &chat)], "");
    assert_eq!(code, Some(0), "{reports:?}");
    let [report] = reports.as_slice() else { panic!("{reports:?}") };
    assert_eq!((&report["loads"], &report["reason"]), (&json!(true), &Value::Null));
    assert_eq!(report["channel"], "chat");
    assert_eq!(report["paths"], json!(["/chat", "/chat/:room_id"]));
    assert_eq!(report["contract"], "0.1.2");
    assert_eq!(report["bytes"], chat.len());
    assert_eq!(report["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(report["session_format"], 0);
    let exports = report["exports"].as_array().expect("a list");
    assert!(exports.contains(&json!("lifecycle")), "{report}");
    let imports = report["imports"].as_array().expect("a list");
    assert!(imports.contains(&json!("rooms")) && !imports.contains(&json!("store")), "{report}");
    assert_eq!(report["needs"], json!([]));

    let (reports, _) = checked(&[("faulty.wasm", &component("faulty"))], "");
    let exports = reports[0]["exports"].as_array().expect("a list");
    assert!(exports.contains(&json!("faults")), "{reports:?}");
}

#[test]
fn what_a_plugin_needs_is_the_line_to_write() {
    let fetches = component("fetches");
    let (reports, code) = checked(&[("fetches.wasm", &fetches)], "");
    assert_eq!(code, Some(0), "{reports:?}");
    let need = &reports[0]["needs"][0];
    assert_eq!((&need["table"], &need["is_there"]), (&json!("channels.fetches"), &json!(false)));
    assert!(need["line"].as_str().is_some_and(|line| line.starts_with("http_hosts = ")), "{need}");

    let granted = "[channels.fetches]\nhttp_hosts = [\"api.example.org:81\"]\n";
    let (reports, _) = checked(&[("fetches.wasm", &fetches)], granted);
    let need = &reports[0]["needs"][0];
    assert_eq!(need["line"], "http_hosts = [\"api.example.org:81\"]");
    assert_eq!(need["is_there"], true);

    let (reports, _) = checked(&[("publishes.wasm", &component("publishes"))], "");
    assert!(reports[0]["needs"].to_string().contains("publish_to = "), "{reports:?}");
    let (reports, _) = checked(&[("configured.wasm", &component("configured"))], "");
    assert!(
        reports[0]["needs"].to_string().contains("channels.configured.settings"),
        "{reports:?}"
    );
}

#[test]
fn a_plugin_that_reads_claims_needs_a_table_for_tokens() {
    let vouched = component("vouched");
    let need = |settings: &str| {
        let (reports, code) = checked(&[("vouched.wasm", &vouched)], settings);
        assert_eq!(code, Some(0), "{reports:?}");
        reports[0]["needs"][0].clone()
    };
    let missing = need("");
    let table = json!("channels.vouched.token");
    assert_eq!((&missing["table"], &missing["is_there"]), (&table, &json!(false)));
    assert!(
        missing["line"].as_str().is_some_and(|line| line.starts_with("secret = ")),
        "{missing}"
    );
    let secret = format!("secret = {:?}\n", "s".repeat(40));
    let there = need(&format!("[channels.vouched.token]\n{secret}"));
    assert_eq!((&there["table"], &there["is_there"]), (&table, &json!(true)));
    let shared = need(&format!("[token]\n{secret}"));
    assert_eq!((&shared["table"], &shared["is_there"]), (&json!("token"), &json!(true)));
    // A plugin that never asks for them needs no table.
    let (reports, _) = checked(&[("chat.wasm", &component("chat"))], "");
    assert_eq!(reports[0]["needs"], json!([]));
}

#[test]
fn what_no_host_would_load_is_refused_for_the_reasons_of_its_log() {
    let newer = replaced(&component("echo"), b"@0.1.2", b"@0.9.0");
    let echo = component("echo");
    let files: [(&str, &[u8], &str); 9] = [
        ("core.wasm", b"\0asm\x01\0\0\0", "--target wasm32-wasip2"),
        ("half.wasm", &echo[..echo.len() / 2], "does not compile"),
        ("misrouted.wasm", &component("misrouted"), "/misrouted/:"),
        ("newer.wasm", &newer, "update the host"),
        ("nothing.wasm", b"\0asm\x0d\0\x01\0", "#[wharf::channel]"),
        ("text.wasm", b"(component)", "not WebAssembly"),
        ("undescribed.wasm", &component("undescribed"), "describe"),
        ("Loud.wasm", &echo, "a to z"),
        ("echo.txt", &echo, ".wasm"),
    ];
    for (name, bytes, reason) in files {
        let (reports, code) = checked(&[(name, bytes)], "");
        assert_eq!(code, Some(1), "{name}: {reports:?}");
        let [report] = reports.as_slice() else { panic!("{reports:?}") };
        assert_eq!(report["loads"], false, "{report}");
        assert!(report["reason"].as_str().is_some_and(|r| r.contains(reason)), "{report}");
    }
    let (reports, _) = checked(&[("newer.wasm", &newer)], "");
    assert_eq!(reports[0]["contract"], "0.9.0", "what it is, is said all the same");
}

#[test]
fn files_that_claim_one_path_are_told_as_a_folder_of_them_would_be() {
    let (counts, claims) = (component("counts"), component("claims"));
    let files: [(&str, &[u8]); 2] = [("counts.wasm", &counts), ("claims.wasm", &claims)];
    let (reports, code) = checked(&files, "");
    assert_eq!(code, Some(1), "{reports:?}");
    // The order of their names decides. They are reported as they were asked for.
    let [second, first] = reports.as_slice() else { panic!("{reports:?}") };
    assert_eq!((&first["channel"], &first["loads"]), (&json!("claims"), &json!(true)));
    assert_eq!(second["channel"], "counts");
    let reason = second["reason"].as_str().expect("a reason");
    assert!(reason.contains("the plugin claims"), "{reason}");
}

#[test]
fn people_read_the_same_as_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("fetches.wasm"), component("fetches")).expect("a file");
    let output = run_in(folder.path(), &["check", "fetches.wasm", "missing.wasm"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    for words in [
        "fetches.wasm: this host would load it as channel `fetches`",
        "[channels.fetches]",
        "http_hosts = [",
        "wasi:http",
        "missing.wasm: this host would not load it: there is no such file",
    ] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}
