//! Runs the host with the example plugins.

use std::path::Path;
use std::process::Command;

use crate::plugins::{self, Selection};
use crate::process::{Outcome, cargo, run};
use crate::setup;
use crate::workspace::Workspace;

pub const HELP: &str = "\
Run the host with the example plugins.

Usage: cargo xtask serve [-- ARGS]

  ARGS  Given to `wharf serve`; `cargo xtask serve -- --help` lists them

Compiles the plugins into target/plugins and the host with optimisations, then runs
`wharf serve --plugins target/plugins ARGS`. With `--plugins FOLDER` among ARGS, that folder is
served instead. Where there is no configuration of your own, the plugin `secure` is given a secret
that everybody knows, so that the demo page can make tokens for it.

To see a swap: leave it running, edit plugins/NAME/src/lib.rs and run `cargo xtask plugins` in
another terminal.
";

/// The secret with which the demo page signs its tokens, for the plugin `secure`.
const DEMO_SECRET: &str = "known to everybody: for the demo page only";
const SECRET_OF_SECURE: &str = "WHARF_CHANNELS__SECURE__SECRETS__JWT_SECRET";

pub fn command(workspace: &Workspace, arguments: &[String]) -> Outcome {
    let arguments = match arguments {
        [separator, rest @ ..] if separator == "--" => rest,
        all => all,
    };
    setup::ensure(workspace)?;
    println!("serve: compiling the example plugins");
    plugins::build(workspace, Selection::Examples)?;
    let release = workspace.target.join("release");
    let host = release.join(format!("wharf{}", std::env::consts::EXE_SUFFIX));
    if !host.exists() {
        println!(
            "serve: compiling the host with optimisations: 6 to 10 minutes on 2 cores the first \
             time, seconds from then on"
        );
    }
    run(cargo(&["build", "--release", "--package", "wharf", "--bin", "wharf"])
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target))?;
    let mut command = Command::new(host);
    command.arg("serve");
    let names_folder = |a: &String| a == "--plugins" || a.starts_with("--plugins=");
    if !arguments.iter().any(names_folder) {
        let folder = plugins::examples_folder(workspace);
        // The short form reads better in the log, and here it means the same.
        let is_short = std::env::current_dir().is_ok_and(|here| here == workspace.root);
        let short = folder.strip_prefix(&workspace.root).ok().filter(|_| is_short);
        command.arg("--plugins").arg(short.unwrap_or(&folder));
        if !is_configured(arguments) {
            command.env(SECRET_OF_SECURE, DEMO_SECRET);
        }
    }
    command.args(arguments);
    become_host(&mut command)
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
    run(command)
}

#[cfg(test)]
mod tests {
    use super::DEMO_SECRET;

    #[test]
    fn the_page_signs_with_the_secret_that_the_plugin_is_given() {
        let page = include_str!("../../host/server/src/page/secure.js");
        assert!(page.contains(&format!("const SECRET = {DEMO_SECRET:?};")), "{DEMO_SECRET}");
    }
}
