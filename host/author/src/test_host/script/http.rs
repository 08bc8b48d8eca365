//! The answers of other servers in a test.

use std::sync::Arc;

use ::http::request::Parts;
use ::http::{Request, Response};
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use wharf_contract::CallRefusal;
use wharf_contract::kit::{Happened, HexBytes, HttpAnswer, is_scripted};
use wharf_runtime::ports::{
    HttpBody, HttpClient, HttpError, HttpIo, RequestOptions, Sending, http_error, http_refused,
};

use super::super::happenings::Happenings;

/// Headers that the SDK sets by itself.
const OF_THE_SDK: [&str; 2] = ["content-length", "host"];

/// A client that answers requests from a script, and sends none.
#[derive(Debug)]
pub(in crate::test_host) struct ScriptedHttp {
    happened: Happenings,
    answers: Mutex<Vec<(String, HttpAnswer)>>,
}

impl ScriptedHttp {
    pub(super) fn new(happened: Happenings) -> ScriptedHttp {
        ScriptedHttp { happened, answers: Mutex::default() }
    }

    /// Scripts the answer to this URL; if it ends with `*`, to all that begin like it.
    pub(in crate::test_host) fn answer_for(&self, url: String, answer: HttpAnswer) {
        let mut answers = self.answers.lock();
        answers.retain(|(scripted, _)| *scripted != url);
        answers.push((url, answer));
    }

    fn find(&self, url: &str) -> Option<HttpAnswer> {
        let answers = self.answers.lock();
        let found = answers.iter().rev().find(|(scripted, _)| is_scripted(scripted, url));
        found.map(|(_, answer)| answer.clone())
    }

    fn note(&self, head: &Parts, url: String, body: Vec<u8>) {
        let theirs = head.headers.iter();
        let theirs = theirs.filter(|(name, _)| !OF_THE_SDK.contains(&name.as_str()));
        let headers = theirs.map(|(name, value)| (name.to_string(), value.as_bytes().into()));
        self.happened.note(Happened::Requested {
            method: head.method.to_string(),
            url,
            headers: headers.collect(),
            body: HexBytes(body),
        });
    }
}

impl HttpClient for ScriptedHttp {
    fn send(
        self: Arc<Self>,
        request: Request<HttpBody>,
        _: RequestOptions,
        _: Arc<Semaphore>,
    ) -> Sending {
        Box::new(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes().to_vec();
            let url = head.uri.to_string();
            let Some(answer) = self.find(&url) else {
                return Err(http_refused(&CallRefusal::HttpNotScripted { url }));
            };
            self.note(&head, url, body);
            let io: HttpIo = Box::new(std::future::ready(Ok(())));
            Ok((response(answer)?, io))
        })
    }
}

fn response(answer: HttpAnswer) -> Result<Response<HttpBody>, HttpError> {
    let (status, headers, body) = match answer {
        HttpAnswer::Response { status, headers, body } => (status, headers, body.0),
        HttpAnswer::Failure { code, detail } => return Err(http_error(&code, &detail)),
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value.0);
    }
    let body = Full::new(body.into()).map_err(|never| match never {});
    response.body(body.boxed_unsync()).map_err(|error| {
        let (target, cause) = ("no such answer".to_owned(), error.to_string());
        http_refused(&CallRefusal::HttpFailed { target, cause })
    })
}
