//! Files that are compiled into the host, as answers to a browser: kept there, and asked for again each time.

use std::borrow::Cow;

use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use hyper::header::{HeaderMap, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use sha2::{Digest, Sha256};

use crate::reply::Reply;

/// The types of files.
pub(crate) const PAGE: &str = "text/html; charset=utf-8";
pub(crate) const STYLE: &str = "text/css; charset=utf-8";
pub(crate) const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Returns the answer with a file, or without its content if the browser has this version. `policy` is the
/// policy for a page's content.
pub(crate) fn reply(
    asked: &HeaderMap,
    kind: &'static str,
    content: Cow<'static, str>,
    policy: &str,
) -> Reply {
    let tag = tag(&content);
    let is_known = is_named(asked, &tag);
    let mut reply = Response::new(match content {
        _ if is_known => Full::default(),
        Cow::Borrowed(text) => Full::from(text),
        Cow::Owned(text) => Full::from(text),
    });
    if is_known {
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = reply.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // Browsers keep the file and ask each time whether it has changed: the host may have been
        // replaced.
        (CACHE_CONTROL, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [(CONTENT_SECURITY_POLICY, policy), (ETAG, &tag)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    reply
}

/// Returns a tag that names this version of a content.
fn tag(content: &str) -> String {
    let hash = Sha256::digest(content.as_bytes());
    let digits: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

/// Returns true if a client has this version already (RFC 9110, 13.1.2).
fn is_named(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
