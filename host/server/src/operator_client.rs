//! A client of the operator's API, for the commands of the program: by TCP, TLS or a Unix socket.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use wharf_config::{Config, Listen};
use wharf_runtime::ports::{HttpBody, HttpClient, NetworkClient, RequestOptions};

/// The beginning of an address that is the path of a socket.
const UNIX: &str = "unix:";

/// Largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// An address of the operator's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A URL without the path of a resource, and without a slash at its end.
    Url(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Place {
    /// Reads an address: `http://HOST:PORT`, `https://HOST` or `unix:PATH`.
    ///
    /// # Errors
    ///
    /// It is none of them.
    pub fn parse(text: &str) -> anyhow::Result<Place> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return Ok(Place::Unix(path.strip_prefix("//").unwrap_or(path).into()));
        }
        let url: Option<Uri> = text.parse().ok();
        let is_url = url.is_some_and(|url| {
            let is_http =
                url.scheme_str().is_some_and(|scheme| ["http", "https"].contains(&scheme));
            is_http && url.host().is_some_and(|host| !host.is_empty()) && url.query().is_none()
        });
        if !is_url {
            bail!(
                "{text:?} is no address of an operator's API: write http://HOST:PORT, https://HOST or unix:PATH"
            );
        }
        Ok(Place::Url(text.trim_end_matches('/').to_owned()))
    }

    /// Returns the address at which a host with this configuration has its API, as this machine reaches it.
    pub fn of(config: &Config) -> Place {
        config.operator_listen.first().map_or_else(|| Place::local(0), Place::at)
    }

    /// Returns the place of an address that a host listens on, as its own machine reaches it.
    pub fn at(listen: &Listen) -> Place {
        match listen {
            Listen::Unix(path) => Place::Unix(path.clone()),
            Listen::Address(address) if !address.ip().is_unspecified() => {
                Place::Url(format!("http://{address}"))
            }
            Listen::Address(address) => Place::local(address.port()),
            Listen::Localhost(port) => Place::local(*port),
        }
    }

    /// Returns false for a URL whose port can be none: a host has it for any free one.
    pub fn has_port(&self) -> bool {
        match self {
            Place::Url(url) => !url.parse::<Uri>().is_ok_and(|url| url.port_u16() == Some(0)),
            Place::Unix(_) => true,
        }
    }

    /// Returns true for a URL that has the path of a resource.
    pub fn has_path(&self) -> bool {
        match self {
            Place::Url(url) => url.parse::<Uri>().is_ok_and(|url| url.path().len() > 1),
            Place::Unix(_) => false,
        }
    }

    fn local(port: u16) -> Place {
        Place::Url(format!("http://127.0.0.1:{port}"))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Url(url) => f.write_str(url),
            Place::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// A taker of the parts of a stream, which says when it has enough.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> anyhow::Result<ControlFlow<()>>;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `GET`: a question.
    Get,
    /// `PUT`, with a file.
    Put,
    /// `POST`, without a body.
    Post,
    /// `DELETE`.
    Delete,
}

impl Verb {
    fn method(self) -> Method {
        match self {
            Verb::Get => Method::GET,
            Verb::Put => Method::PUT,
            Verb::Post => Method::POST,
            Verb::Delete => Method::DELETE,
        }
    }
}

/// An answer of the API.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, which is JSON.
    pub body: Bytes,
}

/// A client. Its `Debug` shows no token.
#[derive(Debug)]
pub struct OperatorClient {
    place: Place,
    /// The token as a header; none for what needs no token.
    authorization: Option<HeaderValue>,
    network: Arc<NetworkClient>,
}

impl OperatorClient {
    /// Makes a client. The configuration says which certificates and which proxy it uses.
    ///
    /// # Errors
    ///
    /// The token cannot be sent, or the file of certificates cannot be used.
    pub fn new(config: &Config, place: Place, token: &str) -> anyhow::Result<OperatorClient> {
        let authorization = HeaderValue::try_from(format!("Bearer {token}"));
        let mut authorization = authorization.map_err(|_| {
            anyhow::anyhow!("the operator's token has characters that no header can have")
        })?;
        authorization.set_sensitive(true);
        let authorization = Some(authorization);
        let network = Arc::new(NetworkClient::new(config)?);
        Ok(OperatorClient { place, authorization, network })
    }

    /// Makes a client for checks, which need no token.
    ///
    /// # Errors
    ///
    /// The file of certificates cannot be used.
    pub fn without_token(config: &Config, place: Place) -> anyhow::Result<OperatorClient> {
        let network = Arc::new(NetworkClient::new(config)?);
        Ok(OperatorClient { place, authorization: None, network })
    }

    /// Sends a request and returns the answer, whatever its status. `path` begins with a slash and may have a query.
    ///
    /// # Errors
    ///
    /// Nobody answers there, or not within `limit`.
    pub async fn send(
        &self,
        verb: Verb,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> anyhow::Result<Answer> {
        let place = &self.place;
        let exchange = self.exchange(verb.method(), path, body, None);
        let sent = tokio::time::timeout(limit, exchange).await;
        sent.with_context(|| format!("{place} has not answered within {} s", limit.as_secs()))?
            .with_context(|| match &self.authorization {
                Some(_) => format!("no operator's API answers at {place}"),
                None => format!("nothing answers at {place}"),
            })
    }

    /// Asks for a stream, and gives each of its parts to `sink` as it comes, until one of the two has ended. An answer with
    /// another status than 200 is returned whole.
    ///
    /// # Errors
    ///
    /// Nobody answers there, the connection is lost, or the error of `sink`.
    pub async fn follow(&self, path: &str, sink: Sink<'_>) -> anyhow::Result<Answer> {
        let place = &self.place;
        let followed = self.exchange(Method::GET, path, Bytes::new(), Some(sink)).await;
        followed.with_context(|| format!("the operator's API at {place}"))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        sink: Option<Sink<'_>>,
    ) -> anyhow::Result<Answer> {
        let (target, host) = match &self.place {
            Place::Url(url) => {
                let target: Uri = format!("{url}{path}").parse().context("the path")?;
                let host = target.authority().map_or("", |authority| authority.as_str()).to_owned();
                (target, host)
            }
            Place::Unix(_) => (path.parse().context("the path")?, "localhost".to_owned()),
        };
        let has_body = !body.is_empty();
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, host)
            .header(USER_AGENT, concat!("wharf/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if has_body {
            request = request.header(CONTENT_TYPE, "application/wasm");
        }
        let body: HttpBody = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        let request = request.body(body)?;
        match &self.place {
            Place::Url(_) => self.by_network(request, sink).await,
            Place::Unix(path) => by_socket(path, request, sink).await,
        }
    }

    async fn by_network(
        &self,
        request: Request<HttpBody>,
        sink: Option<Sink<'_>>,
    ) -> anyhow::Result<Answer> {
        let options = RequestOptions {
            connect_timeout: Some(CONNECT),
            first_byte_timeout: None,
            between_bytes_timeout: None,
        };
        let lookups = Arc::new(Semaphore::new(1));
        let sending = Box::into_pin(self.network.clone().send(request, options, lookups));
        let (response, io) = sending.await.map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut reading = std::pin::pin!(read(response.into_parts(), sink));
        // The body comes as long as the connection is polled.
        tokio::select! {
            answer = &mut reading => answer,
            _ = Box::into_pin(io) => reading.await,
        }
    }
}

async fn by_socket(
    path: &Path,
    request: Request<HttpBody>,
    sink: Option<Sink<'_>>,
) -> anyhow::Result<Answer> {
    let stream = UnixStream::connect(path).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = std::pin::pin!(connection);
    let answering = async {
        let response = sender.send_request(request).await?;
        read(response.into_parts(), sink).await
    };
    let mut answering = std::pin::pin!(answering);
    tokio::select! {
        answer = &mut answering => answer,
        ended = &mut connection => {
            ended?;
            answering.await
        }
    }
}

async fn read<B>(
    (head, body): (hyper::http::response::Parts, B),
    sink: Option<Sink<'_>>,
) -> anyhow::Result<Answer>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Some(sink) = sink.filter(|_| head.status == StatusCode::OK) {
        let mut body = std::pin::pin!(body);
        while let Some(part) = body.as_mut().frame().await {
            let part =
                part.map_err(|error| anyhow::anyhow!("the stream has broken: {}", error.into()))?;
            if let Some(part) = part.data_ref()
                && sink(part)?.is_break()
            {
                break;
            }
        }
        return Ok(Answer { status: head.status.as_u16(), body: Bytes::new() });
    }
    let read = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    let body = read.map_err(|error| anyhow::anyhow!("the answer cannot be read: {error}"))?;
    Ok(Answer { status: head.status.as_u16(), body: body.to_bytes() })
}

/// Returns a text as a part of a path or a query.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_url_without_a_query_or_the_path_of_a_socket() {
        let url = |text: &str| Place::Url(text.to_owned());
        for (text, place) in [
            ("http://127.0.0.1:4001", url("http://127.0.0.1:4001")),
            ("https://ops.example/wharf/", url("https://ops.example/wharf")),
            ("http://[::1]:4001/", url("http://[::1]:4001")),
            ("unix:/run/wharf.sock", Place::Unix("/run/wharf.sock".into())),
            ("unix:///run/wharf.sock", Place::Unix("/run/wharf.sock".into())),
        ] {
            assert_eq!(Place::parse(text).expect("an address"), place, "{text}");
        }
        for text in ["", "127.0.0.1:4001", "ws://host", "http://", "http://host/?a=b"] {
            let wrong = Place::parse(text).expect_err(text).to_string();
            assert!(wrong.contains("write http://HOST:PORT"), "{wrong}");
        }
    }

    #[test]
    fn the_address_of_a_configuration_is_one_that_this_machine_reaches() {
        let of = |listen: Listen| {
            let operator_listen = vec![listen];
            Place::of(&Config { operator_listen, ..Config::default() }).to_string()
        };
        assert_eq!(of(Listen::Localhost(4001)), "http://127.0.0.1:4001");
        let any = Listen::Address(([0, 0, 0, 0], 9000).into());
        assert_eq!(of(any), "http://127.0.0.1:9000");
        let one = Listen::Address(([192, 0, 2, 1], 9000).into());
        assert_eq!(of(one), "http://192.0.2.1:9000");
        assert_eq!(of(Listen::Unix("/run/w".into())), "unix:/run/w");
    }

    #[test]
    fn no_token_is_shown() {
        let place = Place::local(1);
        let client =
            OperatorClient::new(&Config::default(), place, "secret-token").expect("a client");
        assert!(!format!("{client:?}").contains("secret-token"));
        let bad = OperatorClient::new(&Config::default(), Place::local(1), "two\nlines");
        assert!(!format!("{:#}", bad.expect_err("no header")).contains("two"));
    }
}
