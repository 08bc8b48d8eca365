//! The common behaviour of all transports.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Makes the two ends of a connection of each kind.
async fn pairs() -> [(Transport, Transport); 3] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let (left, right) = memory::pair(64 * 1024);
    let (near, far) = UnixStream::pair().unwrap();
    [
        (Transport::tcp(server), Transport::tcp(client)),
        (near.into(), far.into()),
        (left.into(), right.into()),
    ]
}

/// Writes until nothing more is accepted at once. Returns the number of bytes written.
fn fill(writer: &Writer) -> usize {
    let chunk = [7; 10_000];
    let mut written = 0;
    loop {
        match writer.try_write_vectored(&[IoSlice::new(&chunk[..3]), IoSlice::new(&chunk)]) {
            Ok(bytes) => written += bytes,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                return written;
            }
        }
    }
}

async fn ready(writer: &Writer) {
    let ready = std::future::poll_fn(|cx| writer.poll_write_ready(cx));
    tokio::time::timeout(Duration::from_secs(20), ready).await.expect("it is woken").unwrap();
}

#[tokio::test]
async fn a_full_transport_takes_more_once_the_other_side_has_read() {
    for (server, mut client) in pairs().await {
        let (_reader, writer) = server.into_split();
        ready(&writer).await;
        let mut unread = fill(&writer);
        assert!(unread > 0);
        let waiting = tokio::spawn(async move {
            // A socket may be reported as writable before the kernel has room for everything.
            let mut more = 0;
            while more == 0 {
                ready(&writer).await;
                more = fill(&writer);
            }
            (writer, more)
        });
        let mut bytes = vec![0; 64 * 1024];
        while unread > 0 {
            let read = client.read(&mut bytes[..unread.min(64 * 1024)]).await.unwrap();
            assert!(bytes[..read].iter().all(|byte| *byte == 7));
            unread -= read;
        }
        let (writer, more) = waiting.await.unwrap();
        drop(writer);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len(), more);
    }
}

#[tokio::test]
async fn a_dropped_writer_ends_the_stream_and_the_other_direction_goes_on() {
    for (server, mut client) in pairs().await {
        let (mut reader, writer) = server.into_split();
        assert_eq!(writer.try_write(b"last").unwrap(), 4);
        drop(writer);
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"last");
        client.write_all(b"answer").await.unwrap();
        client.shutdown().await.unwrap();
        bytes.clear();
        reader.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"answer");
    }
}

#[tokio::test]
async fn a_forgotten_writer_ends_the_stream_with_its_reader_only() {
    for (server, mut client) in pairs().await {
        let (reader, writer) = server.into_split();
        assert_eq!(writer.try_write(b"last").unwrap(), 4);
        writer.forget();
        let mut bytes = [0; 4];
        client.read_exact(&mut bytes).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(20), client.read_u8()).await;
        assert!(early.is_err(), "the stream has not ended");
        drop(reader);
        assert_eq!(client.read(&mut bytes).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_side_that_is_gone_cannot_be_written_to() {
    for (server, client) in pairs().await {
        let (mut reader, writer) = server.into_split();
        drop(client);
        assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0, "it was closed with nothing unread");
        // A socket learns of it by the answer to the bytes that it has sent.
        let failed = async {
            while let Ok(_) | Err(WOULD_BLOCK) = writer.try_write(b"lost").map_err(|e| e.kind()) {
                ready(&writer).await;
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), failed).await.expect("writing fails");
    }
}

const WOULD_BLOCK: io::ErrorKind = io::ErrorKind::WouldBlock;

#[tokio::test]
async fn a_side_that_closes_with_bytes_unread_resets_the_connection() {
    for (server, mut client) in pairs().await {
        let (mut reader, writer) = server.into_split();
        assert_eq!(writer.try_write(b"never read").unwrap(), 10);
        client.write_all(b"said before").await.unwrap();
        // Only bytes that have arrived can be left unread.
        std::future::poll_fn(|cx| arrived(&client, cx)).await;
        drop(client);
        let mut bytes = Vec::new();
        let error = reader.read_to_end(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

fn arrived(transport: &Transport, cx: &mut Context<'_>) -> Poll<()> {
    match transport {
        Transport::Tcp(socket) => socket.poll_read_ready(cx).map(|_| ()),
        Transport::Unix(socket) => socket.poll_read_ready(cx).map(|_| ()),
        Transport::Tls(_) | Transport::Memory(_) => Poll::Ready(()),
    }
}

#[test]
fn the_writer_of_a_tcp_socket_takes_no_more_room_than_its_half() {
    assert_eq!(size_of::<Writer>(), size_of::<tokio::net::tcp::OwnedWriteHalf>());
}
