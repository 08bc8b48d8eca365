//! What the host serves over plain HTTP: a page that speaks to the chat plugin, and a health check.

use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use hyper::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};

use crate::config::Config;
use crate::handshake::Reply;

/// Nothing but the page's own files, and sockets to the page's own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The answer to a request for the page or the health check; `None` for anything else.
pub fn reply<B>(config: &Config, request: &Request<B>) -> Option<Reply> {
    let (kind, content) = match request.uri().path() {
        "/healthz" => ("text/plain; charset=utf-8", "ok\n"),
        "/" if config.page => ("text/html; charset=utf-8", include_str!("page/index.html")),
        "/_wharf/page.js" if config.page => {
            ("text/javascript; charset=utf-8", include_str!("page/page.js"))
        }
        "/_wharf/page.css" if config.page => {
            ("text/css; charset=utf-8", include_str!("page/page.css"))
        }
        _ => return None,
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = Response::new(Full::from("only GET and HEAD\n"));
        *reply.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(reply);
    }
    let mut reply = Response::new(Full::from(content));
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ] {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(reply)
}
