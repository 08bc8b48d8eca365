//! Joining a room whose log the cluster has: a new member gets what it has missed and then each message as the others
//! do, without a gap and nothing twice.
//!
//! The log is read meanwhile, which takes a while. A tap keeps what the members get in that time, so that the new
//! member gets it behind what was read.

use std::sync::Arc;

use wharf_contract::history::Retention;
use wharf_engine::Unavailable;

use super::{HeldPlace, Hub, queue};
use crate::connection::ConnectionRecord;
use crate::frame::Frame;
use crate::history::{Answer, CannotRecover, Feed, FeedState, Feeds, Found, Position, Wishes};
use crate::logs::LogMessage;
use crate::outbound::PendingWrites;
use crate::recipients::Group;

/// Tries of a join during which more comes than may wait, or the log begins anew.
const TRIES: usize = 4;

/// A connection that is becoming a member of a room.
struct Arrival<'a> {
    hub: &'a Hub,
    feeds: &'a Feeds,
    feed: Arc<Feed>,
    held: HeldPlace<'a>,
    connection: &'a ConnectionRecord,
    wishes: Wishes,
}

/// Joining.
impl Hub {
    /// Makes a connection a member of a room whose log the cluster has, and queues for it what it is to get.
    pub(super) async fn join_shared(
        &self,
        feeds: &Feeds,
        retention: Retention,
        connection: &ConnectionRecord,
        name: &Arc<str>,
        own: Option<Position>,
        writes: &mut PendingWrites,
    ) {
        let wishes = Wishes {
            retention,
            is_positioned: connection.outbound.wants_positions(),
            asked: connection.take_position(name),
            own,
            room: connection.outbound.free_bytes(),
            note: name.len(),
        };
        // The place keeps the room, and with it the feed, while this waits.
        let held = HeldPlace::new(self, name, connection.id);
        let feed = feeds.open(name);
        let arrival = Arrival { hub: self, feeds, feed, held, connection, wishes };
        arrival.run(writes).await;
    }
}

impl Arrival<'_> {
    async fn run(&self, writes: &mut PendingWrites) {
        // Queued frames must not wait for the log.
        writes.write().await;
        if let Some(followed) = self.feeds.logs.follow(self.feed.name()) {
            followed.await;
        }
        for _ in 0..TRIES {
            let is_begun = self.feed.lock().delivered().is_some();
            if !is_begun && !self.hub.catch_up(self.feeds, &self.feed, writes).await {
                break;
            }
            let tap = self.feed.tap();
            let Ok(found) = self.find(writes).await else { break };
            let Some(found) = found else { continue };
            if !self.feed.lock().has(found.last) {
                // The members have not heard yet what was read.
                self.feed.lock().doubt();
                self.hub.catch_up(self.feeds, &self.feed, writes).await;
            }
            let answer = |state: &FeedState| {
                let tapped = tap.tapped(state);
                let more = tapped.after(found.last).filter(|_| state.has(found.last))?;
                let here = state.delivered()?;
                let for_it = |it: &LogMessage, is_new: bool| self.for_it(it, is_new);
                Some(self.wishes.complete(&found, more, here, for_it))
            };
            if self.join(answer, writes).await {
                return;
            }
        }
        // The log cannot be read, or comes faster than it is read. The connection is a member all the same.
        let without = |state: &FeedState| {
            // It has missed what its own event sent, if the others have got that already.
            let has_missed = self.wishes.own.is_some_and(|own| state.has(own));
            let is_told = self.wishes.asked.is_some() || has_missed;
            let recovered = is_told.then_some(Err(CannotRecover::Unavailable));
            let from = state.delivered().unwrap_or(Position::NONE);
            Some(Answer { from, messages: Vec::new(), recovered })
        };
        self.join(without, writes).await;
    }

    /// Returns a message if it is for this connection. Of several that one broadcast has sent to as many rooms, that is
    /// the first one, if they are `new`.
    fn for_it(&self, message: &LogMessage, new: bool) -> Option<Frame> {
        let is_new = |number: u64| {
            let seen = message.once.filter(|_| new).map(|once| self.feeds.seen(once));
            seen.is_none_or(|seen| seen.lock().insert(number))
        };
        let id = self.connection.id;
        let is_wanted = message.except != Some(id) && id.local_number().is_none_or(is_new);
        message.frame.clone().filter(|_| is_wanted)
    }

    /// Reads the part of the log that is for the connection. `None` if the log has just begun, and has to be looked at
    /// again.
    async fn find(&self, writes: &mut PendingWrites) -> Result<Option<Found>, Unavailable> {
        let (logs, room, wishes) = (&self.feeds.logs, self.feed.name(), &self.wishes);
        let here = self.feed.lock().delivered().unwrap_or(Position::NONE);
        let Some(read) = wishes.read(here) else {
            // It begins where the members are.
            if here == Position::NONE && wishes.is_positioned {
                // The log may have begun meanwhile.
                self.feed.lock().doubt();
                self.hub.catch_up(self.feeds, &self.feed, writes).await;
                if self.feed.lock().delivered() == Some(Position::NONE) {
                    self.begin(writes).await?;
                }
                return Ok(None);
            }
            return Ok(Some(wishes.at(here)));
        };
        let part = match read.after {
            Some(after) => logs.read(room, after, read.messages, wishes.room).await?,
            None => logs.read_last(room, read.messages, wishes.room).await?,
        };
        if part.last == Position::NONE && wishes.is_positioned {
            self.begin(writes).await?;
            return Ok(None);
        }
        let found = wishes.judge(part);
        if !found.wants_newcomers {
            return Ok(Some(found));
        }
        // It cannot have what it has missed, and is a newcomer.
        let newcomers = wishes.retention.for_newcomers();
        let part = logs.read_last(room, newcomers, wishes.room).await?;
        Ok(Some(found.and_newest(wishes.newest(part))))
    }

    /// Begins a log with a mark, so that its positions have an epoch.
    async fn begin(&self, writes: &mut PendingWrites) -> Result<(), Unavailable> {
        let mark = LogMessage::mark(self.hub.histories.now());
        let (logs, room) = (&self.feeds.logs, self.feed.name());
        let at = logs.append(room, &mark, &self.wishes.retention).await?;
        self.feed.lock().hear(at, mark, false);
        self.hub.deliver_ready(self.feeds, &self.feed, writes).await;
        self.hub.catch_up(self.feeds, &self.feed, writes).await;
        Ok(())
    }

    /// Makes the connection a member with an answer, in one step with the deliveries of the feed. Returns false if
    /// there is no answer.
    async fn join(
        &self,
        answer: impl Fn(&FeedState) -> Option<Answer>,
        writes: &mut PendingWrites,
    ) -> bool {
        let (name, outbound) = (self.feed.name(), &self.connection.outbound);
        let room = self.held.room();
        let is_positioned = self.wishes.is_positioned;
        let (turn, answer) = {
            let state = self.feed.lock();
            let Some(answer) = answer(&state) else { return false };
            let turn = room.members.stand_in_line_if_any();
            if turn.is_none() {
                queue(name, &answer, is_positioned, outbound, writes);
                self.held.occupy(outbound);
            }
            (turn, answer)
        };
        if let Some(mut turn) = turn {
            if !turn.has_begun() {
                writes.write().await;
                turn.begin().await;
            }
            // All that the members got before is queued to them; what follows stands behind this turn.
            queue(name, &answer, is_positioned, outbound, writes);
            self.held.occupy(outbound);
            turn.end(writes, true);
        }
        self.connection.groups().joined.push(room.clone());
        self.hub.tell_counted(Group::Room(name));
        true
    }
}
