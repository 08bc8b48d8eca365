//! The folder of the demo page: versions of plugins that visitors may swap, the sources of the
//! plugins, and the documents.

use std::fs;
use std::path::{Path, PathBuf};

use crate::plugins;
use crate::process::Outcome;
use crate::workspace::{Workspace, create_folder, entries, remove_folder, write_by_rename};

/// The version of the demo that is the example plugin itself.
const PLAIN: (&str, &str) = ("chat.wasm", "chat@plain.wasm");

/// Folders of the repository with texts that the page shows.
const TEXTS: [&str; 3] = ["docs", "plugins", "demo"];

/// Returns the folder for the host's setting `demo`.
pub fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("demo")
}

/// Copies the texts, and the plugin that is one of the versions. The other versions are there.
pub fn renew(workspace: &Workspace) -> Outcome {
    let folder = folder(workspace);
    let (plugin, version) = PLAIN;
    if let Ok(component) = fs::read(plugins::examples_folder(workspace).join(plugin)) {
        write_by_rename(&folder.join(version), &component)?;
    }
    for name in TEXTS {
        remove_folder(&folder.join(name))?;
        copy_texts(&workspace.root.join(name), &folder.join(name))?;
    }
    for name in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"] {
        copy(&workspace.root.join(name), &folder.join(name))?;
    }
    Ok(())
}

fn copy_texts(from: &Path, to: &Path) -> Outcome {
    create_folder(to)?;
    for name in entries(from)? {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy_texts(&from, &to)?;
        } else if name.ends_with(".md") || name.ends_with(".rs") {
            copy(&from, &to)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Outcome {
    let failed = |e| format!("cannot copy {}: {e}", from.display());
    fs::copy(from, to).map(drop).map_err(failed)
}
