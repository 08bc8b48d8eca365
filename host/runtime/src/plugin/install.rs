//! The way of a component into a plugin folder.

use std::path::Path;
use std::{fs, io};

/// Writes a component's file in one step: a host that watches the folder sees the whole or nothing.
///
/// # Errors
///
/// The file cannot be written. The one before it is left as it was.
pub fn install(component: &[u8], file: &Path) -> io::Result<()> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let partial = file.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    fs::write(&partial, component)
        .and_then(|()| fs::rename(&partial, file))
        .inspect_err(|_| drop(fs::remove_file(&partial)))
}
