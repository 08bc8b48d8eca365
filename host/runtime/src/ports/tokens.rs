//! The verification of clients' tokens. The server implements it with the operator's keys.

use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;

use wharf_hub::token::Token;

/// A verifier of the tokens of one channel's clients.
pub trait TokenVerifier: Debug + Send + Sync {
    /// Returns true if a client without a token is refused.
    fn is_required(&self) -> bool;

    /// Returns the query parameter in which a token may be, besides the header `Authorization`.
    fn query_parameter(&self) -> Option<&str>;

    /// Checks a token that a client brought.
    ///
    /// # Errors
    ///
    /// The reason why the token is not valid.
    fn check(&self, token: &str) -> Result<Token, Unacceptable>;
}

/// The token verifiers of all channels.
pub trait TokenVerifiers: Debug + Send + Sync {
    /// Returns the verifier of a channel; `None` if tokens are not checked.
    fn of_channel(&self, channel: &str) -> Option<Arc<dyn TokenVerifier>>;
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
}

impl fmt::Display for Unacceptable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unacceptable::Missing => "there is none",
            Unacceptable::Expired => "it has expired",
            Unacceptable::Invalid(reason) => reason,
        })
    }
}
