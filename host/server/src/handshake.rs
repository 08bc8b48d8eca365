//! HTTP in front of the upgrade: the checks of a request, and a status with the reason if one
//! fails.
//!
//! hyper parses requests and answers malformed ones (400) and oversized heads (431) itself. The
//! checks here follow RFC 6455, 4.2.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use percent_encoding::percent_decode_str;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::connection::{self, Answer, Opening};
use crate::page;
use crate::pending::Seat;
use wharf_config::{AllowedOrigin, Config};
use wharf_contract::handshake::{
    self, MAX_REFUSAL_BYTES, MAX_REFUSAL_HEADERS, MAX_TARGET_BYTES, TurnedAway,
};
use wharf_contract::header::is_channel_header;
use wharf_contract::router::Match;
use wharf_contract::text::{cut, escape};
use wharf_hub::connection::{ConnectionRecord, Headers, Request as ClientRequest};
use wharf_hub::outbound::Outbound;
use wharf_hub::token::Token;
use wharf_runtime::channel::Channel;
use wharf_runtime::host_calls::LogBudget;
use wharf_runtime::ports::Unacceptable;
use wharf_runtime::registry::Registry;

/// A response of the host: always small and whole.
pub type Reply = Response<Full<Bytes>>;

/// A response that ends the handshake; boxed, because `?` carries it past the successful results.
type Refused = Box<Reply>;

/// Largest number of lines a second in the log about clients that are not served.
const MAX_LINES_PER_SECOND: u32 = 10;
/// Longest part of a stranger's text that the log repeats, in bytes.
const MAX_SHOWN_BYTES: usize = 200;

/// The parts that every handshake needs.
#[derive(Debug)]
pub struct Front {
    /// Configuration of the host.
    pub config: Arc<Config>,
    /// The channels.
    pub registry: Arc<Registry>,
    /// True if the host is shutting down.
    pub is_closing: AtomicBool,
    /// Permits, one for each connection, from its handshake with a channel to its end.
    pub permits: Arc<Semaphore>,
    /// Budget of the log lines about clients that are not served.
    log_budget: LogBudget,
}

impl Front {
    /// Makes the front of a host that is not shutting down.
    pub fn new(config: Arc<Config>, registry: Arc<Registry>) -> Front {
        let log_budget = LogBudget::of_host(MAX_LINES_PER_SECOND);
        let permits = Arc::new(Semaphore::new(config.max_connections));
        Front { config, registry, is_closing: AtomicBool::new(false), permits, log_budget }
    }

    /// Returns the number of connections, with those whose handshake is under way.
    pub fn connections(&self) -> usize {
        self.config.max_connections - self.permits.available_permits()
    }

    /// Tells the operator that there are as many connections as allowed.
    fn log_full(&self, remote: SocketAddr) {
        if self.log_budget.take() {
            let max_connections = self.config.max_connections;
            tracing::warn!(%remote, max_connections, "connection refused: max_connections are open");
        }
    }
}

/// A socket before its upgrade. It is counted all the time: it has a seat, and from its handshake
/// with a channel on a connection's permit.
#[derive(Debug)]
pub struct Visit {
    /// Address of the other side.
    pub remote: SocketAddr,
    /// Seat, unless the socket did not come from a listener.
    pub seat: Option<Seat>,
    /// The client's token, if it was checked before the handshake; `None` inside if it has none.
    pub checked: Option<Option<Token>>,
    permit: OnceLock<Permit>,
}

/// The right to one of the `max_connections`. The HTTP side of a socket keeps it until it has ended,
/// and the connection's task as long as the connection lives.
pub type Permit = Arc<OwnedSemaphorePermit>;

impl Visit {
    /// Makes the visit of a socket that a listener has accepted.
    pub fn accepted(remote: SocketAddr, seat: Seat) -> Visit {
        Visit { remote, seat: Some(seat), checked: None, permit: OnceLock::new() }
    }

    /// Makes the visit of a client whose token has been checked.
    pub fn checked(remote: SocketAddr, token: Option<Token>) -> Visit {
        Visit { remote, seat: None, checked: Some(token), permit: OnceLock::new() }
    }

    /// Takes a connection's permit in place of the seat. `None` if all are taken.
    fn admit(&self, front: &Front) -> Option<Permit> {
        let permit = Arc::new(front.permits.clone().try_acquire_owned().ok()?);
        // A socket whose handshake was refused gets no second one.
        self.permit.set(permit.clone()).ok()?;
        self.seat.iter().for_each(Seat::give_back);
        Some(permit)
    }
}

/// Answers a request. A client that gets a `101` has a connection task from then on.
pub async fn answer(front: Arc<Front>, visit: &Visit, request: Request<Incoming>) -> Reply {
    let mut reply = match handle(front, visit, request).await {
        Ok(reply) => reply,
        Err(refused) => *refused,
    };
    // A socket has one handshake with a channel, and a full host keeps no socket that it can spare.
    let is_over = visit.permit.get().is_some() || reply.status() == StatusCode::SERVICE_UNAVAILABLE;
    if is_over && reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

async fn handle(
    front: Arc<Front>,
    visit: &Visit,
    mut request: Request<Incoming>,
) -> Result<Reply, Refused> {
    let remote = visit.remote;
    let path = request.uri().path();
    if request.uri().path_and_query().map_or(0, |target| target.as_str().len()) > MAX_TARGET_BYTES {
        return Err(turned_away(&TurnedAway::TargetTooLong).into());
    }
    let wants_upgrade = has_token(request.headers(), &UPGRADE, "websocket");
    if !wants_upgrade && let Some(reply) = page::reply(&front.config, &request, || mounted(&front))
    {
        return Ok(reply);
    }
    let routes = front.registry.routes();
    let (channel, params) = match routes.at(path) {
        Match::Found { value, params } => (Arc::clone(value), params),
        Match::NotFound => {
            return Err(turned_away(&TurnedAway::NotFound).into());
        }
        Match::BadEncoding => {
            return Err(turned_away(&TurnedAway::BadEncoding).into());
        }
    };
    let accept = check_upgrade(&request)?;
    check_origin(&front, request.headers())?;
    if front.is_closing.load(Ordering::SeqCst) {
        return Err(turned_away(&TurnedAway::Stopping).into());
    }
    let token = check_token(&front, &channel, visit, &request)?;
    let Some(permit) = visit.admit(&front) else {
        front.log_full(remote);
        return Err(turned_away(&TurnedAway::Full).into());
    };
    let subprotocol = agree_on_subprotocol(&channel, request.headers());
    let headers = request.headers().iter();
    let headers: Vec<_> = headers.map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let client_request = ClientRequest {
        path: path.into(),
        query: request.uri().query().unwrap_or_default().into(),
        params: params.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
        headers: Headers::collect(&headers),
        remote,
        subprotocol: subprotocol.as_deref().map(Box::from),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let Config { outbound_queue_bytes, max_effects_per_event, .. } = *front.config;
    let outbound = Outbound::new(outbound_queue_bytes, max_effects_per_event);
    let (answer, answered) = oneshot::channel();
    let is_closing = Box::new({
        let front = front.clone();
        move || front.is_closing.load(Ordering::SeqCst)
    });
    // The connection has a task of its own: hyper drops this future if the client goes away, and a
    // guest call must not be dropped half-way.
    tokio::spawn(connection::run(Box::new(Opening {
        config: front.config.clone(),
        channel: channel.clone(),
        client: ConnectionRecord::new(client_request, outbound).with_token(token),
        upgrade,
        answer,
        permit,
        is_closing,
    })));
    // A client waits for this no longer than for the rest of its handshake. If the channel accepts
    // later, the connection has ended by then, and gets its `on-close`.
    let Ok(answered) = tokio::time::timeout(front.config.handshake_timeout, answered).await else {
        if channel.context.failure_budget.take() {
            tracing::warn!(
                channel = channel.name(),
                %remote,
                "on-connect has not answered within handshake_timeout_ms; 503 sent"
            );
        }
        return Err(turned_away(&TurnedAway::ChannelBusy).into());
    };
    match answered {
        Ok(Answer::Accept(headers)) => Ok(accepted(&accept, subprotocol, headers)),
        Ok(Answer::Refuse { status, headers, body }) => {
            Err(refused(&channel, status, headers, body).into())
        }
        Ok(Answer::Unavailable) => Err(turned_away(&TurnedAway::ChannelBusy).into()),
        Ok(Answer::Failed) | Err(_) => Err(turned_away(&TurnedAway::ChannelFailed).into()),
    }
}

/// Checks the headers that a client must send to get an upgrade. Returns the value that proves that
/// the host has understood it. Public so that it can be measured by itself.
///
/// # Errors
///
/// The response that names the missing part.
pub fn check_upgrade<B: Body>(request: &Request<B>) -> Result<String, Box<Reply>> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(turned_away(&TurnedAway::Method).into());
    }
    if !request.body().is_end_stream() {
        return Err(turned_away(&TurnedAway::Body).into());
    }
    if request.version() < Version::HTTP_11 {
        return Err(turned_away(&TurnedAway::HttpVersion).into());
    }
    if only(headers, &HOST).is_none() {
        return Err(turned_away(&TurnedAway::Host).into());
    }
    let upgrades = has_token(headers, &UPGRADE, "websocket");
    if !upgrades || !has_token(headers, &CONNECTION, "upgrade") {
        return Err(turned_away(&TurnedAway::NoUpgrade).into());
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return Err(turned_away(&TurnedAway::WebSocketVersion).into());
    }
    match only(headers, &SEC_WEBSOCKET_KEY) {
        Some(key) if is_key(key) => Ok(derive_accept_key(key)),
        _ => Err(turned_away(&TurnedAway::Key).into()),
    }
}

/// Returns true for 16 bytes in base64 (RFC 4648): 22 characters, of which the last carries 2 bits,
/// and padding.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key[..22].iter().all(is_base64) && &key[22..] == b"=="
}

/// Checks the origin of a page, which browsers send. A page of another origin could act in its
/// visitor's name. Other clients send no origin.
fn check_origin(front: &Front, headers: &HeaderMap) -> Result<(), Refused> {
    let config = &front.config;
    let forbidden = |why: TurnedAway| Err(turned_away(&why).into());
    if headers.get_all(ORIGIN).iter().count() > 1 {
        return forbidden(TurnedAway::SeveralOrigins);
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return match config.require_origin {
            true => forbidden(TurnedAway::OriginRequired),
            false => Ok(()),
        };
    };
    let Ok(origin) = origin.to_str() else {
        return forbidden(TurnedAway::OriginNotAscii);
    };
    if config.allowed_origins.iter().any(|allowed| allowed.matches(origin)) {
        return Ok(());
    }
    if origin == "null" {
        return match config.allow_null_origin {
            true => Ok(()),
            false => forbidden(TurnedAway::NullOrigin),
        };
    }
    let host = only(headers, &HOST).and_then(|host| std::str::from_utf8(host).ok());
    if host.is_some_and(|host| AllowedOrigin::is_same_host(origin, host)) {
        return Ok(());
    }
    if front.log_budget.take() {
        let origin = escape(cut(origin, MAX_SHOWN_BYTES));
        tracing::info!(origin, "origin refused; see allowed_origins");
    }
    forbidden(TurnedAway::Origin)
}

/// Checks the client's token, if the channel has token rules. `None` if it has no token and needs
/// none.
fn check_token<B>(
    front: &Front,
    channel: &Channel,
    visit: &Visit,
    request: &Request<B>,
) -> Result<Option<Token>, Refused> {
    if let Some(token) = &visit.checked {
        return Ok(token.clone());
    }
    let Some(verifier) = channel.context.token_verifier() else {
        return Ok(None);
    };
    let parameter = verifier.query_parameter();
    let found = bearer(request.headers()).map(Cow::Borrowed).or_else(|| {
        let query = request.uri().query().unwrap_or_default();
        query_value(query, parameter?)
    });
    let checked = match found {
        Some(token) => verifier.check(&token).map(Some),
        None if verifier.is_required() => Err(Unacceptable::Missing),
        None => Ok(None),
    };
    checked.map_err(|unacceptable| {
        if front.log_budget.take() {
            let (channel, why) = (channel.name(), &unacceptable);
            tracing::info!(channel, remote = %visit.remote, %why, "token refused");
        }
        let mut reply = turned_away(&match unacceptable {
            Unacceptable::Missing => TurnedAway::TokenRequired,
            Unacceptable::Expired => TurnedAway::TokenExpired,
            Unacceptable::Invalid(_) => TurnedAway::TokenInvalid,
        });
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        reply.into()
    })
}

/// Returns the token of a header `Authorization: Bearer …` (RFC 6750, 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let credentials = headers.get_all(AUTHORIZATION).iter().filter_map(|value| value.to_str().ok());
    let mut schemes = credentials.filter_map(|value| value.trim().split_once(' '));
    let (_, token) = schemes.find(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))?;
    Some(token.trim())
}

/// Returns the first value of a parameter in a query.
fn query_value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let decoded = |text: &'a str| percent_decode_str(text).decode_utf8().ok();
    let mut pairs = pairs.filter(|(key, _)| decoded(key).as_deref() == Some(name));
    decoded(pairs.next()?.1)
}

/// Returns the first of the channel's subprotocols that the client asks for.
fn agree_on_subprotocol(channel: &Channel, headers: &HeaderMap) -> Option<String> {
    let generation = channel.current();
    let offered = &generation.description.subprotocols;
    let asked = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let asked: Vec<&[u8]> = asked.map(HeaderValue::as_bytes).collect();
    handshake::agree_on_subprotocol(offered, &asked).cloned()
}

fn accepted(accept: &str, subprotocol: Option<String>, headers: Vec<(String, Vec<u8>)>) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    // They were checked when the guest set them.
    append(reply.headers_mut(), headers);
    let ours = reply.headers_mut();
    ours.insert(UPGRADE, HeaderValue::from_static("websocket"));
    ours.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    for (name, value) in
        [(SEC_WEBSOCKET_ACCEPT, Some(accept)), (SEC_WEBSOCKET_PROTOCOL, subprotocol.as_deref())]
    {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            ours.insert(name, value);
        }
    }
    reply
}

/// Returns the channels in service, as the page shows them.
fn mounted(front: &Front) -> Vec<page::Mounted> {
    let channels = front.registry.in_service().into_iter();
    let mounted = channels.map(|channel| {
        let current = channel.current();
        page::Mounted {
            name: channel.name().to_owned(),
            paths: current.description.paths.clone(),
            generation: current.number,
        }
    });
    mounted.collect()
}

/// Returns a channel's own response, without the parts that it may not send.
fn refused(
    channel: &Channel,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    mut body: Vec<u8>,
) -> Reply {
    body.truncate(MAX_REFUSAL_BYTES);
    let mut reply = Response::new(Full::from(body));
    *reply.status_mut() = match StatusCode::from_u16(status) {
        Ok(code) if handshake::is_refusal_status(status) => code,
        _ => {
            if channel.context.failure_budget.take() {
                let channel = channel.name();
                tracing::warn!(
                    channel,
                    status,
                    "a refusal needs a status from 300 to 599; 500 sent"
                );
            }
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    let (good, bad): (Vec<_>, Vec<_>) =
        headers.into_iter().partition(|(name, value)| is_channel_header(name, value));
    let dropped = bad.len() + good.len().saturating_sub(MAX_REFUSAL_HEADERS);
    if dropped > 0 && channel.context.failure_budget.take() {
        let channel_context = &channel.context;
        let (channel, first) = (channel.name(), bad.first().or(good.get(MAX_REFUSAL_HEADERS)));
        let header = first.map(|(name, _)| channel_context.shown(name, MAX_SHOWN_BYTES));
        tracing::warn!(
            channel,
            header,
            dropped,
            "headers of a refusal cannot be sent; it has at most {MAX_REFUSAL_HEADERS}"
        );
    }
    append(reply.headers_mut(), good.into_iter().take(MAX_REFUSAL_HEADERS));
    if !reply.headers().contains_key(CONTENT_TYPE) {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        reply.headers_mut().insert(CONTENT_TYPE, plain);
    }
    reply
}

fn append(to: &mut HeaderMap, headers: impl IntoIterator<Item = (String, Vec<u8>)>) {
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(&value))
        {
            to.append(name, value);
        }
    }
}

/// Returns a plain response with one line of text.
pub fn text(status: StatusCode, line: &str) -> Reply {
    let mut reply = Response::new(Full::from(format!("{line}\n")));
    *reply.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(CONTENT_TYPE, plain);
    reply
}

/// Returns the response to a client that is turned away, with the headers of its status.
pub fn turned_away(why: &TurnedAway) -> Reply {
    let status = StatusCode::from_u16(why.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = text(status, &why.to_string());
    let headers = reply.headers_mut();
    match status {
        // The client may come back in a moment.
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, HeaderValue::from_static("GET"));
        }
        StatusCode::UPGRADE_REQUIRED => {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        }
        _ => {}
    }
    reply
}

/// Returns the value of a header that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// Returns true if a list header names a token, in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::is_key;

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for bad in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=?", "c2hvcnQ="] {
            assert!(!is_key(bad.as_bytes()), "{bad}");
        }
    }
}
