//! The compiled programs and components that a measurement needs, and their paths.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Returns the path of the host's program: `named`, or `target/release/wharf`.
///
/// # Errors
///
/// The file does not exist. The error names the command that makes it.
pub fn host(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let made_by = "cargo build --release -p wharf";
    find(named, "release/wharf", made_by, "--host FILE")
}

/// Returns the path of a plugin: `named`, or `target/plugins/NAME.wasm`.
///
/// # Errors
///
/// The file does not exist. The error names the command that makes it.
pub fn plugin(named: Option<&Path>, name: &str) -> anyhow::Result<PathBuf> {
    let file = format!("plugins/{name}.wasm");
    find(named, &file, "cargo xtask plugins", "--plugin FILE")
}

/// Returns the path of a plugin of the tests: `named`, or `target/fixtures/NAME.wasm`.
///
/// # Errors
///
/// The file does not exist. The error names the command that makes it.
pub fn fixture(named: Option<&Path>, name: &str) -> anyhow::Result<PathBuf> {
    let file = format!("fixtures/{name}.wasm");
    find(named, &file, "cargo xtask plugins", "--plugin FILE")
}

fn find(named: Option<&Path>, file: &str, made_by: &str, flag: &str) -> anyhow::Result<PathBuf> {
    let candidates = match named {
        Some(named) => vec![named.to_owned()],
        None => target_folders().map(|target| target.join(file)).collect(),
    };
    if let Some(found) = candidates.iter().find(|file| file.is_file()) {
        return std::path::absolute(found).context("there is no working directory");
    }
    match named {
        Some(named) => bail!("there is no file {}", named.display()),
        None => bail!(
            "there is no target/{file}. This makes it:\n    {made_by}\nOr name another with {flag}."
        ),
    }
}

/// Returns the folder in which this program may keep its files: cargo's target folder.
///
/// # Errors
///
/// There is no such folder.
pub fn scratch() -> anyhow::Result<PathBuf> {
    let target = target_folders().next().context("cannot tell where the target folder is")?;
    std::path::absolute(target).context("there is no working directory")
}

/// Returns the folder that this program was compiled into, which cargo marks with a `CACHEDIR.TAG`,
/// and the checkout's own.
fn target_folders() -> impl Iterator<Item = PathBuf> {
    let program = std::env::current_exe().unwrap_or_default();
    let own = program
        .ancestors()
        .skip(1)
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .map(Path::to_owned);
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    own.into_iter().chain(checkout.map(|checkout| checkout.join("target")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_missing_is_reported_with_the_command_that_makes_it() {
        let error = plugin(None, "no-such-plugin").expect_err("missing");
        let text = error.to_string();
        assert!(text.contains("target/plugins/no-such-plugin.wasm"), "{text}");
        assert!(text.contains("cargo xtask plugins"), "{text}");
        assert!(text.contains("--plugin FILE"), "{text}");
    }

    #[test]
    fn a_file_that_is_named_is_taken_or_missed_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("wharf");
        let error = host(Some(&file)).expect_err("missing").to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
        std::fs::write(&file, "").expect("a file");
        assert_eq!(host(Some(&file)).expect("found"), file);
    }
}
