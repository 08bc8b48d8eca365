//! Requests to other servers.
//!
//! ```
//! # use wharf::prelude::*;
//! use wharf::http;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Profile {
//!     name: String,
//! }
//!
//! # fn handler() -> Result {
//! let profile: Profile = http::get("https://api.example.com/users/7").send()?.ok()?.json()?;
//!
//! let saved = http::post("https://api.example.com/users")
//!     .header("authorization", "Bearer …")
//!     .json(&profile)?
//!     .send()?;
//! if saved.status() == 409 {
//!     // …
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A plugin may call the hosts that the operator grants to its channel, and no others: none, unless
//! `wharf.toml` lists them. The error of a refused call and the host's log name the line to write.
//!
//! ```toml
//! [channels.chat]
//! http_hosts = ["api.example.com"]
//! ```
//!
//! A grant is for a name, which is looked up anew for each request. `https` checks certificates
//! against the authorities that browsers trust.
//!
//! # Waiting
//!
//! [`send`](Request::send) waits for the whole answer. That delays only the events of this
//! connection: other connections are served meanwhile. The whole event must be over in
//! `wall_budget_ms` (5 seconds unless the operator sets another time), so a request has a
//! [timeout](Request::timeout) that is shorter. A request that is sent is not undone if the handler
//! fails afterwards.
//!
//! Redirects are answers like others: the `location` may be on a host that is not granted. Cookies
//! are not kept.
//!
//! # Errors
//!
//! An answer with any status is a success of the call; see [`Response::ok`]. The codes of
//! [`send`](Request::send):
//!
//! | code | |
//! | --- | --- |
//! | `http-not-granted` | the operator has not allowed this host; the detail says what to write |
//! | `http-url-invalid`, `http-header-invalid` | no `http` or `https` URL; no header, or one that the host sets |
//! | `http-too-many-requests` | more than `max_http_requests_per_channel` are under way |
//! | `http-timeout` | no connection or no answer in time |
//! | `http-unreachable` | no such name, no server there, or no TLS connection |
//! | `http-response-too-big` | a body over [`max_body_bytes`](Request::max_body_bytes) |
//! | `http-failed` | anything else, such as an answer that breaks off |

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend;
use crate::error::{Context, HostError, Remedy, Result};

/// Default timeout of a request.
pub const TIMEOUT: Duration = Duration::from_secs(3);
/// Default limit of the body of an answer, in bytes: 1 MiB.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Makes a `GET` request.
pub fn get(url: &str) -> Request {
    request("GET", url)
}

/// Makes a `POST` request.
pub fn post(url: &str) -> Request {
    request("POST", url)
}

/// Makes a `PUT` request.
pub fn put(url: &str) -> Request {
    request("PUT", url)
}

/// Makes a `PATCH` request.
pub fn patch(url: &str) -> Request {
    request("PATCH", url)
}

/// Makes a `DELETE` request.
pub fn delete(url: &str) -> Request {
    request("DELETE", url)
}

/// Makes a request with any method, such as `HEAD`.
pub fn request(method: &str, url: &str) -> Request {
    Request {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: TIMEOUT,
        max_body_bytes: MAX_BODY_BYTES,
    }
}

/// A request that is not sent yet; made by [`get`], [`post`] and the others.
#[must_use = "nothing happens before `send`"]
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Duration,
    pub(crate) max_body_bytes: usize,
}

impl Request {
    /// Adds a header; a repeated name adds a second one. The host itself sets `host`, `connection`
    /// and similar ones.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to this value as JSON, with the `content-type` of JSON.
    ///
    /// Errors: the value cannot be JSON.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self> {
        let body = serde_json::to_vec(value).context("a request's body cannot be JSON")?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// Sets the time for the whole request; [`TIMEOUT`] by default. The operator's `wall_budget_ms`
    /// ends the whole event even so.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the limit of the answer's body, in bytes; [`MAX_BODY_BYTES`] by default.
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Sends the request and waits for the whole answer.
    ///
    /// Errors: see the [module](self).
    pub fn send(self) -> Result<Response> {
        let target = Target::of(&self.url)?;
        Ok(backend::http_send(&self, &target)?)
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Returns the status code, such as 200.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns true if the status is 200 to 299.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the answer if its status is 200 to 299.
    ///
    /// Errors: any other status, with the beginning of the body.
    pub fn ok(self) -> Result<Self> {
        const MAX_SHOWN_BYTES: usize = 200;
        if self.is_ok() {
            return Ok(self);
        }
        let shown = self.body.get(..MAX_SHOWN_BYTES).unwrap_or(&self.body);
        let shown = String::from_utf8_lossy(shown);
        crate::bail!("the answer has status {}: {}", self.status, shown.trim_end())
    }

    /// Returns all headers, names in lower case.
    pub fn headers(&self) -> &[(String, Vec<u8>)] {
        &self.headers
    }

    /// Returns the first header with this name in any case, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        std::str::from_utf8(&found?.1).ok()
    }

    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the body itself.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// Returns the body as text.
    ///
    /// Errors: the body is not UTF-8.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.body).context("the answer is no UTF-8")
    }

    /// Returns the body, decoded from JSON.
    ///
    /// Errors: the body is not a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let what = || format!("the answer is not JSON of a {}", std::any::type_name::<T>());
        crate::json::read_bytes(&self.body).with_context(what)
    }
}

/// The parts of a URL that a request is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) is_https: bool,
    pub(crate) authority: String,
    pub(crate) path_with_query: String,
}

impl Target {
    /// Returns the URL as it is sent.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn url(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.path_with_query)
    }

    /// Parses a URL. The host checks if names and paths are well-formed.
    fn of(url: &str) -> Result<Self, HostError> {
        let invalid = || HostError {
            remedy: Remedy::FixCall,
            code: "http-url-invalid".to_owned(),
            detail: format!("{url:?} is not a URL such as https://api.example.com/users/7"),
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(invalid)?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(invalid()),
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() || authority.contains(['@', '\\', ' ']) {
            return Err(invalid());
        }
        let path_with_query = match path {
            "" => "/".to_owned(),
            path if path.starts_with('?') => format!("/{path}"),
            path => path.to_owned(),
        };
        Ok(Self { is_https, authority: authority.to_owned(), path_with_query })
    }
}

/// Returns the remedy of an error whose code the host has sent as text.
pub(crate) fn remedy_of(code: &str) -> Remedy {
    match code {
        "http-not-granted" => Remedy::AskOperator,
        "http-too-many-requests" => Remedy::ShedLoad,
        "http-timeout" | "http-unreachable" => Remedy::RetryLater,
        "no-event" => Remedy::FixCall,
        _ => Remedy::Other,
    }
}

#[cfg(test)]
mod tests {
    use wharf_contract::CallRefusal;

    use super::*;

    #[test]
    fn a_url_has_a_scheme_a_host_and_a_path() {
        let parts = |url: &str| {
            let target = Target::of(url).ok()?;
            Some((target.is_https, target.authority, target.path_with_query))
        };
        let of = |is_https, authority: &str, path: &str| {
            Some((is_https, authority.to_owned(), path.to_owned()))
        };
        assert_eq!(parts("http://a"), of(false, "a", "/"));
        assert_eq!(parts("HTTPS://a:1/b/c?d=e#f"), of(true, "a:1", "/b/c?d=e"));
        assert_eq!(parts("https://[::1]:1?d#"), of(true, "[::1]:1", "/?d"));
        for url in ["", "a", "/a", "ftp://a", "http://", "http:///b", "http://a@b/", "http://a b/"]
        {
            assert_eq!(parts(url), None, "{url:?}");
        }
    }

    #[test]
    fn a_url_that_is_none_is_refused_as_the_contract_says() {
        let url = "ftp://a".to_owned();
        let refused = Target::of(&url).expect_err("no URL");
        assert_eq!(refused, HostError::from(CallRefusal::HttpUrlInvalid { url }));
    }

    #[test]
    fn what_the_host_sends_as_text_has_the_remedy_of_the_contract() {
        let target = || "a".to_owned();
        let cause = || "b".to_owned();
        for refusal in [
            CallRefusal::HttpEventOver,
            CallRefusal::HttpFailed { target: target(), cause: cause() },
            CallRefusal::HttpNotGranted { host: target(), port: 80, how: cause() },
            CallRefusal::HttpConnectTimeout { target: target() },
            CallRefusal::HttpTooManyRequests { limit: 1 },
            CallRefusal::HttpUnreachable { target: target(), cause: cause() },
            CallRefusal::HttpNoEvent,
        ] {
            assert_eq!(remedy_of(refusal.code()), HostError::from(refusal).remedy);
        }
    }
}
