//! The proxies that tests put in front of hosts: nginx, Caddy and HAProxy, of this machine, or installed.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::{Outcome, is_installed, run_logged};
use crate::servers::{can_install, chosen};
use crate::workspace::Workspace;

/// Programs with the variables that name them, and their packages in Debian.
const PROXIES: [(&str, &str, &str); 3] = [
    ("nginx", "WHARF_NGINX", "nginx-light"),
    ("caddy", "WHARF_CADDY", "caddy"),
    ("haproxy", "WHARF_HAPROXY", "haproxy"),
];

/// Folder of programs that is not on the PATH of all users.
const SYSTEM: &str = "/usr/sbin";

/// Time limit for downloading and installing them: 15 MB.
const LIMIT: Duration = Duration::from_secs(600);

/// Advice if one is missing.
const ADVICE: &str = "Install all three (Debian: `apt-get install nginx-light caddy haproxy`), or name their programs in the \
                      variables WHARF_NGINX, WHARF_CADDY and WHARF_HAPROXY; then run this again.";

/// Returns the reason why the tests cannot be run on this machine, if there is one.
pub fn obstacle() -> Option<String> {
    let (missing, _) = missing().into_iter().next()?;
    (!can_install()).then(|| {
        format!(
            "this machine has no {missing}, and only the administrator can install it\n{ADVICE}"
        )
    })
}

/// Adds the variables with the programs, as the tests read them. Installs what this machine does not have.
pub fn with_proxies(workspace: &Workspace, command: &mut Command) -> Outcome {
    let packages: Vec<&str> = missing().into_iter().map(|(_, package)| package).collect();
    if !packages.is_empty() {
        println!(
            "installing proxies, since this machine has none (apt-get install {})",
            packages.join(" ")
        );
        let log = workspace.scratch("test")?.join("proxies.log");
        let apt = |arguments: &[&str]| {
            let mut apt = Command::new("apt-get");
            // Scripts of packages start no service at this run level.
            apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
            run_logged(&mut apt, &log, LIMIT)
        };
        let install = [&["install", "--yes", "--no-install-recommends"], &*packages].concat();
        // A new machine has no lists of packages, or old ones.
        let installed = apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)));
        installed.map_err(|failure| format!("{failure}\n{ADVICE}"))?;
    }
    for (name, variable, _) in PROXIES {
        command.env(variable, found(name, variable).ok_or(ADVICE)?);
    }
    Ok(())
}

/// Returns the programs that this machine does not have, with their packages.
fn missing() -> Vec<(&'static str, &'static str)> {
    let missing = PROXIES.into_iter().filter(|(name, variable, _)| found(name, variable).is_none());
    missing.map(|(name, _, package)| (name, package)).collect()
}

fn found(name: &str, variable: &str) -> Option<PathBuf> {
    let of_system = PathBuf::from(SYSTEM).join(name);
    let on_path = is_installed(name).then(|| PathBuf::from(name));
    chosen(variable).or(on_path).or_else(|| of_system.is_file().then_some(of_system))
}
