//! HTTP in front of the upgrade: the checks of a request, and a status with the reason if one
//! fails.
//!
//! hyper parses requests and answers malformed ones (400) and oversized heads (431) itself. The
//! checks here follow RFC 6455, 4.2.

pub(crate) mod forwarded;
#[cfg(test)]
mod fuzz;

mod lines;
pub(crate) mod origin;
mod results;
mod subprotocol;
mod token;
mod upgrade;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::sync::oneshot;

use crate::admission::{Admissions, Permit};
use crate::connection::{self, HandshakeAnswer, Opening, heartbeat, positions};
use crate::demo::{self, Demo};
use crate::health;
use crate::page;
use crate::pending::Seat;
use crate::reply::{self, MAX_SHOWN_BYTES, Reply, turned_away};
use crate::tally::Tally;
use wharf_config::Config;
use wharf_contract::handshake::{MAX_TARGET_BYTES, TurnedAway};
use wharf_contract::router::Match;
use wharf_contract::text::{cut, escape};
use wharf_hub::client_bytes;
use wharf_hub::connection::{ConnectionRecord, RequestHeaders, UpgradeRequest};
use wharf_hub::outbound::{EventBounds, Outbound};
use wharf_hub::remote::Remote;
use wharf_hub::token::Token;
use wharf_metrics::limits::Limit;
use wharf_runtime::channel::Channel;
use wharf_runtime::registry::Registry;

use lines::RefusalLines;
pub(crate) use results::HandshakeResults;
use subprotocol::{Agreed, Subprotocols};
use token::BroughtToken;
pub use upgrade::check_upgrade;
pub(crate) use upgrade::is_wanted as is_upgrade_wanted;

/// The end of a request that is not upgraded.
enum Ended {
    /// The host turns the client away.
    TurnedAway(TurnedAway),
    /// Like `TurnedAway`, and the log has a line about it already.
    Logged(TurnedAway),
    /// The channel has refused the client. Boxed, because `?` carries it past the successful results.
    Refused(Box<Reply>),
}

impl From<TurnedAway> for Ended {
    fn from(why: TurnedAway) -> Ended {
        Ended::TurnedAway(why)
    }
}

/// The parts that every handshake needs.
#[derive(Debug)]
pub struct Front {
    /// Configuration of the host.
    pub config: Arc<Config>,
    /// The channels.
    pub registry: Arc<Registry>,
    /// True if the host was asked to stop, and serves on for `shutdown_delay_ms`.
    pub is_leaving: AtomicBool,
    /// True if the host is shutting down.
    pub is_closing: AtomicBool,
    /// The numbers of connections that clients may have.
    pub admissions: Admissions,
    /// Prepared versions that visitors of the page may swap.
    demo: Option<Arc<Demo>>,
    /// Results of handshakes so far.
    pub(crate) results: HandshakeResults,
    /// Budgets of the log lines about clients that are not served, or are cut.
    lines: RefusalLines,
    /// Sockets that have sent no request.
    silent: Tally,
}

impl Front {
    /// Makes the front of a host that is not shutting down.
    pub fn new(config: Arc<Config>, registry: Arc<Registry>) -> Front {
        let lines = RefusalLines::new();
        client_bytes::set_limit(config.max_client_bytes);
        let admissions =
            Admissions::new(config.max_connections, config.max_connections_per_address);
        let (is_leaving, is_closing) = (AtomicBool::new(false), AtomicBool::new(false));
        Front {
            config,
            registry,
            is_leaving,
            is_closing,
            admissions,
            demo: None,
            results: HandshakeResults::default(),
            lines,
            silent: Tally::default(),
        }
    }

    /// Returns the front with prepared versions that visitors of the page may swap.
    pub(crate) fn with_demo(self, demo: Option<Arc<Demo>>) -> Front {
        Front { demo, ..self }
    }

    /// Returns the number of connections, with those whose handshake is under way.
    pub fn connections(&self) -> usize {
        self.config.max_connections - self.admissions.permits.available_permits()
    }

    /// Logs the end of a socket whose request could not be read, or whose client went away. hyper has
    /// answered the former.
    pub(crate) fn log_unreadable(&self, remote: Remote, error: &hyper::Error) {
        if error.is_parse_too_large() {
            Limit::MaxHeaderBytes.reached();
            if self.lines.requests.take() {
                let max_header_bytes = self.config.max_header_bytes;
                tracing::info!(%remote, max_header_bytes, "request refused: its head is too large");
            }
        } else if error.is_parse() {
            if self.lines.requests.take() {
                let error = error.to_string();
                tracing::info!(%remote, error, "request refused: it is not HTTP/1.1");
            }
        } else {
            tracing::debug!(%remote, error = error.to_string(), "an HTTP connection ended badly");
        }
    }

    /// Logs the end of a socket that has sent no request.
    pub(crate) fn log_silent(&self) {
        Limit::HandshakeTimeout.reached();
        if let Some(sockets) = self.silent.take() {
            let handshake_timeout_ms = self.config.handshake_timeout.as_millis() as u64;
            tracing::info!(
                sockets,
                handshake_timeout_ms,
                "sockets closed that have sent no whole request in time"
            );
        }
    }

    /// Tells the operator that there are as many connections as allowed.
    fn log_full(&self, remote: Remote, channel: &Channel, why: &TurnedAway) {
        if !self.lines.about(why).take() {
            return;
        }
        let (config, own, channel) = (&self.config, &channel.context.own, channel.name());
        match why {
            TurnedAway::AddressFull => tracing::info!(
                %remote,
                channel,
                max_connections_per_address = config.max_connections_per_address,
                "connection refused: its address has max_connections_per_address"
            ),
            TurnedAway::ChannelFull => tracing::warn!(
                %remote,
                channel,
                max_connections_per_channel = own.max_connections(config),
                "connection refused: the channel has max_connections_per_channel"
            ),
            _ => tracing::warn!(
                %remote,
                max_connections = config.max_connections,
                "connection refused: max_connections are open"
            ),
        }
    }
}

/// A socket before its upgrade. It is counted all the time: it has a seat, and from its handshake
/// with a channel on a connection's permit.
#[derive(Debug)]
pub struct Visit {
    /// Address of the other side.
    pub remote: Remote,
    /// True if no header of a request is believed about that address.
    is_told: bool,
    /// Seat, unless the socket did not come from a listener.
    pub seat: Option<Seat>,
    /// The client's token, if it was checked before the handshake; `None` inside if it has none.
    pub checked: Option<Option<Token>>,
    permit: OnceLock<Permit>,
}

impl Visit {
    /// Makes the visit of a socket that a listener has accepted.
    pub fn accepted(remote: Remote, seat: Seat) -> Visit {
        Visit { remote, is_told: false, seat: Some(seat), checked: None, permit: OnceLock::new() }
    }

    /// Notes if a proxy has told the address before the request.
    pub(crate) fn told(self, is_told: bool) -> Visit {
        Visit { is_told, ..self }
    }

    /// Makes the visit of a client whose token has been checked.
    pub fn checked(remote: Remote, token: Option<Token>) -> Visit {
        Visit { remote, is_told: false, seat: None, checked: Some(token), permit: OnceLock::new() }
    }

    /// Takes a connection's permit in place of the seat.
    ///
    /// # Errors
    ///
    /// There are as many connections as there may be, of one kind or another.
    fn admit(
        &self,
        front: &Front,
        channel: &Channel,
        remote: Remote,
    ) -> Result<Permit, TurnedAway> {
        let of_channel = channel.context.connections.as_ref();
        let permit = Arc::new(front.admissions.admit(of_channel, remote.ip())?);
        // A socket whose handshake was refused gets no second one.
        self.permit.set(permit.clone()).map_err(|_| TurnedAway::Full)?;
        self.seat.iter().for_each(Seat::give_back);
        Ok(permit)
    }
}

/// Answers a request. A client that gets a `101` has a connection task from then on.
pub async fn answer(front: Arc<Front>, visit: &Visit, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    let (config, headers) = (&front.config, request.headers());
    let remote = match visit.is_told {
        true => visit.remote,
        false => forwarded::client(
            &config.trusted_proxies,
            config.forwarded_header,
            visit.remote,
            headers,
        ),
    };
    let mut reply = match handle(front.clone(), visit, remote, request).await {
        Ok(reply) => {
            if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
                front.results.accepted.count();
            }
            reply
        }
        Err(Ended::Refused(reply)) => {
            front.results.refused.count();
            *reply
        }
        Err(Ended::Logged(why)) => {
            front.results.turned_away(&why);
            turned_away(&why)
        }
        Err(Ended::TurnedAway(why)) => {
            front.results.turned_away(&why);
            if front.lines.about(&why).take() {
                let (status, path) = (why.status(), escape(cut(&path, MAX_SHOWN_BYTES)));
                let why = why.to_string();
                tracing::info!(%remote, status, path, why, "client turned away");
            }
            turned_away(&why)
        }
    };
    // A socket has one handshake with a channel, and a full host keeps no socket that it can spare.
    let is_full =
        matches!(reply.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
    let is_over = visit.permit.get().is_some() || is_full;
    if is_over && reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

async fn handle(
    front: Arc<Front>,
    visit: &Visit,
    remote: Remote,
    mut request: Request<Incoming>,
) -> Result<Reply, Ended> {
    let path = request.uri().path();
    if request.uri().path_and_query().map_or(0, |target| target.as_str().len()) > MAX_TARGET_BYTES {
        return Err(TurnedAway::TargetTooLong.into());
    }
    let host = origin::host(&request);
    if let Some(reply) = health::reply(&front, &request) {
        return Ok(reply);
    }
    if let Some(demo) = &front.demo
        && request.method() == Method::POST
        && path.starts_with(demo::VERSIONS)
    {
        if !origin::is_own_page(&front.config, host, request.headers()) {
            return Err(TurnedAway::Origin.into());
        }
        if !request.body().is_end_stream() {
            return Err(TurnedAway::Body.into());
        }
        return Ok(page::swapped(demo.swap(path).await));
    }
    if !upgrade::is_wanted(request.headers())
        && let Some(reply) =
            page::reply(&front.config, &request, front.demo.as_deref(), || mounted(&front))
    {
        let is_known = origin::is_own(&front.config, host);
        return if is_known { Ok(reply) } else { Err(TurnedAway::UnknownHost.into()) };
    }
    let routes = front.registry.routes();
    let found = routes.at(path);
    if matches!(found, Match::NotFound)
        && let Some(reply) = health::root_reply(&front, &request)
    {
        return Ok(reply);
    }
    let (channel, params) = match found {
        Match::Found { value, params } => (Arc::clone(value), params),
        // One of the plugins that are not loaded yet may have this path.
        Match::NotFound if front.registry.is_starting() => return Err(TurnedAway::Starting.into()),
        Match::NotFound => return Err(TurnedAway::NotFound.into()),
        Match::BadEncoding => return Err(TurnedAway::BadEncoding.into()),
    };
    let accept = check_upgrade(&request)?;
    origin::check(&front.config, host, request.headers()).map_err(|why| {
        if front.lines.about(&why).take() {
            origin::log_refused(remote, host, request.headers(), &why);
        }
        Ended::Logged(why)
    })?;
    if front.is_closing.load(Ordering::SeqCst) {
        return Err(TurnedAway::Stopping.into());
    }
    let rules = channel.context.token_verifier();
    let word = rules.as_ref().and_then(|rules| rules.subprotocol());
    let subprotocols = Subprotocols::read(request.headers(), word);
    let token = match &visit.checked {
        Some(token) => token.clone(),
        None => {
            let brought = BroughtToken::find(rules.clone(), &request, &subprotocols);
            brought.check().await.map_err(|unacceptable| {
                if front.lines.tokens.take() {
                    let (channel, why) = (channel.name(), unacceptable.to_string());
                    tracing::info!(channel, %remote, why, "token refused");
                }
                Ended::Logged(token::turned_away(&unacceptable))
            })?
        }
    };
    let agreed = agree_on_subprotocol(&front, &channel, remote, &subprotocols)?;
    let permit = visit.admit(&front, &channel, remote).map_err(|why| {
        front.log_full(remote, &channel, &why);
        Ended::Logged(why)
    })?;
    let headers = request.headers().iter();
    let headers: Vec<_> = headers.map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let (query, heartbeats) = heartbeat::take_parameter(request.uri().query().unwrap_or_default());
    let (query, asked) = positions::take_parameter(query);
    let asked = asked.filter(|_| channel.context.hub.keeps_history());
    let client_request = UpgradeRequest {
        path: path.into(),
        query: query.into(),
        params: params.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
        headers: RequestHeaders::collect(&headers),
        remote,
        subprotocol: agreed.of_channel.map(String::into_boxed_str),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let event = EventBounds {
        frames: front.config.max_effects_per_event,
        bytes: front.config.max_effect_bytes_per_event,
    };
    let outbound = Outbound::new(front.config.outbound_queue_bytes, event);
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
        client: ConnectionRecord::new(client_request, outbound)
            .with_token(token)
            .with_positions(asked),
        upgrade,
        answer,
        permit,
        is_closing,
        log_lines: front.lines.endings.clone(),
        heartbeats,
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
        return Err(Ended::Logged(TurnedAway::ChannelBusy));
    };
    match answered {
        Ok(HandshakeAnswer::Accept(headers)) => {
            Ok(reply::accepted(&accept, agreed.in_answer, headers))
        }
        Ok(HandshakeAnswer::Refuse { status, headers, body }) => {
            Err(Ended::Refused(Box::new(reply::refused(&channel, status, headers, body))))
        }
        // The runtime has logged why.
        Ok(HandshakeAnswer::Unavailable) => Err(Ended::Logged(TurnedAway::ChannelBusy)),
        Ok(HandshakeAnswer::Failed) | Err(_) => Err(Ended::Logged(TurnedAway::ChannelFailed)),
    }
}

/// Returns the first of the channel's subprotocols that the client asks for. A client that asks for
/// others only is served without one, and mostly ends the connection itself (RFC 6455, 4.1).
///
/// # Errors
///
/// The client asks for others only, and the operator wants such clients turned away.
fn agree_on_subprotocol(
    front: &Front,
    channel: &Channel,
    remote: Remote,
    asked: &Subprotocols<'_>,
) -> Result<Agreed, Ended> {
    let generation = channel.current();
    let offered = &generation.description.subprotocols;
    let agreed = asked.agree(offered);
    if agreed.of_channel.is_some() || asked.is_empty() {
        return Ok(agreed);
    }
    if front.lines.subprotocols.take() {
        let (channel, asked, offered) = (channel.name(), asked.shown(), offered.join(", "));
        tracing::info!(
            channel,
            %remote,
            asked,
            offered,
            "the client asks for no subprotocol of the channel's"
        );
    }
    match front.config.require_subprotocol {
        true => Err(Ended::Logged(TurnedAway::Subprotocol)),
        false => Ok(agreed),
    }
}

/// Returns the channels in service, as the page shows them.
fn mounted(front: &Front) -> Vec<page::MountedChannel> {
    let channels = front.registry.in_service().into_iter();
    let mounted = channels.map(|channel| {
        let current = channel.current();
        page::MountedChannel {
            name: channel.name().to_owned(),
            paths: current.description.paths.clone(),
            generation: current.number,
        }
    });
    mounted.collect()
}
