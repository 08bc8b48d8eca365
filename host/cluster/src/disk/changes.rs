//! The records of keys, logs and leases.

use bytes::{BufMut, Bytes, BytesMut};
use wharf_engine::{Change, Kind, Record};

use crate::tables::keys::Stored;
use crate::tables::leases::Lease;
use crate::tables::logs::Log;

/// Places in the folder; no channel can have a name with a `.`.
pub(super) const KEYS: &str = ".cluster.keys";
pub(super) const LOGS: &str = ".cluster.logs";
pub(super) const LEASES: &str = ".cluster.leases";

/// The number that stands for "never".
const NEVER: u64 = u64::MAX;

/// Returns the record of a key, or its deletion.
pub(super) fn key(key: &str, stored: Option<&Stored>) -> Change {
    let to = stored.map(|stored| Record {
        value: stored.value.clone(),
        version: stored.version,
        expires_at: stored.expires_at,
    });
    Change { kind: Kind::Store, key: Bytes::copy_from_slice(key.as_bytes()), to }
}

/// Returns the record of a lease, or its deletion.
pub(super) fn lease(name: &str, lease: Option<&Lease>) -> Change {
    let to = lease.map(|lease| Record {
        value: Bytes::copy_from_slice(lease.holder.as_bytes()),
        version: lease.fence,
        expires_at: Some(lease.expires_at),
    });
    Change { kind: Kind::Store, key: Bytes::copy_from_slice(name.as_bytes()), to }
}

/// Returns the record of the last version or fencing number. No key and no lease has an empty name.
pub(super) fn last_number(number: u64) -> Change {
    let to = Some(Record { value: Bytes::new(), version: number, expires_at: None });
    Change { kind: Kind::Store, key: Bytes::new(), to }
}

/// Returns the record of a log without its entries, or its deletion.
pub(super) fn head(name: &str, head: Option<(&Log, u64)>) -> Change {
    let to = head.map(|(log, era)| {
        let mut value = BytesMut::with_capacity(40);
        for number in
            [log.epoch, era, log.age.unwrap_or(NEVER), log.idle.unwrap_or(NEVER), log.touched]
        {
            value.put_u64(number);
        }
        Record { value: value.freeze(), version: log.last, expires_at: None }
    });
    Change { kind: Kind::Log, key: Bytes::copy_from_slice(name.as_bytes()), to }
}

/// Returns the log of a head without its entries, and the era in which it was written.
pub(super) fn read_head(record: &Record) -> Option<(Log, u64)> {
    let mut numbers = record.value.chunks_exact(8).map(|chunk| chunk.try_into().ok());
    let mut next = || Some(u64::from_be_bytes(numbers.next()??));
    let (epoch, era, age, idle, touched) = (next()?, next()?, next()?, next()?, next()?);
    let set = |number: u64| (number != NEVER).then_some(number);
    let log = Log {
        epoch,
        last: record.version,
        entries: std::collections::VecDeque::new(),
        bytes: 0,
        age: set(age),
        idle: set(idle),
        touched,
    };
    Some((log, era))
}

/// Returns the record of an entry, or its deletion (`None`).
pub(super) fn entry(name: &str, offset: u64, entry: Option<(u64, &Bytes)>) -> Change {
    let mut key = BytesMut::with_capacity(name.len() + 10);
    key.put_u16(u16::try_from(name.len()).unwrap_or(u16::MAX));
    key.put_slice(name.as_bytes());
    key.put_u64(offset);
    let to = entry.map(|(at, entry)| {
        let mut value = BytesMut::with_capacity(8 + entry.len());
        value.put_u64(at);
        value.put_slice(entry);
        Record { value: value.freeze(), version: offset, expires_at: None }
    });
    Change { kind: Kind::History, key: key.freeze(), to }
}

/// Returns the log's name, the offset, the time and the entry of a record.
pub(super) fn read_entry(key: &[u8], record: &Record) -> Option<(String, u64, u64, Bytes)> {
    let (length, rest) = key.split_first_chunk::<2>()?;
    let (name, offset) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let offset = u64::from_be_bytes(offset.try_into().ok()?);
    let at = u64::from_be_bytes(*record.value.first_chunk()?);
    let name = std::str::from_utf8(name).ok()?.to_owned();
    Some((name, offset, at, record.value.slice(8..)))
}
