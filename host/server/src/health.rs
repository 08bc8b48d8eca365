//! The checks of balancers, orchestrators and supervisors: if the host is alive, and if it is ready for clients.
//!
//! They come on the address of clients as well as on the operator's, under any name and without a token. Balancers
//! send them in many forms: some cannot be told a path, and some ask by `OPTIONS` or in HTTP/1.0.

use hyper::header::{ALLOW, CACHE_CONTROL, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};

use crate::handshake::{Front, is_upgrade_wanted};
use crate::readiness;
use crate::reply::{self, Reply};

/// Path of the question if the host is alive.
const ALIVE: &str = "/healthz";

/// Path of the question if the host is ready for clients.
const READY: &str = "/readyz";

/// Methods that a check may have.
const METHODS: &str = "GET, HEAD, OPTIONS";

/// Returns the answer to a check; `None` for any other request.
pub(crate) fn reply<B>(front: &Front, request: &Request<B>) -> Option<Reply> {
    if is_upgrade_wanted(request.headers()) {
        return None;
    }
    let method = request.method();
    let ready = || answer(method, readiness::state(front, request.uri().query()));
    match request.uri().path() {
        ALIVE => Some(answer(method, (StatusCode::OK, "ok".to_owned()))),
        READY => Some(ready()),
        // The check that HAProxy sends if it is told nothing else. Nothing else here is asked so.
        "/" | "*" if method == Method::OPTIONS => Some(ready()),
        _ => None,
    }
}

/// Returns the answer for the root path where neither a page nor a channel has it: balancers that are told no path
/// ask there. `None` for any other request.
pub(crate) fn root_reply<B>(front: &Front, request: &Request<B>) -> Option<Reply> {
    let is_question = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_root = request.uri().path() == "/" && !is_upgrade_wanted(request.headers());
    let query = request.uri().query();
    (is_question && is_root).then(|| answer(request.method(), readiness::state(front, query)))
}

fn answer(method: &Method, (status, text): (StatusCode, String)) -> Reply {
    let is_check = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    let mut reply = match is_check {
        true => reply::text(status, &text),
        false => reply::text(StatusCode::METHOD_NOT_ALLOWED, &format!("only {METHODS}")),
    };
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !is_check || method == Method::OPTIONS {
        headers.insert(ALLOW, HeaderValue::from_static(METHODS));
    } else if !status.is_success() {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}
