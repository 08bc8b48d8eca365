//! Runs several hosts as one, with the example plugins and a Redis or NATS of their own.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::demo;
use crate::host::{self, Build};
use crate::plugins::{self, Selection};
use crate::process::Outcome;
use crate::serve::{DEMO_SECRET, SECRET_OF_SECURE};
use crate::servers;
use crate::setup;
use crate::workspace::{Workspace, create_folder};

pub const HELP: &str = "\
Run several hosts as one, with the example plugins.

Usage: cargo xtask cluster [--nats] [--nodes NUMBER]

  --nats          Put NATS between the hosts instead of Redis
  --nodes NUMBER  Number of hosts, 2 by default and 9 at most

Starts an engine on a free port of this machine and hosts on the ports 4000, 4010 and so on, each with the demo page
and its data in target/cluster. Open two of the pages side by side: both are the same chat. Ctrl-C ends all of them.
The engine is the one of the variable WHARF_REDIS_SERVER or WHARF_NATS_SERVER, of the PATH, or installed, as for the
tests.
";

/// The port of the first host. The next ones are ten apart.
const FIRST_PORT: u16 = 4000;

/// Time between two looks at the programs.
const PAUSE: Duration = Duration::from_millis(200);

/// Programs that end with this value.
#[derive(Default)]
struct Running(Vec<(String, Child)>);

impl Drop for Running {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            // One that has ended already needs no signal.
            let _ = (child.kill(), child.wait());
        }
    }
}

pub fn command(workspace: &Workspace, arguments: &[String]) -> Outcome {
    let (with_nats, nodes) = parsed(arguments)?;
    setup::ensure(workspace)?;
    let (engine, kind) = match with_nats {
        true => (servers::nats(workspace)?, "nats"),
        false => (servers::redis(workspace)?, "redis"),
    };
    println!("cluster: compiling the example plugins");
    plugins::build(workspace, Selection::Examples)?;
    println!("cluster: compiling the host");
    let host = host::compile(workspace, Build::Quick)?;

    let folder = workspace.target.join("cluster");
    let of_engine = folder.join(kind);
    create_folder(&of_engine)?;
    let port = free_port()?;
    let mut running = Running::default();
    let mut command = Command::new(engine);
    engine_arguments(&mut command, kind, port, &of_engine);
    let log = fs::File::create(folder.join("engine.log")).map_err(|e| e.to_string())?;
    command.stdin(Stdio::null()).stdout(log.try_clone().map_err(|e| e.to_string())?).stderr(log);
    start(&mut running, kind, &mut command)?;
    for node in 1..=nodes {
        let name = format!("node-{node}");
        let port_of_node = FIRST_PORT + 10 * (node - 1);
        let mut command = Command::new(&host);
        command
            .arg("serve")
            .args(["--listen", &format!("127.0.0.1:{port_of_node}"), "--node-name", &name])
            .args(["--cluster", &format!("{kind}://127.0.0.1:{port}")])
            .arg("--plugins")
            .arg(plugins::examples_folder(workspace))
            .arg("--demo")
            .arg(demo::folder(workspace))
            .arg("--data")
            .arg(folder.join(&name))
            .env(SECRET_OF_SECURE, DEMO_SECRET);
        start(&mut running, &name, &mut command)?;
        println!("cluster: {name} is on http://127.0.0.1:{port_of_node}/");
    }
    loop {
        for (name, child) in &mut running.0 {
            if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                return Err(format!("{name} has ended ({status}), so the others are ended too"));
            }
        }
        std::thread::sleep(PAUSE);
    }
}

fn start(running: &mut Running, name: &str, command: &mut Command) -> Outcome {
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().map_err(|e| format!("cannot start {program}: {e}"))?;
    running.0.push((name.to_owned(), child));
    Ok(())
}

fn engine_arguments(command: &mut Command, kind: &str, port: u16, folder: &Path) {
    let port = port.to_string();
    match kind {
        "nats" => {
            command.args(["--addr", "127.0.0.1", "--port", &port, "--jetstream", "--store_dir"]);
            command.arg(folder);
        }
        _ => {
            command.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--dir"]);
            command.arg(folder).args(["--appendonly", "yes"]);
        }
    }
}

fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|e| e.to_string())
}

/// Returns true if NATS is asked for, and the number of hosts.
fn parsed(arguments: &[String]) -> Outcome<(bool, u16)> {
    let (mut with_nats, mut nodes, mut rest) = (false, 2, arguments.iter());
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--nats" => with_nats = true,
            "--nodes" => {
                let number = rest.next().and_then(|text| text.parse().ok());
                nodes = number
                    .filter(|number| (1..=9).contains(number))
                    .ok_or("`--nodes` takes a number from 1 to 9")?;
            }
            other => {
                return Err(format!(
                    "`{other}` is no option; `cargo xtask help cluster` lists them"
                ));
            }
        }
    }
    Ok((with_nats, nodes))
}

#[cfg(test)]
mod tests {
    use super::parsed;

    #[test]
    fn options_are_read_and_others_refused() {
        let read = |line: &str| {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            parsed(&arguments).ok()
        };
        assert_eq!(read(""), Some((false, 2)));
        assert_eq!(read("--nats --nodes 3"), Some((true, 3)));
        for wrong in ["--nodes", "--nodes 0", "--nodes 10", "--redis"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
