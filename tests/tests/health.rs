//! Checks of balancers, orchestrators and supervisors, in the forms in which these send them, on both addresses.

use std::net::SocketAddr;

use wharf_tests::operator::TOKEN;
use wharf_tests::{
    HttpAnswer, Line, Operated, Raw, Wharf, artefacts, eventually, folder, run_in, soon,
};

/// Checks as programs send them: the request line and the headers without an empty line. None of them has been
/// told more than a path, if that.
const CHECKS: &[&str] = &[
    // HAProxy: `option httpchk`, and `option httpchk GET /readyz`.
    "OPTIONS / HTTP/1.0\r\n",
    "GET /readyz HTTP/1.0\r\n",
    "HEAD /readyz HTTP/1.0\r\n",
    "OPTIONS * HTTP/1.0\r\n",
    "OPTIONS /readyz HTTP/1.1\r\nhost: wharf\r\nconnection: close\r\n",
    // Kubernetes.
    "GET /healthz HTTP/1.1\r\nHost: 10.244.1.7:4000\r\nUser-Agent: kube-probe/1.31\r\nAccept: */*\r\nConnection: close\r\n",
    "GET /readyz HTTP/1.1\r\nHost: 10.244.1.7:4000\r\nUser-Agent: kube-probe/1.31\r\nAccept: */*\r\nConnection: close\r\n",
    // Balancers of clouds.
    "GET /healthz HTTP/1.1\r\nHost: 172.31.5.9:4000\r\nConnection: close\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\
     Accept-Encoding: gzip, compressed\r\n",
    "GET /readyz HTTP/1.1\r\nUser-Agent: GoogleHC/1.0\r\nHost: 10.128.0.9\r\nConnection: close\r\n",
    // Envoy, Traefik, Caddy, Consul.
    "GET /readyz HTTP/1.1\r\nhost: wharf_cluster\r\nuser-agent: Envoy/HC\r\nx-envoy-internal: true\r\n",
    "HEAD /healthz HTTP/1.1\r\nHost: evil.example\r\n",
    "GET http://wharf/readyz HTTP/1.1\r\nHost: other\r\n",
    "GET /readyz?source=consul HTTP/1.1\r\nHost: consul.service\r\nOrigin: https://evil.example\r\n",
];

/// Sends a check, and returns the answer. An answer to `HEAD` has no body.
async fn check(address: SocketAddr, check: &str) -> HttpAnswer {
    let mut raw = Raw::open(address).await;
    raw.write(format!("{check}\r\n")).await;
    match check.starts_with("HEAD") {
        false => raw.answer().await,
        true => head(raw, check).await,
    }
}

/// Returns the answer to `HEAD`, which names the length of a body that it does not have.
async fn head(mut raw: Raw, check: &str) -> HttpAnswer {
    use tokio::io::AsyncReadExt;
    let mut text = String::new();
    while !text.contains("\r\n\r\n") {
        let mut part = [0; 1024];
        let read = soon("an answer", raw.socket.read(&mut part)).await.expect("it is open");
        assert!(read > 0, "{check:?} is not answered: {text:?}");
        text.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    assert!(text.ends_with("\r\n\r\n"), "{check:?} has a body: {text:?}");
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    HttpAnswer { status, head: text, body: Vec::new() }
}

#[tokio::test]
async fn every_form_of_check_is_answered_on_both_addresses_whatever_name_it_has() {
    let file = "allowed_hosts = [\"example.com\"]\npage = false\n";
    let host = Operated::start_in(wharf_tests::configured(&["echo"], file), &[]).await;
    for address in [host.wharf.address, host.api] {
        for form in CHECKS {
            let answer = check(address, form).await;
            assert_eq!(answer.status, 200, "{address} {form:?}: {}", answer.head);
            assert_eq!(answer.header("cache-control"), ["no-store"], "{form:?}");
        }
    }
    // Without a token, and none of them is an attempt without one.
    assert!(host.wharf.log.find(|line| line.text.contains("401")).is_empty());
}

#[tokio::test]
async fn a_check_by_another_method_is_told_which_ones_there_are() {
    let host = Operated::start(&["echo"], &[]).await;
    for address in [host.wharf.address, host.api] {
        for path in ["/healthz", "/readyz"] {
            let form = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n");
            let answer = check(address, &form).await;
            assert_eq!(answer.status, 405, "{path}");
            assert_eq!(answer.header("allow"), ["GET, HEAD, OPTIONS"]);
        }
    }
}

#[tokio::test]
async fn a_balancer_that_is_told_no_path_asks_at_the_root() {
    // The page is off, since other machines reach this host.
    let wharf = Wharf::start_in(wharf_tests::configured(&["echo"], ""), &["--listen [::]:0"]).await;
    let address = SocketAddr::from(([127, 0, 0, 1], wharf.address.port()));
    let form = "GET / HTTP/1.1\r\nHost: 172.31.5.9\r\nUser-Agent: ELB-HealthChecker/2.0\r\n";
    let answer = check(address, form).await;
    assert_eq!((answer.status, answer.text().lines().next()), (200, Some("ready")));
    std::fs::remove_file(wharf.plugin("echo")).expect("a plugin");
    eventually("the host without a plugin", async || {
        (check(address, form).await.status == 503).then_some(())
    })
    .await;
    assert_eq!(check(address, "GET /nothing HTTP/1.1\r\nHost: h\r\n").await.status, 404);
}

#[tokio::test]
async fn a_host_that_stops_is_alive_and_not_ready_on_both_addresses() {
    let host = Operated::start(&["echo"], &["--shutdown-delay-ms 30000"]).await;
    host.wharf.signal("TERM");
    host.wharf.log.wait_for("the beginning", |line| line.begins("not ready any more")).await;
    for address in [host.wharf.address, host.api] {
        for (form, status) in [("GET /healthz", 200), ("GET /readyz", 503), ("OPTIONS /", 503)] {
            let answer = check(address, &format!("{form} HTTP/1.0\r\n")).await;
            assert_eq!(answer.status, status, "{address} {form}");
        }
    }
}

#[tokio::test]
async fn a_host_that_still_loads_its_plugins_is_alive_and_not_ready_on_both_addresses() {
    let folder = folder(&[]);
    let slow = artefacts::slow_to_compile(&artefacts::component("echo"), 77);
    std::fs::write(folder.path().join("plugins/echo.wasm"), slow).expect("a plugin");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let api = free.local_addr().expect("it is bound");
    drop(free);
    let own = format!("operator_token = \"{TOKEN}\"\noperator_listen = \"{api}\"\n");
    std::fs::write(folder.path().join("wharf.toml"), own).expect("a file");
    let wharf = Wharf::start_early(folder, &["--cache "]).await;
    // It is asked before it has an answer, and gets one at the end of the start.
    let mut early = Raw::open(api).await;
    early.request("GET /api/channels", &[wharf_tests::operator::authorization()]).await;
    for address in [wharf.address, api] {
        let [alive, ready] = ["/healthz", "/readyz"].map(|path| format!("GET {path} HTTP/1.0\r\n"));
        assert_eq!(check(address, &alive).await.status, 200, "{address}");
        assert_eq!(check(address, &ready).await.status, 503, "{address}");
    }
    assert!(wharf.log.find(|line| line.says("listening")).is_empty(), "it was too quick");
    let answer = early.answer().await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("\"echo\""), "{}", answer.text());
    wharf.readiness_becomes(200, "ready").await;
}

#[tokio::test]
async fn checks_are_answered_in_time_on_a_host_without_a_place_for_another_client() {
    /// Time that balancers wait for an answer by default, at least.
    const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);
    let host = Operated::start(&["echo"], &["--max-connections 2"]).await;
    let mut clients = [host.wharf.connect("/echo").await, host.wharf.connect("/echo").await];
    let mut silent = Vec::new();
    for _ in 0..1_100 {
        let socket = tokio::net::TcpStream::connect(host.wharf.address).await;
        silent.push(socket.expect("the backlog has room"));
    }
    // The operator's address has seats of its own, so that nothing there waits for those of clients.
    for form in CHECKS {
        let begun = std::time::Instant::now();
        assert_eq!(check(host.api, form).await.status, 200, "{form:?}");
        assert!(begun.elapsed() < TIMEOUT, "{form:?} took {:?}", begun.elapsed());
    }
    for form in CHECKS {
        assert_eq!(check(host.wharf.address, form).await.status, 200, "{form:?}");
    }
    for client in &mut clients {
        assert_eq!(client.ask("still here").await, "still here");
    }
    drop(silent);
}

#[tokio::test]
async fn the_program_itself_checks_a_host() {
    let file = "listen = [\"unix:wharf.sock\", \"127.0.0.1:0\"]\n";
    let folder = wharf_tests::configured(&["echo"], file);
    let flags = ["--listen 127.0.0.1:0,unix:wharf.sock", "--shutdown-delay-ms 60000"];
    let wharf = Wharf::start_in(folder, &flags).await;
    let base = format!("http://{}", wharf.address);
    let ready = format!("{base}/readyz");
    let asked = async |arguments: Vec<&str>| {
        let (folder, arguments) =
            (wharf.folder().to_owned(), arguments.iter().map(|it| (*it).to_owned()));
        let arguments: Vec<String> = arguments.collect();
        let running = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            run_in(&folder, &arguments, &[])
        });
        let output = running.await.expect("it runs");
        let texts = [&output.stdout, &output.stderr];
        let text: String = texts.iter().map(|text| String::from_utf8_lossy(text)).collect();
        (output.status.code(), text)
    };
    let said = |text: &str| (Some(0), format!("{text}\n"));
    assert_eq!(asked(vec!["health", &base]).await, said("ok"));
    assert_eq!(asked(vec!["health", "--ready", &base]).await, said("ready"));
    assert_eq!(asked(vec!["health", &ready]).await, said("ready"));
    assert_eq!(asked(vec!["health", "unix:wharf.sock"]).await, said("ok"));
    // The configuration of this folder.
    assert_eq!(asked(vec!["health", "--ready"]).await, said("ready"));
    let (code, text) = asked(vec!["health", &format!("{base}/nothing")]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("answers with status 404"), "{text}");
    wharf.signal("TERM");
    wharf.log.wait_for("the beginning", |line: &Line| line.begins("not ready any more")).await;
    let (code, text) = asked(vec!["health", &ready]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("status 503: stopping"), "{text}");
    assert_eq!(asked(vec!["health", &base]).await, said("ok"));
    wharf.signal("TERM");
    eventually("nobody to answer", async || {
        let (code, text) = asked(vec!["health", &base]).await;
        (code == Some(1)).then(|| assert!(text.contains("is not alive"), "{text}"))
    })
    .await;
}
