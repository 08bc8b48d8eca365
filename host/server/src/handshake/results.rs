//! The results of handshakes, counted.

use wharf_contract::handshake::TurnedAway;
use wharf_metrics::counter::Counter;
use wharf_metrics::limits::Limit;

/// Counters of the results of handshakes.
#[derive(Debug, Default)]
pub(crate) struct HandshakeResults {
    /// Clients that got a `101`.
    pub(crate) accepted: Counter,
    /// Clients that their channel has refused.
    pub(crate) refused: Counter,
    /// Requests that the host has turned away, by reason.
    turned_away: [Counter; TurnedAway::ALL.len()],
}

impl HandshakeResults {
    /// Counts a request that the host turns away.
    pub(crate) fn turned_away(&self, why: &TurnedAway) {
        let at = TurnedAway::ALL.iter().position(|known| known == why);
        if let Some(counter) = at.and_then(|at| self.turned_away.get(at)) {
            counter.count();
        }
        match why {
            TurnedAway::Full => Limit::MaxConnections.reached(),
            TurnedAway::ChannelFull => Limit::MaxConnectionsPerChannel.reached(),
            TurnedAway::AddressFull => Limit::MaxConnectionsPerAddress.reached(),
            _ => {}
        }
    }

    /// Returns the number of each result, with its name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let own = [("accepted", &self.accepted), ("refused", &self.refused)];
        let turned_away = TurnedAway::ALL.iter().map(TurnedAway::token).zip(&self.turned_away);
        own.into_iter().chain(turned_away).map(|(name, counter)| (name, counter.get()))
    }

    /// Returns the number of requests that have led to no connection.
    pub(crate) fn not_accepted(&self) -> u64 {
        self.all().skip(1).map(|(_, count)| count).fold(0, u64::saturating_add)
    }
}
