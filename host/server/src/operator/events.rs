//! Streams of server-sent events, as answers of the API.
//!
//! A stream ends when the host stops, and when its reader is too slow: a bounded number of parts waits for it, and the
//! socket's time is renewed only when a part is taken.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use hyper::header::X_CONTENT_TYPE_OPTIONS;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::problem::Problem;
use crate::http::SocketDeadline;

/// Largest number of streams at a time.
const MAX_STREAMS: usize = 16;

/// Parts that may wait for a stream's reader. Many lines of a log may come at once.
const MAX_WAITING: usize = 512;

/// Longest pause between two parts.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Asks proxies, such as nginx, to pass each part on at once.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The body of an answer: whole, or a stream.
pub(super) type OperatorBody = Either<Full<Bytes>, EventBody>;

/// The places of streams.
#[derive(Debug)]
pub(super) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Streams {
        Streams(Arc::new(Semaphore::new(MAX_STREAMS)))
    }
}

impl Streams {
    /// Opens a stream.
    ///
    /// # Errors
    ///
    /// There are as many as may be.
    pub(super) fn open(
        &self,
        deadline: &Arc<SocketDeadline>,
        closing: &watch::Receiver<()>,
    ) -> Result<(Events, EventBody), Problem> {
        let Ok(place) = self.0.clone().try_acquire_owned() else {
            let message =
                format!("{MAX_STREAMS} streams are open already; close one and try again");
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", message));
        };
        let (sender, parts) = mpsc::channel(MAX_WAITING);
        let mut pause = interval(deadline.pause().clamp(Duration::from_millis(10), MAX_PAUSE));
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = Events { parts: sender, pause, closing: closing.clone() };
        Ok((events, EventBody { parts, deadline: deadline.clone(), _place: place }))
    }
}

/// The end of a stream at which events are put in.
#[derive(Debug)]
pub(super) struct Events {
    parts: mpsc::Sender<Bytes>,
    pause: Interval,
    closing: watch::Receiver<()>,
}

/// The end of a stream: nobody reads it, not fast enough, or the host stops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended;

impl Events {
    /// Sends an event, whose data is on one line.
    ///
    /// # Errors
    ///
    /// The stream has ended.
    pub(super) fn send(&self, name: &str, data: &str) -> Result<(), Ended> {
        self.put(format!("event: {name}\ndata: {data}\n\n").into())
    }

    /// Waits for something to send, and shows meanwhile that the stream goes on.
    ///
    /// # Errors
    ///
    /// The stream has ended.
    pub(super) async fn wait<T>(&mut self, news: impl Future<Output = T>) -> Result<T, Ended> {
        let mut news = std::pin::pin!(news);
        loop {
            tokio::select! {
                news = &mut news => return Ok(news),
                _ = self.closing.changed() => return Err(Ended),
                () = self.parts.closed() => return Err(Ended),
                // A comment, which clients ignore.
                _ = self.pause.tick() => self.put(Bytes::from_static(b":\n\n"))?,
            }
        }
    }

    fn put(&self, part: Bytes) -> Result<(), Ended> {
        self.parts.try_send(part).map_err(|_| Ended)
    }
}

/// The body of a stream.
#[derive(Debug)]
pub(super) struct EventBody {
    parts: mpsc::Receiver<Bytes>,
    deadline: Arc<SocketDeadline>,
    _place: OwnedSemaphorePermit,
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = ready!(self.parts.poll_recv(context));
        self.deadline.renew();
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }
}

/// Returns the answer that is a stream.
pub(super) fn reply(body: EventBody) -> Response<OperatorBody> {
    let mut reply = Response::new(Either::Right(body));
    for (name, value) in [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (UNBUFFERED, "no"),
        // The socket keeps its seat for the stream, and ends with it.
        (CONNECTION, "close"),
    ] {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> (Events, mpsc::Receiver<Bytes>, watch::Sender<()>) {
        let (sender, parts) = mpsc::channel(MAX_WAITING);
        let (closer, closing) = watch::channel(());
        let pause = interval(Duration::from_secs(1));
        (Events { parts: sender, pause, closing }, parts, closer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_reader_is_too_slow_ends() {
        let (events, mut parts, _closer) = stream();
        let sent = (0..).take_while(|number| events.send("line", &number.to_string()).is_ok());
        assert_eq!(sent.count(), MAX_WAITING);
        let first = parts.recv().await.expect("a part");
        assert_eq!(first, "event: line\ndata: 0\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_has_comments_until_the_host_stops_or_nobody_reads_it() {
        let (mut events, mut parts, closer) = stream();
        let silence = std::future::pending::<()>;
        assert_eq!(events.wait(async { 7 }).await.expect("the news"), 7);
        let close = async {
            for _ in 0..3 {
                assert_eq!(parts.recv().await.expect("a comment"), ":\n\n");
            }
            closer.send_replace(());
        };
        let (ended, ()) = tokio::join!(events.wait(silence()), close);
        assert!(ended.is_err());
        let (mut events, parts, _closer) = stream();
        drop(parts);
        assert!(events.wait(silence()).await.is_err());
    }
}
