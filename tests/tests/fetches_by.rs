//! The ways of outgoing requests: authorities of the operator's own, and proxies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wharf_tests::{Backend, Client, Value, Wharf, authority, configured, json, mounts, run_in};

/// Starts a server with the fixture, whose channel may call these hosts, in this environment.
async fn server(hosts: &[&str], settings: &str, environment: &[&str]) -> Wharf {
    let wrapper = [&["env"], environment].concat();
    Wharf::start_under(&wrapper, granted(hosts, settings), &[]).await
}

/// Makes a folder with the fixture, whose channel may call these hosts.
fn granted(hosts: &[&str], settings: &str) -> tempfile::TempDir {
    let file = format!("{settings}\n[channels.fetches]\nhttp_hosts = {}\n", json!(hosts));
    let folder = configured(&["fetches"], &file);
    std::fs::copy(authority(), folder.path().join("authority.pem")).expect("a certificate");
    folder
}

async fn get(client: &mut Client, url: &str) -> Value {
    client.ask_json(json!({ "method": "GET", "url": url })).await
}

const EXTRA_ROOTS: &str = "http_extra_roots = \"authority.pem\"";
const PROXY: &str = "http_proxy_from_environment = true";

#[tokio::test]
async fn servers_of_an_authority_of_ones_own_are_trusted_where_the_operator_says_so() {
    let backend = Backend::start_tls().await;
    let hosts = [&*backend.host()];
    let wharf = server(&hosts, "", &[]).await;
    let mut client = wharf.connect("/fetches").await;
    let answer = get(&mut client, &backend.url("/hello")).await;
    assert_eq!(answer["refused"], "http-unreachable");
    assert!(
        answer["detail"].as_str().is_some_and(|detail| detail.contains("UnknownIssuer")),
        "{answer}"
    );
    let wharf = server(&hosts, EXTRA_ROOTS, &[]).await;
    let mut client = wharf.connect("/fetches").await;
    assert_eq!(get(&mut client, &backend.url("/hello")).await["text"], "GET /hello, 0 bytes");
    // A certificate is for its names only.
    let other = backend.url("/hello").replace("127.0.0.1", "127.0.0.2");
    let other = get(&mut client, &other).await;
    assert_eq!(other["refused"], "http-not-granted", "{other}");
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_is_named_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("a folder for plugins");
    std::fs::write(folder.path().join("empty.pem"), "nothing").expect("a file");
    for file in ["missing.pem", "empty.pem"] {
        let output = run_in(folder.path(), &["serve", "--http-extra-roots", file], &[]);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("http_extra_roots") && complaint.contains(file), "{complaint}");
    }
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_taken_only_where_the_operator_says_so() {
    let (proxy, backend) = (Backend::start().await, Backend::start().await);
    let variables = [format!("http_proxy={}", proxy.url("")), "NO_PROXY=127.0.0.1".to_owned()];
    let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
    let hosts = ["name.invalid", &*backend.host()];
    let wharf = server(&hosts, PROXY, &variables).await;
    let mut client = wharf.connect("/fetches").await;
    // The proxy is told the whole address, and looks up the name itself.
    let answer = get(&mut client, "http://name.invalid/hello").await;
    assert_eq!(answer["text"], "GET http://name.invalid/hello, 0 bytes", "{answer}");
    let answer = get(&mut client, &backend.url("/direct")).await;
    assert_eq!(answer["text"], "GET /direct, 0 bytes");
    // The grants are about servers, whatever the way to them.
    assert_eq!(get(&mut client, "http://other.invalid/").await["refused"], "http-not-granted");
    assert_eq!((proxy.requests(), backend.requests()), (1, 1));
    let wharf = server(&hosts, "", &variables).await;
    let mut client = wharf.connect("/fetches").await;
    assert_eq!(get(&mut client, "http://name.invalid/").await["refused"], "http-unreachable");
    assert_eq!(proxy.requests(), 1, "nobody asked for it");
}

/// Serves tunnels, and counts them. Returns its address.
async fn tunnels(count: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await.expect("a request"));
                }
                let head = String::from_utf8(head).expect("text");
                let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
                let target = target.unwrap_or_else(|| panic!("no tunnel: {head}"));
                if !head.contains("Proxy-Authorization: Basic YW5uOnNlY3JldA==") {
                    let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
                    return socket.write_all(refusal).await.expect("an answer");
                }
                let mut server = TcpStream::connect(target).await.expect("the server");
                socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("an answer");
                count.fetch_add(1, Ordering::SeqCst);
                let _ = tokio::io::copy_bidirectional(&mut socket, &mut server).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn https_goes_through_a_tunnel_of_the_proxy() {
    let (backend, count) = (Backend::start_tls().await, Arc::new(AtomicUsize::new(0)));
    let proxy = tunnels(count.clone()).await;
    let settings = format!("{PROXY}\n{EXTRA_ROOTS}");
    let hosts = [&*backend.host()];
    let variable = format!("HTTPS_PROXY=http://ann:secret@{proxy}");
    let wharf = server(&hosts, &settings, &[&variable]).await;
    let mut client = wharf.connect("/fetches").await;
    assert_eq!(get(&mut client, &backend.url("/hello")).await["text"], "GET /hello, 0 bytes");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let variable = format!("HTTPS_PROXY=http://{proxy}");
    let wharf = server(&hosts, &settings, &[&variable]).await;
    let mut client = wharf.connect("/fetches").await;
    let answer = get(&mut client, &backend.url("/hello")).await;
    assert_eq!(answer["refused"], "http-unreachable");
    assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains("407")), "{answer}");
}

#[tokio::test]
async fn an_address_that_does_not_answer_does_not_hold_up_a_request() {
    let backend = Backend::start().await;
    let port = backend.host().split(':').next_back().expect("a port").to_owned();
    // A server whose backlog is full drops what comes, as a dead machine does.
    let dead = tokio::net::TcpSocket::new_v4().expect("a socket");
    dead.bind(format!("127.0.0.9:{port}").parse().expect("an address")).expect("a free port");
    let dead = dead.listen(1).expect("a listener");
    let address = dead.local_addr().expect("an address");
    let mut waiting = Vec::new();
    let brief = std::time::Duration::from_millis(300);
    while let Ok(socket) = tokio::time::timeout(brief, TcpStream::connect(address)).await {
        waiting.push(socket.expect("the backlog has room"));
        assert!(waiting.len() < 16, "the backlog has an end");
    }
    // The name has both addresses, the dead one first.
    let folder = granted(&[&format!("two.test:{port}")], "");
    let hosts = "127.0.0.9 two.test\n127.0.0.1 two.test\n";
    std::fs::write(folder.path().join("hosts"), hosts).expect("a table of names");
    let mounted = "mount --bind hosts /etc/hosts && exec \"$0\" \"$@\"";
    let wharf = Wharf::start_under(&mounts(mounted), folder, &[]).await;
    let mut client = wharf.connect("/fetches").await;
    let answer = get(&mut client, &format!("http://two.test:{port}/hello")).await;
    assert_eq!(answer["text"], "GET /hello, 0 bytes", "{answer}");
}
