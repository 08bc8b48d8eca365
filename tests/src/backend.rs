//! An HTTP server that plugins call, with paths that misbehave.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::eventually;

/// A running backend; it ends when it is dropped.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    requests: AtomicUsize,
    /// Requests that are open, and the largest number so far.
    now: AtomicUsize,
    most: AtomicUsize,
    /// Permits for requests of `/held`.
    held: Semaphore,
    /// Content of `/content`; without it the answer has status 503.
    content: Mutex<Option<String>>,
}

/// One open request.
struct UnderWay(Arc<State>);

impl UnderWay {
    fn begin(state: &Arc<State>) -> UnderWay {
        state.requests.fetch_add(1, Ordering::SeqCst);
        let now = state.now.fetch_add(1, Ordering::SeqCst) + 1;
        state.most.fetch_max(now, Ordering::SeqCst);
        UnderWay(state.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

type Body = UnsyncBoxBody<Bytes, Cut>;

/// An error that makes hyper cut a connection in the middle of a body.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
struct Cut;

impl Backend {
    /// Starts a server on a free loopback port.
    pub async fn start() -> Backend {
        Backend::start_with(None).await
    }

    /// Starts such a server that speaks TLS. Its certificate is one for 127.0.0.1 and `localhost`, of
    /// the authority in [`authority`].
    pub async fn start_tls() -> Backend {
        Backend::start_with(Some(acceptor())).await
    }

    async fn start_with(tls: Option<TlsAcceptor>) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            requests: AtomicUsize::new(0),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            held: Semaphore::new(0),
            content: Mutex::default(),
        });
        let (shared, is_tls) = (state.clone(), tls.is_some());
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let state = shared.clone();
                let service = service_fn(move |request| {
                    let under_way = UnderWay::begin(&state);
                    async move { answer(request, under_way).await }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                match tls.clone() {
                    None => {
                        drop(tokio::spawn(builder.serve_connection(TokioIo::new(socket), service)))
                    }
                    Some(tls) => drop(tokio::spawn(async move {
                        if let Ok(stream) = tls.accept(socket).await {
                            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                        }
                    })),
                }
            }
        });
        let scheme = if is_tls { "https" } else { "http" };
        Backend { address, scheme, state, task }
    }

    /// Returns its host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns one of its URLs.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Returns the number of requests so far.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Returns the number of open requests.
    pub fn at_once(&self) -> usize {
        self.state.now.load(Ordering::SeqCst)
    }

    /// Returns the largest number of requests that were open at a time.
    pub fn most_at_once(&self) -> usize {
        self.state.most.load(Ordering::SeqCst)
    }

    /// Changes the content of `/content`. Without it the answer has status 503.
    pub fn set_content(&self, content: Option<String>) {
        *self.state.content.lock().expect("no holder panics") = content;
    }

    /// Answers all requests of `/held`, waiting and later ones.
    pub fn release(&self) {
        self.state.held.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Waits until all requests have been answered or dropped.
    pub async fn all_have_ended(&self) {
        eventually("all requests to end", async || (self.at_once() == 0).then_some(())).await;
    }

    /// Stops listening. Returns the address.
    pub async fn stop(mut self) -> String {
        self.task.abort();
        // The socket is closed when the task has ended.
        let _ = (&mut self.task).await;
        self.host()
    }
}

/// Returns the file with the certificate of the authority that the tests' servers have theirs from.
pub fn authority() -> PathBuf {
    certificates().join("authority.pem")
}

/// Returns the folder with the tests' certificates.
pub fn certificates() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("certificates")
}

fn acceptor() -> TlsAcceptor {
    let read = |name: &str| std::fs::read(certificates().join(name)).expect(name);
    let certificate = CertificateDer::from_pem_slice(&read("server.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(&read("server.key")).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate], key).expect("they fit");
    TlsAcceptor::from(Arc::new(config))
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    under_way: UnderWay,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let number = |prefix: &str| path.strip_prefix(prefix)?.parse::<u64>().ok();
    if let Some(milliseconds) = number("/slow/") {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    if let Some(bytes) = number("/large/") {
        return Ok(Response::new(full(vec![b'x'; bytes as usize])));
    }
    if let Some(status) = number("/status/") {
        let response = Response::builder().status(status as u16).body(full("as asked"));
        return Ok(response.expect("a status"));
    }
    match &*path {
        "/never" => std::future::pending().await,
        "/held" => drop(under_way.0.held.acquire().await),
        "/content" => {
            let content = under_way.0.content.lock().expect("no holder panics").clone();
            let response = Response::builder().status(if content.is_some() { 200 } else { 503 });
            return Ok(response.body(full(content.unwrap_or_default())).expect("a response"));
        }
        "/redirect" => {
            let response = Response::builder().status(302).header("location", "/hello");
            return Ok(response.body(full("")).expect("a response"));
        }
        "/cut" => {
            let part = Ok(Frame::data(Bytes::from_static(b"part")));
            let parts = futures_util::stream::iter([part, Err(Cut)]);
            return Ok(Response::new(StreamBody::new(parts).boxed_unsync()));
        }
        "/trickle" => {
            // Each byte comes in time, but the body never ends.
            let parts = futures_util::stream::unfold(under_way, |under_way| async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Some((Ok(Frame::data(Bytes::from_static(b"x"))), under_way))
            });
            return Ok(Response::new(StreamBody::new(parts).boxed_unsync()));
        }
        _ => {}
    }
    let what = format!("{} {}", request.method(), request.uri());
    let header = |name: &str| {
        let value = request.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let kind = header("content-type").map_or(String::new(), |kind| format!(" of {kind}"));
    let echo = header("x-echo").map_or(String::new(), |echo| format!(", {echo}"));
    let bytes = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
    let response = Response::builder().header("content-type", "text/plain");
    let body = full(format!("{what}, {bytes} bytes{kind}{echo}"));
    Ok(response.body(body).expect("a response"))
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}
