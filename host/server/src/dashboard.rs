//! The files of the dashboard, a page on the operator's address. They have no data: the page asks the operator's API
//! for it, with the token that its user gives it.

use std::borrow::Cow;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use crate::asset::{self, PAGE, SCRIPT, STYLE};
use crate::reply::{self, Reply};

/// The policy for the page: only files and answers of its own server, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The headers that keep pages of other origins from its window and its files.
const APART: [(HeaderName, &str); 2] = [
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Returns the answer to a request for a file of the dashboard; `None` for anything else. `is_own` is true if the
/// request names the host by a name of its own.
pub(crate) fn reply(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    is_own: bool,
) -> Option<Reply> {
    let (kind, content) = file(path)?;
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let mut reply = match is_own {
        true => asset::reply(headers, kind, Cow::Borrowed(content), POLICY),
        // The owner of the name could serve a page under it that reads what is typed into this one.
        false => reply::text(
            StatusCode::MISDIRECTED_REQUEST,
            "this name may be another's: use an address or localhost, or list the name in allowed_hosts",
        ),
    };
    for (name, value) in APART {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(reply)
}

/// Returns a file: its type and its content.
fn file(path: &str) -> Option<(&'static str, &'static str)> {
    Some(match path {
        "/" => (PAGE, include_str!("dashboard/index.html")),
        "/dashboard/base.css" => (STYLE, include_str!("page/base.css")),
        "/dashboard/dashboard.css" => (STYLE, include_str!("dashboard/dashboard.css")),
        "/dashboard/parts.css" => (STYLE, include_str!("dashboard/parts.css")),
        "/dashboard/elements.js" => (SCRIPT, include_str!("page/elements.js")),
        "/dashboard/acts.js" => (SCRIPT, include_str!("dashboard/acts.js")),
        "/dashboard/api.js" => (SCRIPT, include_str!("dashboard/api.js")),
        "/dashboard/channel.js" => (SCRIPT, include_str!("dashboard/channel.js")),
        "/dashboard/chart.js" => (SCRIPT, include_str!("dashboard/chart.js")),
        "/dashboard/connection.js" => (SCRIPT, include_str!("dashboard/connection.js")),
        "/dashboard/dashboard.js" => (SCRIPT, include_str!("dashboard/dashboard.js")),
        "/dashboard/figures.js" => (SCRIPT, include_str!("dashboard/figures.js")),
        "/dashboard/host.js" => (SCRIPT, include_str!("dashboard/host.js")),
        "/dashboard/live.js" => (SCRIPT, include_str!("dashboard/live.js")),
        "/dashboard/logs.js" => (SCRIPT, include_str!("dashboard/logs.js")),
        "/dashboard/overview.js" => (SCRIPT, include_str!("dashboard/overview.js")),
        "/dashboard/parts.js" => (SCRIPT, include_str!("dashboard/parts.js")),
        "/dashboard/room.js" => (SCRIPT, include_str!("dashboard/room.js")),
        "/dashboard/table.js" => (SCRIPT, include_str!("dashboard/table.js")),
        _ => return None,
    })
}
