//! `wharf add`: a plugin that exists, in the folder of a host.

use std::fs;
use std::path::Path;
use std::process::Output;

use wharf_tests::artefacts::component;
use wharf_tests::{Wharf, run_in};

use crate::author::empty_folder;
use crate::test_command::as_author;

fn texts(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr];
    both.map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_crate_is_built_as_a_release_checked_and_put_into_the_folder() {
    let place = empty_folder("added");
    let (output, _) = as_author(&place, &["new", "extra", "--template", "minimal"]);
    assert!(output.status.success(), "{}", texts(&output));
    let plugins = place.join("plugins");

    let (output, said) = as_author(&place, &["add", "extra"]);
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output));
    for words in ["this host would load it as channel `extra`", "made the plugin folder", "added "]
    {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    assert!(said.contains("wasm32-wasip2/release/extra.wasm"), "{said}");
    assert_eq!(files(&plugins), ["extra.wasm"]);
    let added = fs::read(plugins.join("extra.wasm")).expect("the component");

    // A crate that does not compile changes nothing, and neither does one that no host would load.
    let source = place.join("extra/src/lib.rs");
    let code = fs::read_to_string(&source).expect("its code");
    let two_ways = code.replace("&[\"/extra\"]", "&[\"/extra/:a\", \"/extra/:b\"]");
    for (code, reason) in [(two_ways.as_str(), "/extra/:b"), ("nonsense", "src/lib.rs")] {
        fs::write(&source, code).expect("it is saved");
        let (output, _) = as_author(&place, &["add", "extra"]);
        assert_eq!(output.status.code(), Some(1), "{}", texts(&output));
        assert!(texts(&output).contains(reason), "{}", texts(&output));
        assert_eq!(files(&plugins), ["extra.wasm"]);
        assert_eq!(fs::read(plugins.join("extra.wasm")).expect("the component"), added);
    }
}

#[tokio::test]
async fn a_file_that_is_added_to_a_running_host_serves() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let plugin = wharf.plugin("counts");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("old-name.wasm"), component("counts")).expect("a file");
    let plugins = plugin.parent().and_then(Path::to_str).expect("UTF-8");
    let start = wharf.log.len();
    let arguments = ["add", "old-name.wasm", "--name", "counts", "--plugins", plugins];
    let output = run_in(folder.path(), &arguments, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output));
    assert!(texts(&output).contains("added "), "{}", texts(&output));
    wharf.in_service_after(start, "counts").await;
    let output = run_in(folder.path(), &arguments, &[]);
    assert!(texts(&output).contains("replaced "), "{}", texts(&output));
}

#[test]
fn what_an_added_plugin_needs_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("fetches.wasm"), component("fetches")).expect("a file");
    let output = run_in(folder.path(), &["add", "fetches.wasm"], &[]);
    let said = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for words in ["[channels.fetches]", "http_hosts = [", "Write what is missing into wharf.toml"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
}

#[test]
fn what_is_no_plugin_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("text.wasm"), "(component)").expect("a file");
    fs::write(folder.path().join("notes.txt"), "").expect("a file");
    fs::create_dir(folder.path().join("empty")).expect("a folder");
    fs::write(folder.path().join("echo.wasm"), component("echo")).expect("a file");
    for (arguments, reason) in [
        (["text.wasm"].as_slice(), "not WebAssembly"),
        (&["notes.txt"], "neither the folder of a plugin's crate nor a .wasm file"),
        (&["empty"], "no Cargo.toml"),
        (&["missing"], "there is no missing"),
        (&["https://example.com/chat.git"], "git clone"),
        (&["echo.wasm", "--name", "My Echo"], "cannot be a channel's name"),
    ] {
        let output = run_in(folder.path(), &[&["add"], arguments].concat(), &[]);
        assert_eq!(output.status.code(), Some(1), "{}", texts(&output));
        assert!(texts(&output).contains(reason), "{arguments:?}: {}", texts(&output));
    }
    assert!(!folder.path().join("plugins").exists(), "nothing is made");
}
