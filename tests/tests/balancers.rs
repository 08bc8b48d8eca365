//! Hosts behind real proxies with TLS, by the samples of `deploy/`: nginx, Caddy and HAProxy.
//!
//! `cargo xtask test` finds or installs the programs; the tests are ignored without.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use wharf_tests::balancer::{Balancer, Program, certificates, connect};
use wharf_tests::{Value, Wharf, configured, eventually, folder};

mod walk;

/// Makes a test of each function for each program.
macro_rules! behind_each_proxy {
    ($($test:ident)*) => {
        mod nginx {
            $(#[tokio::test]
            #[ignore = "needs nginx"]
            async fn $test() {
                super::$test(wharf_tests::balancer::Program::Nginx).await;
            })*
        }
        mod caddy {
            $(#[tokio::test]
            #[ignore = "needs Caddy"]
            async fn $test() {
                super::$test(wharf_tests::balancer::Program::Caddy).await;
            })*
        }
        mod haproxy {
            $(#[tokio::test]
            #[ignore = "needs HAProxy"]
            async fn $test() {
                super::$test(wharf_tests::balancer::Program::Haproxy).await;
            })*
        }
    };
}

behind_each_proxy! {
    a_client_behind_tls_is_served_and_has_its_own_address
    clients_reach_a_host_through_its_unix_socket
    a_rolling_restart_of_two_hosts_loses_no_handshake
}

/// Address of a client, of this machine and not that of the proxy.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));

/// Address that a client claims to have.
const CLAIMED: (&str, &str) = ("X-Forwarded-For", "192.0.2.7");

async fn a_client_behind_tls_is_served_and_has_its_own_address(program: Program) {
    let file = "trusted_proxies = [\"127.0.0.1\"]\nallowed_hosts = [\"localhost\"]\npage = false\n";
    let wharf = Wharf::start_in(configured(&["echo", "inspects"], file), &[]).await;
    let proxy = Balancer::start(program, &[wharf.address.to_string()], &[]).await;
    let page = format!("https://localhost:{}", proxy.address.port());
    let mut client =
        proxy.connect(CLIENT, "/echo", &[("Origin", &page)]).await.expect("it is let in");
    assert_eq!(client.ask("through the proxy").await.as_deref(), Some("through the proxy"));
    let long = "ж".repeat(20_000);
    assert_eq!(client.ask(&long).await.as_deref(), Some(&*long));
    let mut client = proxy.connect(CLIENT, "/inspects", &[CLAIMED]).await.expect("it is let in");
    let request: Value = client.ask("request").await.expect("an answer").parse().expect("JSON");
    assert_eq!(request["remote_address"], format!("{CLIENT}:0"), "nobody believes the client");
    let other = proxy.connect(CLIENT, "/echo", &[("Origin", "https://evil.example")]).await;
    assert!(other.expect_err("a page of others").starts_with("status 403"));
}

async fn clients_reach_a_host_through_its_unix_socket(program: Program) {
    let folder = configured(
        &["inspects"],
        "trusted_proxies = [\"unix\"]\nallowed_hosts = [\"localhost\"]\n",
    );
    let path = folder.path().join("wharf.sock");
    let flags = [format!("--listen 127.0.0.1:0,unix:{}", path.display())];
    let _wharf = Wharf::start_in(folder, &[&flags[0]]).await;
    let proxy = Balancer::start(program, &[format!("unix:{}", path.display())], &[]).await;
    let mut client = proxy.connect(CLIENT, "/inspects", &[CLAIMED]).await.expect("it is let in");
    let request: Value = client.ask("request").await.expect("an answer").parse().expect("JSON");
    assert_eq!(request["remote_address"], format!("{CLIENT}:0"));
}

/// Longest silence that the proxies of a test let pass, and that of a client, which is longer.
const SILENCE: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_millis(2_500);

/// Stays quiet behind a proxy whose longest silence is short, with pings in this interval. Returns true if the
/// connection is open afterwards.
async fn stays_quiet(program: Program, changes: &[(&str, &str)], interval: Duration) -> bool {
    let flag = format!("--keep-alive-interval-ms {}", interval.as_millis());
    let wharf = Wharf::start(&["echo"], &[&flag]).await;
    let proxy = Balancer::start(program, &[wharf.address.to_string()], changes).await;
    let mut client = proxy.connect(CLIENT, "/echo", &[]).await.expect("it is let in");
    assert_eq!(client.ask("hello").await.as_deref(), Some("hello"));
    // It answers pings, and says nothing of its own.
    if tokio::time::timeout(QUIET, client.text()).await.is_ok() {
        return false;
    }
    client.ask("still here").await.as_deref() == Some("still here")
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn pings_keep_a_quiet_connection_through_nginx() {
    let changes =
        [("proxy_read_timeout 60s;", "proxy_read_timeout 1s;"), ("proxy_send_timeout 60s;", "")];
    assert!(stays_quiet(Program::Nginx, &changes, SILENCE / 4).await);
    assert!(
        !stays_quiet(Program::Nginx, &changes, QUIET * 10).await,
        "nginx ends silent connections"
    );
}

#[tokio::test]
#[ignore = "needs HAProxy"]
async fn pings_keep_a_quiet_connection_through_haproxy() {
    let changes = [("timeout tunnel 60s", "timeout tunnel 1s")];
    assert!(stays_quiet(Program::Haproxy, &changes, SILENCE / 4).await);
    assert!(
        !stays_quiet(Program::Haproxy, &changes, QUIET * 10).await,
        "HAProxy ends silent connections"
    );
}

/// Clients that come and go at a time, and handshakes that each phase waits for.
const VISITORS: usize = 3;
const HANDSHAKES: usize = 60;

async fn a_rolling_restart_of_two_hosts_loses_no_handshake(program: Program) {
    let flags = ["--shutdown-delay-ms 1500", "--drain-timeout-ms 1000"];
    let mut hosts = [Wharf::start(&["echo"], &flags).await, Wharf::start(&["echo"], &flags).await];
    let addresses = [hosts[0].address.to_string(), hosts[1].address.to_string()];
    let changes: &[(&str, &str)] = match program {
        Program::Nginx => &[],
        Program::Caddy => &[("health_interval 2s", "health_interval 200ms")],
        Program::Haproxy | Program::HaproxyTls => &[("inter 2s", "inter 200ms")],
    };
    let proxy = Balancer::start(program, &addresses, changes).await;
    let (count, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let visitors: Vec<_> = (0..VISITORS)
        .map(|_| {
            let (count, is_over, address) = (count.clone(), is_over.clone(), proxy.address);
            tokio::spawn(async move {
                let mut lost = Vec::new();
                while !is_over.load(Ordering::SeqCst) {
                    match connect(address, CLIENT, "/echo", &[]).await {
                        // A connection may end in the moment in which its host stops: then the client comes back.
                        Ok(mut client) => drop(client.ask("hello").await),
                        Err(error) => lost.push(error),
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                }
                lost
            })
        })
        .collect();
    let some = async |phase: &str| {
        let before = count.load(Ordering::SeqCst);
        eventually(phase, async || {
            (count.load(Ordering::SeqCst) >= before + HANDSHAKES).then_some(())
        })
        .await;
    };
    some("handshakes at two hosts").await;
    for (host, address) in hosts.iter_mut().zip(&addresses) {
        host.signal("TERM");
        assert_eq!(host.stopped().await.status.code(), Some(0));
        some("handshakes at the other host").await;
        host.start_again(&[flags[0], flags[1], &format!("--listen {address}")]).await;
        some("handshakes at two hosts again").await;
    }
    is_over.store(true, Ordering::SeqCst);
    let mut lost = Vec::new();
    for visitor in visitors {
        lost.extend(visitor.await.expect("it does not panic"));
    }
    assert!(
        lost.is_empty(),
        "{} of {} handshakes: {:?}",
        lost.len(),
        count.load(Ordering::SeqCst),
        lost.first()
    );
}

#[tokio::test]
#[ignore = "needs HAProxy"]
async fn a_client_keeps_its_address_where_the_host_ends_tls_behind_the_proxy_protocol() {
    let [certificate, key] =
        ["server.pem", "server.key"].map(|name| certificates().join(name).display().to_string());
    let file = format!(
        "tls = {{ certificate = \"{certificate}\", key = \"{key}\" }}\nproxy_protocol = true\n\
         trusted_proxies = [\"127.0.0.1\"]\nallowed_hosts = [\"localhost\"]\n"
    );
    let wharf =
        Wharf::start_in(configured(&["echo", "inspects"], &file), &["--shutdown-delay-ms 60000"])
            .await;
    let changes = [("inter 2s", "inter 100ms")];
    let proxy = Balancer::start(Program::HaproxyTls, &[wharf.address.to_string()], &changes).await;
    let turn = async |state: &str, outcome: &str| {
        eventually(&format!("the servers to be {state}"), async || {
            let servers = proxy.servers().await;
            servers.iter().all(|its| its.0 == state && its.1 == outcome).then_some(())
        })
        .await;
    };
    turn("UP", "L7OK").await;
    let mut client = proxy.connect(CLIENT, "/echo", &[]).await.expect("it is let in");
    assert_eq!(client.ask("to the host's own TLS").await.as_deref(), Some("to the host's own TLS"));
    let mut inspecting =
        proxy.connect(CLIENT, "/inspects", &[CLAIMED]).await.expect("it is let in");
    let request: Value = inspecting.ask("request").await.expect("an answer").parse().expect("JSON");
    let address = request["remote_address"].as_str().expect("an address").to_owned();
    assert!(address.starts_with(&format!("{CLIENT}:")), "{address}");
    wharf.signal("TERM");
    turn("DOWN", "L7STS").await;
    assert_eq!(client.ask("still here").await.as_deref(), Some("still here"));
}

#[tokio::test]
#[ignore = "needs HAProxy"]
async fn each_kind_of_check_of_haproxy_takes_a_host_up_and_one_that_stops_down() {
    for form in [
        "option httpchk",
        "option httpchk HEAD /readyz",
        "option httpchk GET /readyz HTTP/1.1\\r\\nHost:\\ any",
        "option httpchk OPTIONS /readyz",
        "option httpchk\n    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host 10.1.2.3",
    ] {
        let wharf = Wharf::start_in(folder(&["echo"]), &["--shutdown-delay-ms 60000"]).await;
        let changes = [("option httpchk GET /readyz", form), ("inter 2s", "inter 100ms")];
        let proxy = Balancer::start(Program::Haproxy, &[wharf.address.to_string()], &changes).await;
        eventually(&format!("{form} to pass"), async || {
            let servers = proxy.servers().await;
            let are_up = servers.iter().all(|(state, check)| state == "UP" && check == "L7OK");
            (servers.len() == 2 && are_up).then_some(())
        })
        .await;
        let mut client = proxy.connect(CLIENT, "/echo", &[]).await.expect("it is let in");
        wharf.signal("TERM");
        eventually(&format!("{form} to fail"), async || {
            let servers = proxy.servers().await;
            servers.iter().all(|(state, check)| state == "DOWN" && check == "L7STS").then_some(())
        })
        .await;
        // Those that are there stay.
        assert_eq!(client.ask("still here").await.as_deref(), Some("still here"));
        assert!(proxy.connect(CLIENT, "/echo", &[]).await.is_err(), "no host is ready");
    }
}
