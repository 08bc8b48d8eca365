//! Encrypted links, and certificates that are not trusted.

use bytes::Bytes;
use wharf_cluster::{Expected, Limits, Reason};
use wharf_test_servers::certificates;
use wharf_test_servers::nats::NatsServer;
use wharf_test_servers::redis::RedisServer;

use crate::support::{Kind, Node, World, refusal, run};

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn redis_is_spoken_to_over_tls() {
    run(Kind::Disk, async |_: World| {
        let server = RedisServer::start_with_tls();
        is_encrypted(&format!("rediss://localhost:{}", server.port())).await;
        is_encrypted(&format!("rediss://127.0.0.1:{}", server.port())).await;
        let plain = refusal(&format!("redis://127.0.0.1:{}", server.port())).await;
        assert_eq!(plain.reason(), Reason::LinkLost, "{plain}");
    });
}

#[test]
#[ignore = "needs a server, which `cargo xtask test` finds or installs"]
fn nats_is_spoken_to_over_tls() {
    run(Kind::Disk, async |_: World| {
        let file = |name: &str| certificates().join(name).display().to_string();
        let (certificate, key) = (file("server.pem"), file("server.key"));
        let more = ["--jetstream", "--tls", "--tlscert", &certificate, "--tlskey", &key];
        let server = NatsServer::start(&more);
        is_encrypted(&format!("tls://localhost:{}", server.port())).await;
        is_encrypted(&format!("tls://127.0.0.1:{}", server.port())).await;
    });
}

/// Proves that an address works with the right authority, and is refused with any other.
async fn is_encrypted(address: &str) {
    let right = certificates().join("authority.pem");
    let mut node =
        Node::open(&format!("{address}?ca={}", right.display()), &Limits::default()).await;
    node.subscribe(&["a"]).await;
    node.publish("a", "secret");
    assert_eq!(node.message().await.1, "secret");
    node.engine.put("k", Bytes::new(), Expected::Any, None).await.expect("written");

    let other = certificates().join("../keys/rsa.certificate.pem");
    for address in [address.to_owned(), format!("{address}?ca={}", other.display())] {
        let why = refusal(&address).await;
        assert_eq!(why.reason(), Reason::NotTrusted, "{address}: {why}");
        assert!(why.to_string().contains("with `?ca=FILE`"), "{why}");
    }
    let missing = certificates().join("missing.pem").display().to_string();
    let why = refusal(&format!("{address}?ca={missing}")).await;
    assert_eq!(why.reason(), Reason::Other, "{why}");
    assert!(why.to_string().contains("missing.pem"), "{why}");
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let why = refusal(&format!("{address}?ca={}", empty.path().display())).await;
    assert!(matches!(why.reason(), Reason::Other | Reason::NotTrusted), "{why}");
}
