//! The log lines about clients that are not served, and their limits.
//!
//! Each kind of refusal has a budget of its own, so that a flood of one kind hides none of another.

use std::sync::Arc;

use hyper::StatusCode;
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
        match StatusCode::from_u16(why.status()) {
            Ok(StatusCode::UNAUTHORIZED) => &self.tokens,
            Ok(StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST) => &self.origins,
            Ok(StatusCode::TOO_MANY_REQUESTS) => &self.addresses,
            Ok(status) if status.is_client_error() => match why {
                TurnedAway::Subprotocol => &self.subprotocols,
                _ => &self.requests,
            },
            _ => match why {
                TurnedAway::Full | TurnedAway::ChannelFull => &self.full,
                _ => &self.unavailable,
            },
        }
    }
}
