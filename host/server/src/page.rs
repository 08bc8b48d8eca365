//! The pages that the host serves over plain HTTP: the demo page for the example plugins, the
//! client that it is written with.

use std::borrow::Cow;

use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_TYPE, HOST, HeaderMap, HeaderValue,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::asset::{self, PAGE, SCRIPT, STYLE};
use crate::demo::{self, Demo};
use crate::reply::{self, Reply};
use wharf_config::Config;

/// Policy for the page: only its own files, and sockets to its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'";

/// Longest name of a host with its port that the policy repeats, in bytes (RFC 1035, 2.3.4).
const MAX_HOST_BYTES: usize = 253 + 6;

/// The client for browsers, which pages of other origins may import as well.
const CLIENT: [&str; 3] = ["/_wharf/wharf.js", "/_wharf/positions.js", "/_wharf/presence.js"];

/// A channel in service, as the page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedChannel {
    /// Name.
    pub name: String,
    /// Path patterns.
    pub paths: Vec<String>,
    /// Number of the generation that serves it.
    pub generation: u64,
}

/// Returns the answer to a request for the page; `None` for anything else.
/// `mounted` gives the channels in service.
pub fn reply<B>(
    config: &Config,
    request: &Request<B>,
    demo: Option<&Demo>,
    mounted: impl FnOnce() -> Vec<MountedChannel>,
) -> Option<Reply> {
    let path = request.uri().path();
    let (kind, content) = match path {
        _ if !config.page => return None,
        "/_wharf/channels.json" => ("application/json", Cow::Owned(list(&mounted()))),
        demo::LIST => ("application/json", Cow::Owned(format!("{}\n", Demo::list(demo)))),
        _ if path.starts_with(demo::TEXTS) => {
            ("text/plain; charset=utf-8", Cow::Owned(demo?.text(path)?.to_owned()))
        }
        _ => file(path)?,
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = Response::new(Full::from("only GET and HEAD\n"));
        *reply.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(reply);
    }
    let mut reply = asset::reply(request.headers(), kind, content, &policy(request.headers()));
    if CLIENT.contains(&path) {
        let every = HeaderValue::from_static("*");
        reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, every);
    }
    Some(reply)
}

/// Returns the answer to a visitor who has asked for a version of the demo.
pub fn swapped(swapped: Result<Value, demo::Refused>) -> Reply {
    let outcome = match swapped {
        Ok(outcome) => outcome,
        Err(demo::Refused::Unknown) => {
            return reply::text(StatusCode::NOT_FOUND, "the demo folder has no such version");
        }
        Err(demo::Refused::Busy) => {
            let why = "another version is being put in place; try again in a moment";
            return reply::text(StatusCode::TOO_MANY_REQUESTS, why);
        }
        Err(demo::Refused::Failed(why)) => {
            return reply::text(StatusCode::INTERNAL_SERVER_ERROR, &why);
        }
    };
    let mut reply = Response::new(Full::from(format!("{outcome}\n")));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// Returns the policy for a page that is asked for by this host's name. Safari before 15.4 does not
/// count `ws:` and `wss:` as `'self'`, so they are listed beside it. A policy cannot name an IPv6
/// address.
fn policy(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_name =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    match !host.is_empty() && host.len() <= MAX_HOST_BYTES && host.bytes().all(is_name) {
        true => format!("{POLICY} ws://{host} wss://{host}"),
        false => POLICY.to_owned(),
    }
}

/// Returns a file of the page: its type and its content.
fn file(path: &str) -> Option<(&'static str, Cow<'static, str>)> {
    let (kind, content) = match path {
        "/" => (PAGE, include_str!("page/index.html")),
        "/_wharf/read" => (PAGE, include_str!("page/read.html")),
        "/_wharf/base.css" => (STYLE, include_str!("page/base.css")),
        "/_wharf/page.css" => (STYLE, include_str!("page/page.css")),
        "/_wharf/panel.css" => (STYLE, include_str!("page/panel.css")),
        "/_wharf/read.css" => (STYLE, include_str!("page/read.css")),
        "/_wharf/chat.js" => (SCRIPT, include_str!("page/chat.js")),
        "/_wharf/code.js" => (SCRIPT, include_str!("page/code.js")),
        "/_wharf/elements.js" => (SCRIPT, include_str!("page/elements.js")),
        "/_wharf/examples.js" => (SCRIPT, include_str!("page/examples.js")),
        "/_wharf/game.js" => (SCRIPT, include_str!("page/game.js")),
        "/_wharf/live.js" => (SCRIPT, include_str!("page/live.js")),
        "/_wharf/markdown.js" => (SCRIPT, include_str!("page/markdown.js")),
        "/_wharf/own.js" => (SCRIPT, include_str!("page/own.js")),
        "/_wharf/page.js" => (SCRIPT, include_str!("page/page.js")),
        "/_wharf/panel.js" => (SCRIPT, include_str!("page/panel.js")),
        "/_wharf/picture.js" => (SCRIPT, include_str!("page/picture.js")),
        "/_wharf/read.js" => (SCRIPT, include_str!("page/read.js")),
        "/_wharf/robust.js" => (SCRIPT, include_str!("page/robust.js")),
        "/_wharf/secure.js" => (SCRIPT, include_str!("page/secure.js")),
        "/_wharf/source.js" => (SCRIPT, include_str!("page/source.js")),
        "/_wharf/stream.js" => (SCRIPT, include_str!("page/stream.js")),
        "/_wharf/wire.js" => (SCRIPT, include_str!("page/wire.js")),
        "/_wharf/wharf.js" => (SCRIPT, include_str!("../../../clients/js/wharf.js")),
        "/_wharf/positions.js" => (SCRIPT, include_str!("../../../clients/js/positions.js")),
        "/_wharf/presence.js" => (SCRIPT, include_str!("../../../clients/js/presence.js")),
        "/_wharf/wharf.d.ts" => {
            ("text/plain; charset=utf-8", include_str!("../../../clients/js/wharf.d.ts"))
        }
        _ => return None,
    };
    Some((kind, Cow::Borrowed(content)))
}

fn list(mounted: &[MountedChannel]) -> String {
    let channels: Vec<_> = mounted
        .iter()
        .map(|MountedChannel { name, paths, generation }| {
            json!({ "name": name, "paths": paths, "generation": generation })
        })
        .collect();
    format!("{}\n", json!({ "channels": channels }))
}
