//! The verification of clients' tokens. The server implements it with the operator's keys.

use std::fmt;
use std::fmt::Debug;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use wharf_hub::token::Token;

/// A check of a token that may have to wait for keys.
pub type Checking<'a> = Pin<Box<dyn Future<Output = Result<Token, Unacceptable>> + Send + 'a>>;

/// A verifier of the tokens of one channel's clients.
pub trait TokenVerifier: Debug + Send + Sync {
    /// Returns true if a client without a token is refused.
    fn is_required(&self) -> bool;

    /// Returns the query parameter in which a token may be, besides the header `Authorization`.
    fn query_parameter(&self) -> Option<&str>;

    /// Returns the subprotocol that announces a token: the next one that the client asks for.
    fn subprotocol(&self) -> Option<&str> {
        None
    }

    /// Checks a token that a client brought, with the keys that are there.
    ///
    /// # Errors
    ///
    /// The reason why the token is not valid.
    fn check(&self, token: &str) -> Result<Token, Unacceptable>;

    /// Checks a token like `check`, and waits a moment if keys that are on their way may decide
    /// otherwise.
    fn check_patiently<'a>(&'a self, token: &'a str) -> Checking<'a> {
        Box::pin(ready(self.check(token)))
    }
}

/// The token verifiers of all channels.
pub trait TokenVerifiers: Debug + Send + Sync {
    /// Returns the verifier of a channel; `None` if tokens are not checked.
    fn of_channel(&self, channel: &str) -> Option<Arc<dyn TokenVerifier>>;

    /// Returns the keys that cannot be used at present.
    fn unusable_keys(&self) -> Vec<UnusableKeys> {
        Vec::new()
    }
}

/// Keys for tokens that cannot be used, or not as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableKeys {
    /// Tables of the configuration that name them.
    pub tables: Vec<String>,
    /// Path or address.
    pub place: String,
    /// The reason, on one line.
    pub reason: String,
    /// True if earlier keys from the same place are used meanwhile. Otherwise their channels refuse
    /// tokens.
    pub has_earlier: bool,
}

/// A reason to refuse a client. The texts are for the log and never repeat the client's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unacceptable {
    /// There is no token.
    Missing,
    /// The token was valid until it expired.
    Expired,
    /// The token is not valid, for this reason.
    Invalid(&'static str),
    /// The token names a key that is not known.
    UnknownKey,
    /// The host has no keys that the token could be checked with. That is not the client's fault.
    NoKeys,
}

impl fmt::Display for Unacceptable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unacceptable::Missing => "there is none",
            Unacceptable::Expired => "it has expired",
            Unacceptable::Invalid(reason) => reason,
            Unacceptable::UnknownKey => "its key (kid) is not in the key set",
            Unacceptable::NoKeys => "the host has no usable keys for it at present",
        })
    }
}
