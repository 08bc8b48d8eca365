//! The way of a component into a plugin folder.

use std::fs;
use std::path::Path;

use anyhow::Context;
use wharf_runtime::plugin;

/// Writes a component's file in one step, with an error for people.
///
/// # Errors
///
/// The file cannot be written. The one before it is left as it was.
pub(super) fn install(component: &[u8], file: &Path) -> anyhow::Result<()> {
    plugin::install(component, file)
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
