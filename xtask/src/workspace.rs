//! The folders: the repository and cargo's target folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::Outcome;

/// The compilation target of plugins.
pub const GUEST_TARGET: &str = "wasm32-wasip2";

/// The checkout that `xtask` was compiled from.
pub struct Workspace {
    /// The folder with the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// Cargo's target folder, as the environment or a configuration file sets it.
    pub target: PathBuf,
}

impl Workspace {
    /// Finds both folders.
    pub fn find() -> Outcome<Self> {
        // `cargo run` names the checkout of now. The compiler saw the path of then, which is
        // another place after a target folder has been copied.
        let xtask = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let xtask = xtask.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = xtask
            .parent()
            .filter(|root| root.join("Cargo.toml").is_file())
            .ok_or("cannot find the checkout: run this as `cargo xtask`")?;
        Ok(Workspace {
            root: root.to_owned(),
            target: target_folder().unwrap_or_else(|| root.join("target")),
        })
    }

    /// Returns a folder for `xtask`'s own files under the target folder. Makes it if it is missing.
    pub fn scratch(&self, name: &str) -> Outcome<PathBuf> {
        let folder = self.target.join("xtask").join(name);
        create_folder(&folder)?;
        Ok(folder)
    }

    /// Returns a path as a person in the checkout would write it.
    pub fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// Returns the target folder. Cargo marks it with a `CACHEDIR.TAG`, and `xtask` was compiled into
/// it.
fn target_folder() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    program
        .ancestors()
        .skip(1)
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .map(Path::to_owned)
}

/// Makes a folder and those above it. Succeeds if it exists.
pub fn create_folder(folder: &Path) -> Outcome {
    fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))
}

/// Removes a folder with its content. Succeeds if it does not exist.
pub fn remove_folder(folder: &Path) -> Outcome {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {e}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a file so that readers see the old content or the new, never a part: under a
/// temporary name in the same folder, then by rename.
pub fn write_by_rename(file: &Path, content: &[u8]) -> Outcome {
    let failed = |e| format!("cannot write {}: {e}", file.display());
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let partial = file.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    fs::write(&partial, content).and_then(|()| fs::rename(&partial, file)).map_err(|e| {
        let _ = fs::remove_file(&partial);
        failed(e)
    })
}

/// Returns the names of the entries of a folder, sorted; empty if the folder does not exist.
pub fn entries(folder: &Path) -> Outcome<Vec<String>> {
    let failed = |e| format!("cannot list {}: {e}", folder.display());
    let listing = match fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in listing {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
