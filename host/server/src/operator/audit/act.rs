//! An act of the operator's API, and its record.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::{Method, Request};
use serde::Serialize;
use wharf_contract::text::{cut, escape};
use wharf_hub::remote::Remote;

use super::Audit;
use crate::operator::problem::{OperatorAnswer, Problem};
use crate::operator::route::Command;

/// Longest part of a path or a name that a record has, in bytes before it is escaped.
const MAX_SHOWN_BYTES: usize = 200;

/// Longest part of a method.
const MAX_METHOD_BYTES: usize = 20;

/// The name of the one credential that the API knows.
const CREDENTIAL: &str = "operator_token";

/// Codes of acts that have no answer: the client was gone before the body had come, so that nothing was
/// done, or the host has panicked.
const CLIENT_GONE: &str = "client-gone";
const HOST_FAILED: &str = "host-failed";

/// A record of the log. It has no contents of messages, no query and no headers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Record {
    /// Time at which the request had come, in milliseconds since 1970.
    time_ms: u64,
    /// The same time, for people.
    time: String,
    remote: String,
    /// Name of the credential that the request carried; `None` without a right one.
    credential: Option<&'static str>,
    method: String,
    path: String,
    channel: Option<String>,
    action: Option<&'static str>,
    /// Connection, user or room.
    subject: Option<String>,
    body_bytes: usize,
    /// Status of the answer; `None` if there was none.
    status: Option<u16>,
    /// Code of the error, if the host has refused it.
    code: Option<String>,
    duration_us: u64,
    /// Number of requests that the record stands for.
    pub(super) times: u64,
}

/// A record with its number, and the number of those that were lost before it.
#[derive(Serialize)]
struct Numbered<'a> {
    /// It comes first, where the reader of the file finds it without reading the rest.
    id: u64,
    #[serde(flatten)]
    record: &'a Record,
    #[serde(skip_serializing_if = "is_zero")]
    lost: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record {
    fn of<B>(remote: Remote, request: &Request<B>) -> Record {
        let now = unix();
        Record {
            time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            time: rfc_3339(now),
            remote: remote.to_string(),
            credential: Some(CREDENTIAL),
            method: escape(cut(request.method().as_str(), MAX_METHOD_BYTES)),
            path: escape(cut(request.uri().path(), MAX_SHOWN_BYTES)),
            channel: None,
            action: None,
            subject: None,
            body_bytes: 0,
            status: None,
            code: None,
            duration_us: 0,
            times: 1,
        }
    }

    /// Returns the record of a request that a test makes.
    #[cfg(test)]
    pub(super) fn of_stranger<B>(request: &Request<B>) -> Record {
        Record::of(Remote::Unix, request)
    }

    fn refused(&mut self, problem: &Problem) {
        self.status = Some(problem.status().as_u16());
        self.code = problem.code().map(str::to_owned);
    }

    /// Returns the record as JSON on one line.
    pub(super) fn to_json(&self, id: u64, lost: u64) -> String {
        // Texts and numbers can always be written.
        serde_json::to_string(&Numbered { id, record: self, lost }).unwrap_or_default()
    }
}

/// An act that goes on. If its request is given up before it is ended, it is recorded all the same.
#[derive(Debug)]
pub(crate) struct Act {
    audit: Arc<Audit>,
    begun: Instant,
    record: Option<Record>,
    code_if_dropped: &'static str,
}

impl Act {
    /// Returns true for requests that are acts: all that may change something.
    pub(crate) fn is_one(method: &Method) -> bool {
        !matches!(*method, Method::GET | Method::HEAD)
    }

    /// Begins the record of a request with the token.
    pub(crate) fn begin<B>(audit: &Arc<Audit>, remote: Remote, request: &Request<B>) -> Act {
        Act {
            audit: audit.clone(),
            begun: Instant::now(),
            record: Some(Record::of(remote, request)),
            code_if_dropped: CLIENT_GONE,
        }
    }

    /// Records a request without the right token, which has been refused.
    pub(crate) fn refuse<B>(
        audit: &Audit,
        remote: Remote,
        request: &Request<B>,
        problem: &Problem,
    ) {
        let mut record = Record { credential: None, ..Record::of(remote, request) };
        record.refused(problem);
        audit.put_stranger(record);
    }

    /// Returns the record as far as it is known.
    #[cfg(test)]
    pub(super) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Notes the command and the channel that the path names.
    pub(crate) fn names(&mut self, channel: &str, command: &Command) {
        if let Some(record) = &mut self.record {
            record.channel = Some(escape(cut(channel, MAX_SHOWN_BYTES)));
            record.action = Some(command.name());
            record.subject = command.subject().map(|(kind, name)| {
                let name = escape(cut(name, MAX_SHOWN_BYTES));
                format!("{kind} {name}")
            });
        }
    }

    /// Notes an act that is no command to a channel in service.
    pub(crate) fn is_about(&mut self, channel: &str, action: &'static str) {
        if let Some(record) = &mut self.record {
            record.channel = Some(escape(cut(channel, MAX_SHOWN_BYTES)));
            record.action = Some(action);
        }
    }

    /// Notes the thing that the act is about, once that is known.
    pub(crate) fn has_subject(&mut self, subject: &str) {
        if let Some(record) = &mut self.record {
            record.subject = Some(escape(cut(subject, MAX_SHOWN_BYTES)));
        }
    }

    /// Notes the size of the body, with which the command is run to its end.
    pub(crate) fn has_body(&mut self, bytes: usize) {
        self.code_if_dropped = HOST_FAILED;
        if let Some(record) = &mut self.record {
            record.body_bytes = bytes;
        }
    }

    /// Records the act with its outcome, before it is answered.
    pub(crate) async fn end(mut self, answered: &OperatorAnswer) {
        if let Some(mut record) = self.record.take() {
            match answered {
                Ok((status, _)) => record.status = Some(status.as_u16()),
                Err(problem) => record.refused(problem),
            }
            record.duration_us = microseconds(self.begun.elapsed());
            self.audit.add(record).await;
        }
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.code = Some(self.code_if_dropped.to_owned());
            record.duration_us = microseconds(self.begun.elapsed());
            self.audit.put(record);
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the time since 1970.
pub(super) fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Writes a time since 1970 as RFC 3339 has it, in UTC.
pub(crate) fn rfc_3339(since_1970: Duration) -> String {
    let (seconds, milliseconds) = (since_1970.as_secs(), since_1970.subsec_millis());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day at the end; 400 of them have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}
