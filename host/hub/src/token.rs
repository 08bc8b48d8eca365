//! The claims that a connection was let in with.

use tokio::time::Instant;

/// A valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Claims, as JSON.
    pub claims: Box<str>,
    /// Subject (`sub`).
    pub subject: Option<Box<str>>,
    /// Time of expiry, including leeway.
    pub expires: Instant,
}
