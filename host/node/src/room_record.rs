//! The record of a room on the engine: its content, and the session of its owner.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wharf_hub::connection_id::NodeId;
use wharf_hub::owners::{RoomContent, Unavailable};

use crate::session::SessionId;
use crate::wire::{RoomTimer, bytes_of};

/// The format that this version writes, and the only one that it reads.
const FORMAT: u8 = 1;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRecord {
    /// The owner.
    pub owner: SessionId,
    /// Number of the write among those of the owner's session, by which the owner knows it again.
    pub write: u64,
    /// The last write of the owner before: its session, and the number of the write.
    pub before: Option<(SessionId, u64)>,
    /// The content.
    pub content: RoomContent,
}

/// A record as it is written. A missing field has its default, and an unknown one is ignored.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    node: u64,
    session: u64,
    /// Number of the write among those of the session.
    #[serde(default)]
    write: u64,
    /// The last write of the owner before: its node, its session, and the number of the write.
    #[serde(default)]
    before: Option<(u64, u64, u64)>,
    /// The state, if there is one; otherwise it is empty.
    #[serde(borrow, default, with = "bytes_of")]
    state: &'a [u8],
    #[serde(default)]
    has_state: bool,
    #[serde(borrow, default)]
    timers: Vec<WrittenTimer<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WrittenTimer<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    timer: RoomTimer<'a>,
}

impl RoomRecord {
    /// Returns the bytes of the record: the number of the format, and the rest in MessagePack.
    pub fn encode(&self) -> Bytes {
        let timers = self.content.timers.iter().map(|timer| WrittenTimer {
            name: Cow::Borrowed(&timer.name),
            timer: RoomTimer::of(timer),
        });
        let written = Written {
            node: self.owner.node.number(),
            session: self.owner.number,
            write: self.write,
            before: self.before.map(|(of, write)| (of.node.number(), of.number, write)),
            state: self.content.state.as_deref().unwrap_or_default(),
            has_state: self.content.state.is_some(),
            timers: timers.collect(),
        };
        let mut bytes = vec![FORMAT];
        // A record has nothing that MessagePack cannot express, and memory takes all of it.
        let _ = written.serialize(&mut rmp_serde::Serializer::new(&mut bytes).with_struct_map());
        bytes.into()
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// It is none that this version can read.
    pub fn read(bytes: &[u8]) -> Result<RoomRecord, Unavailable> {
        let unreadable = || {
            Unavailable::new(
                "the record of a room has a form that this version does not know; update all hosts",
            )
        };
        let (format, rest) = bytes.split_first().ok_or_else(unreadable)?;
        if *format != FORMAT {
            return Err(unreadable());
        }
        let written: Written<'_> = rmp_serde::from_slice(rest).map_err(|_| unreadable())?;
        let node = NodeId::numbered(written.node).ok_or_else(unreadable)?;
        let timers = written.timers.iter().map(|it| it.timer.read(Arc::from(&*it.name)));
        Ok(RoomRecord {
            owner: SessionId { node, number: written.session },
            write: written.write,
            before: written.before.and_then(|(node, number, write)| {
                Some((SessionId { node: NodeId::numbered(node)?, number }, write))
            }),
            content: RoomContent {
                state: written.has_state.then(|| Bytes::copy_from_slice(written.state)),
                timers: timers.collect(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;
    use wharf_hub::owners::KeptTimer;

    fn timer() -> impl Strategy<Value = KeptTimer> {
        let payload = proptest::collection::vec(any::<u8>(), 0..40);
        (".{1,20}", any::<u64>(), proptest::option::of(1..u64::MAX), payload).prop_map(
            |(name, due_at, interval, payload)| KeptTimer {
                name: name.into(),
                due_at,
                interval: interval.map(Duration::from_millis),
                payload: payload.into(),
            },
        )
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            node in 1..1_u64 << 48,
            (number, write) in any::<(u64, u64)>(),
            state in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..100)),
            timers in proptest::collection::vec(timer(), 0..4),
        ) {
            let owner = SessionId { node: NodeId::numbered(node).expect("a node"), number };
            let content = RoomContent { state: state.map(Bytes::from), timers };
            let before = Some((owner, write / 2));
            let record = RoomRecord { owner, write, before, content };
            prop_assert_eq!(RoomRecord::read(&record.encode()), Ok(record));
        }

        #[test]
        fn bytes_of_any_kind_are_a_record_or_none(mut bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = RoomRecord::read(&bytes);
            bytes.insert(0, FORMAT);
            let _ = RoomRecord::read(&bytes);
        }
    }

    // A change of these bytes is a change of the format.
    #[test]
    fn a_record_that_this_format_has_written_is_read() {
        let kept = "0187a46e6f646507a773657373696f6e03a5777269746509a66265666f7265c0a57374617465c4020102a96861735f7374617465c3a674696d6572739182a46e616d65a47469636ba574696d657283a66475655f6174cf000001a21fa1633bab696e74657276616c5f6d73ccfaa77061796c6f6164c40131";
        let owner = SessionId { node: NodeId::numbered(7).expect("a node"), number: 3 };
        let timers = vec![KeptTimer {
            name: "tick".into(),
            due_at: 1_795_827_000_123,
            interval: Some(Duration::from_millis(250)),
            payload: Bytes::from_static(b"1"),
        }];
        let content = RoomContent { state: Some(Bytes::from_static(b"\x01\x02")), timers };
        let written = RoomRecord { owner, write: 9, before: None, content }.encode();
        let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, kept);
    }
}
