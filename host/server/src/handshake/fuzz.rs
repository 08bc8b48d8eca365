//! The fuzz target `handshake`: bytes before an upgrade, as a socket delivers them.

use std::future::ready;

use http_body_util::Full;
use hyper::Response;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use wharf_config::{AllowedOrigin, HostPattern};
use wharf_hub::transport::{Transport, memory};

use super::*;
use crate::http::{HttpLimits, serve};

/// Returns the host's view of a request, as an answer to it.
fn view(config: &Config, request: &Request<Incoming>) -> Reply {
    let host = origin::host(request);
    let outcome = check_upgrade(request)
        .and_then(|_| origin::check(config, host, request.headers()))
        .map(|()| origin::is_own(config, host));
    let mut reply = match outcome {
        Ok(_) => Response::new(Full::default()),
        Err(why) => turned_away(&why),
    };
    assert!(reply.status().as_u16() < 500, "a client's mistake is its own");
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// Checks that each request is understood or refused with a status of its own.
#[test]
fn fuzz_handshake() {
    let words = [
        "GET ",
        "POST ",
        "/chat?a=%20 ",
        "HTTP/1.1\r\n",
        "HTTP/1.0\r\n",
        "\r\n",
        "\r\n\r\n",
        "Host: ",
        "localhost:4000",
        "[::1]",
        "example.com",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\n",
        "Sec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Origin: ",
        "https://app.example",
        "null",
        "http://localhost:4000",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\n",
        "http://example.com/chat",
    ];
    let config = Config {
        allowed_origins: AllowedOrigin::parse("https://*.example").into_iter().collect(),
        allowed_hosts: HostPattern::parse("example.com").into_iter().collect(),
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    wharf_fuzz::run("handshake", &words.map(str::as_bytes), |input| {
        runtime.block_on(async {
            let (near, far) = memory::pair(1 << 20);
            let (_open, closing) = watch::channel(());
            let seen = Mutex::new(Vec::new());
            let answer = |request: Request<Incoming>, _| {
                let reply = view(&config, &request);
                seen.lock().push(reply.status().as_u16());
                ready(reply)
            };
            let limits = HttpLimits::of_client(&config);
            let serving = serve(Transport::from(near), limits, None, closing, answer);
            let mut far = Transport::from(far);
            let client = async {
                far.write_all(input).await.expect("there is room");
                far.shutdown().await.expect("it is open");
                let mut answers = Vec::new();
                // A connection that the host has reset has no end.
                let _ = far.read_to_end(&mut answers).await;
                answers
            };
            let (served, answers) = tokio::join!(serving, client);
            // hyper itself answers what is no HTTP.
            let status = answers.get(9..12).map(<[u8]>::to_vec);
            assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."), "{answers:?}");
            (served.is_ok(), seen.into_inner(), status)
        })
    });
}
