//! Servers that are too old. They are imitated: they greet, and say their version.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use wharf_cluster::Reason;

use crate::support::{Kind, World, refusal, run};

/// Starts a server that serves each connection with a function, and returns its port.
fn server(serve: impl Fn(TcpStream) + Send + Sync + Copy + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Serves as Redis: `hello` is the answer to the greeting, and `about` that to `INFO`.
fn redis(stream: TcpStream, hello: &str, about: &str) {
    let mut answers = stream.try_clone().expect("the same socket");
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    // A command is `*COUNT`, and then `$LENGTH` and the word for each word.
    let count = |line: String| line.strip_prefix('*')?.parse::<usize>().ok();
    while let Some(count) = lines.next().and_then(count) {
        let words: Vec<String> = lines.by_ref().take(2 * count).skip(1).step_by(2).collect();
        let answer = match words.first().map(String::as_str) {
            Some("HELLO") => hello.to_owned(),
            Some("INFO") => format!("${}\r\n{about}\r\n", about.len()),
            _ => "+OK\r\n".to_owned(),
        };
        if answers.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn an_old_redis_is_named_with_its_version() {
    run(Kind::Disk, async |_: World| {
        let port = server(|stream| {
            redis(stream, "%1\r\n+proto\r\n:3\r\n", "redis_version:6.0.16\r\nrole:master\r\n");
        });
        let why = refusal(&format!("redis://127.0.0.1:{port}")).await;
        assert_eq!(why.reason(), Reason::TooOld, "{why}");
        assert!(why.to_string().contains("Redis 6.0.16, and at least 6.2 is needed"), "{why}");
        assert!(why.to_string().contains("install Redis 7.0 or Valkey"), "{why}");
    });
}

#[test]
fn a_redis_that_does_not_know_the_protocol_is_named() {
    run(Kind::Disk, async |_: World| {
        let port = server(|stream| {
            redis(stream, "-ERR unknown command `HELLO`\r\n", "redis_version:5.0.14\r\n");
        });
        let why = refusal(&format!("redis://127.0.0.1:{port}")).await;
        assert_eq!(why.reason(), Reason::TooOld, "{why}");
        assert!(why.to_string().contains("install Redis 7.0 or Valkey"), "{why}");
    });
}

#[test]
fn an_old_nats_server_is_named_with_its_version() {
    run(Kind::Disk, async |_: World| {
        let port = server(|mut stream| {
            let about = r#"{"server_id":"x","server_name":"x","version":"2.10.29","go":"go1.22",
                "host":"127.0.0.1","port":4222,"max_payload":1048576,"proto":1,"headers":true}"#;
            let about = about.replace('\n', " ");
            if stream.write_all(format!("INFO {about}\r\n").as_bytes()).is_err() {
                return;
            }
            let lines = BufReader::new(stream.try_clone().expect("the same socket")).lines();
            for line in lines.map_while(Result::ok) {
                if line.starts_with("PING") && stream.write_all(b"PONG\r\n").is_err() {
                    return;
                }
            }
        });
        let why = refusal(&format!("nats://127.0.0.1:{port}")).await;
        assert_eq!(why.reason(), Reason::TooOld, "{why}");
        assert!(why.to_string().contains("nats-server 2.10.29, and at least 2.11"), "{why}");
    });
}
