//! The messages that rooms keep: a log for each, with an offset for each message.
//!
//! # Guarantees
//!
//! - **Offsets grow by one within an epoch.** A log that begins anew, or that may have lost its end, has
//!   another epoch, so that an offset of the old one is never taken for one of the new.
//! - **One order.** All members get the messages of a log in the order of their offsets, and one that comes
//!   in between gets each of them once: from the log or as a member.
//! - **Recorded before seen.** Where there are records, a message is on disk before anybody gets it. One that
//!   could not be recorded has no offset, and nobody gets it.
//! - **Whole or nothing.** A client that says where it was gets all messages since then, or none of them and
//!   the reason.
//!
//! Not guaranteed: that a message is kept at all. The bounds of the room, and that of all rooms together,
//! decide; the oldest go first.
//!
//! # Layout
//!
//! - `table`: the logs of a channel, by room, and their size together. `log`: one log. `record`: its records.
//! - `follower`: the place of a node in a log of its cluster. `feed`: such a log on its way to the members. `feeds`:
//!   the table of them.
//!   `wishes`: the messages that a new member gets of it.
//! - `position`: a place in a log, as clients name it. `note`: the messages of the host about places.

mod feed;
mod feeds;
mod follower;
mod log;
mod note;
mod position;
mod record;
mod table;
mod wishes;

pub use log::{HistoryMessage, HistoryPage};
pub use position::{AskedPositions, Epoch, POSITIONS_BYTES, Position};
pub(crate) use table::Histories;
pub use table::{HistoryFacts, TimeOfDay};

pub(crate) use feed::{Feed, FeedState};
pub(crate) use feeds::Feeds;
pub(crate) use follower::{Step, Why};
pub(crate) use log::{Answer, Appended, CannotRecover, LogState, RoomLog, Seen, Waiting};
pub(crate) use note::{joined, noted, skipped};
pub(crate) use wishes::{Found, Wishes};
