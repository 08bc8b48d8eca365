//! The bindings in `src/bindings`, which are made from the contract.
//!
//! They are part of the repository, so that a plugin's build need not make them: the generator with its
//! parser costs more time than all else that the SDK depends on.

use std::path::Path;
use std::process::Command;

#[test]
fn the_bindings_are_those_of_the_contract() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO"))
        .args(["run", "--locked", "--quiet", "--manifest-path", "bindings/Cargo.toml"])
        .arg("--target-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("bindings"))
        .args(["--", "--check"])
        .current_dir(repository)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "run `cargo run --manifest-path bindings/Cargo.toml`: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
