//! Permit → accept → spawn; drain.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::handshake::{self, Checked, Front};
use crate::operator;
use crate::token::ChannelTokenRules;
use wharf_config::Config;
use wharf_contract::close::Reason;
use wharf_hub::token::Token;
use wharf_hub::transport::Transport;
use wharf_runtime::plugin::watch::{Timing, watch};
use wharf_runtime::plugin::{Cache, Engine};
use wharf_runtime::ports::{LoadObserver, Ports, Unobserved};
use wharf_runtime::registry::Registry;

/// Sockets beyond `max_connections` that are answered with a 503; further ones are only closed.
const MAX_TURNED_AWAY: usize = 64;

/// Pause after `accept` has failed, which mostly means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time between two looks at the rooms whose last events are awaited when the host stops.
const ROOMS_PAUSE: Duration = Duration::from_millis(5);

/// Serves the plugins of a folder until `shutdown` completes, then ends every connection and waits
/// for them, at most `drain_timeout_ms`.
///
/// The listener may be bound to any port. No connection is accepted before the plugins in the
/// folder have been looked at.
///
/// # Errors
///
/// The folder cannot be watched, a file of keys cannot be used, or the compiler cannot be set up.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    run_observed(config, listener, shutdown, Arc::new(Unobserved)).await
}

/// Serves like [`run`], and reports the outcome of each plugin's file to `loads`.
///
/// # Errors
///
/// The errors are those of [`run`].
pub async fn run_observed(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
    loads: Arc<dyn LoadObserver>,
) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let address = listener.local_addr().context("the listener has no address")?;
    let operator = operator::bind(&config).await?;
    let cache = config.cache.clone().map(|folder| Cache::new(folder, config.max_cache_bytes));
    let tokens = Arc::new(ChannelTokenRules::new(config.clone())?);
    let ports = Ports { loads, ..Ports::system(tokens) };
    let registry = Arc::new(Registry::new(config.clone(), Engine::new(cache)?, ports));
    let timing = Timing {
        settle: config.settle,
        reconcile: config.reconcile,
        removal_grace: config.removal_grace,
    };
    let folder = config.plugins.clone();
    // The watcher stops when it is dropped at the end of this function.
    let (_watcher, changes) = watch(folder.clone(), timing)
        .with_context(|| format!("the plugin folder {} cannot be watched", folder.display()))?;
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
    tokio::pin!(shutdown);
    tokio::select! {
        _ = first_scan => {}
        () = &mut shutdown => return Ok(()),
    }
    announce(address, &folder, &registry);
    operator::announce(operator.as_ref());

    let front = Arc::new(Front::new(config.clone(), registry.clone()));
    let server = Server {
        config: config.clone(),
        front: front.clone(),
        permits: Arc::new(Semaphore::new(config.max_connections)),
        turned_away: Arc::new(Semaphore::new(MAX_TURNED_AWAY)),
        closing: watch::channel(()).0,
    };
    if let Some(operator) = operator {
        let closing = server.closing.subscribe();
        tokio::spawn(operator.serve(config.clone(), registry.clone(), closing));
    }
    tokio::select! {
        () = server.accept(&listener) => {}
        () = &mut shutdown => {}
    }

    drop(listener);
    let connections = config.max_connections - server.permits.available_permits();
    tracing::info!(connections, "shutting down");
    front.is_closing.store(true, Ordering::SeqCst);
    server.closing.send_replace(());
    registry.end_all(Reason::Shutdown);
    server.drain().await;
    following.abort();
    tracing::info!("stopped");
    Ok(())
}

fn announce(address: SocketAddr, folder: &std::path::Path, registry: &Registry) {
    let channels = registry.channels();
    let names: Vec<&str> = channels.iter().map(|channel| channel.name()).collect();
    if names.is_empty() {
        tracing::warn!(
            plugins = %folder.display(),
            "no plugin is loaded; copy a .wasm file into the folder and it will be"
        );
    }
    tracing::info!(
        %address,
        plugins = %folder.display(),
        channels = names.join(" "),
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );
}

struct Server {
    config: Arc<Config>,
    front: Arc<Front>,
    /// Permits, one for each connection, from accept to its end.
    permits: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
    /// Tells HTTP connections between two requests that the host is shutting down.
    closing: watch::Sender<()>,
}

impl Server {
    async fn accept(&self, listener: &TcpListener) {
        loop {
            let (stream, remote) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let permit = self.permits.clone().try_acquire_owned().ok();
            let turned_away = match permit {
                Some(_) => None,
                None => match self.turned_away.clone().try_acquire_owned() {
                    Ok(turned_away) => Some(turned_away),
                    Err(_) => {
                        self.front.log_full(remote);
                        continue;
                    }
                },
            };
            let front = self.front.clone();
            let closing = self.closing.subscribe();
            tokio::spawn(async move {
                let transport = Transport::tcp(stream);
                serve_http(front, transport, remote, None, permit, closing).await;
                drop(turned_away);
            });
        }
    }

    /// Waits until every connection has ended and every room's events have run.
    async fn drain(&self) {
        let all = u32::try_from(self.config.max_connections).unwrap_or(u32::MAX);
        let everybody_is_gone = async {
            let _ = self.permits.acquire_many(all).await;
            // Events that the last connections have posted to their rooms were accepted, and are
            // run.
            while self.front.registry.working_rooms() > 0 {
                tokio::time::sleep(ROOMS_PAUSE).await;
            }
        };
        if tokio::time::timeout(self.config.drain_timeout, everybody_is_gone).await.is_err() {
            let connections = self.config.max_connections - self.permits.available_permits();
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
    remote: SocketAddr,
    token: Option<Token>,
) {
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().ok();
    // The sender is kept until the end: without it the host would be shutting down.
    let (_closing, closing) = watch::channel(());
    serve_http(front, transport, remote, Some(Checked(token)), permit, closing).await;
}

/// Serves the requests of one connection until one of them is upgraded.
async fn serve_http(
    front: Arc<Front>,
    transport: Transport,
    remote: SocketAddr,
    checked: Option<Checked>,
    permit: Option<OwnedSemaphorePermit>,
    mut closing: watch::Receiver<()>,
) {
    let config = &front.config;
    let patience = config.close_timeout;
    let permit = Arc::new(Mutex::new(permit));
    let service = service_fn({
        let front = front.clone();
        move |mut request: Request<Incoming>| {
            let (front, permit) = (front.clone(), permit.clone());
            if let Some(checked) = &checked {
                request.extensions_mut().insert(checked.clone());
            }
            async move {
                // There is one request at a time, so that no other request has the permit
                // meanwhile.
                let mut taken = permit.lock().take();
                let mut reply = handshake::answer(front, remote, &mut taken, request).await;
                // A socket without a permit is not counted, and so not kept either.
                if taken.is_none() && reply.status() != StatusCode::SWITCHING_PROTOCOLS {
                    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                *permit.lock() = taken;
                Ok::<_, Infallible>(reply)
            }
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.handshake_timeout)
        .max_buf_size(config.max_header_bytes)
        .half_close(false);
    let serving = http.serve_connection(TokioIo::new(transport), service).with_upgrades();
    tokio::pin!(serving);
    let result = tokio::select! {
        result = &mut serving => result,
        _ = closing.changed() => {
            serving.as_mut().graceful_shutdown();
            // A request that has begun may still be answered, but its end is not awaited for long.
            match tokio::time::timeout(patience, &mut serving).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%remote, %error, "an HTTP connection ended badly");
    }
}
