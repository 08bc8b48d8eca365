//! The Autobahn testsuite: installs it and runs it against the host.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::plugins::{self, Selection};
use crate::process::{Outcome, capture, is_installed, run, run_logged};
use crate::setup;
use crate::test;
use crate::workspace::{Workspace, entries, remove_folder, write_by_rename};

pub const HELP: &str = "\
Run the Autobahn testsuite, an independent client that breaks RFC 6455 in some 300 ways.

Usage: cargo xtask autobahn

The testsuite is for Python 2.7 only. A Python 2.7 with pip is taken from the variable
WHARF_PYTHON2, the PATH (`python2.7`, `python2`) or pyenv's folder; the testsuite is installed with
pip below target/xtask, from tests/autobahn/requirements.txt, for x86-64 Linux. Where there is no
Python 2.7, `cargo xtask test` says NOT RUN; CONTRIBUTING.md says how a container runs it.

The cases run against the plugin `echo`. The command fails if a case does. It takes 20 seconds.
";

/// Time limit for downloading and installing the packages: 9 MB, with a little to compile.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// A line of Python that succeeds in a Python that the testsuite can be installed into.
const PROBE: &str = "import pip, sys; sys.exit(sys.version_info[:2] != (2, 7))";

pub fn command(workspace: &Workspace, arguments: &[String]) -> Outcome {
    if let Some(argument) = arguments.first() {
        return Err(format!("`cargo xtask autobahn` takes no `{argument}`\n\n{HELP}"));
    }
    if let Some(obstacle) = obstacle() {
        return Err(obstacle);
    }
    setup::ensure(workspace)?;
    plugins::build(workspace, Selection::Named(&["echo".to_owned()]))?;
    test::build_host(workspace)?;
    check(workspace)
}

/// Returns the reason why the testsuite cannot be run on this machine, if there is one.
pub fn obstacle() -> Option<String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Some("the Autobahn testsuite is installed on x86-64 Linux only".to_owned());
    }
    match python() {
        Some(_) => None,
        None => Some(
            "the Autobahn testsuite needs a Python 2.7 with pip: name one in the variable \
             WHARF_PYTHON2"
                .to_owned(),
        ),
    }
}

/// Runs the testsuite against the host that has been compiled.
pub fn check(workspace: &Workspace) -> Outcome {
    let python = python().ok_or("there is no Python 2.7")?;
    let packages = packages(workspace, &python)?;
    let mut command = test::in_root(
        workspace,
        // The whole workspace: another selection would compile with other features.
        &["test", "--workspace", "--test", "autobahn", "--", "--ignored", "--nocapture"],
    );
    command.env("WHARF_AUTOBAHN_PYTHON", python).env("WHARF_AUTOBAHN_PACKAGES", packages);
    run(test::with_artefacts(workspace, &mut command))
}

/// Returns a Python 2.7 with pip.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("WHARF_PYTHON2").filter(|name| !name.is_empty());
    if let Some(named) = named {
        return Some(PathBuf::from(named));
    }
    let on_path = ["python2.7", "python2"].into_iter().filter(|name| is_installed(name));
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = root.map(|root| root.join("versions"));
    let in_pyenv = versions.into_iter().flat_map(|folder| {
        let names = entries(&folder).unwrap_or_default().into_iter();
        let folder = folder.clone();
        names
            .filter(|name| name.starts_with("2.7"))
            .map(move |name| folder.join(name).join("bin/python"))
    });
    let is_fit = |python: &PathBuf| capture(Command::new(python).args(["-c", PROBE])).is_ok();
    on_path.map(PathBuf::from).chain(in_pyenv).find(is_fit)
}

/// Returns the folder of the testsuite's packages. Installs them if they have changed since the last
/// time.
fn packages(workspace: &Workspace, python: &PathBuf) -> Outcome<PathBuf> {
    let requirements = workspace.root.join("tests/autobahn/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements)
        .map_err(|e| format!("cannot read {}: {e}", requirements.display()))?;
    let folder = workspace.scratch("autobahn")?;
    let packages = folder.join("packages");
    // The mark lies inside the installed folder, so that it is removed along with it.
    let installed = packages.join(".installed");
    if std::fs::read_to_string(&installed).is_ok_and(|before| before == wanted) {
        return Ok(packages);
    }
    println!("installing the Autobahn testsuite (pip install)");
    remove_folder(&packages)?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-deps"])
        .args(["--require-hashes", "--target"])
        .arg(&packages)
        .arg("--requirement")
        .arg(&requirements);
    run_logged(&mut pip, &folder.join("pip.log"), INSTALL_LIMIT)?;
    write_by_rename(&installed, wanted.as_bytes())?;
    Ok(packages)
}
