//! The log lines about clients that are not served, and their limits.
//!
//! Each kind of refusal has a budget of its own, so that a flood of one kind hides none of another.

use std::sync::Arc;

use wharf_contract::handshake::TurnedAway;
use wharf_runtime::log_budget::LogBudget;

/// Largest number of lines a second about one kind.
const MAX_LINES_PER_SECOND: u32 = 10;

/// The budgets of all kinds.
#[derive(Debug)]
pub(super) struct RefusalLines {
    /// Requests that nobody could answer: malformed, too large, or for a path that is not there.
    pub(super) requests: LogBudget,
    /// Pages of other origins, and names that are not the host's.
    pub(super) origins: LogBudget,
    /// Tokens that are missing or not valid.
    pub(super) tokens: LogBudget,
    /// Subprotocols of which a channel speaks none.
    pub(super) subprotocols: LogBudget,
    /// Clients for which the host or a channel has no place.
    pub(super) full: LogBudget,
    /// Clients whose address has no place left.
    pub(super) addresses: LogBudget,
    /// Clients that come while the host or a channel cannot serve them.
    pub(super) unavailable: LogBudget,
    /// Clients that are cut.
    pub(super) endings: Arc<LogBudget>,
}

impl RefusalLines {
    pub(super) fn new() -> RefusalLines {
        let of = |about| LogBudget::of_clients(about, MAX_LINES_PER_SECOND);
        RefusalLines {
            requests: of("requests"),
            origins: of("origins"),
            tokens: of("tokens"),
            subprotocols: of("subprotocols"),
            full: of("connections"),
            addresses: of("addresses"),
            unavailable: of("unavailable"),
            endings: Arc::new(of("endings")),
        }
    }

    /// Returns the budget of a refusal.
    pub(super) fn about(&self, why: &TurnedAway) -> &LogBudget {
        match (why, why.status()) {
            (TurnedAway::Subprotocol, _) => &self.subprotocols,
            (TurnedAway::Full | TurnedAway::ChannelFull, _) => &self.full,
            (TurnedAway::AddressFull, _) => &self.addresses,
            (_, 401) => &self.tokens,
            (_, 403 | 421) => &self.origins,
            (_, 400..=499) => &self.requests,
            _ => &self.unavailable,
        }
    }
}
