//! The operator's API: HTTP with JSON on an address of its own, behind a token.
//! `docs/operator-api.md` describes it.
//!
//! The token stands for the operator, so no further permission is asked. A request is bounded and
//! checked like the effects of plugins, and takes the same ways: through the hub to outbounds, into
//! inboxes, to a guest as an event of its own.

mod access;
mod action_line;
pub(crate) mod audit;
mod commands;
mod events;
mod everywhere;
mod fields;
mod here;
mod kept;
mod live;
mod loads;
mod logs;
mod machine;
mod merge;
mod nodes;
mod plugins;
mod problem;
mod queries;
mod route;
mod shown;
mod slow;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{Semaphore, watch};

use crate::dashboard;
use crate::deploys::Deploys;
use crate::handshake::{Front, origin};
use crate::health;
use crate::http::{self, HttpLimits, SocketDeadline};
use crate::listener::entrance::{Admitted, Entrance};
use crate::listener::{Listener, listed};
use crate::log_tail::LogTail;
use crate::metrics::Metrics;
use crate::pending::{Pending, Seat};
use crate::tls::{Tls, TlsFiles};
use wharf_config::{Config, Secret};
use wharf_contract::text::{cut, escape};
use wharf_hub::remote::Remote;
use wharf_metrics::text::Format;
use wharf_runtime::channel::Channel;
use wharf_runtime::log_budget::LogBudget;
use wharf_runtime::ports::LoadObserver;
use wharf_runtime::registry::Registry;

use access::digest;
use action_line::ActionLine;
use audit::{Act, Audit};
use events::{OperatorBody, Streams};
use everywhere::Question;
pub(crate) use here::responder;
use live::LastFigures;
use loads::LoadHistory;
use logs::Wanted;
use problem::{OperatorAnswer, Problem, bad, json};
use route::{Command, Plugin, Query, Resource, Route};

/// Largest number of connections at a time; see `Pending`.
pub const MAX_CONNECTIONS: usize = 256;

/// Path of a scrape, whose answer is no JSON.
const METRICS: &str = "/metrics";

/// The name of its clients in the log.
const CLIENTS: &str = "operator";

/// Time that a connection keeps its seat between two requests while newer ones wait.
const PATIENCE: Duration = Duration::from_millis(250);

/// Largest number of lines a second in the log about requests without the token.
const MAX_LINES_PER_SECOND: u32 = 10;

/// Longest part of a path that the log repeats, in bytes.
const MAX_SHOWN_BYTES: usize = 200;

/// Shortest token without a warning, in bytes: a shorter one can be guessed.
const MIN_GOOD_TOKEN_BYTES: usize = 16;

/// Asks a channel's code, as a request to the API would. Returns status and body of the answer.
pub async fn ask(channel: Arc<Channel>, message: Bytes) -> (StatusCode, Bytes) {
    let asked = commands::begin(channel, Command::Messages, message, false);
    match commands::to_its_end(asked).await {
        Ok(answer) => answer,
        Err(problem) => problem.into_parts(),
    }
}

/// The API, bound to its address and not serving yet.
#[derive(Debug)]
pub struct Operator {
    listener: Listener,
    entrance: Arc<Entrance>,
    is_encrypted: bool,
    token: Secret,
}

/// The things that the host has seen of itself, for the operator.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The last outcomes of loads.
    pub(crate) loads: Arc<LoadHistory>,
    /// The last lines of the log.
    log: Arc<LogTail>,
}

impl Seen {
    /// Makes a history of loads, which passes them on, beside the lines of the log.
    pub(crate) fn new(loads: Arc<dyn LoadObserver>, log: Option<Arc<LogTail>>) -> Seen {
        Seen { loads: Arc::new(LoadHistory::new(loads)), log: log.unwrap_or_default() }
    }
}

/// Binds the API to its address, if there is a token.
///
/// # Errors
///
/// The address is taken, or not this machine's.
pub fn bind(config: &Config) -> anyhow::Result<Option<Operator>> {
    let Some(token) = config.operator_token.clone() else {
        return Ok(None);
    };
    let wanted = &config.operator_listen;
    let listener = Listener::bind(wanted, CLIENTS).with_context(|| {
        format!(
            "no address for the operator's API ({}); choose another with --operator-listen, or take \
             the token away",
            listed(wanted)
        )
    })?;
    let tls = Tls::open(TlsFiles::of_operator(config))?;
    let is_encrypted = tls.is_some();
    let entrance = Arc::new(Entrance::of_operator(config, tls));
    Ok(Some(Operator { listener, entrance, is_encrypted, token }))
}

/// Logs whether there is an API, and its address.
pub fn announce(operator: Option<&Operator>) {
    let Some(Operator { listener, is_encrypted, token, .. }) = operator else {
        tracing::info!(
            "the operator's API is off; set operator_token (WHARF_OPERATOR_TOKEN) to turn it on"
        );
        return;
    };
    let address = listener.addresses();
    if !listener.is_local() && !is_encrypted {
        tracing::warn!(
            %address,
            "the operator's API can be reached from other machines, and is not encrypted: set \
             operator_tls, or choose a loopback address as operator_listen"
        );
    }
    if token.expose().len() < MIN_GOOD_TOKEN_BYTES {
        tracing::warn!(
            "operator_token is short and can be guessed; `openssl rand -hex 32` makes a good one"
        );
    }
    tracing::info!(%address, "listening for the operator");
}

impl Operator {
    /// Serves until `closing` completes, and then until the requests under way are answered. Other requests than
    /// checks wait for `started`.
    pub(crate) async fn serve(
        self: Arc<Self>,
        front: Arc<Front>,
        deploys: Arc<Deploys>,
        audit: Arc<Audit>,
        seen: Seen,
        started: watch::Receiver<bool>,
        mut closing: watch::Receiver<()>,
    ) {
        let metrics = Metrics::new(front.clone(), deploys.clone());
        let metrics_token = front.config.metrics_token.as_ref();
        let api = Arc::new(Api {
            metrics_token: metrics_token.map(|token| digest(token.expose().as_bytes())),
            config: front.config.clone(),
            registry: front.registry.clone(),
            front,
            started,
            deploys,
            uploading: Semaphore::new(1),
            audit: audit.clone(),
            seen,
            streams: Streams::default(),
            figures: LastFigures::default(),
            closing: closing.clone(),
            metrics: metrics.clone(),
            token: digest(self.token.expose().as_bytes()),
            log_budget: LogBudget::of_clients("operator", MAX_LINES_PER_SECOND),
            action_lines: LogBudget::of_clients("operator's actions", MAX_LINES_PER_SECOND),
            message_lines: LogBudget::of_clients("operator's messages", MAX_LINES_PER_SECOND),
        });
        let pending = Pending::new(MAX_CONNECTIONS, PATIENCE, CLIENTS);
        tokio::select! {
            () = accept(&self.listener, self.entrance.clone(), &pending, api, closing.clone()) => {}
            () = metrics.measure() => {}
            _ = closing.changed() => {}
        }
        drop(self);
        pending.all_free().await;
        // It waits for the disk. It fails only by a panic, which the log has.
        let _ = tokio::task::spawn_blocking(move || audit.close()).await;
    }
}

async fn accept(
    listener: &Listener,
    entrance: Arc<Entrance>,
    pending: &Arc<Pending>,
    api: Arc<Api>,
    closing: watch::Receiver<()>,
) {
    loop {
        let (transport, remote) = listener.accept().await;
        let seat = pending.take().await;
        let (api, mut closing, entrance) = (api.clone(), closing.clone(), entrance.clone());
        tokio::spawn(async move {
            let admitted = entrance.admit(transport, remote, &seat, &mut closing).await;
            let Some(Admitted { transport, remote, .. }) = admitted else { return };
            let limits = HttpLimits::of_operator(&api.config);
            let (api, seat) = (&api, &seat);
            let answer =
                |request, deadline: Arc<SocketDeadline>| api.reply(remote, seat, deadline, request);
            if let Err(error) = http::serve(transport, limits, Some(seat), closing, answer).await {
                tracing::debug!(
                    %remote,
                    error = error.to_string(),
                    "a connection of the operator's ended badly"
                );
            }
        });
    }
}

/// The parts that every request needs.
struct Api {
    config: Arc<Config>,
    registry: Arc<Registry>,
    /// The clients' side of the host, whose state the checks ask for.
    front: Arc<Front>,
    /// True once each plugin of the start has been looked at.
    started: watch::Receiver<bool>,
    deploys: Arc<Deploys>,
    /// The turn of the one request with a plugin's file, which may be large.
    uploading: Semaphore,
    audit: Arc<Audit>,
    seen: Seen,
    streams: Streams,
    figures: LastFigures,
    /// Tells streams that the host is shutting down.
    closing: watch::Receiver<()>,
    metrics: Arc<Metrics>,
    /// The token's hash.
    token: [u8; 32],
    /// The hash of the token that is for scrapes only, if there is one.
    metrics_token: Option<[u8; 32]>,
    /// Budget of the log lines about requests without the token.
    log_budget: LogBudget,
    /// Budget of the log lines about commands that end or remove something.
    action_lines: LogBudget,
    /// Budget of the log lines about the other commands, of which a backend may send many.
    message_lines: LogBudget,
}

/// A command that may be run.
struct Prepared {
    channel: Arc<Channel>,
    command: Command,
    body: Bytes,
    is_awaited: bool,
}

impl Api {
    async fn reply(
        self: &Arc<Self>,
        remote: Remote,
        seat: &Seat,
        deadline: Arc<SocketDeadline>,
        request: Request<Incoming>,
    ) -> Response<OperatorBody> {
        if let Some(reply) = health::reply(&self.front, &request) {
            return reply.map(Either::Left);
        }
        // It fails if the host stops first. The request is answered all the same.
        let _ = self.started.clone().wait_for(|started| *started).await;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let host = origin::host(&request);
        let is_own = origin::is_own(&self.config, host);
        if let Some(file) = dashboard::reply(&method, &path, request.headers(), is_own) {
            return file.map(Either::Left);
        }
        let accepted = accepted_format(request.headers());
        let answered = match self.check_token(remote, &request) {
            Ok(()) => {
                // Only clients with the token keep others waiting, and only while they are served.
                let busy = seat.busy();
                deadline.renew();
                let begun =
                    self.check_origin(&request).map(|()| self.streamed(&deadline, &request));
                match begun.unwrap_or_else(|problem| Some(Err(problem))) {
                    Some(Ok(stream)) => {
                        busy.until_the_end();
                        log_request(remote, &method, &path, StatusCode::OK);
                        return events::reply(stream);
                    }
                    Some(Err(problem)) => {
                        let refused = Err(problem);
                        if Act::is_one(&method) {
                            Act::begin(&self.audit, remote, &request).end(&refused).await;
                        }
                        refused
                    }
                    None if Act::is_one(&method) => self.act(remote, request).await,
                    None => self.answer(&request).await,
                }
            }
            Err(problem) => {
                Act::refuse(&self.audit, remote, &request, &problem);
                Err(problem)
            }
        };
        let reply = match answered {
            Ok((status, body)) if path == METRICS => scraped(status, body, accepted),
            Ok((status, body)) => json(status, body),
            Err(problem) => problem.reply(),
        };
        log_request(remote, &method, &path, reply.status());
        reply.map(Either::Left)
    }

    /// Answers a question.
    async fn answer(&self, request: &Request<Incoming>) -> OperatorAnswer {
        let query = request.uri().query();
        let Route { channel, resource } = Route::of(request.uri().path())?;
        match (resource, channel) {
            (Resource::Query(Query::Nodes), _) => {
                nodes::all(&self.registry, &self.deploys, query).await
            }
            (Resource::Query(Query::Plugins), _) => plugins::list(&self.deploys, query).await,
            (Resource::Query(Query::Audit), _) => queries::acts(&self.audit, query).await,
            // A question for its head only; see `streamed`.
            (Resource::Query(Query::Live), _) => Err(Problem::method("GET")),
            (Resource::Query(Query::Machine), _) => machine::facts(&self.config, query).await,
            (Resource::Query(Query::Slow), _) => slow::most(&self.registry, query).await,
            (Resource::Query(Query::Loads), None) => self.seen.loads.all(query),
            (Resource::Query(Query::Loads), Some(channel)) => {
                self.seen.loads.of(&self.registry, &channel, query)
            }
            (Resource::Query(Query::Logs), Some(channel)) => {
                logs::last(&self.registry, &self.seen.log, &channel, Wanted::read(query)?)
            }
            (Resource::Query(Query::Metrics), _) => {
                queries::check_no_query(query)?;
                let format = accepted_format(request.headers());
                Ok((StatusCode::OK, self.metrics.scrape(format).await.into()))
            }
            (Resource::Query(Query::Stats), _) => {
                queries::check_no_query(query)?;
                Ok((StatusCode::OK, self.metrics.stats().await.to_string().into()))
            }
            (Resource::Query(about), channel) => {
                let (path, channel) = (request.uri().path(), channel.as_deref());
                let asked = Question { path, query, channel, about: &about };
                everywhere::answer(&self.registry, &self.deploys, asked, patience(&self.config))
                    .await
            }
            (Resource::Command(_) | Resource::Plugin(Plugin::Rollback), _) => {
                Err(Problem::method("POST"))
            }
            (Resource::Plugin(Plugin::Code), _) => Err(Problem::method("PUT, DELETE")),
        }
    }

    /// Runs a command to its end, or refuses it, and records the one or the other before it is answered.
    async fn act(self: &Arc<Self>, remote: Remote, request: Request<Incoming>) -> OperatorAnswer {
        if let Ok(Route { channel: Some(name), resource: Resource::Plugin(about) }) =
            Route::of(request.uri().path())
        {
            return plugins::act(self, remote, request, &name, about).await;
        }
        let mut act = Act::begin(&self.audit, remote, &request);
        let path = request.uri().path().to_owned();
        let prepared = match self.prepare(request, &mut act).await {
            Ok(prepared) => prepared,
            Err(problem) => {
                let refused = Err(problem);
                act.end(&refused).await;
                return refused;
            }
        };
        let Prepared { channel, command, body, is_awaited } = prepared;
        let mut line = ActionLine::of(self, remote, &channel, &command);
        let node = self.deploys.node().cloned();
        let elsewhere = node.clone().zip(everywhere::elsewhere(&self.deploys, &command));
        let everywhere = node.filter(|_| command == Command::DisconnectAll);
        let deploys = self.deploys.clone();
        commands::to_its_end(async move {
            let answered = match (elsewhere, everywhere) {
                (Some((node, to)), _) => everywhere::run(node, to, path, body).await,
                (None, Some(node)) => {
                    let own = commands::begin(channel, command, body.clone(), is_awaited).await;
                    match own {
                        Ok(own) => {
                            let asked = (path, body);
                            Ok(everywhere::run_on_others(&node, &deploys, asked, own).await)
                        }
                        refused => refused,
                    }
                }
                (None, None) => commands::begin(channel, command, body, is_awaited).await,
            };
            line.status = Some(match &answered {
                Ok((status, _)) => status.as_u16(),
                Err(problem) => problem.status().as_u16(),
            });
            drop(line);
            act.end(&answered).await;
            answered
        })
        .await
    }

    /// Checks a request that is an act, and reads its body.
    async fn prepare(
        &self,
        request: Request<Incoming>,
        act: &mut Act,
    ) -> Result<Prepared, Problem> {
        let Route { channel, resource } = Route::of(request.uri().path())?;
        let (Some(name), Resource::Command(command)) = (channel, resource) else {
            return Err(Problem::method("GET, HEAD"));
        };
        act.names(&name, &command);
        if request.method() != Method::POST {
            return Err(Problem::method("POST"));
        }
        let channel = here::channel(&self.registry, &name)?;
        let query = request.uri().query();
        let is_awaited = match &command {
            Command::Post(_) => queries::wait(query)?,
            _ => {
                queries::check_no_query(query)?;
                false
            }
        };
        let body = self.body(request, &command).await?;
        act.has_body(body.len());
        Ok(Prepared { channel, command, body, is_awaited })
    }

    /// Returns the body, which is JSON and not too long. An optional body that was left out is
    /// empty.
    async fn body(&self, request: Request<Incoming>, command: &Command) -> Result<Bytes, Problem> {
        let limit = self.config.operator_body_bytes;
        let too_big = || {
            let message = format!("the body has more than {limit} bytes (operator_body_bytes)");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-big", message)
        };
        let is_json = is_json(request.headers());
        let body = request.into_body();
        if body.size_hint().lower() > limit as u64 {
            return Err(too_big());
        }
        let is_left_out = command.needs_no_body() && body.is_end_stream();
        if !is_json && !is_left_out {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not-json",
                "send JSON, with the header `Content-Type: application/json`".to_owned(),
            ));
        }
        let reading = Limited::new(body, limit).collect();
        match tokio::time::timeout(self.config.handshake_timeout, reading).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_big()),
            Ok(Err(_)) => Err(bad("body-incomplete", "the body has not come to its end")),
            Err(_) => Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "body-timeout",
                "the body has not come within handshake_timeout_ms".to_owned(),
            )),
        }
    }
}

/// Returns the format that a client likes best for a scrape.
fn accepted_format(headers: &HeaderMap) -> Format {
    Format::accepted(headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()))
}

/// Returns the text of a scrape as a response.
fn scraped(status: StatusCode, text: Bytes, format: Format) -> Response<Full<Bytes>> {
    let mut reply = json(status, text);
    let content_type = HeaderValue::from_static(format.content_type());
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

fn log_request(remote: Remote, method: &Method, path: &str, status: StatusCode) {
    tracing::debug!(
        %remote,
        method = method.as_str(),
        path = escape(cut(path, MAX_SHOWN_BYTES)),
        status = status.as_u16(),
        "operator's request"
    );
}

/// Returns the time for which an answer may wait for the turn of a handler.
fn patience(config: &Config) -> Duration {
    config.instance_wait.saturating_add(config.wall_budget)
}

/// Returns true if a body's type is JSON, with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        let kind = value.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    })
}
