//! Builds the container image from the program that is compiled here, and tries it: without rights, on a root file
//! system that is read-only, with its health check and a plugin.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::host::{self, Build};
use crate::plugins::{self, Selection};
use crate::process::{Outcome, capture, is_installed, run_logged};
use crate::workspace::{Workspace, create_folder, remove_folder};

pub const HELP: &str = "\
Build the container image of deploy/Dockerfile from the program that is compiled here, and try it.

Usage: cargo xtask image [--release]

  --release  Compile the host with all optimisations

Needs podman, and root where the system lets nobody else run containers. Nothing is downloaded: the base of the image
is made of this machine's own libraries, so that the image is for a trial, and for machines that cannot reach a registry.
A host in it is started as another user, without capabilities, on a root file system that is read-only; it must become
healthy and ready, answer a client, and stop when it is asked to. The image stays, as `localhost/wharf`.
";

/// Name of the image.
const IMAGE: &str = "localhost/wharf";

/// Time limit for a step of podman: it copies 200 MB at most.
const LIMIT: Duration = Duration::from_secs(120);

/// Longest wait for the host in the container.
const START: Duration = Duration::from_secs(60);

/// The plugin of the trial, and its path.
const PLUGIN: &str = "echo";

pub fn command(workspace: &Workspace, arguments: &[String]) -> Outcome {
    let build = match arguments {
        [] => Build::Quick,
        [option] if option == "--release" => Build::Optimised,
        other => {
            return Err(format!("`cargo xtask image` takes no `{}`\n\n{HELP}", other.join(" ")));
        }
    };
    if let Some(obstacle) = obstacle() {
        return Err(obstacle);
    }
    plugins::build(workspace, Selection::Named(&[PLUGIN.to_owned()]))?;
    host::compile(workspace, build)?;
    check(workspace, build)
}

/// Returns the reason why no image can be built on this machine, if there is one.
pub fn obstacle() -> Option<String> {
    if !is_installed("podman") {
        let what = "this machine has no podman (Debian: `apt-get install podman buildah runc`)";
        return Some(what.to_owned());
    }
    let failure = capture(&mut podman(["info"])).err()?;
    Some(format!("podman does not work on this machine: {failure}"))
}

/// Builds the image from the compiled program, and tries it with the compiled plugin.
pub fn check(workspace: &Workspace, build: Build) -> Outcome {
    let folder = workspace.scratch("image")?;
    let log = folder.join("podman.log");
    let program = host::program(workspace, build);
    let base = format!("{IMAGE}-base");
    let archive = base_archive(&folder, &program)?;
    run_logged(podman(["import", "--quiet"]).arg(&archive).arg(&base), &log, LIMIT)?;
    let context = context(workspace, &folder, &program)?;
    let mut building = podman(["build", "--format", "docker"]);
    building.arg("--file").arg(context.join("deploy/Dockerfile")).args(["--tag", IMAGE]);
    building.args(["--build-arg", "PROGRAM=ready", "--build-arg", &format!("BASE_IMAGE={base}")]);
    run_logged(building.arg(&context), &log, LIMIT)?;
    println!("image: {IMAGE} is built");
    let outcome = try_out(workspace);
    let _ = capture(&mut podman(["rm", "--force", "--ignore", CONTAINER]));
    outcome
}

/// Name of the container.
const CONTAINER: &str = "wharf-trial";

/// Runs a host in a container, asks it as its users do, and stops it.
fn try_out(workspace: &Workspace) -> Outcome {
    let _ = capture(&mut podman(["rm", "--force", "--ignore", CONTAINER]));
    let (clients, operator) = (free_address()?, free_address()?);
    let plugin = plugins::examples_folder(workspace).join(format!("{PLUGIN}.wasm"));
    let mut running = podman(["run", "--detach", "--name", CONTAINER, "--network", "host"]);
    running.args(["--read-only", "--read-only-tmpfs=false", "--cap-drop", "all"]);
    running.args(["--security-opt", "no-new-privileges"]);
    // The defaults may be above what this machine lets a process have.
    running.args(["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=1000:1000"]);
    running
        .arg("--volume")
        .arg(format!("{}:/var/lib/wharf/plugins/{PLUGIN}.wasm:ro", plugin.display()));
    running.args([
        "--env",
        &format!("WHARF_LISTEN={clients}"),
        "--env",
        &format!("WHARF_OPERATOR_LISTEN={operator}"),
    ]);
    running.args([
        "--env",
        "WHARF_OPERATOR_TOKEN=of-a-trial-that-nobody-reaches",
        "--env",
        "WHARF_MAX_CONNECTIONS=1000",
    ]);
    capture(running.arg(IMAGE))?;
    let tried = (|| {
        let begun = Instant::now();
        while let Err(failure) = capture(&mut within(&["health", "--ready"])) {
            if begun.elapsed() > START {
                return Err(format!("the host in the container is not ready: {failure}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        capture(&mut podman(["healthcheck", "run", CONTAINER]))?;
        capture(&mut within(&["health", "--ready", &format!("http://{operator}")]))?;
        let user = capture(&mut podman(["inspect", "--format", "{{.Config.User}}", CONTAINER]))?;
        if user.trim() != "65532:65532" {
            return Err(format!("the host in the container is the user {user}"));
        }
        ask(clients)?;
        capture(&mut podman(["stop", "--time", "20", CONTAINER]))?;
        let code = capture(&mut podman(["inspect", "--format", "{{.State.ExitCode}}", CONTAINER]))?;
        match code.trim() {
            "0" => Ok(()),
            code => Err(format!("the host in the container has ended with code {code}")),
        }
    })();
    tried.map_err(|failure: String| {
        let log = capture(Command::new("sh").args(["-c", "podman logs \"$0\" 2>&1", CONTAINER]));
        format!("{failure}\n{}", log.unwrap_or_default())
    })?;
    println!(
        "image: a host in it is healthy and ready, answers a client, and stops when it is asked to"
    );
    Ok(())
}

/// Returns a command of podman. Some machines have control groups that only runc knows.
fn podman<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new("podman");
    if is_installed("runc") {
        command.args(["--runtime", "runc"]);
    }
    command.args(arguments);
    command
}

/// Returns a call of the program in the container.
fn within(arguments: &[&str]) -> Command {
    let mut command = podman(["exec", CONTAINER, "/usr/local/bin/wharf"]);
    command.args(arguments);
    command
}

/// Makes an archive of the libraries that the program needs, as the root of a file system.
fn base_archive(folder: &Path, program: &Path) -> Outcome<PathBuf> {
    let root = folder.join("base");
    remove_folder(&root)?;
    // A line is `name => path (address)`, or `path (address)` for the linker.
    let libraries = capture(Command::new("ldd").arg(program))?;
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let place = root.join(library.trim_start_matches('/'));
        create_folder(place.parent().unwrap_or(&root))?;
        fs::copy(library, &place).map_err(|e| format!("cannot copy {library}: {e}"))?;
    }
    let archive = folder.join("base.tar");
    capture(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."))?;
    Ok(archive)
}

/// Makes a folder with what the image is built from.
fn context(workspace: &Workspace, folder: &Path, program: &Path) -> Outcome<PathBuf> {
    let context = folder.join("context");
    remove_folder(&context)?;
    create_folder(&context.join("deploy"))?;
    let from = workspace.root.join("deploy");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(from.join("Dockerfile"))
        .arg(from.join("container"))
        .arg(context.join("deploy"))
        .status();
    if !copied.is_ok_and(|status| status.success()) {
        return Err(format!("cannot copy {}", from.display()));
    }
    let place = context.join("deploy/container/wharf");
    // Without what only a debugger needs it is a third.
    let mut strip = Command::new("strip");
    let stripped = capture(strip.arg("--strip-debug").arg("-o").arg(&place).arg(program));
    if stripped.is_err() {
        fs::copy(program, &place).map_err(|e| format!("cannot copy {}: {e}", program.display()))?;
    }
    Ok(context)
}

fn free_address() -> Outcome<SocketAddr> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map_err(|e| format!("there is no free port: {e}"))
}

/// Connects a WebSocket to the plugin, and has its message echoed.
fn ask(address: SocketAddr) -> Outcome {
    let asked = || -> std::io::Result<Vec<u8>> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            socket,
            "GET /{PLUGIN} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )?;
        // Text of two bytes, with a mask that changes nothing.
        socket.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'])?;
        let mut answer = Vec::new();
        while !answer.ends_with(&[0x81, 2, b'h', b'i']) {
            let mut part = [0; 512];
            match socket.read(&mut part)? {
                0 => break,
                count => answer.extend_from_slice(part.get(..count).unwrap_or_default()),
            }
        }
        Ok(answer)
    };
    let answer =
        asked().map_err(|e| format!("the plugin in the container does not answer: {e}"))?;
    let text = String::from_utf8_lossy(&answer);
    match text.starts_with("HTTP/1.1 101 ") && answer.ends_with(b"hi") {
        true => Ok(()),
        false => Err(format!("the plugin in the container has answered {text:?}")),
    }
}
