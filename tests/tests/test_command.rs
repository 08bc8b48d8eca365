//! `wharf test`: a plugin's own tests on its component, at the test kit's second level. The tests
//! of a new crate run, and those of the example plugins, which show that the kit and the host
//! agree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use wharf_tests::artefacts::{author_cache, binary, compiled_plugins, component_file};
use wharf_tests::run_in;

/// Variables of this environment that cargo and the compilers need.
const OF_CARGO: [&str; 5] = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];

fn wharf_test(folder: &Path, arguments: &[&str]) -> (Output, String) {
    let (output, said) = as_author(folder, &[&["test"], arguments].concat());
    let both = said + &String::from_utf8_lossy(&output.stderr);
    (output, both)
}

/// Runs a command that needs cargo. Returns its result, and its standard output.
pub fn as_author(folder: &Path, arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("CARGO_TARGET_DIR", author_cache())
        .env("WHARF_CACHE", compiled_plugins());
    for variable in OF_CARGO {
        if let Some(value) = std::env::var_os(variable) {
            command.env(variable, value);
        }
    }
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

#[test]
fn a_new_crate_passes_its_tests_at_the_second_level() {
    // The folder is always the same, since cargo keeps compiled code by its folder.
    let place = author_cache().join("crates/kit");
    match fs::remove_dir_all(&place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => {}
    }
    fs::create_dir_all(&place).expect("a folder");
    assert!(run_in(&place, &["new", "kit-talk"], &[]).status.success());
    let folder = place.join("kit-talk");
    let tests = folder.join("src/tests.rs");
    let text = fs::read_to_string(&tests).expect("its tests");
    // This test passes with a component, and not natively.
    let second_level = "\n#[test]\n#[should_panic = \"is there natively only\"]\n\
         fn this_is_the_second_level() {\n    TestHost::new::<Member>().run(|| ());\n}\n";
    fs::write(&tests, text.clone() + second_level).expect("it is saved");

    let (output, said) = wharf_test(&place, &["kit-talk"]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("5 passed"), "{said}");
    let named = "pass on the component, and fail under `cargo test`:\n    tests::this_is_the_second_level\n";
    assert!(said.contains(named), "{said}");

    let (output, said) = wharf_test(&folder, &["--", "nobody_comes_in", "--", "--exact"]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("0 passed") && said.contains("5 filtered out"), "{said}");

    fs::write(&tests, text.replace("\"count\": 2,", "\"count\": 3,")).expect("it is saved");
    let (output, said) = wharf_test(&folder, &[]);
    assert_eq!(output.status.code(), Some(101), "{said}");
    assert!(said.contains("what_one_says_everybody_in_the_room_hears"), "{said}");
    assert!(!said.contains("under `cargo test`"), "it fails at both levels: {said}");

    let component_lacks =
        "\n#[test]\nfn this_is_native() {\n    TestHost::new::<Member>().run(|| ());\n}\n";
    fs::write(&tests, text.clone() + component_lacks).expect("it is saved");
    let (output, said) = wharf_test(&folder, &[]);
    assert_eq!(output.status.code(), Some(101), "{said}");
    let named = "pass under `cargo test`, and fail on the component:\n    tests::this_is_native\n";
    assert!(said.contains(named) && said.contains("docs/guide/testing.md"), "{said}");

    let source = folder.join("src/lib.rs");
    let code = fs::read_to_string(&source).expect("its code");
    let paths = "&[\"/kit-talk/:room\", \"/kit-talk/:other\"]";
    fs::write(&source, code.replace("&[\"/kit-talk/:room\"]", paths)).expect("it is saved");
    let (output, said) = wharf_test(&folder, &[]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no host would load") && said.contains("/kit-talk/:other"), "{said}");

    fs::write(&source, "nonsense").expect("it is saved");
    let (output, said) = wharf_test(&folder, &[]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error") && said.contains("src/lib.rs"), "{said}");
}

/// Returns the names of the example plugins.
fn plugins() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let plugins = entries.filter(|entry| entry.path().join("Cargo.toml").is_file());
    let mut plugins: Vec<String> =
        plugins.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    plugins.sort();
    plugins
}

/// Builds the plugins' tests, and returns the programs by the names of their packages.
fn test_programs(plugins: &[String]) -> Vec<(String, PathBuf)> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Variables about these tests themselves are removed: crates that read them would be compiled
    // again.
    for (name, _) in std::env::vars_os() {
        let about_tests = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"];
        if about_tests.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    // All packages are built together, as these tests are, so nothing is left to compile.
    cargo
        .args(["test", "--no-run", "--workspace", "--lib", "--message-format", "json"])
        // Its library has no tests, and is not made to be compiled for them.
        .args(["--exclude", "wharf-models"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env("CARGO_TARGET_DIR", author_cache().join(".."));
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    let program = |message: serde_json::Value| {
        let program = message["executable"].as_str()?.into();
        let manifest = Path::new(message["manifest_path"].as_str()?);
        let package = manifest.parent()?.file_name()?.to_str()?.to_owned();
        let is_plugin = manifest.ancestors().nth(2)?.ends_with("plugins");
        (is_plugin && plugins.contains(&package)).then_some((package, program))
    };
    messages.filter_map(program).collect()
}

#[test]
fn the_example_plugins_pass_their_own_tests_in_the_host() {
    let plugins = plugins();
    let programs = test_programs(&plugins);
    assert_eq!(programs.len(), plugins.len(), "{programs:?}");
    let mut failed = String::new();
    for (plugin, program) in programs {
        let output = Command::new(program)
            .env("WHARF_TEST_COMPONENT", component_file(&plugin))
            .env("WHARF_TEST_HOST", binary())
            .env("WHARF_CACHE", compiled_plugins())
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("test result"), "{plugin}: {said}");
        if !output.status.success() {
            failed += &format!("{plugin}:\n{said}\n");
        }
    }
    assert!(failed.is_empty(), "{failed}");
}
