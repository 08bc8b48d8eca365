//! Compiles the host's program, quickly or with all optimisations.

use std::path::PathBuf;

use crate::process::{Outcome, cargo, run};
use crate::workspace::Workspace;

/// The package of the program.
const PACKAGE: &str = "wharf";

/// The package of the measuring instrument.
const INSTRUMENT: &str = "wharf-bench";

/// A build of the host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// The dev profile, which shares its dependencies with the tests.
    Quick,
    /// The release profile: slow to compile, and as an operator runs it.
    Optimised,
}

/// Returns the path of the program, which need not exist.
pub fn program(workspace: &Workspace, build: Build) -> PathBuf {
    let folder = match build {
        Build::Quick => "debug",
        Build::Optimised => "release",
    };
    workspace.target.join(folder).join(format!("wharf{}", std::env::consts::EXE_SUFFIX))
}

/// Compiles the program and the measuring instrument with all optimisations, and returns the latter's
/// path.
pub fn compile_instrument(workspace: &Workspace) -> Outcome<PathBuf> {
    run(cargo(&["build", "--release", "--package", PACKAGE, "--package", INSTRUMENT])
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target))?;
    let name = format!("{INSTRUMENT}{}", std::env::consts::EXE_SUFFIX);
    Ok(workspace.target.join("release").join(name))
}

/// Compiles the program, and returns its path.
pub fn compile(workspace: &Workspace, build: Build) -> Outcome<PathBuf> {
    let mut command = cargo(&["build", "--package", PACKAGE, "--bin", "wharf"]);
    if build == Build::Optimised {
        command.arg("--release");
    }
    run(command.current_dir(&workspace.root).env("CARGO_TARGET_DIR", &workspace.target))?;
    Ok(program(workspace, build))
}
