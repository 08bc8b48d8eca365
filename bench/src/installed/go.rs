//! The peer in Go, compiled here if Debian's packages of Go and of the library are installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::{Installed, run_logged};
use crate::artefact;

const SOURCE: &str = include_str!("../../peers/gorilla.go");

/// Folder in which Debian puts the sources of Go's libraries.
const LIBRARIES: &str = "/usr/share/gocode";

/// Advice in the error about a missing package.
const HOW: &str = "Debian has it: apt-get install golang-go golang-github-gorilla-websocket-dev";

/// Compiles the peer below the target folder. Go reuses what it has compiled before.
///
/// # Errors
///
/// Go or the library is missing, or the peer does not compile. The error has the command that
/// installs what is missing.
pub fn gorilla() -> anyhow::Result<Installed> {
    let version = Command::new("go").arg("version").stderr(Stdio::null()).output();
    let version = version.ok().filter(|output| output.status.success());
    let version = version.with_context(|| format!("go is not installed. {HOW}"))?;
    let library = Path::new(LIBRARIES).join("src/github.com/gorilla/websocket");
    ensure!(library.is_dir(), "github.com/gorilla/websocket is not installed. {HOW}");

    let folder = artefact::scratch()?.join("bench-peers").join("gorilla");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (source, program) = (folder.join("server.go"), folder.join("server"));
    fs::write(&source, SOURCE)?;
    let mut go = Command::new("go");
    go.args(["build", "-o"])
        .args([&program, &source])
        .current_dir(&folder)
        .env("GO111MODULE", "off")
        .env("GOPATH", LIBRARIES)
        .env("GOCACHE", folder.join("cache"));
    run_logged(&mut go, "go", &folder)?;

    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let go = version.split_whitespace().find_map(|word| word.strip_prefix("go1"));
    let library = library_version().unwrap_or_else(|| "of unknown version".to_owned());
    let version = format!("gorilla/websocket {library}, go 1{}", go.unwrap_or_default());
    Ok(Installed { program, arguments: Vec::<PathBuf>::new(), version })
}

/// Returns the library's version, as Debian numbers it.
fn library_version() -> Option<String> {
    let package = "golang-github-gorilla-websocket-dev";
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Version}", package])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !version.is_empty()).then_some(version)
}
