//! Accept → seat → spawn; drain.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cluster;
use crate::data;
use crate::demo::Demo;
use crate::deploys::Deploys;
use crate::handshake::{self, Front, Visit};
use crate::http::{self, HttpLimits, SocketDeadline, SocketEnd};
use crate::listener::Listener;
use crate::listener::entrance::{Admitted, Entrance};
use crate::log_tail::LogTail;
use crate::operator::{self, Seen, audit::Audit};
use crate::pending::Pending;
use crate::tls::{Tls, TlsFiles};
use crate::token::ChannelTokenRules;
use wharf_config::Config;
use wharf_contract::close::Reason;
use wharf_hub::hub::EndPace;
use wharf_hub::peers::Cluster;
use wharf_hub::remote::Remote;
use wharf_hub::token::Token;
use wharf_hub::transport::Transport;
use wharf_runtime::plugin::watch::{WatchTiming, watch};
use wharf_runtime::plugin::{Cache, Engine, Machine};
use wharf_runtime::ports::{LoadObserver, Ports, Unobserved};
use wharf_runtime::registry::Registry;

/// The name of the clients of channels in the log.
pub const CLIENTS: &str = "channels";

/// Seats for sockets that are not upgraded yet; see `Pending`. They come on top of
/// `max_connections`.
pub const MAX_PENDING: usize = 1024;

/// Time that a socket keeps its seat while newer ones wait, long enough for a slow network.
const PENDING_PATIENCE: Duration = Duration::from_secs(1);

/// Time between two looks at the work that is awaited when the host stops, such as the last events of
/// rooms.
const WORK_PAUSE: Duration = Duration::from_millis(5);

/// The parts of a server that see something of its own: outcomes of loads, and lines of its log.
#[derive(Debug)]
pub struct Observers {
    /// The observer of the outcome of each plugin's file.
    pub loads: Arc<dyn LoadObserver>,
    /// The last lines of the log, which the operator may read; `None` if nobody keeps them.
    pub log: Option<Arc<LogTail>>,
}

impl Default for Observers {
    fn default() -> Observers {
        Observers { loads: Arc::new(Unobserved), log: None }
    }
}

/// Serves the plugins of a folder until `shutdown` completes, then ends every connection and waits
/// for them, at most `drain_timeout_ms`.
///
/// The listener may be bound to any port. Plugins serve as they are loaded; until all files of the start
/// have been looked at, other paths are answered with status 503.
///
/// # Errors
///
/// The folder cannot be watched, or the compiler cannot be set up.
pub async fn run(
    config: Config,
    machine: Machine,
    listener: Listener,
    shutdown: impl Future<Output = ()>,
    observers: Observers,
) -> anyhow::Result<()> {
    let Observers { loads, log } = observers;
    let config = Arc::new(config);
    let address = listener.addresses();
    let operator = operator::bind(&config)?.map(Arc::new);
    let tls = Tls::open(TlsFiles::of_clients(&config))?;
    let cache = config.cache.clone().map(|folder| Cache::new(folder, config.max_cache_bytes));
    let tokens = Arc::new(ChannelTokenRules::new(config.clone()));
    let demo = Demo::open(&config, &loads)?;
    let loads = demo.clone().map_or(loads, |demo| demo as Arc<dyn LoadObserver>);
    let seen = operator.is_some().then(|| Seen::new(loads.clone(), log));
    let loads = seen.as_ref().map_or(loads, |seen| seen.loads.clone() as Arc<dyn LoadObserver>);
    let timing = WatchTiming {
        settle: config.settle,
        reconcile: config.reconcile,
        removal_grace: config.removal_grace,
        emptied_grace: config.emptied_grace,
    };
    let folder = config.plugins.clone();
    // The watcher stops when it is dropped at the end of this function.
    let (_watcher, changes) = watch(folder.clone(), timing)
        .with_context(|| format!("the plugin folder {} cannot be watched", folder.display()))?;
    let data = data::open(&config)?;
    let mut shutdown = std::pin::pin!(shutdown);
    let hubs = Arc::default();
    let host = cluster::host(&config, &address);
    let node = tokio::select! {
        node = cluster::join(&config, &hubs, &host) => node?,
        // It was still waiting for the engine.
        () = &mut shutdown => return Ok(()),
    };
    let ports = Ports {
        loads,
        data: data.clone(),
        hubs,
        cluster: node.clone().map(|node| node as Arc<dyn Cluster>),
        ..Ports::system(&config, tokens.clone())?
    };
    tokens.follow(&ports.http);
    let registry = Arc::new(Registry::new(config.clone(), Engine::new(cache, machine)?, ports));
    let deploys = Deploys::new(config.clone(), registry.clone(), host, node.clone());
    let deployed = tokio::select! {
        deployed = deploys.begin() => deployed,
        // It was still waiting for the table.
        () = &mut shutdown => return Ok(()),
    };
    if let Some(node) = &node {
        node.respond_with(operator::responder(registry.clone(), &deploys));
    }
    let (scanned, first_scan) = oneshot::channel();
    let followed = AssertUnwindSafe(registry.clone().follow(changes, scanned)).catch_unwind();
    let following = tokio::spawn(async {
        if followed.await.is_err() {
            tracing::error!(
                "the host panicked while loading plugins; those that serve go on, and no change of \
                 the folder is seen until a restart; please report it"
            );
        }
    });
    let deploying = tokio::spawn(deploys.clone().run(deployed));
    let front = Arc::new(Front::new(config.clone(), registry.clone()).with_demo(demo.clone()));
    let server = Server {
        config: config.clone(),
        front: front.clone(),
        entrance: Arc::new(Entrance::of_clients(&config, tls)),
        pending: Pending::new(MAX_PENDING, PENDING_PATIENCE, CLIENTS),
        closing: watch::channel(()).0,
    };
    let (started, is_started) = watch::channel(false);
    let operating = operator.clone().zip(seen).map(|(operator, seen)| {
        let (closing, audit) = (server.closing.subscribe(), Audit::open(&config));
        let (front, deploys) = (front.clone(), deploys.clone());
        let serving = operator.serve(front, deploys, audit, seen, is_started, closing);
        tokio::spawn(serving)
    });
    let (loading, has_cache) = (registry.clone(), config.cache.is_some());
    let announced = async move {
        // The sender is gone only if loading has panicked, which the log has.
        let _ = first_scan.await;
        // The first line with an address is that of the clients, and the last of all without the API.
        if operator.is_none() {
            operator::announce(None);
        }
        announce(&address, &folder, &loading);
        if let Some(demo) = demo.filter(|_| has_cache) {
            tokio::spawn(demo.compile_ahead(loading));
        }
        if let Some(operator) = operator {
            operator::announce(Some(&operator));
            started.send_replace(true);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = server.accept(&listener) => {}
        () = announced => {}
        () = leave(&front, shutdown) => {}
    }

    drop(listener);
    tracing::info!(connections = front.connections(), "shutting down");
    front.is_closing.store(true, Ordering::SeqCst);
    server.closing.send_replace(());
    let until = Instant::now() + config.drain_timeout;
    registry.end_all(&mut end_pace(&config, front.connections()), Reason::Shutdown).await;
    server.drain(operating, until).await;
    following.abort();
    deploying.abort();
    if let Some(node) = node {
        node.stop().await;
    }
    // Its threads end before the process does.
    if let Some(data) = data {
        data.close();
    }
    tracing::info!("stopped");
    Ok(())
}

/// Returns the pace at which so many connections are ended. Half of the time is left for them to end.
fn end_pace(config: &Config, connections: usize) -> EndPace {
    let most = config.drain_timeout.as_secs_f64() / 2.0;
    match config.shutdown_closes_per_second {
        0 => EndPace::at_once(),
        // A quotient by zero is as large as can be.
        rate => EndPace::per_second(rate.max((connections as f64 / most) as usize)),
    }
}

/// Waits until the host is asked to stop, and then for load balancers to notice.
async fn leave(front: &Front, shutdown: impl Future<Output = ()>) {
    shutdown.await;
    let delay = front.config.shutdown_delay;
    if !delay.is_zero() {
        front.is_leaving.store(true, Ordering::SeqCst);
        let shutdown_delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            shutdown_delay_ms,
            "not ready any more; clients are served until the delay is over"
        );
        tokio::time::sleep(delay).await;
    }
}

fn announce(address: &str, folder: &std::path::Path, registry: &Registry) {
    let channels = registry.channels();
    let names: Vec<&str> = channels.iter().map(|channel| channel.name()).collect();
    if names.is_empty() {
        tracing::warn!(
            plugins = folder.display().to_string(),
            "no plugin is loaded; copy a .wasm file into the folder and it will be"
        );
    }
    tracing::info!(
        %address,
        plugins = folder.display().to_string(),
        channels = names.join(" "),
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
}

struct Server {
    config: Arc<Config>,
    front: Arc<Front>,
    entrance: Arc<Entrance>,
    /// Seats of the sockets that are not upgraded yet.
    pending: Arc<Pending>,
    /// Tells HTTP connections between two requests that the host is shutting down.
    closing: watch::Sender<()>,
}

impl Server {
    async fn accept(&self, listener: &Listener) {
        loop {
            let (transport, remote) = listener.accept().await;
            let seat = self.pending.take().await;
            let (front, mut closing) = (self.front.clone(), self.closing.subscribe());
            let entrance = self.entrance.clone();
            tokio::spawn(async move {
                let admitted = entrance.admit(transport, remote, &seat, &mut closing).await;
                if let Some(Admitted { transport, remote, is_told }) = admitted {
                    let visit = Visit::accepted(remote, seat).told(is_told);
                    visit_host(front, transport, visit, closing).await;
                }
            });
        }
    }

    /// Waits until every connection has ended, the operator's requests are answered, and what these
    /// have caused is done.
    async fn drain(&self, operating: Option<JoinHandle<()>>, until: Instant) {
        let all = u32::try_from(self.config.max_connections).unwrap_or(u32::MAX);
        let everybody_is_gone = async {
            self.pending.all_free().await;
            let _ = self.front.admissions.permits.acquire_many(all).await;
            if let Some(operating) = operating {
                // It ends badly only by a panic, which the log has.
                let _ = operating.await;
            }
            // Events that the last connections have posted to their rooms were accepted, and are
            // run.
            while self.front.registry.working().count() > 0 {
                tokio::time::sleep(WORK_PAUSE).await;
            }
        };
        if tokio::time::timeout_at(until, everybody_is_gone).await.is_err() {
            let connections = self.front.connections();
            tracing::warn!(connections, "drain_timeout_ms is over; the rest is cut");
        }
    }
}

/// Serves a connection that no listener has accepted, such as one end of a pair in memory, until it
/// is upgraded. The client's token has been checked before, if it has one; a token in its request
/// is not checked.
pub async fn serve_transport(
    front: Arc<Front>,
    transport: Transport,
    remote: Remote,
    token: Option<Token>,
) {
    // The sender is kept until the end: without it the host would be shutting down.
    let (_closing, closing) = watch::channel(());
    visit_host(front, transport, Visit::checked(remote, token), closing).await;
}

/// Serves the requests of one socket until one of them is upgraded.
async fn visit_host(
    front: Arc<Front>,
    transport: Transport,
    visit: Visit,
    closing: watch::Receiver<()>,
) {
    let limits = HttpLimits::of_client(&front.config);
    let (remote, visit) = (visit.remote, &visit);
    let answer = |request, _: Arc<SocketDeadline>| handshake::answer(front.clone(), visit, request);
    match http::serve(transport, limits, visit.seat.as_ref(), closing, answer).await {
        Ok(SocketEnd::Over) => {}
        Ok(SocketEnd::Silent) => front.log_silent(),
        Err(error) => front.log_unreadable(remote, &error),
    }
}
