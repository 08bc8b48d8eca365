//! Clients that follow a room with a history, lose their sockets and come back with their position.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::board::{Board, HOSTS};
use super::dice::Dice;
use super::visit::Visit;
use crate::{Ended, Value};

/// Pause before a client comes back that was told to try again.
const PAUSE: Duration = Duration::from_millis(200);

/// Shortest and longest stay of a client that wanders, in milliseconds.
const STAY: (u64, u64) = (300, 2500);

/// A client, with what it knows of its room.
pub struct Follower {
    pub board: Arc<Board>,
    pub name: String,
    pub room: &'static str,
    pub host: usize,
    /// True for one that goes to another host now and then.
    pub is_wandering: bool,
    pub dice: Dice,
    /// Its epoch and its offset, once it knows them.
    position: Option<(String, u64)>,
    /// The offset of the message that comes next.
    next: Option<u64>,
}

/// The reason for which a client goes.
enum Gone {
    /// It goes by itself.
    Away,
    /// Its connection has ended.
    Ended(Ended),
    /// It was told that it cannot have what it has missed now.
    Unavailable,
}

impl From<Ended> for Gone {
    fn from(ended: Ended) -> Gone {
        Gone::Ended(ended)
    }
}

impl Follower {
    pub fn new(
        board: &Arc<Board>,
        name: String,
        room: &'static str,
        host: usize,
        dice: Dice,
    ) -> Follower {
        let board = board.clone();
        let is_wandering = false;
        Follower { board, name, room, host, is_wandering, dice, position: None, next: None }
    }

    /// Follows the room to the end of the run.
    pub async fn follow(mut self) {
        for number in 0.. {
            let name = format!("{}-{number}", self.name);
            let position = self.position.as_ref();
            let at = position.map(|(epoch, offset)| format!("{},{epoch},{offset}", self.room));
            let query = format!("?wharf_recover={}", at.unwrap_or_default());
            let mut visit = Visit::begin(&self.board, self.host, &name, &query).await;
            let life = visit.life;
            let Err(gone) = self.stay(&mut visit).await;
            match gone {
                Gone::Away => self.wander(),
                Gone::Ended(ended) => {
                    self.board.ended(&name, self.host, life, &ended, false);
                    // A client whose host has died does not wait for that one.
                    if self.is_wandering {
                        self.wander();
                    }
                }
                Gone::Unavailable => {
                    drop(visit);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Goes to a host that is there.
    fn wander(&mut self) {
        let alive = |host: &usize| self.board.host(*host).address.is_some();
        let hosts: Vec<usize> = (0..HOSTS).filter(alive).collect();
        self.host = hosts[self.dice.below(hosts.len())];
    }

    async fn stay(&mut self, visit: &mut Visit) -> Result<std::convert::Infallible, Gone> {
        let stay = Duration::from_millis(self.dice.between(STAY.0, STAY.1));
        let until = Instant::now() + stay;
        self.next = None;
        let mut has_joined = false;
        // Its end is a message as well, so that it stays while all are silent.
        let mut is_running = self.board.is_running.subscribe();
        let join = crate::json!({ "do": "join", "room": self.room });
        visit.socket.send(&join).await;
        loop {
            let may_go = self.is_wandering && has_joined && *is_running.borrow_and_update();
            tokio::select! {
                _ = is_running.changed() => {}
                () = sleep_until(until), if may_go => {
                    return Err(Gone::Away);
                }
                message = visit.socket.next() => {
                    let message = message?;
                    if self.next.is_none() && message.get("done").is_some() {
                        if message["result"] != "ok" {
                            let what = format!("{} cannot join: {}", self.name, message["result"]);
                            self.board.fail(what);
                        }
                        has_joined = true;
                    } else {
                        self.message(message)?;
                    }
                }
            }
        }
    }

    /// Reads a message of the channel or a note of the host.
    fn message(&mut self, message: Value) -> Result<(), Gone> {
        if let Some(offset) = self.next.take() {
            self.board.count(&self.board.tally.received, 1);
            self.advance(offset, Some(&message));
        } else if message["type"] == "wharf:history" {
            return self.history(&message);
        } else if message["type"] == "wharf:position" {
            let offset = message["offset"].as_u64().unwrap_or(0);
            let Some((epoch, at)) = &self.position else {
                self.fail(format!("a position without a place: {message}"));
                return Ok(());
            };
            if offset != at + 1 || message["epoch"] != **epoch {
                self.fail(format!("after offset {at} of {epoch} comes {message}"));
            }
            match message["skipped"] == true {
                true => self.advance(offset, None),
                false => self.next = Some(offset),
            }
        }
        Ok(())
    }

    /// Reads the note about the place that it has in the room.
    fn history(&mut self, note: &Value) -> Result<(), Gone> {
        let epoch = note["epoch"].as_str().unwrap_or_default().to_owned();
        let offset = note["offset"].as_u64().unwrap_or(0);
        if note["recovered"] == false {
            let is_unavailable = note["reason"] == "unavailable";
            if is_unavailable && self.board.may_refuse(self.host) {
                self.board.count(&self.board.tally.refused, 1);
                return Err(Gone::Unavailable);
            }
            self.fail(format!("cannot have what it has missed: {note}"));
        } else if let Some((known, at)) = &self.position {
            if note["recovered"] != true || (known, *at) != (&epoch, offset) {
                self.fail(format!("was at {at} of {known}, and is told {note}"));
            }
            self.board.count(&self.board.tally.recovered, 1);
            let messages = note["messages"].as_u64().unwrap_or(0);
            self.board.count(&self.board.tally.caught_up, messages);
        } else {
            self.board.follows();
        }
        if let Some(before) = self.board.histories.epoch(self.room, &epoch) {
            self.fail(format!("is told of the epoch {epoch}, and others of {before}"));
        }
        self.position = Some((epoch, offset));
        Ok(())
    }

    fn advance(&mut self, offset: u64, message: Option<&Value>) {
        if let Some((_, at)) = &mut self.position {
            *at = offset;
        }
        if let Some(wrong) = self.board.histories.seen(self.room, &self.name, offset, message) {
            self.fail(wrong);
        }
    }

    fn fail(&self, what: String) {
        self.board.fail(format!("{} of {} on host {}: {what}", self.name, self.room, self.host));
    }
}
