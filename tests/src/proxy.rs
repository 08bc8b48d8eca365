//! A TCP proxy between a host and its engine, which can stop forwarding and slow down.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Pieces that wait in one direction of one connection; then the sender has to wait, as at a real link.
const PIECES: usize = 256;

/// Bytes of one piece at most.
const PIECE_BYTES: usize = 64 * 1024;

/// State of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Link {
    /// Nothing is forwarded, and no connection is ended: as if a cable was pulled out.
    is_cut: bool,
    /// Time that each byte from the target takes.
    delay: Duration,
}

/// A running proxy. It ends with this value.
#[derive(Debug)]
pub struct Proxy {
    /// Address on which it listens.
    pub address: SocketAddr,
    link: watch::Sender<Link>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy on an address, with port 0 on any port, in front of a target.
    pub async fn start(address: SocketAddr, target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind(address).await.expect("a free address");
        let address = listener.local_addr().expect("it is bound");
        let (link, state) = watch::channel(Link::default());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, target, state.clone()));
            }
        });
        Proxy { address, link, accepting }
    }

    /// Stops forwarding, or goes on with what has come meanwhile.
    pub fn cut(&self, is_cut: bool) {
        self.link.send_modify(|link| link.is_cut = is_cut);
    }

    /// Delays all that comes from the target.
    pub fn delay(&self, delay: Duration) {
        self.link.send_modify(|link| link.delay = delay);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Forwards one connection until one of its sides has ended it.
async fn forward(client: TcpStream, target: SocketAddr, mut link: watch::Receiver<Link>) {
    if link.wait_for(|link| !link.is_cut).await.is_err() {
        return;
    }
    // A target that is gone refuses; then the client is refused as well.
    let Ok(target) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), target.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_target, to_target) = target.into_split();
    tokio::select! {
        () = direction(from_client, to_target, link.clone(), false) => {}
        () = direction(from_target, to_client, link, true) => {}
    }
}

/// Forwards the bytes of one direction to the end of the stream.
async fn direction(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut link: watch::Receiver<Link>,
    is_delayed: bool,
) {
    let (pieces, mut waiting) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let state = link.clone();
    let reading = async move {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let delay = if is_delayed { state.borrow().delay } else { Duration::ZERO };
            if pieces.send((Instant::now() + delay, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = waiting.recv().await {
            tokio::time::sleep_until(due).await;
            if link.wait_for(|link| !link.is_cut).await.is_err() {
                return;
            }
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = socket.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_link_that_is_cut_forwards_what_was_held_back_once_it_is_whole_again() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let proxy = Proxy::start(any, echo().await).await;
        let mut socket = TcpStream::connect(proxy.address).await.expect("a connection");
        let mut answer = [0; 1];
        socket.write_all(b"a").await.expect("sent");
        socket.read_exact(&mut answer).await.expect("an answer");
        proxy.cut(true);
        socket.write_all(b"b").await.expect("sent");
        let held = tokio::time::timeout(Duration::from_millis(100), socket.read(&mut answer)).await;
        assert!(held.is_err(), "{held:?}");
        proxy.cut(false);
        socket.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"b");
    }

    #[tokio::test]
    async fn a_slow_link_takes_its_time_and_keeps_the_order() {
        const DELAY: Duration = Duration::from_millis(50);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let proxy = Proxy::start(any, echo().await).await;
        proxy.delay(DELAY);
        let mut socket = TcpStream::connect(proxy.address).await.expect("a connection");
        let begun = Instant::now();
        socket.write_all(b"one ").await.expect("sent");
        socket.write_all(b"two").await.expect("sent");
        let mut answer = [0; 7];
        socket.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"one two");
        assert!(begun.elapsed() >= DELAY, "{:?}", begun.elapsed());
    }
}
