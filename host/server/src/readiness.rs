//! The answer to the question if the host is ready for clients.

use std::sync::atomic::Ordering;

use hyper::header::{ALLOW, CACHE_CONTROL, HeaderValue, RETRY_AFTER};
use hyper::{Method, StatusCode};

use crate::handshake::Front;
use crate::reply::{self, Reply};
use wharf_runtime::registry::Readiness;

/// Path of the question.
pub(crate) const READY: &str = "/readyz";

/// Answers the question: 200 if the host is ready, else 503. The text has counts and no names, since
/// anybody may ask.
pub(crate) fn reply(front: &Front, method: &Method) -> Reply {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut reply = reply::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    let is_stopping = is_stopping(front);
    let readiness = front.registry.readiness();
    let is_ready = !is_stopping && readiness.is_ready();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut reply = reply::text(status, &text(&readiness, is_stopping));
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !is_ready {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}

/// Returns true if the host stops, or was asked to and still serves.
pub(crate) fn is_stopping(front: &Front) -> bool {
    front.is_closing.load(Ordering::SeqCst) || front.is_leaving.load(Ordering::SeqCst)
}

fn text(readiness: &Readiness, is_stopping: bool) -> String {
    let Readiness { is_starting, channels, refused, missing, unusable_keys, .. } = *readiness;
    let state = match readiness.is_ready() {
        _ if is_stopping => "stopping",
        _ if is_starting => "starting",
        true => "ready",
        false if readiness.is_data_failing => "not ready, data cannot be written to disk",
        false if readiness.is_cluster_failing => {
            "not ready, other hosts of the cluster are not reached"
        }
        false if channels == 0 && refused == 0 => "not ready, no plugin is loaded",
        false => "not ready",
    };
    format!(
        "{state}\nchannels {channels}\nrefused {refused}\nrefused, and nothing serves instead {missing}\n\
         keys for tokens that cannot be read {unusable_keys}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Readiness = Readiness {
        is_starting: false,
        channels: 2,
        refused: 0,
        missing: 0,
        was_complete: true,
        unusable_keys: 0,
        is_data_failing: false,
        is_cluster_failing: false,
    };

    #[test]
    fn the_first_line_is_the_state() {
        let first = |readiness: &Readiness, is_stopping| {
            text(readiness, is_stopping).lines().next().map(str::to_owned)
        };
        assert_eq!(first(&GOOD, false).as_deref(), Some("ready"));
        assert_eq!(first(&GOOD, true).as_deref(), Some("stopping"));
        let starting = Readiness { is_starting: true, ..GOOD };
        assert_eq!(first(&starting, false).as_deref(), Some("starting"));
        let failing = Readiness { is_data_failing: true, ..GOOD };
        let why = "not ready, data cannot be written to disk";
        assert_eq!(first(&failing, false).as_deref(), Some(why));
        let alone = Readiness { is_cluster_failing: true, ..GOOD };
        let why = "not ready, other hosts of the cluster are not reached";
        assert_eq!(first(&alone, false).as_deref(), Some(why));
        let bad = Readiness { refused: 1, missing: 1, was_complete: false, ..GOOD };
        assert_eq!(first(&bad, false).as_deref(), Some("not ready"));
        let one_more = Readiness { was_complete: true, ..bad };
        assert_eq!(first(&one_more, false).as_deref(), Some("ready"));
    }
}
