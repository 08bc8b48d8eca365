//! What a test puts in the place of the world around a plugin: the clock that guests see, answers
//! to their requests, tokens that hold; and what it hears of them. A server has none.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::token::Unacceptable;
use wharf_hub::connection::ConnectionRecord;
use wharf_hub::token::Token;

/// The place of a test's plugin.
pub trait Stage: Debug + Send + Sync {
    /// The time since 1970 by the clock on the wall, what the test has let pass included.
    fn now(&self) -> Duration;

    /// Answer a request to another server, which is not sent.
    fn answer(&self, request: StagedRequest) -> StagedAnswer;

    /// Check a token that a client has brought after it has connected. `has_one` says whether it had
    /// one before. `None` if no tokens are checked.
    fn check(&self, token: &str, has_one: bool) -> Option<Result<Token, Unacceptable>>;

    /// The channel has written a line into the log, or printed one.
    fn logged(&self, line: StagedLine);

    /// A connection has a session now: its first one, or another.
    fn kept(&self, client: &Arc<ConnectionRecord>, session: &[u8]);
}

/// What another server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedRequest {
    /// Such as `GET`.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What it answers; or why it does not, as a code of a host call and a sentence.
pub type StagedAnswer = Result<StagedResponse, (String, String)>;

/// Another server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedResponse {
    /// The status.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// A line of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedLine {
    /// Such as `info`.
    pub level: &'static str,
    /// What it says.
    pub message: String,
    /// What belongs to it, by name.
    pub fields: Vec<(String, String)>,
    /// Whether it was printed to standard error, as what a panic says.
    pub is_complaint: bool,
}
