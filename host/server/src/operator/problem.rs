//! Answers: JSON, and the errors of requests.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde_json::Value;
use wharf_contract::CallRefusal;
use wharf_contract::outside_messages::{ErrorBody, OutsideProblem};
use wharf_engine::Unavailable;

/// A status and a body, or a problem.
pub type OperatorAnswer = Result<(StatusCode, Bytes), Problem>;

/// The reason why a request was not fulfilled.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    /// Token for programs; `None` if the channel's code has refused the request.
    code: Option<String>,
    body: Bytes,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Problem {
    /// Makes a problem with a token for programs and a sentence for people.
    pub fn new(status: StatusCode, code: &str, message: String) -> Problem {
        Problem::of(status, ErrorBody::new(code, message))
    }

    fn of(status: StatusCode, body: ErrorBody) -> Problem {
        let json = body.to_json().into();
        Problem { code: Some(body.error.code), ..Problem::with(status, json) }
    }

    fn with(status: StatusCode, body: Bytes) -> Problem {
        // It may work a moment later.
        let again = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
        let is_passing = again.contains(&status);
        let header = is_passing.then(|| Box::new((RETRY_AFTER, HeaderValue::from_static("1"))));
        Problem { status, code: None, body, header }
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the token for programs, if the host has refused the request.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Makes the answer of a channel's code a problem: it is JSON of its own.
    pub fn of_channel(status: StatusCode, body: Vec<u8>) -> Problem {
        Problem::with(status, body.into())
    }

    /// Makes the answer of another host a problem.
    pub(super) fn forwarded(status: StatusCode, body: Bytes) -> Problem {
        let found: Option<Value> = serde_json::from_slice(&body).ok();
        let code = found.as_ref().and_then(|body| body.pointer("/error/code")?.as_str());
        let code = code.map(str::to_owned);
        Problem { code, ..Problem::with(status, body) }
    }

    /// Returns the problem of a message or an event from outside.
    pub fn outside(problem: &OutsideProblem) -> Problem {
        let status = StatusCode::from_u16(problem.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Problem::of(status, problem.body())
    }

    /// Returns the problem of a resource that does not exist.
    pub fn not_found(code: &str, message: String) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, code, message)
    }

    /// Returns the problem of a store that does not answer.
    pub fn store(refusal: &CallRefusal) -> Problem {
        refused(StatusCode::SERVICE_UNAVAILABLE, refusal)
    }

    /// Returns the problem of an answer that has not come in time.
    pub fn late(code: &str, what: &str, limit: Duration) -> Problem {
        let message = format!(
            "no answer within {limit:?} (instance_wait_ms and wall_budget_ms together): {what}"
        );
        Problem::new(StatusCode::GATEWAY_TIMEOUT, code, message)
    }

    /// Returns the problem of a token that is missing or wrong.
    pub fn unauthorized(is_wrong: bool) -> Problem {
        let (code, message, challenge) = match is_wrong {
            true => (
                "wrong-token",
                "this is not the operator's token",
                "Bearer realm=\"wharf\", error=\"invalid_token\"",
            ),
            false => (
                "token-required",
                "send the operator's token: `Authorization: Bearer TOKEN`",
                "Bearer realm=\"wharf\"",
            ),
        };
        let header = Some(Box::new((WWW_AUTHENTICATE, HeaderValue::from_static(challenge))));
        Problem { header, ..Problem::new(StatusCode::UNAUTHORIZED, code, message.to_owned()) }
    }

    /// Returns the problem of a path that exists for other methods, which are these.
    pub fn method(allowed: &'static str) -> Problem {
        let message = format!("this path takes {allowed}");
        let header = Some(Box::new((ALLOW, HeaderValue::from_static(allowed))));
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Problem { header, ..Problem::new(status, "method-not-allowed", message) }
    }

    /// Adds a field to the body, beside the error.
    pub fn with_field(mut self, name: &str, value: Value) -> Problem {
        if let Ok(Value::Object(mut body)) = serde_json::from_slice(&self.body) {
            body.insert(name.to_owned(), value);
            self.body = Value::Object(body).to_string().into();
        }
        self
    }

    /// Returns the status and the body.
    pub fn into_parts(self) -> (StatusCode, Bytes) {
        (self.status, self.body)
    }

    /// Returns the problem as a response.
    pub fn reply(self) -> Response<Full<Bytes>> {
        let mut reply = json(self.status, self.body);
        if let Some((name, value)) = self.header.map(|header| *header) {
            reply.headers_mut().insert(name, value);
        }
        reply
    }
}

/// Returns the problem of a wrong request.
pub fn bad(code: &str, message: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, message.into())
}

/// Returns the problem of one wrong field of the body or the query.
pub(crate) fn bad_field(field: &str, message: impl Into<String>) -> Problem {
    let body = ErrorBody::new("invalid-field", message).about(field);
    Problem::of(StatusCode::BAD_REQUEST, body)
}

/// Returns the problem of data that cannot be read or kept at present.
pub fn data_unavailable(why: &Unavailable) -> Problem {
    let refusal = CallRefusal::DataUnavailable { why: why.to_string() };
    refused(StatusCode::SERVICE_UNAVAILABLE, &refusal)
}

/// Returns the problem of a refusal that host calls have as well.
pub fn refused(status: StatusCode, refusal: &CallRefusal) -> Problem {
    Problem::new(status, refusal.code(), refusal.to_string())
}

/// Returns a response in JSON.
pub fn json(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::from(body));
    *reply.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}
