//! Scripted answers to outgoing HTTP requests: a plugin's tests need no network.

use wharf_contract::CallRefusal;
use wharf_contract::header::check_of_request;
use wharf_contract::kit::is_scripted;

use crate::error::HostError;
use crate::http::{Request, Response, Target, remedy_of};

use super::world::World;

/// The answer of another server, for [`TestHost::http_answer`](super::TestHost::http_answer).
#[derive(Debug, Clone)]
pub struct HttpAnswer(Result<Response, HostError>);

impl HttpAnswer {
    /// Makes an answer with this status, without headers and body.
    pub fn new(status: u16) -> Self {
        Self(Ok(Response { status, headers: Vec::new(), body: Vec::new() }))
    }

    /// Makes an answer with status 200 and this value as JSON.
    pub fn json(value: impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(&value).expect("the answer can be JSON");
        Self::new(200).header("content-type", "application/json").body(body)
    }

    /// Makes a failure to reach the server: `http-unreachable`.
    pub fn unreachable() -> Self {
        Self::failure("http-unreachable", "no server is there")
    }

    /// Makes a failure to answer in time: `http-timeout`.
    pub fn timeout() -> Self {
        Self::failure("http-timeout", "no answer in time")
    }

    fn failure(code: &str, detail: &str) -> Self {
        let (remedy, code, detail) = (remedy_of(code), code.to_owned(), detail.to_owned());
        Self(Err(HostError { remedy, code, detail }))
    }

    /// Returns the result of a request.
    pub(crate) fn outcome(&self) -> &Result<Response, HostError> {
        &self.0
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        if let Ok(response) = &mut self.0 {
            response.headers.push((name.to_ascii_lowercase(), value.as_ref().to_owned()));
        }
        self
    }

    /// Sets the body.
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
    /// Method, such as `GET`.
    pub method: String,
    /// Whole URL.
    pub url: String,
    /// Headers that the channel set, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Body.
    pub body: Vec<u8>,
}

/// The script, and the requests so far.
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
    pub(crate) fn http_send(
        &mut self,
        request: &Request,
        target: &Target,
    ) -> Result<Response, HostError> {
        for (name, value) in &request.headers {
            check_of_request(name, value)?;
        }
        let url = target.url();
        let answers = self.http.answers.iter().rev();
        let answer = answers.into_iter().find(|(scripted, _)| is_scripted(scripted, &url));
        let Some((_, HttpAnswer(answer))) = answer.cloned() else {
            return Err(CallRefusal::HttpNotScripted { url }.into());
        };
        let headers = request.headers.iter();
        self.http.requests.push(HttpRequest {
            method: request.method.clone(),
            url,
            headers: headers.map(|(n, v)| (n.to_ascii_lowercase(), v.clone())).collect(),
            body: request.body.clone(),
        });
        let limit = request.max_body_bytes;
        match answer {
            Ok(response) if response.body.len() > limit => {
                Err(CallRefusal::HttpResponseTooBig { limit }.into())
            }
            answer => answer,
        }
    }
}
