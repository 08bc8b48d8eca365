//! The way of a component into a plugin folder.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// Writes a component's file in one step: a host that watches the folder sees the whole or nothing.
///
/// # Errors
///
/// The file cannot be written. The one before it is left as it was.
pub(super) fn install(component: &[u8], file: &Path) -> anyhow::Result<()> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let partial = file.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    fs::write(&partial, component)
        .and_then(|()| fs::rename(&partial, file))
        .inspect_err(|_| drop(fs::remove_file(&partial)))
        .with_context(|| format!("{} cannot be written", file.display()))
}

/// Makes the plugin folder if there is none. Returns true if it was made.
///
/// # Errors
///
/// It cannot be made.
pub(super) fn make_folder(plugins: &Path) -> anyhow::Result<bool> {
    if plugins.exists() {
        return Ok(false);
    }
    fs::create_dir_all(plugins)
        .with_context(|| format!("the plugin folder {} cannot be made", plugins.display()))?;
    Ok(true)
}
