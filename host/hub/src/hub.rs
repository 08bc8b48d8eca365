//! A channel's tables on this node: its connections, its rooms and its users.
//!
//! The hub outlives generations: a reload does not touch it. Its tables are private; other modules
//! call its verbs.

mod channels;
mod delivery;
mod history;
mod kept;
mod load;
mod membership;
mod owned;
mod recorded;
mod records;
mod reserved;
mod shared;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use wharf_contract::history::HistoryRule;
use wharf_engine::Unavailable;

use crate::frame::Frame;
use crate::history::{Feeds, Histories, TimeOfDay};
use crate::inbox::Scope;
use crate::logs::Logs;
use crate::owners::Owners;
use crate::peers::Peers;
use crate::presence::{PresenceRooms, PresenceTiming};
use crate::rate_limits::RateLimits;
use crate::room::{Members, Rooms};
use crate::room_state::RoomStates;
use crate::sent::SentCounters;
use crate::time_of_day::unix_ms;
use crate::timer::Timers;
use crate::timer_record::TimerRecord;

use records::Records;

pub use channels::Channels;
pub use delivery::{EndPace, Posting};
pub use history::KeptIn;
pub use kept::RoomFacts;
pub use load::QueueLoad;
pub use owned::{Located, NotTaken, OwnedChanges, moved};
pub use recorded::RecordedChanges;
pub use reserved::{GroupKind, ReservedPlace};

/// The connections, rooms and users of one channel.
#[derive(Debug)]
pub struct Hub {
    /// The rooms that have members.
    rooms: Rooms,
    /// The users that are online. To the host a user is like a room, a named set of connections.
    /// The connection itself keeps that it has at most one user.
    users: Rooms,
    /// All connections, for broadcasts to all of them.
    everyone: Members,
    /// The presence lists of its rooms.
    presence: PresenceRooms,
    /// The messages that were queued for its connections.
    sent: Arc<SentCounters>,
    /// The records of all connections, for effects on one of them.
    connections: Records,
    /// The states of rooms, and their waiting events.
    states: RoomStates,
    /// The timers of its connections, its rooms, and of the channel itself.
    timers: Timers,
    /// The rate limits of its connections, its users, and of the channel itself.
    rate_limits: RateLimits,
    /// The messages that its rooms keep.
    histories: Histories,
    /// The logs of the cluster, which has the messages instead; `None` without one.
    feeds: Option<Feeds>,
    /// The observer of what other channels publish here.
    publications: Box<dyn PublicationObserver>,
    /// The other nodes of the cluster; `None` without one.
    peers: Option<Box<dyn Peers>>,
    /// The owners of its rooms; `None` if the events of all rooms run here.
    owners: Option<Box<dyn Owners>>,
    /// The records of its rooms and timers on disk; `None` if they are in memory only.
    records: Option<wharf_engine::Records>,
    /// The number of the last record of a timer.
    last_timer_record: AtomicU64,
    /// Recorded timers that are not set yet, by the numbers of their records.
    loaded_timers: Mutex<Vec<(u64, TimerRecord)>>,
}

/// Hears what other channels publish to the rooms of one, besides the members. An implementation must not
/// block.
pub trait PublicationObserver: Debug + Send + Sync {
    /// Notes a publication.
    fn published(&self, room: &str, frame: &Frame);
}

/// The observer that ignores everything.
#[derive(Debug)]
struct Unobserved;

impl PublicationObserver for Unobserved {
    fn published(&self, _: &str, _: &Frame) {}
}

impl Default for Hub {
    fn default() -> Hub {
        Hub::new(PresenceTiming::default())
    }
}

impl Hub {
    /// Makes a hub without connections.
    pub fn new(timing: PresenceTiming) -> Hub {
        Hub::observed(timing, Box::new(Unobserved))
    }

    /// Makes a hub without connections, whose publications have an observer.
    pub fn observed(timing: PresenceTiming, publications: Box<dyn PublicationObserver>) -> Hub {
        let sent = Arc::<SentCounters>::default();
        Hub {
            rooms: Rooms::default(),
            users: Rooms::default(),
            everyone: Members::default(),
            presence: PresenceRooms::counting(timing, sent.clone()),
            sent,
            connections: Records::default(),
            states: RoomStates::default(),
            timers: Timers::default(),
            rate_limits: RateLimits::default(),
            histories: Histories::new(Vec::new(), 0, Box::new(unix_ms)),
            feeds: None,
            publications,
            peers: None,
            owners: None,
            records: None,
            last_timer_record: AtomicU64::new(0),
            loaded_timers: Mutex::default(),
        }
    }

    /// Shares the hub with other nodes.
    pub fn with_peers(mut self, peers: Box<dyn Peers>) -> Hub {
        self.peers = Some(peers);
        self
    }

    /// Keeps the messages of rooms in the logs of a cluster, instead of this process.
    pub fn with_logs(mut self, logs: Arc<dyn Logs>) -> Hub {
        self.feeds = Some(Feeds::new(logs));
        self
    }

    /// Lets rooms keep messages by these rules, with no more than `limit` bytes in all of them together; a message
    /// counts for 64 bytes more. `clock` says how old they are.
    pub fn with_history(mut self, rules: Vec<HistoryRule>, limit: usize, clock: TimeOfDay) -> Hub {
        self.histories = Histories::new(rules, limit, clock);
        self
    }

    /// Takes over the recorded states and messages of rooms, and reads the recorded timers. From now on both are recorded.
    /// It waits for the disk.
    ///
    /// # Errors
    ///
    /// The records cannot be read.
    pub fn recorded(mut self, records: wharf_engine::Records) -> Result<Hub, Unavailable> {
        self.load_rooms(&records)?;
        self.load_timers(&records)?;
        // In a cluster its logs count, and those of this host stay as they are.
        let deletions = match self.feeds {
            None => self.histories.load(&records)?,
            Some(_) => Vec::new(),
        };
        self.records = Some(records);
        self.record_trimmed(deletions);
        Ok(self)
    }

    /// Drops the states of rooms that have had no members, events and timers for `grace`, messages that are too old,
    /// and rate limits whose time has passed. Other tasks get their turn in between.
    pub async fn sweep(&self, grace: Duration) {
        let has_members = |name: &str| self.rooms.get(name).is_some();
        let has_timers = |name: &Arc<str>| self.timers.has_any(&Scope::Room(name.clone()));
        let forgotten = |room: &str| self.record_forgotten(room);
        // Rooms that are queued again from now on belong to the next sweep, or this one might never end.
        let Some(now) = Instant::now().checked_sub(Duration::from_nanos(1)) else { return };
        match &self.owners {
            Some(owners) => self.sweep_owned(&**owners, now, grace).await,
            None => {
                while self.states.sweep(now, grace, has_members, has_timers, &forgotten) {
                    tokio::task::yield_now().await;
                }
            }
        }
        if self.histories.has_rules() {
            self.histories.sweep(has_members, |deletions| self.record_trimmed(deletions)).await;
        }
        if let Some(feeds) = &self.feeds {
            feeds.sweep(has_members);
        }
        while self.rate_limits.sweep() {
            tokio::task::yield_now().await;
        }
    }
}
