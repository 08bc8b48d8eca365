//! The bounds of one event: the accounting of its effects.

use crate::refusal::CallRefusal;

/// Largest number of notices and room events that may lead to one another. An event that no other
/// has caused begins with 0.
pub const MAX_HOPS: u8 = 16;

/// Largest number of deliveries of all broadcasts of one event. A single broadcast may always reach
/// all connections.
pub const MAX_DELIVERIES: usize = 100_000;

/// Bytes that a name takes besides its own.
pub(crate) const NAME_OVERHEAD: usize = 32;

/// Bytes that the id of a connection takes.
pub const ID_BYTES: usize = 16;

/// Returns the bytes that a name takes.
pub const fn name_bytes(name: &str) -> usize {
    name.len() + NAME_OVERHEAD
}

/// Returns the bytes that a label takes.
pub const fn label_bytes(name: &str, value: &str) -> usize {
    name.len() + value.len() + NAME_OVERHEAD
}

/// The effects that an event has recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Number of effects.
    pub count: usize,
    /// Bytes of all messages, each broadcast counted once.
    pub payload_bytes: usize,
    /// Bytes that names take.
    pub name_bytes: usize,
    /// Number of deliveries that the broadcasts would make.
    pub deliveries: usize,
}

/// The bounds of the effects that one event may record between commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectLimits {
    /// Number of effects.
    pub count: usize,
    /// Bytes of messages, and separately of names.
    pub bytes: usize,
}

impl EffectLimits {
    /// Returns the refusal of an effect beyond these limits.
    pub fn exceeded(self) -> CallRefusal {
        CallRefusal::TooManyEffects { effects: self.count, bytes: self.bytes }
    }
}

impl Recorded {
    /// Returns the effects with one more, or `None` if that is more than an event may record.
    /// `receivers` is the number of receivers of a broadcast, and `None` for other effects; they
    /// are not counted for an event's first broadcast.
    #[inline]
    pub fn with(
        self,
        payload_bytes: usize,
        name_bytes: usize,
        receivers: Option<impl FnOnce() -> usize>,
        limits: EffectLimits,
    ) -> Option<Recorded> {
        let payload_bytes = self.payload_bytes.saturating_add(payload_bytes);
        let name_bytes = self.name_bytes.saturating_add(name_bytes);
        if self.count >= limits.count || payload_bytes > limits.bytes || name_bytes > limits.bytes {
            return None;
        }
        let deliveries = match receivers {
            None => self.deliveries,
            // Most events have one broadcast, which needs no counting.
            Some(_) if self.deliveries == 0 => 1,
            Some(receivers) => self.deliver(receivers())?,
        };
        Some(Recorded { count: self.count + 1, payload_bytes, name_bytes, deliveries })
    }

    /// Returns the deliveries with one more broadcast to `receivers` connections, or `None` if
    /// these are too many.
    pub fn deliver(self, receivers: usize) -> Option<usize> {
        match self.deliveries {
            0 => Some(1),
            before => Some(before.saturating_add(receivers)).filter(|sum| *sum <= MAX_DELIVERIES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: EffectLimits = EffectLimits { count: 3, bytes: 100 };

    fn plain(recorded: Recorded, payload: usize, names: usize) -> Option<Recorded> {
        recorded.with(payload, names, None::<fn() -> usize>, LIMITS)
    }

    #[test]
    fn effects_their_bytes_and_their_names_are_bounded() {
        let begun = plain(Recorded::default(), 60, 60).expect("it fits");
        assert_eq!(plain(begun, 41, 0), None);
        assert_eq!(plain(begun, 0, 41), None);
        let full = plain(begun, 40, 40).and_then(|two| plain(two, 0, 0)).expect("they fit");
        assert_eq!(plain(full, 0, 0), None);
    }

    #[test]
    fn one_broadcast_may_reach_everybody_and_several_may_not_reach_too_many() {
        let broadcast =
            |recorded: Recorded, receivers: usize| recorded.with(0, 0, Some(|| receivers), LIMITS);
        let one = broadcast(Recorded::default(), 10 * MAX_DELIVERIES).expect("it fits");
        assert_eq!(one.deliveries, 1);
        let two = broadcast(one, MAX_DELIVERIES - 1).expect("it fits");
        assert_eq!(broadcast(two, 1), None);
        assert!(plain(two, 0, 0).is_some());
    }
}
