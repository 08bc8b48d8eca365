//! Lints and documents the workspace with the dependencies of the build.
//!
//! `cargo clippy` and `cargo doc` compile all dependencies once more, in check mode. On a new machine this takes
//! minutes. Here cargo builds instead, with `xtask` as its `RUSTC_WORKSPACE_WRAPPER`: it compiles the dependencies
//! as for any build of the dev profile, and calls `xtask` in place of `rustc` for each crate of the workspace.
//! `xtask` lets clippy and rustdoc read the crate, and makes no code. Cargo names the files of such a build apart
//! from all others, and reads a crate again only after a change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::process::{Outcome, cargo, run};
use crate::workspace::Workspace;

/// The variable that is set for a process in the place of the compiler. Its value is a folder for output that
/// nothing reads.
const SCRATCH: &str = "WHARF_XTASK_LINT";

/// Crates of the workspace that its macros depend on.
const USED_BY_MACROS: [&str; 1] = ["wharf_contract"];

/// Makes a warning an error.
const DENY: [&str; 2] = ["-D", "warnings"];

/// Runs clippy and rustdoc on all targets of the workspace.
pub fn check(workspace: &Workspace) -> Outcome {
    let program = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    run(cargo(&["build", "--workspace", "--all-targets"])
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target)
        .env("RUSTC_WORKSPACE_WRAPPER", program)
        .env(SCRATCH, workspace.scratch("lint")?))
}

/// Returns the folder for output that nothing reads, if this process is in the place of the compiler.
pub fn scratch() -> Option<PathBuf> {
    std::env::var_os(SCRATCH).map(PathBuf::from)
}

/// Takes the place of the compiler for one crate. The first argument is the compiler's path, the others are the
/// compiler's.
pub fn replace_compiler(scratch: &Path, arguments: &[String]) -> ExitCode {
    let Some((rustc, arguments)) = arguments.split_first() else {
        eprintln!("error: cargo has named no compiler");
        return ExitCode::FAILURE;
    };
    let call = Call { rustc: Path::new(rustc), arguments };
    match call.answer(scratch) {
        Ok(true) => ExitCode::SUCCESS,
        // The program has said why.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One call of the compiler.
struct Call<'a> {
    rustc: &'a Path,
    arguments: &'a [String],
}

impl Call<'_> {
    /// Answers the call, and returns `false` after an error that has been shown.
    fn answer(&self, scratch: &Path) -> Outcome<bool> {
        let Some(name) = self.option("--crate-name").filter(|_| self.emits()) else {
            // Cargo asks for the compiler's version and for what it knows of the target.
            return succeeds(Command::new(self.rustc).args(self.arguments));
        };
        let kind = self.option("--crate-type").unwrap_or_default();
        if kind == "proc-macro" || name.starts_with("build_script_") {
            // The build runs these.
            return succeeds(self.clippy().args(self.arguments).args(DENY));
        }
        let is_test = self.arguments.iter().any(|argument| argument == "--test");
        // `cargo doc` leaves out tests, and benchmarks, for which cargo names no crate type.
        let is_documented = !is_test && !kind.is_empty();
        // Macros run with the code of what they depend on.
        let is_code = USED_BY_MACROS.contains(&name) && !is_test;
        let mut linted = match is_code {
            true => {
                let mut command = self.clippy();
                command.args(self.arguments).args(DENY);
                command
            }
            false => self.linted(name, scratch),
        };
        let is_good = succeeds(&mut linted)?
            && (!is_documented || succeeds(&mut self.documented(kind, scratch))?);
        if is_good && kind != "bin" && !is_code {
            self.stand_for_output(name).map_err(|e| format!("cannot write a file: {e}"))?;
        }
        Ok(is_good)
    }

    fn emits(&self) -> bool {
        self.arguments.iter().any(|argument| argument.starts_with("--emit="))
    }

    /// Returns the value of an option, which is an argument of its own.
    fn option(&self, name: &str) -> Option<&str> {
        let at = self.arguments.iter().position(|argument| argument == name)?;
        self.arguments.get(at + 1).map(String::as_str)
    }

    /// Returns what cargo appends to the names of the crate's files. It appends nothing for a library that other
    /// programs load.
    fn suffix(&self) -> Option<&str> {
        self.arguments.iter().find_map(|argument| argument.strip_prefix("extra-filename="))
    }

    fn clippy(&self) -> Command {
        let mut command = Command::new(self.rustc.with_file_name("clippy-driver"));
        command.arg(self.rustc);
        command
    }

    /// Returns a command that lints the crate and makes what crates that use it have to know.
    fn linted(&self, name: &str, scratch: &Path) -> Command {
        let mut command = self.clippy();
        for argument in self.arguments {
            if !argument.starts_with("--emit=") {
                command.arg(with_metadata(argument));
            } else if self.suffix().is_some() {
                command.arg("--emit=dep-info,metadata");
            } else {
                // In the usual place are the files of the real build, under the same names.
                let metadata = scratch.join(format!("lib{name}.rmeta"));
                command.arg(format!("--emit=dep-info,metadata={}", metadata.display()));
            }
        }
        command.args(DENY);
        command
    }

    /// Returns a command that documents the crate.
    fn documented(&self, kind: &str, scratch: &Path) -> Command {
        let mut command = Command::new(self.rustc.with_file_name("rustdoc"));
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // These have a value, and are about code.
                "-C" | "--out-dir" => drop(arguments.next()),
                option if option.starts_with("--emit=") => {}
                // Lints of the compiler and of clippy.
                option if is_lint(option) => {}
                option => drop(command.arg(with_metadata(option))),
            }
        }
        if kind == "bin" {
            command.arg("--document-private-items");
        }
        command.arg("--out-dir").arg(scratch.join("doc")).args(DENY);
        if kind == "bin" {
            // As `cargo doc` has it: all items of a program are private.
            command.args(["-A", "rustdoc::private_intra_doc_links"]);
        }
        command
    }

    /// Makes empty files in the place of code that has not been made, so that cargo takes the crate for done. A
    /// program has none: cargo would copy it over the real one.
    fn stand_for_output(&self, name: &str) -> io::Result<()> {
        let (Some(folder), Some(suffix)) = (self.option("--out-dir"), self.suffix()) else {
            return Ok(());
        };
        let file = match self.option("--crate-type") {
            Some(_) => format!("lib{name}{suffix}.rlib"),
            None => format!("{name}{suffix}"),
        };
        fs::write(Path::new(folder).join(file), "")
    }
}

/// Returns the argument with a library's metadata in the place of its code. Of the workspace's libraries there is
/// no more than that.
fn with_metadata(argument: &str) -> String {
    match argument.strip_suffix(".rlib").map(|path| format!("{path}.rmeta")) {
        Some(path) if Path::new(path.split_once('=').map_or(&*path, |(_, file)| file)).exists() => {
            path
        }
        _ => argument.to_owned(),
    }
}

fn is_lint(argument: &str) -> bool {
    ["--warn=", "--deny=", "--allow=", "--forbid="].iter().any(|level| argument.starts_with(level))
}

/// Runs a program to its end.
fn succeeds(command: &mut Command) -> Outcome<bool> {
    let status = command.status().map_err(|e| {
        format!(
            "cannot start {}: {e}; `rustup component add clippy` installs what may be missing",
            command.get_program().to_string_lossy()
        )
    })?;
    Ok(status.success())
}
