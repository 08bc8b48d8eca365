//! The fate of a frame that was pushed.

/// The result of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Queued. The caller must call [`Outbound::flush`](super::Outbound::flush) soon: no other task will.
    Flush,
    /// Queued. Another task is responsible for writing it.
    Queued,
    /// Not queued: the connection has ended.
    Refused,
    /// Not queued: it would overrun the bound, or that of all clients together, and the connection
    /// ends for that reason. The caller must call [`Outbound::flush`](super::Outbound::flush) soon, which tells the owner.
    Overrun,
}

impl Pushed {
    /// Returns true if the caller must call [`Outbound::flush`](super::Outbound::flush) soon.
    pub fn wants_flush(self) -> bool {
        matches!(self, Pushed::Flush | Pushed::Overrun)
    }
}
