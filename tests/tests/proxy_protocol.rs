//! Clients whose proxy tells their addresses by the PROXY protocol.

use wharf_tests::raw::{Raw, upgrade_headers};
use wharf_tests::tunnel::{Authority, Secure};
use wharf_tests::{Line, Wharf, folder};

const FLAGS: [&str; 2] = ["--trusted-proxies 127.0.0.1", "--proxy-protocol"];
const TEXT: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb";
const CHECK: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Upgrades a socket, and returns the address that the plugin is told.
async fn address(raw: &mut Raw) -> String {
    raw.request("GET /inspects", &upgrade_headers()).await;
    assert_eq!(raw.answer().await.status, 101);
    raw.send_frame(1, "request").await;
    let frame = raw.frame().await.expect("an answer");
    let request: wharf_tests::Value = serde_json::from_slice(&frame.payload).expect("JSON");
    request["remote_address"].as_str().expect("an address").to_owned()
}

#[tokio::test]
async fn the_address_of_a_client_is_the_one_that_the_proxy_tells() {
    let wharf = Wharf::start(&["inspects"], &FLAGS).await;
    for header in [TEXT, BINARY] {
        let mut raw = wharf.raw().await;
        raw.write(header).await;
        assert_eq!(address(&mut raw).await, "192.0.2.7:4711");
    }
    // The proxy's own checks come without an address, and the header in pieces.
    let mut raw = wharf.raw().await;
    for byte in CHECK {
        raw.write([*byte]).await;
    }
    raw.request("GET /readyz", &[]).await;
    assert_eq!(raw.answer().await.status, 200);
}

#[tokio::test]
async fn a_connection_of_the_proxy_without_the_header_is_closed() {
    let flags = [&FLAGS[..], &["--handshake-timeout-ms 300"]].concat();
    let wharf = Wharf::start(&["inspects"], &flags).await;
    let mut raw = wharf.raw().await;
    raw.request("GET /inspects", &upgrade_headers()).await;
    raw.ended().await;
    let is_told = |line: &Line| line.text.contains("does not begin with the PROXY protocol");
    let line = wharf.log.wait_for("a line", is_told).await;
    assert!(line.str("remote").starts_with("127.0.0.1:"));
    let mut silent = wharf.raw().await;
    silent.write(b"PROXY TCP4").await;
    silent.ended().await;
}

#[tokio::test]
async fn others_are_not_believed() {
    let flags = ["--trusted-proxies 10.0.0.0/8", "--proxy-protocol"];
    let wharf = Wharf::start(&["inspects"], &flags).await;
    let mut raw = wharf.raw().await;
    assert!(address(&mut raw).await.starts_with("127.0.0.1:"));
    let mut raw = wharf.raw().await;
    raw.write(TEXT).await;
    raw.request("GET /inspects", &upgrade_headers()).await;
    assert_eq!(raw.answer().await.status, 400);
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let (authority, folder) = (Authority::new(), folder(&["inspects"]));
    let certificate = authority.issue(&["localhost"]);
    std::fs::write(folder.path().join("host.pem"), certificate.pem).expect("a file");
    std::fs::write(folder.path().join("host.key"), certificate.key).expect("a file");
    let flags = [&FLAGS[..], &["--tls host.pem:host.key"]].concat();
    let wharf = Wharf::start_in(folder, &flags).await;
    let secure = Secure::new(&authority, "localhost");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let proxy = listener.local_addr().expect("an address");
    let server = wharf.address;
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.expect("a client");
        let mut socket = tokio::net::TcpStream::connect(server).await.expect("the server");
        tokio::io::AsyncWriteExt::write_all(&mut socket, BINARY).await.expect("the header");
        let mut far = secure.handshake_on(socket).await.expect("a handshake");
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    assert_eq!(address(&mut Raw::open(proxy).await).await, "192.0.2.7:4711");
}
