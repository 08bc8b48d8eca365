//! TLS with a real client, over sockets that take little at once.

use std::path::Path;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::{TlsConnector, client};

use super::*;
use crate::frame::{Frame, FrameKind};
use crate::outbound::{Outbound, PendingWrites};
use crate::transport::Transport;

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/certificates").join(name)
}

fn server_config() -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(file("server.pem")).unwrap();
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

fn connector() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("authority.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth()).into()
}

/// Makes the two ends of a socket whose buffers are small.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpSocket::new_v4().unwrap();
    // Accepted sockets have it from here.
    listener.set_send_buffer_size(4_096).unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.listen(1).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let client = socket.connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, client)
}

/// Makes a TLS connection: the server's stream after the handshake and one byte, and the client.
async fn pair() -> (Stream, client::TlsStream<TcpStream>) {
    let (server, client) = sockets().await;
    let mut server = Stream::accept(server, server_config()).unwrap();
    let connecting = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = connector().connect(name, client).await.unwrap();
        client.write_all(b"!").await.unwrap();
        client
    };
    let first = async { server.read_u8().await.unwrap() };
    let (client, first) = tokio::join!(connecting, first);
    assert_eq!(first, b'!');
    (server, client)
}

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

#[tokio::test]
async fn bytes_come_in_order_and_once_however_little_the_socket_takes() {
    let (server, mut client) = pair().await;
    let (_reader, writer) = server.into_split();
    const TOTAL: usize = 4_000_000;
    let byte = |at: usize| (at * 31 % 251) as u8;
    let writing = async {
        let (mut written, mut owed) = (0, 0);
        for round in 0.. {
            // Sizes from one byte to several records, in one slice or three.
            let size = [1, 2, 3, 700, 17_000, 70_000, 5][round % 7].min(TOTAL - written);
            if size == 0 {
                break;
            }
            let bytes: Vec<u8> = (written..written + size).map(byte).collect();
            let (front, back) = bytes.split_at(size / 3);
            let slices = [IoSlice::new(front), IoSlice::new(&[]), IoSlice::new(back)];
            match writer.try_write_vectored(&slices) {
                Ok(taken) => {
                    owed += usize::from(taken < size);
                    written += taken;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    std::future::poll_fn(|cx| writer.poll_write_ready(cx)).await.unwrap();
                }
            }
            tokio::task::yield_now().await;
        }
        owed
    };
    let reading = async {
        let mut at = 0;
        let mut buffer = [0; 3_000];
        while at < TOTAL {
            let read = client.read(&mut buffer).await.unwrap();
            assert!(read > 0);
            assert!(buffer[..read].iter().enumerate().all(|(n, found)| *found == byte(at + n)));
            at += read;
        }
    };
    let (owed, ()) = soon(async { tokio::join!(writing, reading) }).await;
    assert!(owed > 0, "the socket was never full in the middle of a write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn frames_of_many_senders_arrive_whole_while_the_client_sends_as_well() {
    const SENDERS: u8 = 3;
    const FRAMES: usize = 2_000;
    let (server, client) = pair().await;
    let (mut reader, writer) = Transport::from(server).into_split();
    let outbound = Outbound::new(64 * 1024 * 1024, Default::default());
    outbound.attach(writer);
    let senders = (0..SENDERS).map(|sender| {
        let outbound = outbound.clone();
        tokio::task::spawn_blocking(move || {
            let mut writes = PendingWrites::default();
            for number in 0..FRAMES {
                let payload = vec![sender; 40 + number * 37 % 900];
                assert!(writes.push(&outbound, &Frame::encode(FrameKind::Binary, &payload)));
                writes.write_now();
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    const INCOMING: usize = 300_000;
    // The owner reads and writes, as the task of a connection does.
    let owner = tokio::spawn({
        let outbound = outbound.clone();
        async move {
            let mut bytes = vec![0; INCOMING];
            reader.read_exact(&mut bytes).await.unwrap();
            for sender in senders {
                sender.await.unwrap();
            }
            std::future::poll_fn(|cx| outbound.poll_flushed(cx)).await;
            reader
        }
    });
    let (mut from, mut to) = tokio::io::split(client);
    let sending = tokio::spawn(async move {
        to.write_all(&vec![7; INCOMING]).await.unwrap();
        to.flush().await.unwrap();
        to
    });
    let receiving = async {
        for _ in 0..usize::from(SENDERS) * FRAMES {
            let (kind, length) = (from.read_u8().await.unwrap(), from.read_u8().await.unwrap());
            assert_eq!(kind, 0x82);
            let length = match length {
                126 => from.read_u16().await.unwrap().into(),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            from.read_exact(&mut payload).await.unwrap();
            assert!(payload.iter().all(|byte| *byte == payload[0]), "of one sender");
        }
    };
    soon(receiving).await;
    drop((owner.await.unwrap(), sending.await.unwrap()));
}

#[tokio::test]
async fn who_has_written_everything_says_so() {
    for forget in [false, true] {
        let (server, mut client) = pair().await;
        let (reader, writer) = server.into_split();
        assert_eq!(writer.try_write(b"last").unwrap(), 4);
        if forget {
            writer.forget()
        } else {
            drop(writer)
        }
        let mut all = Vec::new();
        // The client's library fails without the end that TLS has.
        soon(client.read_to_end(&mut all)).await.unwrap();
        assert_eq!(all, b"last");
        drop(reader);
    }
}

#[tokio::test]
async fn a_client_that_closes_the_socket_has_ended() {
    let (mut server, client) = pair().await;
    // Closed without the end that TLS has; the other direction has session tickets in it.
    let mut socket = client.into_inner().0;
    socket.shutdown().await.unwrap();
    assert_eq!(soon(server.read(&mut [0; 9])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_without_tls_is_told_so() {
    let (server, mut client) = sockets().await;
    let mut server = Stream::accept(server, server_config()).unwrap();
    client.write_all(b"GET /chat HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let error = soon(server.read(&mut [0; 9])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    drop(server);
    let mut answer = String::new();
    soon(client.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 ") && body.contains("https://"), "{answer}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{answer}");
}

#[tokio::test]
async fn what_is_no_tls_at_all_fails() {
    for nonsense in [&b"\x16\x03\x01\xff\xff\x00"[..], b"\x00\x01", &[0xff; 70_000]] {
        let (server, mut client) = sockets().await;
        let mut server = Stream::accept(server, server_config()).unwrap();
        let sending = async {
            let _ = client.write_all(nonsense).await;
            let _ = client.shutdown().await;
        };
        let mut buffer = [0; 9];
        let (result, ()) = soon(async { tokio::join!(server.read(&mut buffer), sending) }).await;
        assert!(matches!(result, Err(_) | Ok(0)), "{result:?}");
    }
}

#[tokio::test]
async fn a_frame_that_has_begun_is_sent_whole_whatever_is_dropped() {
    let (server, mut client) = pair().await;
    let (_reader, writer) = Transport::from(server).into_split();
    let outbound = Outbound::new(1 << 20, Default::default());
    outbound.attach(writer);
    // One byte of the second frame is encrypted with the first, and the socket takes neither whole.
    let payload = MAX_UNSENT_BYTES - 1 - 4;
    let mut writes = PendingWrites::default();
    for fill in *b"abc" {
        let frame = Frame::encode(FrameKind::Binary, &vec![fill; payload]);
        assert!(writes.push(&outbound, &frame));
    }
    writes.write_now();
    outbound.refuse_messages(true);
    let close = Frame::encode(FrameKind::Close, &1013_u16.to_be_bytes());
    assert_ne!(outbound.push_control(&close), crate::outbound::Pushed::Refused);
    let flushing = tokio::spawn(async move {
        std::future::poll_fn(|cx| outbound.poll_flushed(cx)).await;
        outbound.shut();
    });
    let mut all = Vec::new();
    let reading = async {
        let mut bytes = [0; 2_000];
        loop {
            match client.read(&mut bytes).await.unwrap() {
                0 => break,
                count => all.extend_from_slice(&bytes[..count]),
            }
        }
    };
    soon(reading).await;
    flushing.await.unwrap();
    let frame =
        |fill| [&[0x82, 126][..], &(payload as u16).to_be_bytes(), &vec![fill; payload]].concat();
    let expected = [frame(b'a'), frame(b'b'), vec![0x88, 2, 0x03, 0xf5]].concat();
    assert!(
        all == expected,
        "{} bytes, which end with {:?}",
        all.len(),
        &all[all.len().saturating_sub(8)..]
    );
}
