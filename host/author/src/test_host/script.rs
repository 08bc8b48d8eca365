//! What a test has scripted of the world around its plugin, and what it hears of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use super::happenings::{Happenings, headers, message};
use wharf_contract::CallRefusal;
use wharf_contract::kit::{Bytes, Happened, HttpAnswer, is_scripted};
use wharf_hub::connection::ConnectionRecord;
use wharf_hub::connection_id::ConnectionId;
use wharf_hub::frame::Frame;
use wharf_hub::hub::Publications;
use wharf_hub::token::Token;
use wharf_runtime::stage::{Stage, StagedAnswer, StagedLine, StagedRequest, StagedResponse};
use wharf_runtime::token::Unacceptable;

/// Tokens without an expiry hold for longer than any test lasts.
const LONG: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Headers of requests that the SDK sets by itself.
const OF_THE_SDK: [&str; 2] = ["content-length", "host"];

/// The world around a plugin that is tested.
#[derive(Debug)]
pub(super) struct Script {
    happened: Happenings,
    /// When the test began, by the clock that it moves.
    began: Instant,
    answers: Mutex<Vec<(String, HttpAnswer)>>,
    /// Tokens that hold, with their claims.
    tokens: Mutex<BTreeMap<String, String>>,
    /// Connections and their sessions.
    kept: Mutex<BTreeMap<ConnectionId, Kept>>,
    panic: Mutex<Panic>,
}

/// A connection and its session, as last committed.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) client: Arc<ConnectionRecord>,
    pub(super) session: Vec<u8>,
}

/// What is known of a panic that is being printed.
#[derive(Debug, Default)]
enum Panic {
    #[default]
    None,
    /// Its message is the next line.
    Begun,
    Said(String),
}

impl Script {
    /// Nothing is scripted. To be called where the runtime's clock is known.
    pub(super) fn new(happened: Happenings) -> Script {
        let (answers, tokens, kept, panic) = Default::default();
        Script { happened, began: Instant::now(), answers, tokens, kept, panic }
    }

    /// Answer requests to this URL; where it ends with `*`, to all that begin so.
    pub(super) fn answer_for(&self, url: String, answer: HttpAnswer) {
        let mut answers = self.answers.lock();
        answers.retain(|(scripted, _)| *scripted != url);
        answers.push((url, answer));
    }

    /// Let this token hold.
    pub(super) fn accept(&self, token: String, claims: String) {
        self.tokens.lock().insert(token, claims);
    }

    /// The connection that was accepted last.
    pub(super) fn newest(&self) -> Option<ConnectionId> {
        self.kept.lock().last_key_value().map(|(id, _)| *id)
    }

    /// What is kept of a connection.
    pub(super) fn of(&self, id: ConnectionId) -> Option<Kept> {
        self.kept.lock().get(&id).cloned()
    }

    /// What the panic said that the guest has just ended with, if it was one.
    pub(super) fn take_panic(&self) -> Option<String> {
        match std::mem::take(&mut *self.panic.lock()) {
            Panic::Said(message) => Some(message),
            Panic::None | Panic::Begun => None,
        }
    }
}

impl Stage for Script {
    fn now(&self) -> Duration {
        // What the test has from its own clock, such as when a token expires, holds here as well.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now + self.began.elapsed()
    }

    fn answer(&self, request: StagedRequest) -> StagedAnswer {
        let StagedRequest { method, url, headers, body } = request;
        let answers = self.answers.lock();
        let found = answers.iter().rev().find(|(scripted, _)| is_scripted(scripted, &url));
        let Some((_, answer)) = found else {
            let refusal = CallRefusal::HttpNotScripted { url };
            return Err((refusal.code().to_owned(), refusal.to_string()));
        };
        let theirs = headers.iter().filter(|(name, _)| !OF_THE_SDK.contains(&name.as_str()));
        let headers = self::headers(theirs);
        self.happened.note(Happened::Requested { method, url, headers, body: Bytes(body) });
        match answer.clone() {
            HttpAnswer::Failure { code, detail } => Err((code, detail)),
            HttpAnswer::Response { status, headers, body } => Ok(StagedResponse {
                status,
                headers: headers.into_iter().map(|(name, value)| (name, value.0)).collect(),
                body: body.0,
            }),
        }
    }

    fn check(&self, token: &str, has_one: bool) -> Option<Result<Token, Unacceptable>> {
        let tokens = self.tokens.lock();
        if tokens.is_empty() && !has_one {
            return None;
        }
        let claims = tokens
            .get(token)
            .ok_or(Unacceptable::Invalid("the test has not said so (TestHost::accept_token)"));
        Some(claims.map(|claims| token_of(claims, self.now())))
    }

    fn logged(&self, line: StagedLine) {
        let StagedLine { level, message, fields, is_complaint } = line;
        if is_complaint {
            let mut panic = self.panic.lock();
            match &*panic {
                _ if message.contains("panicked at ") => *panic = Panic::Begun,
                Panic::Begun => *panic = Panic::Said(message.clone()),
                Panic::None | Panic::Said(_) => {}
            }
        }
        self.happened.note(Happened::Logged { level: level.to_owned(), message, fields });
    }

    fn kept(&self, client: &Arc<ConnectionRecord>, session: &[u8]) {
        let kept = Kept { client: client.clone(), session: session.to_vec() };
        self.kept.lock().insert(client.id, kept);
    }
}

/// A token with these claims, which somebody else has checked.
pub(super) fn token_of(claims: &str, now: Duration) -> Token {
    let known: Value = serde_json::from_str(claims).unwrap_or_default();
    let expiry = known["exp"].as_f64().and_then(|at| Duration::try_from_secs_f64(at).ok());
    let left = expiry.map_or(LONG, |at| at.saturating_sub(now).min(LONG));
    Token {
        claims: claims.into(),
        subject: known["sub"].as_str().map(Box::from),
        expires: Instant::now() + left,
    }
}

/// Another channel, which the plugin may publish to.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) name: String,
    pub(super) happened: Happenings,
}

impl Publications for Neighbour {
    fn published(&self, room: &str, frame: &Frame) {
        self.happened.note(Happened::Published {
            channel: self.name.clone(),
            room: room.to_owned(),
            message: message(frame.kind(), frame.payload()),
        });
    }
}
