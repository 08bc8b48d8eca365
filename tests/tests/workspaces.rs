//! Several plugins in one cargo workspace, and the templates that `wharf new` begins with.

use std::fs;

use wharf_tests::{Value, json};

use crate::author::empty_folder;
use crate::test_command::as_author;

#[test]
fn crates_that_are_made_in_a_workspace_share_its_copy_of_the_sdk() {
    let place = empty_folder("workspace");
    fs::write(place.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\n").expect("a manifest");
    for name in ["chat-one", "two"] {
        let (output, said) = as_author(&place, &["new", name]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("It is a member of the workspace"), "{said}");
        assert!(said.contains("cp ../target/wasm32-wasip2/release/"), "{said}");
        assert!(!place.join(name).join("vendor").exists());
        assert!(!place.join(name).join("Cargo.lock").exists());
    }
    let manifest = fs::read_to_string(place.join("Cargo.toml")).expect("the manifest");
    let lists = "members = [\"chat-one\", \"two\"]\nexclude = [\"vendor/wharf\"]\n";
    assert_eq!(manifest, format!("[workspace]\n{lists}resolver = \"3\"\n"));
    assert!(place.join("vendor/wharf/src/lib.rs").is_file());

    // Without a file `wharf check` is about the crate in the working directory, under its own name.
    for (name, paths) in [("chat-one", "/chat-one/:room"), ("two", "/two/:room")] {
        let (output, said) = as_author(&place.join(name), &["check", "--json"]);
        let reports: Value = serde_json::from_str(&said).unwrap_or_default();
        let report = &reports[0];
        assert_eq!(report["loads"], true, "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!((&report["channel"], &report["paths"]), (&json!(name), &json!([paths])));
        let file = report["file"].as_str().expect("a path");
        assert!(file.contains("wasm32-wasip2"), "{file}");
        assert_eq!(output.status.code(), Some(0));
    }

    fs::write(place.join("two/src/lib.rs"), "nonsense").expect("it is saved");
    let (output, _) = as_author(&place.join("two"), &["check"]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("src/lib.rs"), "cargo explains: {complaint}");
    let (output, _) = as_author(&place.join("vendor"), &["check"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("no Cargo.toml"), "{complaint}");
}

#[test]
fn each_template_is_compiled_and_passes_its_tests_at_both_levels() {
    let place = empty_folder("templates");
    // The first one makes the workspace, so that they share what is compiled.
    for template in ["chat", "presence", "auction", "minimal"] {
        let name = format!("new-{template}");
        let (output, said) =
            as_author(&place, &["new", &name, "--template", template, "--workspace"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("It is a member of the workspace"), "{said}");
        // A test that fails natively only is named, and is no failure here.
        let (output, said) = as_author(&place, &["test", &name]);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{template}: {said}{complaint}");
        assert!(said.contains("test result: ok") && !said.contains(" 0 passed"), "{said}");
        assert!(!complaint.contains("under `cargo test`"), "{template}: {complaint}");
    }
    assert!(place.join("vendor/wharf/src/lib.rs").is_file());
    let (output, _) = as_author(&place, &["new", "x", "--template", "nothing"]);
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("presence") && complaint.contains("auction"), "{complaint}");
}
