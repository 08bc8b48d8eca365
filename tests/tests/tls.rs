//! TLS of the host's own: certificates by name, new ones under open connections, certificates of clients.

use std::path::Path;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::pki_types::CertificateDer;
use wharf_tests::raw::{self, Raw};
use wharf_tests::tunnel::{Authority, Certificate, Secure};
use wharf_tests::{Client, Line, Wharf, eventually, folder, json, operator, run_in, soon};

const TLS: &str = "--tls host.pem:host.key";

fn put(folder: &Path, name: &str, certificate: &Certificate) {
    for (ending, content) in [("pem", &certificate.pem), ("key", &certificate.key)] {
        // By a rename, as a program does that renews certificates.
        let (file, new) = (folder.join(format!("{name}.{ending}")), folder.join("new"));
        std::fs::write(&new, content).expect("a file");
        std::fs::rename(new, file).expect("a file");
    }
}

/// Makes a folder with these plugins and a certificate for `localhost`.
fn secured(plugins: &[&str], authority: &Authority) -> TempDir {
    let folder = folder(plugins);
    put(folder.path(), "host", &authority.issue(&["localhost"]));
    folder
}

/// Returns the certificate that the server shows to a client which asks for a name.
async fn shown(wharf: &Wharf, secure: &Secure) -> CertificateDer<'static> {
    let stream = soon("a handshake", secure.handshake(wharf.address)).await.expect("a handshake");
    let chain = stream.get_ref().1.peer_certificates().expect("a certificate");
    chain.first().expect("a certificate").clone().into_owned()
}

/// Asks for the page of the host's health by TLS. Returns nothing if the connection was ended before.
async fn health(secure: &Secure, wharf: &Wharf) -> Option<u16> {
    let mut raw = Raw::open(secure.tunnel(wharf.address).await).await;
    raw.request("GET /healthz", &[]).await;
    raw.try_answer().await.map(|answer| answer.status)
}

#[tokio::test]
async fn a_client_talks_by_tls_as_without() {
    let authority = Authority::new();
    let wharf = Wharf::start_in(secured(&["raw", "echo"], &authority), &[TLS]).await;
    let secure = Secure::new(&authority, "localhost");
    let address = secure.tunnel(wharf.address).await;
    let mut client = Client::connect(address, "/echo").await;
    for size in [0, 1, 125, 126, 4_000, 70_000, 500_000] {
        let text = "ä".repeat(size / 2);
        client.send(text.clone()).await;
        assert!(client.text().await == text, "of {size} bytes");
    }
    // Many small messages at once, which go out in few records.
    for number in 0..500 {
        client.feed(number.to_string()).await;
    }
    client.flush().await;
    for number in 0..500 {
        assert_eq!(client.text().await, number.to_string());
    }
    assert_eq!(health(&secure, &wharf).await, Some(200));
    let stream = secure.handshake(wharf.address).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    client.close(1000, "").await;
}

#[tokio::test]
async fn a_room_of_clients_with_tls_hears_everything_in_order() {
    let authority = Authority::new();
    let wharf = Wharf::start_in(secured(&["rooms"], &authority), &[TLS]).await;
    let address = Secure::new(&authority, "localhost").tunnel(wharf.address).await;
    let join = json!({ "do": "join", "room": "lobby" });
    let mut members = Vec::new();
    for count in 1..=5 {
        let mut member = Client::connect(address, "/rooms").await;
        assert_eq!(member.ask_json(join.clone()).await["count"], count);
        members.push(member);
    }
    let mut sender = Client::connect(address, "/rooms").await;
    let filler = "x".repeat(3_000);
    for number in 0..200 {
        let text = format!("{number}{filler}");
        sender
            .send_json(
                json!({ "do": "broadcast", "rooms": ["lobby"], "text": text, "skip": false }),
            )
            .await;
    }
    for member in &mut members {
        for number in 0..200 {
            assert!(member.text().await == format!("{number}{filler}"), "message {number}");
        }
    }
}

#[tokio::test]
async fn a_client_that_asks_for_a_name_gets_its_certificate() {
    let authority = Authority::new();
    let folder = secured(&["echo"], &authority);
    put(folder.path(), "one", &authority.issue(&["one.example.com"]));
    put(folder.path(), "any", &authority.issue(&["*.example.com", "example.org"]));
    let settings = r#"
        tls = [
            { certificate = "host.pem", key = "host.key" },
            { certificate = "one.pem", key = "one.key" },
            { certificate = "any.pem", key = "any.key" },
        ]
    "#;
    std::fs::write(folder.path().join("wharf.toml"), settings).expect("a file");
    let wharf = Wharf::start_in(folder, &[]).await;
    let mut all = Vec::new();
    for name in ["localhost", "one.example.com", "two.example.com", "example.org"] {
        // The client checks the name.
        all.push(shown(&wharf, &Secure::new(&authority, name)).await);
    }
    assert_eq!(all[2], all[3]);
    assert!(all[0] != all[1] && all[1] != all[2]);
    // Another name gets the first certificate, which does not fit.
    let other = Secure::new(&authority, "elsewhere.example.net");
    let error = other.handshake(wharf.address).await.expect_err("a wrong name").to_string();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn new_certificates_are_used_and_nobody_notices() {
    let authority = Authority::new();
    let wharf = Wharf::start_in(secured(&["echo"], &authority), &[TLS]).await;
    let secure = Secure::new(&authority, "localhost");
    let mut client = Client::connect(secure.tunnel(wharf.address).await, "/echo").await;
    let first = shown(&wharf, &secure).await;
    put(wharf.folder(), "host", &authority.issue(&["localhost"]));
    let new = eventually("the new certificate", async || {
        Some(shown(&wharf, &secure).await).filter(|shown| *shown != first)
    });
    let new = new.await;
    assert_eq!(client.ask("still here").await, "still here");

    // A key that belongs to another certificate, files without either, and none: the log says it once.
    let other = authority.issue(&["localhost"]);
    for (key, reason) in [
        (Some(other.key.clone()), "does not belong to"),
        (Some("no key".to_owned()), "has no private key in PEM; it is plain text"),
        (None, "cannot read"),
    ] {
        let file = wharf.folder().join("host.key");
        match &key {
            Some(key) => std::fs::write(&file, key).expect("a file"),
            None => std::fs::remove_file(&file).expect("a file"),
        }
        let is_told = |line: &Line| line.str("reason").contains(reason);
        let line = wharf.log.wait_for("a reason", is_told).await;
        assert!(line.says("the certificates stay as they were") && line.str("setting") == "tls");
        assert!(!line.text.contains("no key\""), "{line}");
        assert_eq!(shown(&wharf, &secure).await, new);
    }
    put(wharf.folder(), "host", &other);
    let is_told = |line: &Line| line.begins("certificates replaced");
    eventually("both replacements", async || (wharf.log.find(is_told).len() == 2).then_some(()))
        .await;
    assert_eq!(client.ask("and here").await, "and here");
}

#[tokio::test]
async fn clients_show_a_certificate_where_they_must() {
    let (authority, of_clients) = (Authority::new(), Authority::new());
    let folder = secured(&["echo"], &authority);
    std::fs::write(folder.path().join("clients.pem"), &of_clients.pem).expect("a file");
    let wharf = Wharf::start_in(folder, &[TLS, "--tls-client-authorities clients.pem"]).await;
    let own = of_clients.issue(&["ann"]);
    let known = Secure::with_certificate(&authority, "localhost", &own);
    assert_eq!(health(&known, &wharf).await, Some(200));
    let strange = authority.issue(&["ann"]);
    let strange = Secure::with_certificate(&authority, "localhost", &strange);
    for stranger in [Secure::new(&authority, "localhost"), strange] {
        assert_eq!(health(&stranger, &wharf).await, None);
    }
    let is_told = |line: &Line| line.says("TLS handshake failed");
    assert!(wharf.log.wait_for("a line", is_told).await.str("remote").starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn the_operator_has_tls_of_its_own() {
    let (authority, of_clients) = (Authority::new(), Authority::new());
    let folder = secured(&["echo"], &authority);
    std::fs::write(folder.path().join("clients.pem"), &of_clients.pem).expect("a file");
    let settings = "operator_tls = { certificate = \"host.pem\", key = \"host.key\" }\n\
                    operator_tls_client_authorities = \"clients.pem\"\n";
    std::fs::write(folder.path().join("wharf.toml"), settings).expect("a file");
    let mut operated = wharf_tests::Operated::start_in(folder, &[]).await;
    let own = of_clients.issue(&["ops"]);
    let plain = operated.api;
    operated.api = Secure::with_certificate(&authority, "localhost", &own).tunnel(plain).await;
    let (status, body) = operated.get("").await;
    assert_eq!((status, &body["channels"][0]["name"]), (200, &json!("echo")));
    operated.api = Secure::new(&authority, "localhost").tunnel(plain).await;
    let mut raw = Raw::open(operated.api).await;
    raw.request("GET /api/channels", &[operator::authorization()]).await;
    assert!(raw.try_answer().await.is_none());
    // Clients of channels need none.
    assert_eq!(operated.wharf.connect("/echo").await.ask("hello").await, "hello");
}

#[tokio::test]
async fn a_client_without_tls_is_told_and_one_of_another_protocol_refused() {
    let authority = Authority::new();
    let wharf = Wharf::start_in(secured(&["echo"], &authority), &[TLS]).await;
    let mut raw = wharf.raw().await;
    raw.request("GET /echo", &[]).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("this address speaks TLS; use https:// or wss://"));
    raw.ended().await;
    let other = Secure::with_protocols(&authority, "localhost", &["h2"]);
    let error = other.handshake(wharf.address).await.expect_err("no protocol").to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    let neither = Secure::with_protocols(&authority, "localhost", &[]);
    assert_eq!(health(&neither, &wharf).await, Some(200));
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_ended() {
    let authority = Authority::new();
    let flags = [TLS, "--handshake-timeout-ms 300"];
    let wharf = Wharf::start_in(secured(&["echo"], &authority), &flags).await;
    let mut silent = wharf.raw().await;
    let mut begun = wharf.raw().await;
    // The head of a ClientHello that never comes.
    begun.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    let secure = Secure::new(&authority, "localhost");
    let mut without_request = secure.handshake(wharf.address).await.expect("a handshake");
    silent.ended().await;
    begun.ended().await;
    let mut rest = Vec::new();
    let read = soon("the end", without_request.read_to_end(&mut rest)).await;
    assert_eq!(read.expect("an end of TLS"), 0);
    assert_eq!(health(&secure, &wharf).await, Some(200));
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_everything_and_holds_nobody_up() {
    const MESSAGES: usize = 60;
    let authority = Authority::new();
    let flags = [TLS, "--outbound-queue-bytes 16777216"];
    let wharf = Wharf::start_in(secured(&["rooms"], &authority), &flags).await;
    let secure = Secure::new(&authority, "localhost");
    // By hand, since a tunnel would read for it.
    let mut slow = secure.handshake(wharf.address).await.expect("a handshake");
    let request = "GET /rooms HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
                   Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    slow.write_all(request.as_bytes()).await.expect("it is taken");
    let order = json!({ "do": "join", "room": "lobby" }).to_string();
    slow.write_all(&raw::frame(0x81, order.as_bytes())).await.expect("it is taken");
    let mut client = Client::connect(secure.tunnel(wharf.address).await, "/rooms").await;
    let filler = "x".repeat(100_000);
    let count = json!({ "do": "count", "room": "lobby" });
    eventually("it to join", async || {
        (client.ask_json(count.clone()).await["count"] == 1).then_some(())
    })
    .await;
    for number in 0..MESSAGES {
        let text = format!("<{number}>{filler}");
        client
            .send_json(
                json!({ "do": "broadcast", "rooms": ["lobby"], "text": text, "skip": false }),
            )
            .await;
        assert_eq!(client.ask_json(count.clone()).await["count"], 1);
    }
    // Six million bytes: most of them have waited in the host.
    let mut all = Vec::new();
    let read = async {
        let mut bytes = vec![0; 65_536];
        while all.len() < MESSAGES * filler.len() {
            let count = slow.read(&mut bytes).await.expect("bytes");
            assert!(count > 0);
            all.extend_from_slice(&bytes[..count]);
        }
    };
    soon("everything", read).await;
    let text = String::from_utf8_lossy(&all);
    let places: Vec<_> = (0..MESSAGES).map(|number| text.find(&format!("<{number}>x"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_at_the_start() {
    let authority = Authority::new();
    let folder = secured(&[], &authority);
    let path = folder.path();
    put(path, "other", &authority.issue(&["localhost"]));
    std::fs::write(path.join("empty.pem"), "\n").expect("a file");
    let swapped = std::fs::read(path.join("host.key")).expect("a key");
    std::fs::write(path.join("swapped.pem"), swapped).expect("a file");
    for (flags, reason) in [
        (&["--tls", "host.pem:other.key"][..], "the key in other.key does not belong to host.pem"),
        (&["--tls", "none.pem:host.key"], "cannot read none.pem: No such file or directory"),
        (&["--tls", "empty.pem:host.key"], "empty.pem has no certificate in PEM"),
        (&["--tls", "swapped.pem:host.key"], "it is a private key in PEM"),
        (
            &["--tls", "host.pem:host.pem"],
            "host.pem has no private key in PEM; it is a certificate",
        ),
        (&["--tls", "host.pem"], "must be `{ certificate = \"FILE\", key = \"FILE\" }`"),
        (&["--tls-client-authorities", "host.pem"], "it needs `tls`"),
        (&["--proxy-protocol"], "it needs `trusted_proxies`"),
    ] {
        let arguments = [&["serve", "--plugins", "plugins", "--listen", "127.0.0.1:0"], flags];
        let output = run_in(path, &arguments.concat(), &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(reason), "{flags:?}: {said}");
    }
}

#[test]
fn a_file_of_settings_is_checked_before_it_is_used() {
    let authority = Authority::new();
    let folder = secured(&[], &authority);
    let check = |content: &str| {
        std::fs::write(folder.path().join("next.toml"), content).expect("a file");
        let output = run_in(folder.path(), &["config", "--check", "next.toml"], &[]);
        let texts = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&texts).into_owned())
    };
    let good = "tls = { certificate = \"host.pem\", key = \"host.key\" }\n";
    assert_eq!(check(good), (Some(0), "next.toml can be used\n".to_owned()));
    for (bad, code, reason) in [
        ("max_conections = 5\n", 2, "max_connections"),
        ("max_connections = 0\n", 2, "must be 1 to 10000000"),
        ("not toml", 2, "not valid TOML at line 1"),
        ("operator_token = { file = \"nowhere\" }\n", 2, "nowhere"),
        (&good.replace("host.key", "host.pem"), 1, "has no private key in PEM"),
    ] {
        let (found, said) = check(bad);
        assert!(found == Some(code) && said.contains(reason), "{bad}: {found:?} {said}");
    }
}
