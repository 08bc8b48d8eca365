//! The way of docs/deploy.md, from an empty folder to a service: two plugins, a service manager that holds the socket,
//! a proxy with `wss://`, the operator's commands, a swap, a backup, and a restart that refuses no connection.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use wharf_tests::artefacts::{binary, compiled_plugins, component, component_file, padded};
use wharf_tests::balancer::{Balancer, Program, SecureClient, authority, connect};
use wharf_tests::{PATIENCE, Raw, eventually, run_in};

use super::CLIENT;

/// A service manager: it holds the socket, starts the host with it, and starts it again whenever it ends, like
/// `wharf.socket` and `wharf.service` with `Restart=always`. It tells the number of each process.
const MANAGER: &str = "
import ctypes, os, socket, sys
held = socket.socket(socket.AF_UNIX)
held.bind('wharf.sock')
held.listen(4096)
copy = os.dup(held.fileno())
while True:
    host = os.fork()
    if host == 0:
        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
        os.dup2(copy, 3)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
        os.execv(sys.argv[1], sys.argv[1:])
    print(host, flush=True)
    os.waitpid(host, 0)
";

const OPERATOR_TOKEN: &str = "0123456789abcdef0123456789abcdef";
const METRICS_TOKEN: &str = "fedcba9876543210fedcba9876543210";

/// A running service. Its processes end with this value.
struct Service {
    manager: Child,
    hosts: BufReader<std::process::ChildStdout>,
}

impl Service {
    fn start(folder: &Path) -> Service {
        let mut command = Command::new("python3");
        command.args(["-c", MANAGER]).arg(binary()).args(["serve", "--config", "wharf.toml"]);
        command.current_dir(folder).env_clear().env("WHARF_CACHE", compiled_plugins());
        let errors = std::fs::File::create(folder.join("log")).expect("a file");
        let manager = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn();
        let mut manager = manager.expect("Python runs");
        let hosts = BufReader::new(manager.stdout.take().expect("a pipe"));
        Service { manager, hosts }
    }

    /// Returns the number of the next process of the host.
    fn next_host(&mut self) -> String {
        let mut line = String::new();
        self.hosts.read_line(&mut line).expect("a number");
        line.trim().to_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.manager.kill();
        let _ = self.manager.wait();
    }
}

/// Runs `wharf` in the folder while the test goes on, and returns what it says. It must succeed.
async fn wharf(folder: &Path, arguments: &[&str]) -> String {
    let (code, text) = outcome(folder, arguments).await;
    assert_eq!(code, Some(0), "wharf {arguments:?}: {text}");
    text
}

async fn outcome(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let folder = folder.to_owned();
    let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
    let running = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = run_in(&folder, &arguments, &[]);
        let texts = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&texts).into_owned())
    });
    running.await.expect("it runs")
}

/// Writes the sample of a configuration with the folders and addresses of the test.
fn configure(folder: &Path) -> String {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd/wharf.toml");
    let mut text = std::fs::read_to_string(sample).expect("a sample");
    for (from, to) in [
        ("/var/lib/wharf/plugins", "plugins"),
        ("/var/lib/wharf-data", "data"),
        ("/run/credentials/wharf.service/operator-token", "operator-token"),
        ("/run/credentials/wharf.service/metrics-token", "metrics-token"),
        ("example.com", "localhost"),
    ] {
        assert!(text.contains(from), "the sample has no {from:?} any more");
        text = text.replace(from, to);
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let operator = free.local_addr().expect("it is bound");
    text += &format!(
        "operator_listen = \"{operator}\"\nhttp_extra_roots = \"{}\"\n",
        authority().display()
    );
    std::fs::write(folder.join("wharf.toml"), text).expect("a file");
    for (file, token) in [("operator-token", OPERATOR_TOKEN), ("metrics-token", METRICS_TOKEN)] {
        std::fs::write(folder.join(file), format!("{token}\n")).expect("a file");
    }
    format!("http://{operator}")
}

/// Waits for a message that contains these words.
async fn hears(client: &mut SecureClient, words: &str) {
    loop {
        let text = client.text().await.unwrap_or_else(|| panic!("the end before {words:?}"));
        if text.contains(words) {
            return;
        }
    }
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn an_empty_folder_becomes_a_service_that_is_swapped_backed_up_and_restarted() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    let operator = configure(folder);
    std::fs::create_dir(folder.join("plugins")).expect("a folder");
    for plugin in ["echo", "chat"] {
        let file = component_file(plugin).display().to_string();
        wharf(folder, &["add", &file, "--plugins", "plugins"]).await;
    }
    wharf(folder, &["config", "--config", "wharf.toml"]).await;

    let mut service = Service::start(folder);
    let first = service.next_host();
    let socket = format!("unix:{}", folder.join("wharf.sock").display());
    eventually("the host to be ready", async || {
        (outcome(folder, &["health", "--ready", &socket]).await.0 == Some(0)).then_some(())
    })
    .await;

    let proxy = Balancer::start(Program::Nginx, std::slice::from_ref(&socket), &[]).await;
    let public = format!("https://localhost:{}/readyz", proxy.address.port());
    assert_eq!(wharf(folder, &["health", "--config", "wharf.toml", &public]).await, "ready\n");
    let [mut ann, mut bob] = [
        proxy.connect(CLIENT, "/chat/lobby?name=ann", &[]).await.expect("it is let in"),
        proxy.connect(CLIENT, "/chat/lobby?name=bob", &[]).await.expect("it is let in"),
    ];
    let said = r#"{"type": "chat_message", "message": "through TLS and a proxy"}"#;
    bob.send(said).await;
    hears(&mut ann, "through TLS and a proxy").await;

    // The operator's side, with the token of the configuration.
    let status = wharf(folder, &["status", "--config", "wharf.toml"]).await;
    assert!(status.contains("chat") && status.contains("echo"), "{status}");
    assert_eq!(wharf(folder, &["health", "--ready", &operator]).await, "ready\n");
    let api = operator.trim_start_matches("http://").parse().expect("an address");
    let mut raw = Raw::open(api).await;
    raw.request("GET /metrics", &[("Authorization", &format!("Bearer {METRICS_TOKEN}"))]).await;
    let metrics = raw.answer().await;
    assert_eq!(metrics.status, 200, "{}", metrics.text());
    assert!(metrics.text().contains("channel=\"chat\""), "{}", metrics.text());

    // A new version under open connections.
    let next = folder.join("echo.wasm");
    std::fs::write(&next, padded(&component("echo"), 100)).expect("a file");
    let mut echo = proxy.connect(CLIENT, "/echo", &[]).await.expect("it is let in");
    wharf(folder, &["add", "echo.wasm", "--plugins", "plugins"]).await;
    let log = folder.join("log");
    let has_line = |words: &str| std::fs::read_to_string(&log).expect("a log").contains(words);
    eventually("the swap", async || has_line("\"plugin swapped\"").then_some(())).await;
    assert_eq!(echo.ask("still here").await.as_deref(), Some("still here"));

    wharf(folder, &["backup", "--data", "data", "backup"]).await;
    assert!(folder.join("backup").is_dir());

    // A restart: the socket is held, so that nobody is refused a connection.
    let (count, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let visiting = tokio::spawn({
        let (count, is_over, address) = (count.clone(), is_over.clone(), proxy.address);
        async move {
            while !is_over.load(Ordering::SeqCst) {
                match connect(address, CLIENT, "/echo", &[]).await {
                    Ok(_) => drop(count.fetch_add(1, Ordering::SeqCst)),
                    // One host that stops, or has not loaded the plugin yet, asks to come back in a second.
                    Err(error) => assert!(error.starts_with("status 503"), "{error}"),
                }
            }
        }
    });
    let some = async || {
        let before = count.load(Ordering::SeqCst);
        eventually("handshakes", async || {
            (count.load(Ordering::SeqCst) > before + 20).then_some(())
        })
        .await;
    };
    some().await;
    assert!(Command::new("kill").args(["-TERM", &first]).status().expect("kill runs").success());
    assert_eq!(echo.text().await, None, "it is closed, and comes back");
    let second = service.next_host();
    assert_ne!(first, second);
    some().await;
    is_over.store(true, Ordering::SeqCst);
    tokio::time::timeout(PATIENCE, visiting).await.expect("it ends").expect("it does not panic");
    let mut echo = proxy.connect(CLIENT, "/echo", &[]).await.expect("it is let in");
    assert_eq!(echo.ask("back").await.as_deref(), Some("back"));
    assert!(PathBuf::from("/proc").join(&second).exists());
}
