//! The refusal of a connection by its channel.

use std::fmt;

use crate::error::Error;
use crate::outgoing::{Outgoing, Payload};

/// A refused connection: `on_connect` returns it instead of a session.
///
/// There are two ways to refuse. By HTTP status, before the upgrade: right for programs, but
/// browsers hide it from scripts. Or by close code, after the upgrade, with messages before it,
/// which a browser's script can read. Either way the event's other effects are dropped, and
/// `on_close` is not called.
///
/// ```
/// use wharf::prelude::*;
///
/// # fn check(conn: &Connection) -> Result<(), Refusal> {
/// if conn.query("token").is_none() {
///     return Err(Refusal::unauthorized("a token is required"));
/// }
/// if conn.header("origin").is_none() {
///     return Err(Refusal::close(4001, "Unauthorized")
///         .message(json!({ "type": "error", "message": "Unauthorized" })));
/// }
/// // `?` on any error refuses with status 500; what went wrong is logged, and not sent.
/// let _room: u32 = conn.param("room_id")?.parse()?;
/// # Ok(())
/// # }
/// ```
pub struct Refusal {
    pub(crate) answer: Answer,
    /// Error for the operator, which the client must not see.
    pub(crate) cause: Option<Error>,
}

/// The answer to the client.
#[derive(Debug)]
pub(crate) enum Answer {
    Http { status: u16, headers: Vec<(String, Vec<u8>)>, body: Vec<u8> },
    Close { code: u16, reason: String, messages: Vec<Payload<'static>> },
}

impl Refusal {
    /// Refuses with an HTTP status, 300 to 599 (the host sends other numbers as 500), and a body of
    /// at most 64 KiB. The body is plain text, unless [`header`](Refusal::header) sets another
    /// `content-type`.
    pub fn http(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            answer: Answer::Http { status, headers: Vec::new(), body: body.into() },
            cause: None,
        }
    }

    /// Refuses with status 400: the request makes no sense.
    pub fn bad_request(body: impl Into<Vec<u8>>) -> Self {
        Self::http(400, body)
    }

    /// Refuses with status 401: the client is unknown.
    pub fn unauthorized(body: impl Into<Vec<u8>>) -> Self {
        Self::http(401, body)
    }

    /// Refuses with status 403: the client is known, but not allowed.
    pub fn forbidden(body: impl Into<Vec<u8>>) -> Self {
        Self::http(403, body)
    }

    /// Refuses with status 404: there is no such room, game or document.
    pub fn not_found(body: impl Into<Vec<u8>>) -> Self {
        Self::http(404, body)
    }

    /// Accepts the upgrade and closes at once, with a code that the client can read: 1000 or 3000
    /// to 4999, such as 4001 (the host sends other numbers as 1008), and a reason of at most 123
    /// bytes.
    pub fn close(code: u16, reason: impl Into<String>) -> Self {
        Self {
            answer: Answer::Close { code, reason: reason.into(), messages: Vec::new() },
            cause: None,
        }
    }

    /// Adds a header to a refusal by HTTP status; a repeated name adds a second header. A refusal
    /// by close code has no headers, and stays as it is.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        if let Answer::Http { headers, .. } = &mut self.answer {
            headers.push((name.into(), value.into()));
        }
        self
    }

    /// Sends a message before the close frame, at most 16 of them. A refusal by HTTP status sends
    /// no messages, and stays as it is. A message that cannot be encoded makes this a refusal with
    /// status 500, and the reason is logged.
    pub fn message(mut self, message: impl Outgoing) -> Self {
        if let Answer::Close { messages, .. } = &mut self.answer {
            match message.payload() {
                Ok(payload) => messages.push(payload.into_owned()),
                Err(error) => return error.into(),
            }
        }
        self
    }
}

/// Status 500. The client learns nothing more; the error goes to the host's log.
///
/// A stranger's mistake is no failure of the channel, and not reported: for an
/// [`Invalid`](crate::Invalid) it is status 400, with its public content as JSON. So it is for a name
/// of a room, a user, a label, a presence or a key of the store that the host does not take, such as
/// one that is too long. For an `Invalid` that says when the client may try again, such as that of a
/// [rate limit](crate::limits), it is status 429 with the header `Retry-After`. For a connection or a
/// user that is not there it is status 404.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let json = |status| {
            Self::http(status, error.for_client().to_string())
                .header("content-type", "application/json")
        };
        let refusal = if let Some(invalid) = error.for_sender() {
            match invalid.retry_after {
                Some(time) => {
                    let seconds = time.as_nanos().div_ceil(1_000_000_000).to_string();
                    json(429).header("retry-after", seconds)
                }
                None => json(400),
            }
        } else if error.names_nobody() {
            Self::not_found("nobody is there")
        } else {
            Self::http(500, "Internal Server Error")
        };
        Self { cause: Some(error), ..refusal }
    }
}

/// The same as for [`Error`], so that `?` works on every error in `on_connect`.
impl<E: std::error::Error + 'static> From<E> for Refusal {
    fn from(error: E) -> Self {
        Error::from(error).into()
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Answer::Http { status, body, .. } => {
                write!(f, "refused with status {status}: {}", String::from_utf8_lossy(body))?;
            }
            Answer::Close { code, reason, .. } => {
                write!(f, "refused with close code {code}: {reason}")?;
            }
        }
        match &self.cause {
            Some(cause) => write!(f, " ({cause})"),
            None => Ok(()),
        }
    }
}
