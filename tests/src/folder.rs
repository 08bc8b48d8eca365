//! Folders for servers to run in.

use tempfile::TempDir;

use crate::artefacts::component;

/// Makes a folder with a plugin folder of these plugins or fixtures.
pub fn folder(plugins: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = folder.path().join("plugins");
    std::fs::create_dir(&place).expect("a plugin folder");
    for name in plugins {
        std::fs::write(place.join(format!("{name}.wasm")), component(name)).expect("a plugin");
    }
    folder
}

/// Makes such a folder with this `wharf.toml` in it.
pub fn configured(plugins: &[&str], file: &str) -> TempDir {
    let folder = folder(plugins);
    std::fs::write(folder.path().join("wharf.toml"), file).expect("a configuration");
    folder
}
