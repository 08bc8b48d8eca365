//! Scripted answers to outgoing HTTP requests: a plugin's tests need no network.

use crate::error::{HostError, Remedy};
use crate::http::{Request, Response};

use super::effects::{is_token, refused};
use super::world::World;

/// What somebody out there answers, for [`TestHost::http_answer`](super::TestHost::http_answer).
#[derive(Debug, Clone)]
pub struct HttpAnswer(Result<Response, HostError>);

impl HttpAnswer {
    /// An answer with this status, without headers and body.
    pub fn new(status: u16) -> Self {
        Self(Ok(Response { status, headers: Vec::new(), body: Vec::new() }))
    }

    /// An answer with status 200 and this as JSON.
    pub fn json(value: impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(&value).expect("the answer can be JSON");
        Self::new(200).header("content-type", "application/json").body(body)
    }

    /// Nobody is there: the request fails with `http-unreachable`.
    pub fn unreachable() -> Self {
        Self(Err(refused(Remedy::RetryLater, "http-unreachable", "nobody is there")))
    }

    /// Nobody answers in time: the request fails with `http-timeout`.
    pub fn timeout() -> Self {
        Self(Err(refused(Remedy::RetryLater, "http-timeout", "no answer in time")))
    }

    /// What comes of a request.
    pub(crate) fn outcome(&self) -> &Result<Response, HostError> {
        &self.0
    }

    /// Add a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        if let Ok(response) = &mut self.0 {
            response.headers.push((name.to_ascii_lowercase(), value.as_ref().to_owned()));
        }
        self
    }

    /// Set the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        if let Ok(response) = &mut self.0 {
            response.body = body.into();
        }
        self
    }
}

/// One request that the channel has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method, such as `GET`.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// The headers that the channel set, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Headers that the host sets itself.
const FORBIDDEN: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "host",
    "http2-settings",
];

/// The script, and what was asked.
#[derive(Default)]
pub(crate) struct Http {
    answers: Vec<(String, HttpAnswer)>,
    pub(crate) requests: Vec<HttpRequest>,
}

impl Http {
    pub(crate) fn script(&mut self, url: &str, answer: HttpAnswer) {
        self.answers.retain(|(scripted, _)| scripted != url);
        self.answers.push((url.to_owned(), answer));
    }
}

impl World {
    pub(crate) fn http_send(&mut self, request: &Request) -> Result<Response, HostError> {
        for (name, value) in &request.headers {
            let name_in_lower_case = name.to_ascii_lowercase();
            let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
            if !is_token(name)
                || !value.iter().all(is_text)
                || FORBIDDEN.contains(&&*name_in_lower_case)
            {
                let detail = format!("{name:?} is no header, or one that the host sets itself");
                return Err(refused(Remedy::FixCall, "http-header-invalid", detail));
            }
        }
        let url = &request.url;
        let answers = self.http.answers.iter().rev();
        let is_meant = |scripted: &str| match scripted.strip_suffix('*') {
            Some(beginning) => url.starts_with(beginning),
            None => url == scripted,
        };
        let answer = answers.into_iter().find(|(scripted, _)| is_meant(scripted));
        let Some((_, HttpAnswer(answer))) = answer.cloned() else {
            return Err(refused(
                Remedy::AskOperator,
                "http-not-granted",
                format!("the test has no answer for {url}; script one with TestHost::http_answer"),
            ));
        };
        let headers = request.headers.iter();
        self.http.requests.push(HttpRequest {
            method: request.method.clone(),
            url: url.clone(),
            headers: headers.map(|(n, v)| (n.to_ascii_lowercase(), v.clone())).collect(),
            body: request.body.clone(),
        });
        match answer {
            Ok(response) if response.body.len() > request.max_body_bytes => Err(refused(
                Remedy::ShedLoad,
                "http-response-too-big",
                format!("the answer has more than {} bytes", request.max_body_bytes),
            )),
            answer => answer,
        }
    }
}
