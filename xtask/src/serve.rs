//! Runs the host with the example plugins.

use std::path::Path;
use std::process::Command;

use crate::demo;
use crate::host::{self, Build};
use crate::plugins::{self, Selection};
use crate::process::Outcome;
use crate::setup;
use crate::workspace::Workspace;

pub const HELP: &str = "\
Run the host with the example plugins.

Usage: cargo xtask serve [--release] [-- ARGS]

  --release  Compile the host with all optimisations, as for operation and for measurements: takes
             about twice as long the first time
  ARGS       Given to `wharf serve`; `cargo xtask serve -- --help` lists them

Compiles the plugins into target/plugins and the host, then runs
`wharf serve --plugins target/plugins --demo target/demo --data target/data ARGS`. With `--plugins FOLDER` among ARGS,
that folder is served instead, without the versions for the demo page. Where there is no
configuration of your own, the plugin `secure` is given a secret that everybody knows, so that the
demo page can make tokens for it.

To see a swap: leave it running, edit plugins/NAME/src/lib.rs and run `cargo xtask plugins` in
another terminal.
";

/// The secret with which the demo page signs its tokens, for the plugin `secure`.
pub const DEMO_SECRET: &str = "known to everybody: for the demo page only";
/// The variable of that secret.
pub const SECRET_OF_SECURE: &str = "WHARF_CHANNELS__SECURE__SECRETS__JWT_SECRET";

pub fn command(workspace: &Workspace, arguments: &[String]) -> Outcome {
    let (build, arguments) = parsed(arguments);
    setup::ensure(workspace)?;
    println!("serve: compiling the example plugins");
    plugins::build(workspace, Selection::Examples)?;
    println!("serve: compiling the host");
    let host = host::compile(workspace, build)?;
    let mut command = Command::new(host);
    command.arg("serve");
    let names = |flag: &str| {
        arguments.iter().any(|a| {
            a.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    };
    if !names("--plugins") {
        // The short form reads better in the log, and here it means the same.
        let is_short = std::env::current_dir().is_ok_and(|here| here == workspace.root);
        let folders = [
            ("--plugins", plugins::examples_folder(workspace)),
            ("--demo", demo::folder(workspace)),
            ("--data", workspace.target.join("data")),
        ];
        for (flag, folder) in folders.into_iter().filter(|(flag, _)| !names(flag)) {
            let short = folder.strip_prefix(&workspace.root).ok().filter(|_| is_short);
            command.arg(flag).arg(short.unwrap_or(&folder));
        }
        if !is_configured(arguments) {
            command.env(SECRET_OF_SECURE, DEMO_SECRET);
        }
    }
    command.args(arguments);
    become_host(&mut command)
}

/// Returns the build that is asked for, and the arguments of the host. Only a first argument can be for this
/// command; the host gets the others, with `--` before them or without.
fn parsed(arguments: &[String]) -> (Build, &[String]) {
    let (build, rest) = match arguments {
        [option, rest @ ..] if option == "--release" => (Build::Optimised, rest),
        all => (Build::Quick, all),
    };
    match rest {
        [separator, rest @ ..] if separator == "--" => (build, rest),
        all => (build, all),
    }
}

/// Returns true if the arguments or the environment may give the plugin `secure` a secret.
fn is_configured(arguments: &[String]) -> bool {
    let names_file = |a: &String| a == "--config" || a.starts_with("--config=");
    let is_about_secure = |name: String| {
        // There a channel's name may be in any case, and its secret be given in several ways.
        let name = name.to_ascii_uppercase();
        name == "WHARF_CONFIG" || name.starts_with("WHARF_CHANNELS__SECURE__")
    };
    arguments.iter().any(names_file)
        || Path::new("wharf.toml").exists()
        || std::env::vars_os().any(|(name, _)| is_about_secure(name.to_string_lossy().into_owned()))
}

/// Replaces this process by the host, so that signals reach the host and not its parent.
#[cfg(unix)]
fn become_host(command: &mut Command) -> Outcome {
    use std::os::unix::process::CommandExt;

    let failure = command.exec();
    Err(format!("cannot start {}: {failure}", command.get_program().to_string_lossy()))
}

/// Runs the host as a child, on systems that cannot replace a process.
#[cfg(not(unix))]
fn become_host(command: &mut Command) -> Outcome {
    crate::process::run(command)
}

#[cfg(test)]
mod tests {
    use super::{Build, DEMO_SECRET, parsed};

    #[track_caller]
    fn check(line: &str, build: Build, for_host: &[&str]) {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (parsed_build, rest) = parsed(&arguments);
        assert!(parsed_build == build, "{line}");
        assert_eq!(rest, for_host, "{line}");
    }

    #[test]
    fn release_is_for_this_command_and_the_rest_for_the_host() {
        check("", Build::Quick, &[]);
        check("--release", Build::Optimised, &[]);
        check("-- --listen 127.0.0.1:0", Build::Quick, &["--listen", "127.0.0.1:0"]);
        check("--release -- --listen 127.0.0.1:0", Build::Optimised, &["--listen", "127.0.0.1:0"]);
        check("--listen 127.0.0.1:0", Build::Quick, &["--listen", "127.0.0.1:0"]);
        check("-- --release", Build::Quick, &["--release"]);
    }

    #[test]
    fn the_page_signs_with_the_secret_that_the_plugin_is_given() {
        let page = include_str!("../../host/server/src/page/secure.js");
        assert!(page.contains(&format!("const SECRET = {DEMO_SECRET:?};")), "{DEMO_SECRET}");
    }
}
