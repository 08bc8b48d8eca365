//! The rooms with a state: each event counts one more and tells it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One room.
#[derive(Debug)]
struct Room {
    /// The event of each number.
    events: BTreeMap<u64, String>,
    posted: u64,
    /// The time of the last number that was new.
    last: Instant,
    /// The longest time without one since [`Counters::watch`].
    silence: Duration,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Counters(Mutex<BTreeMap<String, Room>>);

impl Default for Room {
    fn default() -> Room {
        Room { events: BTreeMap::new(), posted: 0, last: Instant::now(), silence: Duration::ZERO }
    }
}

impl Counters {
    /// Records that an event is posted.
    pub fn posted(&self, room: &str) {
        self.0.lock().expect("no holder panics").entry(room.to_owned()).or_default().posted += 1;
    }

    /// Records an event that somebody has heard of. Returns what is wrong with it.
    pub fn heard(&self, name: &str, number: u64, event: &str) -> Option<String> {
        let mut rooms = self.0.lock().expect("no holder panics");
        let room = rooms.entry(name.to_owned()).or_default();
        match room.events.get(&number) {
            Some(known) if known != event => {
                Some(format!("{name}: two events have a number: {event}, and before {known}"))
            }
            Some(_) => None,
            None => {
                room.events.insert(number, event.to_owned());
                room.silence = room.silence.max(room.last.elapsed());
                room.last = Instant::now();
                None
            }
        }
    }

    /// Returns the names of the rooms.
    pub fn rooms(&self) -> Vec<String> {
        self.0.lock().expect("no holder panics").keys().cloned().collect()
    }

    /// Returns the highest number that somebody has heard of, and the number of posts.
    pub fn bounds(&self, name: &str) -> (u64, u64) {
        let rooms = self.0.lock().expect("no holder panics");
        rooms.get(name).map_or((0, 0), |room| {
            (room.events.keys().next_back().copied().unwrap_or(0), room.posted)
        })
    }

    /// Begins to look for the longest silence.
    pub fn watch(&self) {
        for room in self.0.lock().expect("no holder panics").values_mut() {
            room.silence = Duration::ZERO;
            // A silence counts from now on.
            room.last = Instant::now();
        }
    }

    /// Returns a room that has told nothing new since a moment.
    pub fn silent_since(&self, moment: Instant) -> Option<String> {
        let rooms = self.0.lock().expect("no holder panics");
        rooms.iter().find(|(_, room)| room.last <= moment).map(|(name, _)| name.clone())
    }

    /// Returns the longest silence of a room.
    pub fn silence(&self) -> Duration {
        let rooms = self.0.lock().expect("no holder panics");
        rooms.values().map(|room| room.silence).max().unwrap_or_default()
    }

    /// Returns the number of events.
    pub fn events(&self) -> usize {
        self.0.lock().expect("no holder panics").values().map(|room| room.events.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Counters;

    #[test]
    fn a_number_that_two_events_have_is_found() {
        let counters = Counters::default();
        counters.posted("red");
        assert_eq!(counters.heard("red", 1, "ann"), None);
        assert_eq!(counters.heard("red", 1, "ann"), None, "another member");
        assert_eq!(counters.bounds("red"), (1, 1));
        assert!(counters.heard("red", 1, "bob").is_some_and(|what| what.contains("two events")));
    }
}
