//! The claims that a connection was let in with.

use tokio::time::Instant;

/// A token that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its claims, as JSON.
    pub claims: Box<str>,
    /// Whom it is about (`sub`).
    pub subject: Option<Box<str>>,
    /// When it expires, leeway included.
    pub expires: Instant,
}
