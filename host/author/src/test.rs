//! `wharf test`: a plugin's own tests, run on the component that it is compiled to.
//!
//! The component is compiled like in `wharf dev`. Then `cargo test` runs with two variables, by
//! which the test kit of the SDK finds the component and the host to run it in
//! ([`super::test_host`]). Afterwards the same tests run natively, and those that pass at one level
//! only are named.

mod levels;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use anyhow::{Context, bail};

use super::package::{Cargo, Package, Purpose};
use super::{MISSING_TARGET, lacks_target, test_host};
use wharf_config::Config;
use wharf_runtime::plugin::watch::{Change, look_once};
use wharf_runtime::plugin::{Cache, Engine, Machine};
use wharf_runtime::ports::Ports;
use wharf_runtime::registry::Registry;
use wharf_server::token::ChannelTokenRules;

/// The variable that names the component for the test kit.
const COMPONENT: &str = "WHARF_TEST_COMPONENT";
/// The variable that names the binary of the host.
const HOST: &str = "WHARF_TEST_HOST";

/// Exit code for a `cargo test` that was killed.
const KILLED: u8 = 1;

/// Compiles the plugin in `folder`, and runs `cargo test` with these arguments there. Returns its
/// exit code.
///
/// # Errors
///
/// The folder has no plugin's crate; the toolchain lacks the target; or no host would load the
/// component. A plugin that does not compile is the exit code 1: cargo has printed the reason.
pub fn test(
    folder: &Path,
    arguments: &[OsString],
    machine: Machine,
    cache: Option<PathBuf>,
) -> anyhow::Result<u8> {
    let cargo = Cargo::in_foreground();
    let package = Package::find(&cargo, folder)?;
    if lacks_target(folder) {
        bail!(MISSING_TARGET);
    }
    let Some(component) = package.compile(&cargo, Purpose::Work)?.component else {
        return Ok(KILLED);
    };
    load_once(&component, machine, cache)?;
    let host = std::env::current_exe().context("this program does not know where it is")?;
    let cargo_test = || {
        let mut command = Command::new("cargo");
        command.args(["test", "--manifest-path"]).arg(package.manifest());
        command.args(arguments).current_dir(folder).env_remove(COMPONENT);
        command
    };
    let (status, outcomes) = levels::shown(
        cargo_test()
            .env(COMPONENT, &component)
            .env(HOST, host)
            .env(test_host::MACHINE, test_host::words(machine)),
    )?;
    // The same program, which is compiled already.
    let native = levels::silent(&mut cargo_test());
    if let Some(text) = native.and_then(|native| levels::differences(&outcomes, &native)) {
        // The exit code has told the result.
        let _ = write!(io::stderr(), "\n{text}");
    }
    Ok(code(status))
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(KILLED)
}

/// Loads the component as each test will, so that an error is reported once, and compiling is done
/// once.
fn load_once(component: &Path, machine: Machine, cache: Option<PathBuf>) -> anyhow::Result<()> {
    let config = Config::default();
    let cache = cache.map(|folder| Cache::new(folder, config.max_cache_bytes));
    let config = Arc::new(config);
    let tokens = Arc::new(ChannelTokenRules::new(config.clone()));
    let ports = Ports::system(&config, tokens)?;
    let registry = Registry::new(config, Engine::new(cache, machine)?, ports);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let loaded = match look_once(component) {
        Change::Settled { name, path, bytes, sha256 } => {
            runtime.block_on(registry.load_file(&name, &path, bytes, sha256)).map(drop)
        }
        Change::Unreadable { reason, .. } => Err(reason),
        Change::Removed { .. } | Change::Scanned => Ok(()),
    };
    // This waits until the component is in the cache.
    drop(runtime);
    loaded.map_err(|reason| anyhow::anyhow!("no host would load {}: {reason}", component.display()))
}
