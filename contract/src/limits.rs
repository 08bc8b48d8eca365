//! The limits that an operator sets and an author's tests can set: name, unit, default, range.
//!
//! Each is written once, in the list below. The host's settings of these names, the fields of the
//! test kit's [`Limits`], and the limits that `wharf test` receives come from it.

use std::ops::RangeInclusive;

/// 1024 bytes.
pub const KIB: usize = 1024;
/// 1024 KiB.
pub const MIB: usize = 1024 * KIB;

/// The unit of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number.
    Count,
    /// Bytes.
    Bytes,
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Name, which is the key in the host's configuration.
    pub name: &'static str,
    /// Unit of the value.
    pub unit: Unit,
    /// Value that holds unless another is set.
    pub default: usize,
    /// Smallest value that an operator may set.
    pub min: usize,
    /// Largest value that an operator may set.
    pub max: usize,
}

impl Limit {
    /// Returns the values that an operator may set.
    pub const fn range(&self) -> RangeInclusive<usize> {
        self.min..=self.max
    }
}

/// Makes [`Limits`], its default, [`LIMITS`] and [`ALL`] from a list of
/// `name: Unit = default, min..max;`.
macro_rules! limits {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $unit:ident = $default:expr, $min:expr => $max:expr;
    )+) => {
        /// The limits of a channel: the host's settings of the same names, with its defaults.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: usize,)+
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: LIMITS.$name.default,)+ }
            }
        }

        impl Limits {
            /// Returns the values by the names of their limits, in the order of [`ALL`].
            pub fn values(&self) -> impl Iterator<Item = (&'static str, usize)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }

        /// The limits, by their names.
        #[derive(Debug)]
        pub struct Table {
            $(#[doc = concat!("`", stringify!($name), "`.")] pub $name: Limit,)+
        }

        /// The facts about each limit.
        pub const LIMITS: Table = Table {
            $($name: Limit {
                name: stringify!($name),
                unit: Unit::$unit,
                default: $default,
                min: $min,
                max: $max,
            },)+
        };

        /// All limits, in the order of the fields of [`Limits`].
        pub const ALL: &[Limit] = &[$(LIMITS.$name,)+];
    };
}

limits! {
    /// Size of one message from a client. A larger one closes the connection with code 1009.
    /// Default: 1 MiB.
    max_message_bytes: Bytes = MIB, 1 => 1024 * MIB;

    /// Size of one message to a client. A larger one is refused with `message-too-big`. Default:
    /// 1 MiB.
    max_outbound_message_bytes: Bytes = MIB, 1 => 1024 * MIB;

    /// Rooms of which one connection may be a member. A further one is refused with
    /// `too-many-rooms`. Default: 64.
    max_rooms_per_connection: Count = 64, 1 => 1_000_000;

    /// Size of an encoded session. An event that returns more fails like a trap. Default: 64 KiB.
    max_session_bytes: Bytes = 64 * KIB, 0 => 64 * MIB;

    /// Effects of one event. Further ones are refused with `too-many-effects`. Default: 1024.
    max_effects_per_event: Count = 1024, 1 => 1_000_000;

    /// Bytes of the messages of one event, each broadcast counted once, and as many of names. Further
    /// ones are refused with `too-many-effects`. Default: 1 MiB.
    max_effect_bytes_per_event: Bytes = MIB, 1 => 1024 * MIB;

    /// Bytes of all entries in the store, with about 160 for each entry besides its key and value.
    /// Further ones are refused with `store-full`. Default: 64 MiB.
    max_store_bytes: Bytes = 64 * MIB, KIB => 1024 * 1024 * MIB;

    /// Size of one value in the store. A larger one is refused with `store-value-too-big`.
    /// Default: 256 KiB.
    max_store_value_bytes: Bytes = 256 * KIB, 1 => 64 * MIB;

    /// Notices that wait for one connection. A further one to it alone is refused with `inbox-full`;
    /// one to its whole room or user closes it with code 1013. Default: 64.
    inbox_events: Count = 64, 1 => 1_000_000;

    /// Bytes of the notices that wait for one connection. The limit has the same effect as
    /// `inbox_events`. Default: 256 KiB.
    inbox_bytes: Bytes = 256 * KIB, 1 => 1024 * MIB;

    /// Events that wait for one room. A further one is refused with `inbox-full`. Default: 1024.
    room_inbox_events: Count = 1024, 1 => 1_000_000;

    /// Bytes of the events that wait for one room. More is refused with `inbox-full`. Default: 1
    /// MiB.
    room_inbox_bytes: Bytes = MIB, 1 => 1024 * MIB;

    /// Bytes of the events that wait for all rooms of the channel; each counts for at least 64. More
    /// is refused with `inbox-full`. Default: 64 MiB.
    max_channel_inbox_bytes: Bytes = 64 * MIB, 1 => 1024 * 1024 * MIB;

    /// Bytes of the payload of one notice, room event or timer. More is refused with
    /// `payload-too-big`. Default: 64 KiB.
    max_payload_bytes: Bytes = 64 * KIB, 0 => 64 * MIB;

    /// Rooms that have events, state or timers. Posting to a further one is refused with
    /// `too-many-room-states`. Default: 10,000.
    max_room_states: Count = 10_000, 1 => 10_000_000;

    /// Size of one room's encoded state. A room event that returns more fails like a trap. Default:
    /// 256 KiB.
    max_room_state_bytes: Bytes = 256 * KIB, 0 => 64 * MIB;

    /// Bytes of the states of all rooms, and separately of the payloads of timers, and of rate limits,
    /// with about 128 for each besides its names. Beyond the limit a room event fails like a trap, a
    /// timer is refused with `too-many-timers`, and a rate limit with `too-many-rate-limits`. Default:
    /// 256 MiB.
    max_channel_state_bytes: Bytes = 256 * MIB, 0 => 1024 * 1024 * MIB;

    /// Size of a connection's presence data in a room, as JSON. More is refused with
    /// `metadata-too-big`. Default: 4 KiB.
    max_presence_bytes: Bytes = 4 * KIB, 2 => MIB;

    /// Bytes of all entries present in one room: keys, their data, and 64 for each. At the limit
    /// further entries are refused with `presence-full`. Default: 256 KiB.
    max_room_presence_bytes: Bytes = 256 * KIB, KIB => 1024 * MIB;

    /// Bytes of all entries present in all rooms of the channel, counted in the same way. At the
    /// limit further entries are refused with `presence-full`. Default: 64 MiB.
    max_channel_presence_bytes: Bytes = 64 * MIB, KIB => 1024 * 1024 * MIB;

    /// Timers of one connection. A further one is refused with `too-many-timers`. Default: 16.
    max_timers_per_connection: Count = 16, 0 => 10_000;

    /// Timers of one room. A further one is refused with `too-many-timers`. Default: 16.
    max_timers_per_room: Count = 16, 0 => 10_000;

    /// Timers of the channel. A further one is refused with `too-many-timers`. Default: 256.
    max_timers_per_channel: Count = 256, 0 => 10_000;
}

impl Limits {
    /// Returns the limits, of which those that must contain others are raised. A limit that was set
    /// to another value than its default stays as it is, so that a test can meet it.
    pub fn raised(self) -> Limits {
        let mut limits = self;
        let raise = |limit: &mut usize, of: Limit, contained: usize| {
            if *limit == of.default {
                *limit = contained.max(*limit);
            }
        };
        let payload = limits.max_payload_bytes;
        raise(&mut limits.inbox_bytes, LIMITS.inbox_bytes, payload);
        raise(&mut limits.room_inbox_bytes, LIMITS.room_inbox_bytes, payload);
        let inbox = limits.room_inbox_bytes;
        raise(&mut limits.max_channel_inbox_bytes, LIMITS.max_channel_inbox_bytes, inbox);
        let state = limits.max_room_state_bytes;
        raise(&mut limits.max_channel_state_bytes, LIMITS.max_channel_state_bytes, state);
        let presence = limits.max_room_presence_bytes;
        raise(&mut limits.max_channel_presence_bytes, LIMITS.max_channel_presence_bytes, presence);
        limits
    }
}

/// Returns the charge of a waiting event among all of its channel, in bytes: about its cost, also if
/// its payload is empty.
pub const fn event_charge(payload_bytes: usize) -> usize {
    const MIN: usize = 64;
    if payload_bytes < MIN { MIN } else { payload_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_within_its_range() {
        for limit in ALL {
            assert!(limit.range().contains(&limit.default), "{}", limit.name);
        }
    }

    #[test]
    fn the_documentation_of_each_limit_says_its_default() {
        let source = include_str!("limits.rs");
        for limit in ALL {
            let (before, _) = source.split_once(&format!("\n    {}: ", limit.name)).expect("it");
            let (_, doc) = before.rsplit_once("\n\n").expect("an empty line");
            let words: Vec<&str> = doc.split_whitespace().filter(|word| *word != "///").collect();
            let (_, said) = words
                .join(" ")
                .rsplit_once("Default: ")
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .expect("a default");
            let shown = match limit.unit {
                Unit::Bytes if limit.default.is_multiple_of(MIB) => {
                    format!("{} MiB.", limit.default / MIB)
                }
                Unit::Bytes => format!("{} KiB.", limit.default / KIB),
                Unit::Count => format!("{}.", limit.default),
            };
            assert_eq!(said.replace(',', ""), shown, "{}", limit.name);
        }
    }

    #[test]
    fn what_contains_a_raised_limit_is_raised_unless_it_was_set() {
        let limits = Limits { max_payload_bytes: 2 * MIB, ..Limits::default() };
        assert_eq!(limits.raised().inbox_bytes, 2 * MIB);
        assert_eq!(limits.raised().room_inbox_bytes, 2 * MIB);
        let set = Limits { inbox_bytes: 10, ..limits };
        assert_eq!(set.raised().inbox_bytes, 10);
        assert_eq!(Limits::default().raised(), Limits::default());
    }
}
