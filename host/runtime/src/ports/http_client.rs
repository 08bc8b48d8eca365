//! The client that sends the requests of guests to other servers.
//!
//! A request has been admitted before: the operator granted the host, and the channel may have one
//! more request. Its timeouts are within those of its event. When the event is over, the futures
//! are dropped.

mod connector;
mod proxy;
mod resolver;
mod response_body;
mod tls;

use std::fmt::{self, Debug};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::PROXY_AUTHORIZATION;
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{Request, Response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use wasmtime_wasi_http::{Error, WasiBody};
use wharf_config::Config;
use wharf_contract::CallRefusal;

use proxy::{Proxies, Proxy};
use resolver::Resolver;

pub use resolver::MAX_LOOKUPS_PER_CHANNEL;

pub use wasmtime_wasi_http::RequestOptions;

/// The body of a request or a response, as it comes.
pub type HttpBody = WasiBody;

/// The reason why there is no response, or not all of it. See [`http_error`].
pub type HttpError = Error;

/// A future that reads a response to its end. It must be polled for as long as the body is read.
pub type HttpIo = Box<dyn Future<Output = Result<(), HttpError>> + Send>;

/// A request under way.
pub type Sending = Box<dyn Future<Output = Result<(Response<HttpBody>, HttpIo), HttpError>> + Send>;

/// A client that sends requests.
pub trait HttpClient: Debug + Send + Sync {
    /// Begins a request. `lookups` has the permits of the channel for looking up names.
    fn send(
        self: Arc<Self>,
        request: Request<HttpBody>,
        options: RequestOptions,
        lookups: Arc<Semaphore>,
    ) -> Sending;
}

/// Returns an error in the form that the SDK reads: a code and a sentence, in the one error of
/// `wasi:http` that has a text.
pub fn http_error(code: &str, detail: &str) -> HttpError {
    Error::InternalError(Some(format!("{code}: {detail}")))
}

/// Returns a refusal of the host in the form that the SDK reads.
pub fn http_refused(refusal: &CallRefusal) -> HttpError {
    http_error(refusal.code(), &refusal.to_string())
}

/// Longest wait of a request without a timeout of its own. An event sets shorter ones.
const NO_TIMEOUT: Duration = Duration::from_secs(600);

/// The client for the network.
#[derive(Clone)]
pub struct NetworkClient {
    resolver: Resolver,
    tls: TlsConnector,
    proxies: Option<Arc<Proxies>>,
}

impl Debug for NetworkClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkClient").field("resolver", &self.resolver).finish_non_exhaustive()
    }
}

impl HttpClient for NetworkClient {
    fn send(
        self: Arc<Self>,
        request: Request<HttpBody>,
        options: RequestOptions,
        lookups: Arc<Semaphore>,
    ) -> Sending {
        Box::new(async move { self.exchange(request, options, &lookups).await })
    }
}

/// A stream to a server, plain or encrypted.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The server of a request.
struct Target {
    /// Name or address, without brackets.
    host: String,
    port: u16,
    is_https: bool,
}

/// Returns the host of an address without the brackets of IPv6.
pub(crate) fn without_brackets(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

impl Target {
    fn of(uri: &Uri) -> Result<Target, HttpError> {
        let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let host = without_brackets(host).to_owned();
        Ok(Target { host, port, is_https })
    }

    /// Returns host and port, as a tunnel is asked for.
    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl NetworkClient {
    /// Makes the client of a host.
    ///
    /// # Errors
    ///
    /// The file of `http_extra_roots` cannot be used.
    pub fn new(config: &Config) -> anyhow::Result<NetworkClient> {
        let proxies = config.http_proxy_from_environment.then(Proxies::from_environment);
        Ok(NetworkClient {
            resolver: Resolver::system(),
            tls: tls::connector(config.http_extra_roots.as_deref())?,
            proxies: proxies.map(Arc::new),
        })
    }

    async fn exchange(
        &self,
        mut request: Request<HttpBody>,
        options: RequestOptions,
        lookups: &Arc<Semaphore>,
    ) -> Result<(Response<HttpBody>, HttpIo), HttpError> {
        let target = Target::of(request.uri())?;
        let proxies = self.proxies.as_deref();
        let proxy = proxies.map(|proxies| proxies.of_request(request.uri())).transpose();
        let proxy = proxy.map_err(Error::Connect)?.flatten();
        let connecting = async {
            let stream = self.connect(&target, proxy.as_ref(), lookups).await?;
            Ok::<_, HttpError>(http1::handshake(TokioIo::new(stream)).await?)
        };
        let limit = options.connect_timeout.unwrap_or(NO_TIMEOUT);
        let connected = timeout(limit, connecting).await;
        let (mut sender, connection) = connected.map_err(|_| Error::ConnectionTimeout)??;
        match proxy.filter(|_| !target.is_https) {
            // A proxy is told the whole address.
            Some(proxy) => {
                let headers = request.headers_mut();
                proxy.authorization.map(|value| headers.insert(PROXY_AUTHORIZATION, value));
            }
            None => {
                let path = request.uri().path_and_query().cloned();
                *request.uri_mut() = path.unwrap_or(PathAndQuery::from_static("/")).into();
            }
        }

        // The connection is driven here, and by the caller afterwards.
        let mut connection = Box::pin(connection);
        let mut has_ended = false;
        let response = {
            let limit = options.first_byte_timeout.unwrap_or(NO_TIMEOUT);
            let mut response = pin!(timeout(limit, sender.send_request(request)));
            loop {
                tokio::select! {
                    biased;
                    response = &mut response => break response,
                    ended = &mut connection, if !has_ended => {
                        ended?;
                        has_ended = true;
                    }
                }
            }
        };
        let response = response.map_err(|_| Error::ConnectionReadTimeout)??;
        let pause = options.between_bytes_timeout.unwrap_or(NO_TIMEOUT);
        let response = response.map(|incoming| response_body::timed(incoming, pause));
        let io: HttpIo = Box::new(async move {
            match has_ended {
                true => Ok(()),
                false => Ok(connection.await?),
            }
        });
        Ok((response, io))
    }

    /// Connects to a server, or to the proxy on the way to it.
    async fn connect(
        &self,
        target: &Target,
        proxy: Option<&Proxy>,
        lookups: &Arc<Semaphore>,
    ) -> Result<Box<dyn Stream>, HttpError> {
        let (host, port) = match proxy {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (&target.host, target.port),
        };
        let mut stream = self.reach(host, port, lookups).await.map_err(Error::Connect)?;
        if !target.is_https {
            return Ok(Box::new(stream));
        }
        if let Some(proxy) = proxy {
            proxy.tunnel(&mut stream, &target.authority()).await.map_err(Error::Connect)?;
        }
        let name = ServerName::try_from(target.host.clone())?;
        let stream = self.tls.connect(name, stream).await.map_err(Error::Tls)?;
        Ok(Box::new(stream))
    }

    async fn reach(
        &self,
        host: &str,
        port: u16,
        lookups: &Arc<Semaphore>,
    ) -> io::Result<TcpStream> {
        let addresses = self.resolver.addresses(host, port, lookups).await?;
        connector::connect(addresses).await
    }
}
