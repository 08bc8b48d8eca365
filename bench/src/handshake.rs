//! The client's side of the opening handshake (RFC 6455, 4.1).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

/// Time limit for a server to take a connection, and again for its answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Size of the largest head of a response that is read, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The key of the RFC's own example. A key need not be secret.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A connection that has been opened.
pub struct Opened {
    /// The socket: blocking, without delay, with a read timeout.
    pub stream: TcpStream,
    /// Bytes that the server sent along with its response.
    pub early: Vec<u8>,
}

/// Opens a connection to a path such as `/chat/lobby?name=bench`.
///
/// # Errors
///
/// There is no answer in time, or another than `101`. The error has its first line and body.
pub fn open(address: SocketAddr, target: &str) -> anyhow::Result<Opened> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(request(address, target).as_bytes())?;
    let mut response = Vec::new();
    let mut chunk = [0; 4096];
    let head = loop {
        if let Some(head) = response.windows(4).position(|end| end == b"\r\n\r\n") {
            break head + 4;
        }
        ensure!(response.len() < MAX_HEAD_BYTES, "the answer has no end");
        match stream.read(&mut chunk) {
            Ok(0) => bail!("the server hung up instead of answering {target}"),
            Ok(read) => response.extend(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(|| format!("no answer to {target}")),
        }
    };
    let early = response.split_off(head);
    let body = String::from_utf8_lossy(&early);
    check(&String::from_utf8_lossy(&response))
        .with_context(|| format!("{target} was refused ({})", body.trim()))?;
    Ok(Opened { stream, early })
}

/// Returns the request of a browser, about 700 bytes: servers pay for unused headers too.
pub fn request(address: SocketAddr, target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\n\
         Host: {address}\r\n\
         Connection: Upgrade\r\n\
         Pragma: no-cache\r\n\
         Cache-Control: no-cache\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/126.0.0.0 Safari/537.36\r\n\
         Upgrade: websocket\r\n\
         Origin: http://{address}\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\n\
         Accept-Language: en-GB,en;q=0.9,de-DE;q=0.8,de;q=0.7\r\n\
         Cookie: theme=dark; consent=necessary; \
         session=8f14e45fceea167a5a36dedd4bea2543c9f0f895fb98ab9159f51fd0297e236d\r\n\
         Sec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
         \r\n"
    )
}

/// Checks the head of a response.
///
/// # Errors
///
/// The status is not `101`, or the response is not the answer to our key.
pub fn check(head: &str) -> anyhow::Result<()> {
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 101"), "{status}");
    let accept = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-accept"))
        .map(|(_, value)| value.trim());
    ensure!(accept == Some(ACCEPT), "Sec-WebSocket-Accept is {accept:?}");
    Ok(())
}

/// Performs the server's side of a handshake, for tests.
#[cfg(test)]
pub fn accept(stream: &mut std::net::TcpStream) {
    use std::io::{Read, Write};
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a request");
        head.extend(byte);
    }
    let response =
        format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
    stream.write_all(response.as_bytes()).expect("a reader");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_a_browsers() {
        let request = request(SocketAddr::from(([127, 0, 0, 1], 40_000)), "/echo");
        assert!((600..800).contains(&request.len()), "{}", request.len());
        assert!(request.ends_with("\r\n\r\n") && !request.contains("  "), "{request}");
    }

    #[test]
    fn only_the_right_101_is_taken() {
        let right =
            format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n");
        check(&right).expect("right");
        let status = check("HTTP/1.1 404 Not Found\r\n\r\n").expect_err("refused");
        assert!(status.to_string().contains("404"), "{status}");
        assert!(check("HTTP/1.1 101 Switching Protocols\r\n\r\n").is_err());
        assert!(check(&right.replace("xOo=", "xOO=")).is_err());
    }
}
