//! The fault that ends a connection.

/// The fault that is about to close a connection, for [`on_fault`](crate::Channel::on_fault).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Code: one of `protocol-error`, `invalid-utf8`, `message-too-big`, `message-timeout` (caused by
    /// the client) or `trap`, `deadline`, `out-of-memory`, `session-too-big` (caused by a handler, whose
    /// effects are undone). The set grows.
    pub code: String,
    /// Sentence for the log. Not for clients.
    pub detail: String,
}
