//! The records of one channel.

use std::sync::Arc;

use bytes::Bytes;

use crate::disk::Disk;
use crate::error::Unavailable;
use crate::written::Written;

/// The key of the record in which the store keeps the last version that it has given. No entry has this key.
pub const LAST_VERSION: &str = "";

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// An entry of the store, by its key.
    Store = 1,
    /// The state of a room, by the room's name.
    RoomState = 2,
    /// A timer of a room or of the channel, by its number.
    Timer = 3,
    /// The head of the log of a room, by the room's name.
    Log = 4,
    /// A message in the log of a room, by the room's name and the message's offset.
    History = 5,
}

impl Kind {
    /// All kinds, in the order in which the operator sees them.
    pub const ALL: [Kind; 5] =
        [Kind::Store, Kind::RoomState, Kind::Timer, Kind::Log, Kind::History];

    /// Returns the name that the operator reads and writes.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Store => "store",
            Kind::RoomState => "rooms",
            Kind::Timer => "timers",
            Kind::Log => "epochs",
            Kind::History => "history",
        }
    }

    /// Returns the kind of this name.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns the kind of this number; `None` for one of a newer version.
    pub(crate) fn numbered(number: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The value. Cheap to clone.
    pub value: Bytes,
    /// The version; its meaning is the kind's.
    pub version: u64,
    /// Time at which it expires, in milliseconds since 1970; `None` for one that stays.
    pub expires_at: Option<u64>,
}

/// A record whose checksum is not that of its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record is damaged ({} {:?})", kind.name(), String::from_utf8_lossy(key))]
pub struct Damaged {
    /// The kind.
    pub kind: Kind,
    /// The key within the kind, as it was found.
    pub key: Bytes,
}

/// A change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The kind.
    pub kind: Kind,
    /// The key within the kind.
    pub key: Bytes,
    /// The new content; `None` deletes the record.
    pub to: Option<Record>,
}

/// A function that takes a change of memory back whose write has failed.
pub type Undo = Box<dyn FnOnce() + Send>;

/// The records of one channel. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Records {
    disk: Arc<Disk>,
    channel: i64,
}

impl Records {
    pub(crate) fn new(disk: Arc<Disk>, channel: i64) -> Records {
        Records { disk, channel }
    }

    /// Writes changes, all or none of them, in the next group. If the group fails, or one before it,
    /// `undo` is called, later ones first.
    ///
    /// # Errors
    ///
    /// Writes fail at the moment. Nothing was recorded, and `undo` is not called.
    pub fn write(
        &self,
        changes: impl IntoIterator<Item = Change>,
        undo: Option<Undo>,
    ) -> Result<Written, Unavailable> {
        self.disk.queue().put(self.channel, changes, undo)
    }

    /// Deletes records in the next group that can be written. Nobody waits for it: while the disk refuses,
    /// the deletions of 262,144 records are kept, in their order with later writes. The end of the process
    /// loses them, so that the records are there again.
    pub fn delete_later(&self, records: impl IntoIterator<Item = (Kind, Bytes)>) {
        self.disk.queue().delete_later(self.channel, records);
    }

    /// Returns the reason why the last writes failed; `None` while writes succeed.
    pub fn failure(&self) -> Option<Unavailable> {
        self.disk.failure()
    }

    /// Returns the number of the era. It grows when a loss of power may have cost records.
    pub fn era(&self) -> u64 {
        self.disk.era()
    }

    /// Reads all records of a kind, in the ascending order of their keys. It waits for the disk.
    ///
    /// # Errors
    ///
    /// The database cannot be read, or a record is damaged.
    pub fn load(&self, kind: Kind, each: impl FnMut(Bytes, Record)) -> Result<(), Unavailable> {
        self.disk.load(self.channel, kind, each)
    }
}
