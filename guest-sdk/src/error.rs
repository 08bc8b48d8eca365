//! Errors: one type that every error converts into, with the host's own errors inside it.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::invalid::Invalid;
use crate::reference::{Ref, in_reply_to};

/// Codes of the host's refusals of a name, which mostly comes from a sender.
const NAME_CODES: [&str; 5] = [
    "label-invalid",
    "presence-key-invalid",
    "room-name-invalid",
    "store-key-invalid",
    "user-id-invalid",
];

/// Codes of the host's refusals because a name from a sender names nobody.
const NOBODY_CODES: [&str; 2] = ["unknown-connection", "user-offline"];

/// The result of handlers: `Result` alone is `Result<(), wharf::Error>`.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Any failure of a handler. Every [`std::error::Error`] converts into it, so `?` works on all of
/// them; so does a plain sentence, with [`Error::msg`] or [`bail!`](crate::bail).
///
/// It is meant for the operator: its text goes to the host's log, never to a client. The exception
/// is [`Invalid`], which is meant for the client.
///
/// ```
/// use wharf::prelude::*;
///
/// fn port(text: &str) -> Result<u16> {
///     let port: u16 = text.parse()?;
///     if port == 0 {
///         wharf::bail!("port {port} is not for us");
///     }
///     Ok(port)
/// }
///
/// assert_eq!(port("80").unwrap(), 80);
/// assert_eq!(port("0").unwrap_err().to_string(), "port 0 is not for us");
/// assert_eq!(port("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
//
// It does not implement `std::error::Error` itself: the conversion from everything that does
// would then overlap with the conversion of a type into itself.
pub struct Error(Box<Cause>);

enum Cause {
    Said(String),
    Source(Box<dyn StdError>),
    Context(String, Error),
    Reply(Ref, Error),
}

impl Error {
    /// Makes an error with the text `message`.
    pub fn msg(message: impl fmt::Display) -> Self {
        Self(Box::new(Cause::Said(message.to_string())))
    }

    /// Puts a sentence about the failed step before this error; see also [`Context::context`],
    /// which does it to a whole `Result`.
    pub fn context(self, what: impl fmt::Display) -> Self {
        Self(Box::new(Cause::Context(what.to_string(), self)))
    }

    /// Returns the error underneath, if it is an `E`: for handlers that can act on it.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        match &*self.0 {
            Cause::Said(_) => None,
            Cause::Source(source) => source.downcast_ref(),
            Cause::Context(_, error) | Cause::Reply(_, error) => error.downcast_ref(),
        }
    }

    /// Makes the error the answer to a message of the client, which
    /// [`for_client`](Error::for_client) then names; `None` changes nothing. See also
    /// [`InReplyTo`](crate::InReplyTo), which does it to a whole `Result`.
    pub fn in_reply_to<'r>(self, reference: impl Into<Option<&'r Ref>>) -> Self {
        match reference.into() {
            Some(reference) => Self(Box::new(Cause::Reply(reference.clone(), self))),
            None => self,
        }
    }

    /// Returns the message that this error is the answer to.
    pub fn reference(&self) -> Option<&Ref> {
        match &*self.0 {
            Cause::Said(_) | Cause::Source(_) => None,
            Cause::Context(_, error) => error.reference(),
            Cause::Reply(reference, _) => Some(reference),
        }
    }

    /// Returns the client's mistake, if the error is one.
    pub fn invalid(&self) -> Option<&Invalid> {
        self.downcast_ref()
    }

    /// Returns the mistake of the sender, whose content it may know: an [`Invalid`], or a name that
    /// the host refused. Names of rooms, users, labels and keys mostly come from a sender, such as
    /// one that is too long.
    pub(crate) fn for_sender(&self) -> Option<Cow<'_, Invalid>> {
        if let Some(invalid) = self.invalid() {
            return Some(Cow::Borrowed(invalid));
        }
        let host = self.host_error().filter(|error| NAME_CODES.contains(&error.code.as_str()))?;
        Some(Cow::Owned(Invalid::new(&host.detail)))
    }

    /// Returns the public part of the error: the content of an [`Invalid`], the host's sentence
    /// about a name that is too long or empty, and for every other error only `{"type": "error",
    /// "code": "INTERNAL_ERROR"}`. It has the `ref` of the message that it answers, if there is
    /// one. Texts of more than 4 KiB are cut.
    ///
    /// The default [`on_error`](crate::Channel::on_error) sends this; one of your own can send it
    /// as well.
    pub fn for_client(&self) -> Value {
        let mut error = match self.for_sender() {
            None => Map::from_iter([("code".to_owned(), json!("INTERNAL_ERROR"))]),
            Some(invalid) => invalid.to_json(),
        };
        error.insert("type".to_owned(), json!("error"));
        in_reply_to(self.reference(), error)
    }

    /// Returns the host's refusal of a call, if the error is one.
    pub fn host_error(&self) -> Option<&HostError> {
        self.downcast_ref()
    }

    /// Returns true if the host refused a call because its subject is nobody.
    pub(crate) fn names_nobody(&self) -> bool {
        self.host_error().is_some_and(|error| NOBODY_CODES.contains(&error.code.as_str()))
    }

    /// Returns true if the host refused a call because its subject has ended: mostly the receiver
    /// of a [`send_to`](crate::rooms::send_to). Often that is not a reason to fail.
    pub fn is_gone(&self) -> bool {
        self.host_error().is_some_and(|error| error.remedy == Remedy::Gone)
    }
}

/// The whole chain in one line: each error, then its cause.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Cause::Said(message) => f.write_str(message),
            Cause::Context(what, error) => write!(f, "{what}: {error}"),
            Cause::Reply(_, error) => error.fmt(f),
            Cause::Source(error) => {
                let mut said = error.to_string();
                f.write_str(&said)?;
                let mut source = error.source();
                while let Some(cause) = source {
                    // Many errors repeat their cause in their own text; once is enough.
                    let text = cause.to_string();
                    if !said.contains(&text) {
                        write!(f, ": {text}")?;
                    }
                    said = text;
                    source = cause.source();
                }
                Ok(())
            }
        }
    }
}

/// The same as [`Display`](fmt::Display): `unwrap` in a test should print a readable text.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<E: StdError + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(Cause::Source(Box::new(error))))
    }
}

/// Adds the failed step to an error.
///
/// ```
/// use wharf::prelude::*;
///
/// let error = "x".parse::<u16>().context("reading the port").unwrap_err();
/// assert_eq!(error.to_string(), "reading the port: invalid digit found in string");
/// ```
pub trait Context<T> {
    /// Adds a sentence about the failed step.
    fn context(self, what: impl fmt::Display) -> Result<T>;

    /// Adds a sentence that is costly to make: the closure runs only if there is an error.
    fn with_context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().context(what))
    }

    fn with_context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| error.into().context(what()))
    }
}

/// `None` becomes an error with the text `what`.
impl<T> Context<T> for Option<T> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Error::msg(what))
    }

    fn with_context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.ok_or_else(|| Error::msg(what()))
    }
}

/// Returns early with an error: `bail!("no board for game {game}")`.
#[macro_export]
macro_rules! bail {
    ($($message:tt)+) => {
        return ::core::result::Result::Err($crate::Error::msg(::std::format!($($message)+)).into())
    };
}

/// A call that the host refused. A refused call has recorded nothing; the event goes on unless
/// the handler passes the error on.
///
/// ```
/// use wharf::prelude::*;
/// use wharf::Remedy;
///
/// # fn handler(conn: &Connection) -> Result {
/// if let Err(error) = send_to("someone", "psst") {
///     match error.host_error() {
///         // The receiver has gone: nothing to do.
///         Some(host) if host.remedy == Remedy::Gone => {}
///         _ => return Err(error),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostError {
    /// Remedy.
    pub remedy: Remedy,
    /// Short token in kebab-case, such as `message-too-big`. The set grows: treat an unknown one by
    /// its `remedy`.
    pub code: String,
    /// Sentence for the log, with the limit that was met. Not for clients.
    pub detail: String,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host refused: {} ({})", self.detail, self.code)
    }
}

impl StdError for HostError {}

/// The refusal of the fake host. In a component errors come from the host, which makes them of the
/// same type.
#[cfg(not(target_family = "wasm"))]
impl From<wharf_contract::CallRefusal> for HostError {
    fn from(refusal: wharf_contract::CallRefusal) -> Self {
        use wharf_contract::Remedy as Contract;
        let remedy = match refusal.remedy() {
            Contract::FixCall => Remedy::FixCall,
            Contract::ShedLoad => Remedy::ShedLoad,
            Contract::Gone => Remedy::Gone,
            Contract::AskOperator => Remedy::AskOperator,
            Contract::RetryLater => Remedy::RetryLater,
            Contract::Other => Remedy::Other,
        };
        HostError { remedy, code: refusal.code().to_owned(), detail: refusal.to_string() }
    }
}

/// The remedy of a [`HostError`]. The set is closed for good: code can match on it exhaustively.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The call itself is wrong, and will fail each time: fix the plugin.
    FixCall,
    /// A limit is reached: send less, or ask the operator for more.
    ShedLoad,
    /// The subject of the call has ended: mostly a connection.
    Gone,
    /// The operator has not allowed it; the detail says what to write into the configuration.
    AskOperator,
    /// It may work a moment later.
    RetryLater,
    /// None of these.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Layer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|layer| layer as _)
        }
    }

    #[test]
    fn an_error_says_what_caused_it_and_says_nothing_twice() {
        let disk = Layer("disk full", None);
        let write = Layer("cannot write: disk full", Some(Box::new(disk)));
        let save = Error::from(Layer("cannot save", Some(Box::new(write))));
        assert_eq!(
            save.context("closing").to_string(),
            "closing: cannot save: cannot write: disk full"
        );
    }

    #[test]
    fn what_is_underneath_can_be_reached_through_what_was_added() {
        let gone = HostError {
            remedy: Remedy::Gone,
            code: "unknown-connection".to_owned(),
            detail: "it has ended".to_owned(),
        };
        let error = Error::from(gone.clone()).context("telling the winner");
        assert_eq!(error.host_error(), Some(&gone));
        assert!(error.is_gone());
        assert!(!Error::msg("gone").is_gone());
    }

    #[test]
    fn a_name_that_the_host_refuses_is_a_mistake_of_its_sender() {
        let refused = |code: &str| {
            let (code, detail) = (code.to_owned(), "at most 255 bytes".to_owned());
            Error::from(HostError { remedy: Remedy::FixCall, code, detail }).context("joining")
        };
        for code in NAME_CODES {
            let error = refused(code).for_client();
            let expected =
                json!({ "type": "error", "code": "INVALID", "message": "at most 255 bytes" });
            assert_eq!(error, expected);
        }
        assert_eq!(refused("timer-name-invalid").for_client()["code"], "INTERNAL_ERROR");
    }

    #[test]
    fn nothing_becomes_an_error_that_says_what_is_missing() {
        let missing: Option<u8> = None;
        assert_eq!(missing.context("no board").unwrap_err().to_string(), "no board");
        assert_eq!(missing.with_context(|| 7).unwrap_err().to_string(), "7");
    }
}
