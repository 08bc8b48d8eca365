//! The addresses that the host listens on: several, Unix sockets, and sockets that it inherits.

use std::net::TcpListener;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use wharf_tests::operator::{TOKEN, authorization};
use wharf_tests::raw::upgrade_headers;
use wharf_tests::system_calls::aborted_sockets;
use wharf_tests::{
    Client, Line, Raw, Value, Wharf, artefacts, configured, folder, json, run_in, soon,
};

/// A program that becomes the host with sockets from descriptor 3 on, as service managers do: a TCP
/// socket on a free port, and a Unix socket.
const ACTIVATE: &str = "
import os, socket, sys
tcp = socket.create_server(('127.0.0.1', 0))
unix = socket.socket(socket.AF_UNIX)
unix.bind('inherited.sock')
unix.listen()
copies = [os.dup(tcp.fileno()), os.dup(unix.fileno())]
for number, copy in enumerate(copies, 3):
    os.dup2(copy, number)
os.environ.update(LISTEN_FDS='2', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='a:b')
os.execv(sys.argv[1], sys.argv[1:])
";

/// Connects a client through a Unix socket.
async fn connect(path: &Path, target: &str) -> WebSocketStream<UnixStream> {
    let socket = soon("a connection", UnixStream::connect(path)).await.expect("a listener");
    let url = format!("ws://localhost{target}");
    let (client, _) = soon("a handshake", tokio_tungstenite::client_async(url, socket))
        .await
        .expect("the host accepts");
    client
}

async fn ask(client: &mut WebSocketStream<UnixStream>, text: &str) -> String {
    soon("a message to be sent", client.send(Message::text(text))).await.expect("it is open");
    let answer = soon("an answer", client.next()).await.expect("it is open");
    answer.expect("an answer").into_text().expect("text").to_string()
}

/// Returns the answer to a request through a Unix socket: status and body.
async fn request(path: &Path, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut socket = soon("a connection", UnixStream::connect(path)).await.expect("a listener");
    let mut head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n");
    let is_upgrade = headers.iter().any(|(name, _)| *name == "Upgrade");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(if is_upgrade { "\r\n" } else { "Connection: close\r\n\r\n" });
    soon("a request", socket.write_all(head.as_bytes())).await.expect("it is open");
    let mut text = String::new();
    if is_upgrade {
        let mut bytes = [0; 4096];
        let count = soon("an answer", socket.read(&mut bytes)).await.expect("an answer");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    } else {
        soon("an answer", socket.read_to_string(&mut text)).await.expect("an answer");
    }
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (_, body) = text.split_once("\r\n\r\n").expect("a head");
    (status.unwrap_or_else(|| panic!("no status in {text:?}")), body.to_owned())
}

#[tokio::test]
async fn a_unix_socket_serves_clients_and_the_operator_like_an_address() {
    let file = format!(
        "listen = [\"127.0.0.1:0\", \"unix:wharf.sock\"]\noperator_token = \"{TOKEN}\"\n\
         operator_listen = \"unix:operator.sock\"\n"
    );
    let folder = configured(&["echo", "inspects"], &file);
    // The address of the tests' own would win over the file.
    let flags = ["--listen 127.0.0.1:0,unix:wharf.sock"];
    let mut wharf = Wharf::start_in(folder, &flags).await;
    let line = wharf.log.wait_for("the addresses", |line| line.says("listening")).await;
    assert_eq!(line.str("address"), format!("{},unix:wharf.sock", wharf.address));
    let (path, operator) =
        (wharf.folder().join("wharf.sock"), wharf.folder().join("operator.sock"));

    let mut client = connect(&path, "/echo").await;
    assert_eq!(ask(&mut client, "through a file").await, "through a file");
    assert_eq!(wharf.connect("/echo").await.ask("by address").await, "by address");
    let mut inspecting = connect(&path, "/inspects").await;
    let shown: Value = ask(&mut inspecting, "request").await.parse().expect("JSON");
    assert_eq!(shown["remote_address"], "unix");

    wharf.log.wait_for("the API", |line| line.says("listening for the operator")).await;
    let (status, body) =
        request(&operator, "/api/channels/echo/connections", &[authorization()]).await;
    assert_eq!(status, 200, "{body}");
    let connections: Value = body.parse().expect("JSON");
    let remotes = connections["connections"].as_array().expect("a list");
    assert!(remotes.iter().any(|it| it["remote_address"] == json!("unix")), "{body}");
    assert_eq!(request(&operator, "/api/channels", &[]).await.0, 401);

    wharf.signal("TERM");
    let end = soon("the end", client.next()).await.expect("a close frame").expect("a frame");
    assert!(matches!(end, Message::Close(Some(frame)) if u16::from(frame.code) == 1012));
    drop((client, inspecting));
    assert!(wharf.stopped().await.status.success());
    assert!(!path.exists() && !operator.exists(), "they are removed at the end");
}

#[tokio::test]
async fn a_page_behind_a_unix_socket_is_of_the_hosts_own() {
    let folder = configured(&["echo"], "");
    let wharf =
        Wharf::start_in(folder, &["--listen 127.0.0.1:0", "--listen unix:wharf.sock"]).await;
    let path = wharf.folder().join("wharf.sock");
    assert_eq!(request(&path, "/", &[]).await.0, 200, "the demo page");
    for (origin, status) in [("http://127.0.0.1", 101), ("https://evil.example", 403)] {
        let mut headers = upgrade_headers().to_vec();
        headers.push(("Origin", origin));
        assert_eq!(request(&path, "/echo", &headers).await.0, status, "{origin}");
    }
}

#[tokio::test]
async fn clients_that_a_proxy_brings_through_a_unix_socket_keep_their_addresses() {
    let folder = configured(&["inspects"], "");
    let flags = ["--listen 127.0.0.1:0,unix:wharf.sock", "--trusted-proxies unix"];
    let wharf = Wharf::start_in(folder, &flags).await;
    let path = wharf.folder().join("wharf.sock");
    let socket = UnixStream::connect(&path).await.expect("a listener");
    let mut request =
        tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(
            "ws://localhost/inspects",
        )
        .expect("a request");
    request.headers_mut().insert("X-Forwarded-For", "192.0.2.7".parse().expect("a value"));
    let (mut client, _) =
        tokio_tungstenite::client_async(request, socket).await.expect("the host accepts");
    let shown: Value = ask(&mut client, "request").await.parse().expect("JSON");
    assert_eq!(shown["remote_address"], "192.0.2.7:0");
}

#[tokio::test]
async fn several_addresses_serve_at_once() {
    let flags = ["--listen 127.0.0.1:0", "--listen 127.0.0.2:0,127.0.0.3:0"];
    let wharf = Wharf::start_in(configured(&["echo"], ""), &flags).await;
    let line = wharf.log.wait_for("the addresses", |line| line.says("listening")).await;
    let addresses: Vec<_> = line.str("address").split(',').collect();
    assert_eq!(addresses.len(), 3, "{line}");
    let mut clients = Vec::new();
    for address in addresses {
        let mut client = Client::connect(address.parse().expect("an address"), "/echo").await;
        assert_eq!(client.ask(address).await, address);
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.ask("still here").await, "still here");
    }
}

#[tokio::test]
async fn an_address_of_several_that_is_taken_stops_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = taken.local_addr().expect("it is bound").to_string();
    let listen = format!("127.0.0.1:0,{address}");
    let output = run_in(configured(&[], "").path(), &["serve", "--listen", &listen], &[]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains(&format!("cannot listen on {address}")), "{complaint}");
}

#[tokio::test]
async fn the_file_of_a_host_that_was_killed_is_replaced() {
    let folder = configured(&["echo"], "");
    let path = folder.path().join("wharf.sock");
    // It is not removed when it is dropped, as if the process had been killed.
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists());
    let wharf = Wharf::start_in(folder, &["--listen 127.0.0.1:0,unix:wharf.sock"]).await;
    assert_eq!(ask(&mut connect(&path, "/echo").await, "served").await, "served");
    drop(wharf);
}

#[tokio::test]
async fn a_path_on_which_somebody_listens_is_left_alone() {
    let folder = configured(&[], "");
    let path = folder.path().join("wharf.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    for (listen, part) in [
        ("unix:wharf.sock", "another process listens there"),
        ("unix:wharf.toml", "no socket"),
        ("unix:nowhere/wharf.sock", "cannot listen on unix:nowhere/wharf.sock"),
    ] {
        let output = run_in(folder.path(), &["serve", "--listen", listen], &[]);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains(part), "no {part:?} in {complaint}");
    }
    let kind = std::fs::metadata(&path).expect("it is there").file_type();
    assert!(kind.is_socket());
    drop(UnixStream::connect(&path).await.expect("its listener has its place"));
    drop(listener);
}

#[tokio::test]
async fn sockets_of_a_service_manager_are_used_instead_of_listen() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let listen = format!("--listen {}", taken.local_addr().expect("it is bound"));
    let wrapper = ["/usr/bin/env", "python3", "-c", ACTIVATE];
    let mut wharf = Wharf::start_under(&wrapper, configured(&["echo"], ""), &[&listen]).await;
    let line = wharf.log.wait_for("the addresses", |line| line.says("listening")).await;
    assert_eq!(line.str("address"), format!("{},unix:inherited.sock", wharf.address));
    assert_ne!(wharf.address, taken.local_addr().expect("it is bound"));
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
    let path = wharf.folder().join("inherited.sock");
    assert_eq!(ask(&mut connect(&path, "/echo").await, "hello").await, "hello");
    // A page of this machine is the host's own, as with addresses of its own.
    assert_eq!(request(&path, "/", &[]).await.0, 200);
    wharf.signal("TERM");
    assert!(wharf.stopped().await.status.success());
    assert!(path.exists(), "the file is the service manager's");
}

#[tokio::test]
async fn sockets_that_are_meant_for_another_process_are_not_used() {
    let wrapper = ["env", "LISTEN_PID=1", "LISTEN_FDS=1"];
    let wharf = Wharf::start_under(&wrapper, configured(&["echo"], ""), &[]).await;
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
}

#[tokio::test]
async fn a_socket_that_was_announced_and_is_not_there_stops_the_start() {
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&-";
    let folder = configured(&[], "");
    let output = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(artefacts::binary())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(folder.path())
        .env_clear()
        .output()
        .expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("LISTEN_FDS announces descriptor 3"), "{complaint}");
}

#[tokio::test]
async fn the_demo_page_is_off_where_other_machines_reach_the_host_unless_the_operator_wants_it() {
    let is_off = |line: &Line| line.begins("the demo page is off");
    for (flags, status, told) in [
        (&["--listen 127.0.0.1:0"][..], 200, 0),
        (&["--listen [::]:0"], 404, 1),
        (&["--listen 127.0.0.1:0,[::]:0"], 404, 1),
        (&["--listen [::]:0", "--page"], 200, 0),
        (&["--listen [::]:0", "--page=false"], 404, 0),
    ] {
        let wharf = Wharf::start_in(configured(&["echo"], ""), flags).await;
        let address = (std::net::Ipv4Addr::LOCALHOST, wharf.address.port()).into();
        for target in ["/_wharf/channels.json", "/_wharf/wharf.js"] {
            let mut raw = Raw::open(address).await;
            raw.request(&format!("GET {target}"), &[]).await;
            assert_eq!(raw.answer().await.status, status, "{flags:?} {target}");
        }
        // The root is for balancers where the page is not there.
        let mut raw = Raw::open(address).await;
        raw.request("GET /", &[]).await;
        let root = raw.answer().await;
        let is_page = root.header("content-type").iter().any(|kind| kind.starts_with("text/html"));
        assert_eq!((root.status, is_page), (200, status == 200), "{flags:?}");
        assert_eq!(wharf.log.find(is_off).len(), told, "{flags:?}");
        let mut raw = Raw::open(address).await;
        raw.request("GET /healthz", &[]).await;
        assert_eq!(raw.answer().await.status, 200);
        assert_eq!(Client::connect(address, "/echo").await.ask("served").await, "served");
    }
}

#[tokio::test]
async fn sockets_that_are_reset_before_they_are_accepted_hold_up_no_others() {
    const ABORTED: usize = 100;
    /// Pause after a failure that is not of one socket.
    const PAUSE: Duration = Duration::from_millis(100);
    let program = aborted_sockets(ABORTED);
    let wharf = Wharf::start_under(&["python3", "-c", &program], folder(&["echo"]), &[]).await;
    let begun = Instant::now();
    assert_eq!(wharf.connect("/echo").await.ask("hello").await, "hello");
    assert!(begun.elapsed() < PAUSE * ABORTED as u32, "{:?}", begun.elapsed());
    assert!(wharf.log.find(|line| line.begins("accepting a connection failed")).is_empty());
}
