//! HTTP/1.1 on one socket: the requests of a client of channels until one is upgraded, or those of
//! the operator.
//!
//! A socket has a limited time for its requests and for taking their answers. hyper limits the time
//! for a request's head only.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use wharf_config::Config;
use wharf_hub::transport::Transport;

use crate::pending::Seat;

/// The limits of one socket.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Time for the head of a request, and for all requests of a socket that is not upgraded.
    requests: Duration,
    /// Time for a client to take an answer once the socket is being closed.
    answer: Duration,
    /// Largest head of a request, in bytes.
    max_head_bytes: usize,
    /// True if a client that ends its side after a request still gets its answer.
    half_close: bool,
}

impl HttpLimits {
    /// Returns the limits of a client of channels.
    pub fn of_client(config: &Config) -> HttpLimits {
        HttpLimits {
            requests: config.handshake_timeout,
            answer: config.close_timeout,
            max_head_bytes: config.max_header_bytes,
            half_close: false,
        }
    }

    /// Returns the limits of the operator's clients.
    pub(crate) fn of_operator(config: &Config) -> HttpLimits {
        HttpLimits { half_close: true, ..HttpLimits::of_client(config) }
    }
}

/// The time that a socket has left, which a request can renew.
#[derive(Debug)]
pub struct SocketDeadline {
    until: Mutex<Instant>,
    limits: HttpLimits,
    is_answering: AtomicBool,
    /// True once a request has come.
    is_asked: AtomicBool,
    answered: Notify,
}

/// The end of a socket that was not upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketEnd {
    /// It has ended, or its time is over.
    Over,
    /// It has not sent a whole request in time.
    Silent,
}

impl SocketDeadline {
    /// Gives the socket as much time as a new one has. The sender of the request has shown who it is, or has taken a
    /// part of an answer.
    pub fn renew(&self) {
        *self.until.lock() = Instant::now() + self.limits.requests;
    }

    /// Completes when the time is over and no request is being answered.
    async fn over(&self) {
        loop {
            self.idle().await;
            let until = *self.until.lock();
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// Completes when no request is being answered.
    async fn idle(&self) {
        loop {
            let answered = self.answered.notified();
            if !self.is_answering.load(Ordering::SeqCst) {
                return;
            }
            answered.await;
        }
    }

    /// Returns the longest pause between two parts of an answer.
    pub(crate) fn pause(&self) -> Duration {
        self.limits.requests / 4
    }

    /// Returns true if an answer should be the socket's last: half of its time is over.
    fn is_nearly_over(&self) -> bool {
        *self.until.lock() < Instant::now() + self.limits.requests / 2
    }
}

/// Serves the requests of one socket, one at a time, until it is upgraded or has ended. `answer`
/// gets each request with the socket's deadline.
///
/// # Errors
///
/// The client has broken the protocol, or the socket has failed.
pub async fn serve<A, F, B>(
    transport: Transport,
    limits: HttpLimits,
    seat: Option<&Seat>,
    mut closing: watch::Receiver<()>,
    answer: A,
) -> hyper::Result<SocketEnd>
where
    A: Fn(Request<Incoming>, Arc<SocketDeadline>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let deadline = Arc::new(SocketDeadline {
        until: Mutex::new(Instant::now() + limits.requests),
        limits,
        is_answering: AtomicBool::new(false),
        is_asked: AtomicBool::new(false),
        answered: Notify::new(),
    });
    let service = service_fn(|request: Request<Incoming>| {
        let deadline = deadline.clone();
        deadline.is_answering.store(true, Ordering::SeqCst);
        deadline.is_asked.store(true, Ordering::Relaxed);
        let answering = answer(request, deadline.clone());
        async move {
            let mut reply = answering.await;
            if reply.status() != StatusCode::SWITCHING_PROTOCOLS && deadline.is_nearly_over() {
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            deadline.is_answering.store(false, Ordering::SeqCst);
            deadline.answered.notify_waiters();
            Ok::<_, Infallible>(reply)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.requests)
        .max_buf_size(limits.max_head_bytes)
        .half_close(limits.half_close);
    let serving = http.serve_connection(TokioIo::new(transport), service).with_upgrades();
    tokio::pin!(serving);
    let evicted = async {
        match seat {
            Some(seat) => seat.evicted().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = &mut serving => return match result {
            Err(error) if error.is_timeout() && !deadline.is_asked.load(Ordering::Relaxed) => {
                Ok(SocketEnd::Silent)
            }
            result => result.map(|()| SocketEnd::Over),
        },
        () = evicted => return Ok(SocketEnd::Over),
        () = deadline.over() => {
            if !deadline.is_asked.load(Ordering::Relaxed) {
                return Ok(SocketEnd::Silent);
            }
        }
        _ = closing.changed() => {}
    }
    // A request that has begun may still be answered, and its answer be taken, but not for long.
    serving.as_mut().graceful_shutdown();
    let rest = async {
        deadline.idle().await;
        tokio::time::sleep(limits.answer).await;
    };
    tokio::select! {
        result = &mut serving => result.map(|()| SocketEnd::Over),
        () = rest => Ok(SocketEnd::Over),
    }
}
