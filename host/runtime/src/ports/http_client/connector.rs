//! A TCP connection to one of several addresses (RFC 8305, "happy eyeballs").

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

/// Time after which the next address is tried beside those before it (RFC 8305, 5).
const NEXT_ATTEMPT: Duration = Duration::from_millis(250);

/// Connects to the first address that answers. The next one is tried as soon as one has failed, and
/// at the latest after 250 ms; families take turns.
///
/// # Errors
///
/// All of them failed: the last one's reason.
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = in_turns(addresses);
    let mut attempts = FuturesUnordered::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if attempts.is_empty() {
            match waiting.pop_front() {
                Some(address) => attempts.push(TcpStream::connect(address)),
                None => return Err(failed),
            }
        }
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => {
                    // A request is written at once, so that it need not wait for more.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => {
                    failed = error;
                    attempts.extend(waiting.pop_front().map(TcpStream::connect));
                }
            },
            () = tokio::time::sleep(NEXT_ATTEMPT), if !waiting.is_empty() => {
                attempts.extend(waiting.pop_front().map(TcpStream::connect));
            }
        }
    }
}

/// Returns the addresses in the system's order, with the two families in turns.
fn in_turns(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let is_first_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == is_first_v6);
    let mut turns = VecDeque::new();
    while !(one.is_empty() && other.is_empty()) {
        turns.extend(one.pop_front());
        turns.extend(other.pop_front());
    }
    turns
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// Returns an address that drops what is sent to it, as a host behind a broken tunnel does: a
    /// listener whose backlog is full. It does so for as long as the other values live.
    async fn dead() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let listener = socket.listen(1).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let mut filling = Vec::new();
        loop {
            let attempt = TcpStream::connect(address);
            match tokio::time::timeout(Duration::from_millis(300), attempt).await {
                Ok(stream) => filling.push(stream.expect("a connection")),
                Err(_) => return (address, listener, filling),
            }
        }
    }

    #[tokio::test]
    async fn a_dead_address_costs_a_moment_and_not_the_whole_time() {
        let (dead, _listener, _filling) = dead().await;
        let alive = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let alive_at = alive.local_addr().expect("an address");
        let begun = Instant::now();
        let stream = connect(vec![dead, dead, alive_at]).await.expect("a connection");
        assert_eq!(stream.peer_addr().expect("an address"), alive_at);
        let took = begun.elapsed();
        assert!(took >= NEXT_ATTEMPT && took < 10 * NEXT_ATTEMPT, "{took:?}");
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_nothing() {
        let gone = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let refuses = gone.local_addr().expect("an address");
        drop(gone);
        let alive = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let begun = Instant::now();
        let addresses = vec![refuses, alive.local_addr().expect("an address")];
        connect(addresses).await.expect("a connection");
        assert!(begun.elapsed() < NEXT_ATTEMPT, "{:?}", begun.elapsed());
        let error = connect(vec![refuses]).await.expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connect(Vec::new()).await.is_err());
    }

    #[test]
    fn families_take_turns_in_the_order_of_the_system() {
        let of = |texts: &[&str]| texts.iter().map(|text| text.parse().expect(text)).collect();
        let addresses: Vec<SocketAddr> = of(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        let expected: VecDeque<SocketAddr> =
            of(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]).into();
        assert_eq!(in_turns(addresses), expected);
    }
}
