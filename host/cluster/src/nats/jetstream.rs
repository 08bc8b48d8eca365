//! JetStream: requests with JSON. No answer is trusted.

use std::time::Duration;

use async_nats::{Client, HeaderMap, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::clock::read_time;
use super::failure::{refused, unanswered};
use crate::error::Unavailable;

/// The error code of another last message than was expected.
const WRONG_LAST: u64 = 10_071;

/// The error codes of a message that is not there.
const NOT_FOUND: [u64; 3] = [10_037, 10_043, 10_057];

/// Most messages in one answer.
const BATCH: u64 = 1_000;

/// A stored message.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    /// Time at which it was stored, in milliseconds since 1970.
    pub(super) at: u64,
    pub(super) payload: Bytes,
}

/// JetStream by a link.
#[derive(Clone, Debug)]
pub(super) struct JetStream {
    pub(super) client: Client,
    pub(super) timeout: Duration,
}

impl JetStream {
    /// Makes a stream, or gives it these settings.
    pub(super) async fn ensure(&self, name: &str, settings: &Value) -> Result<(), Unavailable> {
        // The name is in use with other settings.
        const IN_USE: u64 = 10_058;
        match self.ask(&format!("STREAM.CREATE.{name}"), settings).await? {
            Ok(_) => Ok(()),
            Err((IN_USE, _)) => {
                let updated = self.ask(&format!("STREAM.UPDATE.{name}"), settings).await?;
                updated.map(drop).map_err(|(code, text)| refused(code, &text))
            }
            Err((code, text)) => Err(refused(code, &text)),
        }
    }

    /// Asks if there is JetStream.
    pub(super) async fn check(&self) -> Result<(), Unavailable> {
        let answer = self.ask("INFO", &json!({})).await?;
        answer.map(drop).map_err(|(code, text)| refused(code, &text))
    }

    /// Returns the server's time, in milliseconds since 1970.
    pub(super) async fn time(&self, stream: &str) -> Result<u64, Unavailable> {
        let answer = self.ask(&format!("STREAM.INFO.{stream}"), &json!({})).await?;
        let answer = answer.map_err(|(code, text)| refused(code, &text))?;
        let time = answer.get("ts").and_then(Value::as_str).and_then(read_time);
        time.ok_or_else(|| Unavailable::damaged("an answer of JetStream"))
    }

    /// Stores a message if the last one of its subject has this number (0: there is none). Returns its number; `None`
    /// if there is another one.
    pub(super) async fn store(
        &self,
        subject: &str,
        payload: Bytes,
        last: Option<u64>,
        seconds: Option<u64>,
    ) -> Result<Option<u64>, Unavailable> {
        let mut headers = HeaderMap::new();
        if let Some(last) = last {
            headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string());
        }
        if let Some(seconds) = seconds {
            headers.insert("Nats-TTL", format!("{seconds}s"));
        }
        let request = Request::new().payload(payload).headers(headers);
        match self.send(subject.to_owned(), request).await? {
            Ok(answer) => match answer.get("seq").and_then(Value::as_u64) {
                Some(sequence) => Ok(Some(sequence)),
                None => Err(Unavailable::damaged("an answer of JetStream")),
            },
            Err((WRONG_LAST, _)) => Ok(None),
            Err((code, text)) => Err(refused(code, &text)),
        }
    }

    /// Returns the last message of a subject, from the server that leads the stream.
    pub(super) async fn last(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<Stored>, Unavailable> {
        let question = json!({ "last_by_subj": subject });
        let answer = match self.ask(&format!("STREAM.MSG.GET.{stream}"), &question).await? {
            Ok(answer) => answer,
            Err((code, _)) if NOT_FOUND.contains(&code) => return Ok(None),
            Err((code, text)) => return Err(refused(code, &text)),
        };
        let message = answer.get("message");
        let field = |name: &str| message.and_then(|message| message.get(name));
        let sequence = field("seq").and_then(Value::as_u64);
        let at = field("time").and_then(Value::as_str).and_then(read_time);
        let payload = STANDARD.decode(field("data").and_then(Value::as_str).unwrap_or_default());
        match (sequence, at, payload) {
            (Some(sequence), Some(at), Ok(payload)) => {
                Ok(Some(Stored { sequence, at, payload: payload.into() }))
            }
            _ => Err(Unavailable::damaged("an answer of JetStream")),
        }
    }

    /// Deletes a message by its number. Returns false if it is not there.
    pub(super) async fn delete(&self, stream: &str, sequence: u64) -> Result<bool, Unavailable> {
        let question = json!({ "seq": sequence, "no_erase": true });
        match self.ask(&format!("STREAM.MSG.DELETE.{stream}"), &question).await? {
            Ok(_) => Ok(true),
            Err((code, _)) if NOT_FOUND.contains(&code) => Ok(false),
            Err((code, text)) => Err(refused(code, &text)),
        }
    }

    /// Deletes the messages of a subject with smaller numbers than this one; all of them if there is none. Returns
    /// their count.
    pub(super) async fn purge(
        &self,
        stream: &str,
        subject: &str,
        below: Option<u64>,
    ) -> Result<u64, Unavailable> {
        let question = match below {
            Some(sequence) => json!({ "filter": subject, "seq": sequence }),
            None => json!({ "filter": subject }),
        };
        let answer = self.ask(&format!("STREAM.PURGE.{stream}"), &question).await?;
        let answer = answer.map_err(|(code, text)| refused(code, &text))?;
        Ok(answer.get("purged").and_then(Value::as_u64).unwrap_or(0))
    }

    /// Returns the subjects of a stream that match a filter.
    pub(super) async fn subjects(
        &self,
        stream: &str,
        filter: &str,
    ) -> Result<Vec<String>, Unavailable> {
        let mut found = Vec::new();
        loop {
            let question = json!({ "subjects_filter": filter, "offset": found.len() });
            let answer = self.ask(&format!("STREAM.INFO.{stream}"), &question).await?;
            let answer = answer.map_err(|(code, text)| refused(code, &text))?;
            let subjects = answer.get("state").and_then(|state| state.get("subjects"));
            let Some(subjects) = subjects.and_then(Value::as_object) else { return Ok(found) };
            found.extend(subjects.keys().cloned());
            let total = answer.get("total").and_then(Value::as_u64).unwrap_or(0);
            if subjects.is_empty() || found.len() as u64 >= total {
                return Ok(found);
            }
        }
    }

    /// Returns all messages of a subject, oldest first.
    pub(super) async fn all(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Vec<Stored>, Unavailable> {
        let (mut found, mut from) = (Vec::new(), 1);
        loop {
            let before = found.len();
            let is_last = self.some(stream, subject, from, &mut found).await?;
            if is_last || found.len() == before {
                return Ok(found);
            }
            from = found.last().map_or(1, |stored: &Stored| stored.sequence.saturating_add(1));
        }
    }

    /// Reads some messages of a subject. Returns true if they were the last ones.
    async fn some(
        &self,
        stream: &str,
        subject: &str,
        from: u64,
        found: &mut Vec<Stored>,
    ) -> Result<bool, Unavailable> {
        let question = json!({ "seq": from, "next_by_subj": subject, "batch": BATCH });
        let lost = |_| Unavailable::link_lost();
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(lost)?;
        let place = format!("$JS.API.DIRECT.GET.{stream}");
        let question = question.to_string().into();
        let asked = self.client.publish_with_reply(place, inbox, question).await;
        asked.map_err(|_| Unavailable::link_lost())?;
        loop {
            let answer = tokio::time::timeout(self.timeout, answers.next()).await;
            let answer = answer.map_err(|_| Unavailable::timed_out())?;
            let answer = answer.ok_or_else(Unavailable::link_lost)?;
            let header = |name: &str| {
                answer.headers.as_ref().and_then(|headers| headers.get(name)).map(|v| v.as_str())
            };
            let number = |name: &str| header(name).and_then(|text| text.parse::<u64>().ok());
            match answer.status.map(|status| status.as_u16()) {
                Some(404) => return Ok(true),
                Some(204) => return Ok(number("Nats-Num-Pending").unwrap_or(0) == 0),
                Some(503) => return Err(refused(10_076, "no responders")),
                Some(status @ 400..) => {
                    return Err(refused(u64::from(status), "a read was refused"));
                }
                _ => {}
            }
            let sequence = number("Nats-Sequence");
            let at = header("Nats-Time-Stamp").and_then(read_time);
            let (Some(sequence), Some(at)) = (sequence, at) else {
                return Err(Unavailable::damaged("an answer of JetStream"));
            };
            found.push(Stored { sequence, at, payload: answer.payload });
        }
    }

    /// Asks JetStream something.
    async fn ask(&self, what: &str, question: &Value) -> Result<Answered, Unavailable> {
        let request = Request::new().payload(question.to_string().into());
        self.send(format!("$JS.API.{what}"), request).await
    }

    async fn send(&self, subject: String, request: Request) -> Result<Answered, Unavailable> {
        let request = request.timeout(Some(self.timeout));
        let answer = self.client.send_request(subject, request).await;
        let answer = answer.map_err(|error| unanswered(&error))?;
        let answer: Value = serde_json::from_slice(&answer.payload)
            .map_err(|_| Unavailable::damaged("an answer of JetStream"))?;
        if let Some(error) = answer.get("error") {
            let number = |name: &str| error.get(name).and_then(Value::as_u64);
            let code = number("err_code").or_else(|| number("code")).unwrap_or(0);
            let text = error.get("description").and_then(Value::as_str).unwrap_or_default();
            return Ok(Err((code, text.to_owned())));
        }
        Ok(Ok(answer))
    }
}

/// An answer, or an error code with its description.
type Answered = Result<Value, (u64, String)>;
