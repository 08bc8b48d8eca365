//! The claims that a connection was let in with.

use tokio::time::Instant;
use wharf_contract::token::Identity;

/// A valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Claims, as JSON.
    pub claims: Box<str>,
    /// Subject and issuer.
    pub identity: Identity,
    /// Time of expiry, including leeway.
    pub expires: Instant,
}
