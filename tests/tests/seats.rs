//! Seats: sockets that do not do what their seat is for keep no client out.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::net::TcpStream;
use wharf_tests::operator::{TOKEN, authorization};
use wharf_tests::{Line, Operated, Raw, Wharf, eventually, folder, soon};

/// More sockets than the host keeps before their upgrade, or the operator's API at all.
const MORE_THAN_SEATS: usize = 1200;

/// Opens sockets that send nothing.
async fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        let socket = soon("a TCP connection", TcpStream::connect(address)).await;
        sockets.push(socket.expect("the server's backlog has room"));
    }
    sockets
}

#[tokio::test]
async fn plain_requests_do_not_use_up_max_connections() {
    let wharf = Wharf::start(&["echo"], &["--max-connections 1"]).await;
    let mut browsing = Vec::new();
    for _ in 0..20 {
        let mut raw = wharf.raw().await;
        raw.request("GET /healthz", &[]).await;
        assert_eq!(raw.answer().await.status, 200);
        browsing.push(raw);
    }
    let mut client = wharf.connect("/echo").await;
    assert_eq!(client.ask("served").await, "served");
    for raw in &mut browsing {
        raw.request("GET /healthz", &[]).await;
        assert_eq!(raw.answer().await.status, 200, "the sockets are open");
    }
}

#[tokio::test]
async fn a_socket_that_goes_on_with_plain_requests_is_closed_in_time() {
    let wharf = Wharf::start(&["echo"], &["--handshake-timeout-ms 400"]).await;
    let mut raw = wharf.raw().await;
    let requests = async {
        loop {
            raw.request("GET /healthz", &[]).await;
            let Some(answer) = raw.try_answer().await else {
                panic!("the server announces the end");
            };
            if answer.header("connection") == ["close"] {
                return raw;
            }
        }
    };
    let mut raw = soon("the last answer", requests).await;
    raw.ended().await;
}

/// Clients that come at once, unless the system lets fewer wait.
const AT_ONCE: usize = 1_500;

#[tokio::test]
async fn clients_that_come_at_once_are_kept_in_the_backlog_until_the_host_has_time() {
    let wharf = Wharf::start(&["echo"], &["--max-connections 2000"]).await;
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("a limit");
    let count = AT_ONCE.min(most.trim().parse().expect("a number"));
    // A host that has no time at all.
    wharf.signal("STOP");
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(Raw::open(wharf.address).await);
    }
    wharf.signal("CONT");
    for socket in &mut sockets {
        socket.upgrade("/echo").await;
    }
}

#[tokio::test]
async fn a_socket_that_takes_no_answers_is_closed_in_time_and_holds_no_seat_of_others() {
    let flags = ["--max-connections 1", "--handshake-timeout-ms 400", "--close-timeout-ms 200"];
    let wharf = Wharf::start(&["echo"], &flags).await;
    let mut deaf = Vec::new();
    for _ in 0..5 {
        let mut raw = Raw::open_narrow(wharf.address).await;
        let address = wharf.address;
        // The answers are larger than what the system keeps for a reader, and so wait in the host.
        let request = format!("GET /_wharf/wharf.js HTTP/1.1\r\nHost: {address}\r\n\r\n");
        raw.try_write(request.repeat(1000)).await;
        deaf.push(raw);
    }
    let mut client = wharf.connect("/echo").await;
    assert_eq!(client.ask("served").await, "served");
    for raw in &mut deaf {
        let refuses = async || (!raw.try_write("G").await).then_some(());
        eventually("the server to give the socket up", refuses).await;
    }
}

#[tokio::test]
async fn silent_sockets_keep_neither_clients_nor_health_checks_out() {
    let wharf = Wharf::start(&["echo"], &["--max-connections 2"]).await;
    let mut clients = [wharf.connect("/echo").await, wharf.connect("/echo").await];
    let _silent = silent(wharf.address, MORE_THAN_SEATS).await;
    let mut raw = wharf.raw().await;
    raw.request("GET /healthz", &[]).await;
    assert_eq!(raw.answer().await.status, 200);
    for client in &mut clients {
        assert_eq!(client.ask("still here").await, "still here");
    }
    let is_told = |line: &Line| line.begins("sockets lost their seats to newer ones");
    let line = wharf.log.wait_for("those without a seat", is_told).await;
    assert_eq!((line.str("level"), line.str("clients")), ("WARN", "channels"));
    assert!(line.number("evicted").is_some_and(|evicted| evicted > 0), "{line}");
    let lines = wharf.log.find(is_told);
    assert!(lines.len() < 100, "{} lines", lines.len());
}

#[tokio::test]
async fn sockets_that_send_no_request_in_time_leave_a_line_in_a_second() {
    let wharf = Wharf::start(&["echo"], &["--handshake-timeout-ms 300"]).await;
    let mut partial = wharf.raw().await;
    partial.write("GET /echo HTTP/1.1\r\nHost: ").await;
    let silent = silent(wharf.address, 50).await;
    let told = async || {
        let lines = wharf.log.find(|line| line.begins("sockets closed that have sent no whole"));
        (!lines.is_empty()).then_some(lines)
    };
    partial.ended().await;
    let lines = eventually("the line", told).await;
    assert!(lines.len() <= 3, "{} lines", lines.len());
    drop(silent);
    // A client that has had its answer, and keeps its socket, is nothing to tell of.
    let before = wharf.log.len();
    let mut raw = wharf.raw().await;
    raw.request("GET /healthz", &[]).await;
    raw.answer().await;
    raw.ended().await;
    let rest = wharf.log.lines().split_off(before);
    let odd = rest.iter().find(|line| line.number("sockets") == Some(1));
    assert!(odd.is_none(), "{odd:?}");
}

#[tokio::test]
async fn a_lack_of_descriptors_leaves_a_line_a_second_and_passes() {
    const LINES: usize = 5;
    let limited = "ulimit -n 40; exec \"$0\" \"$@\"";
    let flags = ["--handshake-timeout-ms 60000"];
    let wharf = Wharf::start_under(&["sh", "-c", limited], folder(&["echo"]), &flags).await;
    let mut client = wharf.connect("/echo").await;
    let begun = Instant::now();
    let silent = silent(wharf.address, 60).await;
    let is_failure = |line: &Line| line.begins("accepting a connection failed");
    let some = async || {
        let lines = wharf.log.find(is_failure);
        (lines.len() >= LINES).then_some(lines)
    };
    let lines = eventually("several lines", some).await;
    // One in each second that has begun, of those by the host's clock.
    let seconds = begun.elapsed().as_secs() as usize + 2;
    assert!(lines.len() <= seconds, "{} in {seconds} s", lines.len());
    assert!(lines[0].str("error").contains("os error 24"), "{}", lines[0]);
    assert_eq!(client.ask("still here").await, "still here");
    drop(silent);
    assert_eq!(wharf.connect("/echo").await.ask("served").await, "served");
}

#[tokio::test]
async fn silent_sockets_do_not_keep_the_operator_out() {
    let operated = Operated::start(&["echo"], &[]).await;
    let _silent = silent(operated.api, MORE_THAN_SEATS).await;
    assert_eq!(operated.get("").await.0, 200);
}

#[tokio::test]
async fn idle_clients_with_the_token_do_not_keep_the_operator_out() {
    let operated = Operated::start(&["echo"], &[]).await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        let mut raw = Raw::open(operated.api).await;
        raw.request("GET /api/channels", &[authorization()]).await;
        assert_eq!(raw.answer().await.status, 200, "{TOKEN} is right");
        idle.push(raw);
    }
    assert_eq!(operated.get("").await.0, 200);
}

#[tokio::test]
async fn the_address_of_a_client_of_ipv4_is_shown_in_its_plain_form() {
    let operated = Operated::start(&["echo"], &["--listen [::]:0"]).await;
    let address = SocketAddr::from(([127, 0, 0, 1], operated.wharf.address.port()));
    let mut client = wharf_tests::Client::connect(address, "/echo").await;
    assert_eq!(client.ask("here").await, "here");
    let (_, connections) = operated.get("/echo/connections").await;
    let remote = &connections["connections"][0]["remote_address"];
    assert!(remote.as_str().is_some_and(|a| a.starts_with("127.0.0.1:")), "{connections}");
}
