//! The owners of the rooms of one channel, by their records on the engine.
//!
//! A node becomes the owner of a room by writing its record, with its own [session](crate::session) in it, where there
//! was none, or one whose session has ended. From then on it writes only if the record has the version that it wrote
//! last. So of two that believe to own a room one cannot write, and finds out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use wharf_cluster::{Engine, Entry, Expected, PutError, Reason};
use wharf_hub::connection_id::NodeId;
use wharf_hub::owners::{Claim, Hold, Refused, RoomContent, Unavailable};

use crate::room_record::RoomRecord;
use crate::session::{Found, SessionId, Sessions};

/// The number of a session that never was: that of a room which has been given up.
const NOBODY: u64 = 0;

/// Tries of a step that others always forestall.
const TRIES: usize = 16;

/// Pause between two tries of a write whose answer did not come.
const PAUSE: Duration = Duration::from_millis(100);

/// Time after which such a write is given up. It may be done or not.
const PATIENCE: Duration = Duration::from_secs(30);

/// Records that are read at a time when orphans are looked for.
const PAGE: u32 = 256;

/// The rooms of one channel.
#[derive(Clone)]
pub struct RoomOwners {
    engine: Arc<dyn Engine>,
    sessions: Arc<Sessions>,
    own: NodeId,
    /// Beginning of the names of the records.
    prefix: Arc<str>,
    /// Number of the last write of this node.
    writes: Arc<AtomicU64>,
}

impl std::fmt::Debug for RoomOwners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoomOwners").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RoomOwners {
    /// Makes the owners of a channel's rooms, as a node sees them.
    pub fn new(
        engine: Arc<dyn Engine>,
        sessions: Arc<Sessions>,
        own: NodeId,
        channel: &str,
    ) -> RoomOwners {
        // Names of channels have no colon.
        let prefix = format!("rooms:{channel}:").into();
        RoomOwners { engine, sessions, own, prefix, writes: Arc::default() }
    }

    fn record(
        &self,
        session: u64,
        before: Option<(SessionId, u64)>,
        content: RoomContent,
    ) -> RoomRecord {
        let owner = SessionId { node: self.own, number: session };
        let write = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        RoomRecord { owner, write, before, content }
    }

    fn name(&self, room: &str) -> String {
        format!("{}{room}", self.prefix)
    }

    /// Asks for a room.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present, or others always forestall it.
    pub async fn claim(&self, room: &str) -> Result<Claim, Unavailable> {
        let name = self.name(room);
        // Most rooms that are asked for are new.
        let mut known: Option<Entry> = None;
        for _ in 0..TRIES {
            let session = self.sessions.current().await.map_err(unavailable)?;
            let owner = SessionId { node: self.own, number: session };
            let (expected, before, content) = match &known {
                None => (Expected::Absent, None, RoomContent::default()),
                Some(entry) => {
                    let RoomRecord { owner: other, write, content, .. } =
                        RoomRecord::read(&entry.value)?;
                    if other != owner {
                        match self.sessions.find(other).await.map_err(unavailable)? {
                            Found::Alive(_) if other.node != self.own => {
                                return Ok(Claim::Elsewhere(other.node));
                            }
                            // An earlier session of this node, which it does not trust any more.
                            Found::Alive(_) | Found::Ended => {}
                        }
                    }
                    (Expected::Version(entry.version), Some((other, write)), content)
                }
            };
            let record = self.record(session, before, content);
            match self.engine.put(&name, record.encode(), expected, None).await {
                Ok(version) => {
                    let before = before.map(|(of, write)| (of.node, of.number, write));
                    return Ok(Claim::Held(Hold { session, version, before }, record.content));
                }
                Err(PutError::Conflict { .. }) => {}
                Err(PutError::Unavailable(why)) => return Err(unavailable(why)),
            }
            known = self.engine.get(&name).await.map_err(unavailable)?;
        }
        Err(Unavailable::new("others change the record of the room all the time; try again"))
    }

    /// Returns true if the session of a hold is valid for certain.
    pub fn holds(&self, hold: Hold) -> bool {
        self.sessions.is_valid(hold.session)
    }

    /// Waits until it is known if the session of a hold is valid.
    ///
    /// # Errors
    ///
    /// It has ended, or the engine cannot be used at present.
    pub async fn confirm(&self, hold: Hold) -> Result<(), Refused> {
        match self.sessions.current().await {
            Ok(session) if session == hold.session => Ok(()),
            Ok(_) => Err(Refused::Lost),
            Err(why) => Err(Refused::Unavailable(unavailable(why))),
        }
    }

    /// Writes the record of a room that this node owns. While the engine does not answer it is tried again, so that it is
    /// known in the end if it was written.
    ///
    /// # Errors
    ///
    /// Another node has changed the record, or the engine could not be used for half a minute. In the second case it
    /// may be written, and the hold counts no more.
    pub async fn write(
        &self,
        room: &str,
        hold: Hold,
        content: RoomContent,
    ) -> Result<Hold, Refused> {
        let name = self.name(room);
        let before = hold.before.map(|(node, number, write)| (SessionId { node, number }, write));
        let record = self.record(hold.session, before, content);
        let (value, begun) = (record.encode(), Instant::now());
        let mut is_first = true;
        loop {
            let expected = Expected::Version(hold.version);
            let why = match self.engine.put(&name, value.clone(), expected, None).await {
                Ok(version) => return Ok(Hold { version, ..hold }),
                Err(PutError::Conflict { .. }) if is_first => return Err(Refused::Lost),
                // Perhaps with what an earlier try has written.
                Err(PutError::Conflict { .. }) => match self.engine.get(&name).await {
                    Ok(found) => return outcome(&record, hold, found),
                    Err(why) => why,
                },
                Err(PutError::Unavailable(why)) => why,
            };
            // A refusal of the first try is certain, and anything later leaves open what became of the first one.
            let is_certain = is_first && !is_open(why.reason());
            if is_certain || begun.elapsed() >= PATIENCE {
                return Err(Refused::Unavailable(unavailable(why)));
            }
            is_first = false;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Leaves a room to the next node that asks for it, unless its record was changed meanwhile. Returns true if it has done so.
    /// While the engine does not answer it is tried again, until the session has ended: so long nobody has the room.
    pub async fn give_up(&self, room: &str, hold: Hold, content: RoomContent) -> bool {
        let name = self.name(room);
        let value = self.record(NOBODY, None, content).encode();
        let expected = Expected::Version(hold.version);
        loop {
            match self.engine.put(&name, value.clone(), expected, None).await {
                Ok(_) => return true,
                Err(PutError::Conflict { .. }) => return false,
                Err(PutError::Unavailable(_)) if !self.sessions.is_last(hold.session) => {
                    return false;
                }
                Err(PutError::Unavailable(_)) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Deletes the record of a room that this node owns, unless it was changed meanwhile.
    pub async fn release(&self, room: &str, hold: Hold) {
        // If the engine cannot be used the record stays, and the next one who asks for the room gets it.
        let _ = self.engine.delete(&self.name(room), Expected::Version(hold.version)).await;
    }

    /// Returns the content of a room's record.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    pub async fn read(&self, room: &str) -> Result<Option<RoomContent>, Unavailable> {
        let entry = self.engine.get(&self.name(room)).await.map_err(unavailable)?;
        entry.map(|entry| Ok(RoomRecord::read(&entry.value)?.content)).transpose()
    }

    /// Drops the state in the record of a room. Returns its owner if there was a state.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present, or others always forestall it.
    pub async fn reset(&self, room: &str) -> Result<Option<NodeId>, Unavailable> {
        let name = self.name(room);
        for _ in 0..TRIES {
            let Some(entry) = self.engine.get(&name).await.map_err(unavailable)? else {
                return Ok(None);
            };
            let mut record = RoomRecord::read(&entry.value)?;
            if record.content.state.take().is_none() {
                return Ok(None);
            }
            // The owner knows its own write by its number, and this is none of them.
            record.write = 0;
            let expected = Expected::Version(entry.version);
            match self.engine.put(&name, record.encode(), expected, None).await {
                Ok(_) => return Ok(Some(record.owner.node)),
                Err(PutError::Conflict { .. }) => {}
                Err(PutError::Unavailable(why)) => return Err(unavailable(why)),
            }
        }
        Err(Unavailable::new("the state of the room changes all the time; try again"))
    }

    /// Returns the rooms of one page of the records whose owners' sessions have ended, the name after which the next page
    /// begins, and the time after which to look again at owners that may be gone. `None` after the last page.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    pub async fn orphans(
        &self,
        after: Option<&str>,
        is_there: impl Fn(NodeId) -> bool,
    ) -> Result<Orphans, Unavailable> {
        let after = after.map(|room| self.name(room));
        let page = self.engine.list(&self.prefix, after.as_deref(), PAGE).await;
        let page = page.map_err(unavailable)?;
        let mut found = Orphans::default();
        if page.len() >= PAGE as usize {
            let last = page.last().map(|(name, _)| self.room(name));
            found.next = last;
        }
        for (name, entry) in page {
            // A record that cannot be read is an error for those who want the room.
            let Ok(RoomRecord { owner, .. }) = RoomRecord::read(&entry.value) else { continue };
            if owner.number != NOBODY && (owner.node == self.own || is_there(owner.node)) {
                continue;
            }
            match self.sessions.find(owner).await.map_err(unavailable)? {
                Found::Ended => found.rooms.push(self.room(&name)),
                Found::Alive(time) => {
                    found.again = Some(found.again.map_or(time, |again| again.max(time)));
                }
            }
        }
        Ok(found)
    }

    fn room(&self, name: &str) -> Arc<str> {
        Arc::from(name.strip_prefix(&*self.prefix).unwrap_or(name))
    }
}

/// Rooms without an owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// The rooms.
    pub rooms: Vec<Arc<str>>,
    /// The room after which the next page begins; `None` for the last page.
    pub next: Option<Arc<str>>,
    /// Time after which owners that are not heard any more may have ended.
    pub again: Option<Duration>,
}

/// Returns what has become of a write whose answer did not come, by the record as it is now.
fn outcome(wanted: &RoomRecord, hold: Hold, found: Option<Entry>) -> Result<Hold, Refused> {
    // It was released or dropped with the room, by another owner.
    let Some(entry) = found else { return Err(open_outcome()) };
    let record = RoomRecord::read(&entry.value).map_err(Refused::Unavailable)?;
    let (owner, write) = (wanted.owner, wanted.write);
    match record.before {
        _ if (record.owner, record.write) == (owner, write) => {
            Ok(Hold { version: entry.version, ..hold })
        }
        // Another write than those of the owner: that of a reset, which the event is to see.
        _ if record.owner == owner => Err(Refused::Lost),
        Some((of, last)) if of == owner && last == write => Err(Refused::Moved),
        Some((of, _)) if of == owner => Err(Refused::Lost),
        _ => Err(open_outcome()),
    }
}

/// Returns the refusal of an event that may be in the record or not.
fn open_outcome() -> Refused {
    Refused::Unavailable(Unavailable::new(
        "the engine has not answered in time, and it is not known if the event was recorded",
    ))
}

/// Returns true if a step that was answered so may be done.
fn is_open(reason: Reason) -> bool {
    matches!(reason, Reason::LinkLost | Reason::TimedOut | Reason::Busy | Reason::Other)
}

fn unavailable(why: wharf_cluster::Unavailable) -> Unavailable {
    Unavailable::new(&why.to_string())
}
