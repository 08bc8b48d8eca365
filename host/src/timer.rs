//! Timers of one channel: of its connections, its rooms, and its own.
//!
//! All of them wait in one table ordered by time, looked after by one task that is there only
//! while a timer is. A firing is posted to the inbox of whoever the timer belongs to, so that it
//! is handled in its turn; one that has not been handled when the timer falls due again is not
//! posted twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::inbox::{Addressee, post_firing};

/// The longest name of a timer, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// The longest delay or interval.
pub const MAX_DELAY: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// The shortest interval.
pub const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Firings that are posted in a row before other tasks get their turn.
const FIRINGS_PER_TURN: usize = 512;

/// What a timer belongs to: its name is unique in there, and it goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// A connection, by its number.
    Connection(u64),
    /// A room, by its name.
    Room(Arc<str>),
    /// The channel.
    Channel,
}

/// What a timer says when it fires.
#[derive(Debug)]
pub struct Firing {
    /// The timer's name.
    pub name: Arc<str>,
    /// What was given when it was set.
    pub payload: Bytes,
    /// It is in an inbox and not handled yet.
    waits: AtomicBool,
    /// It was cancelled or replaced; a firing that still waits counts no more.
    is_cancelled: AtomicBool,
}

impl Firing {
    /// Its turn has come: from now on it may be posted again. `false` if it was cancelled meanwhile.
    pub fn begin(&self) -> bool {
        self.waits.store(false, Ordering::SeqCst);
        !self.is_cancelled.load(Ordering::SeqCst)
    }
}

/// A timer that is to be set.
pub struct NewTimer {
    /// What it belongs to.
    pub scope: Scope,
    /// Its name.
    pub name: Arc<str>,
    /// When it fires, from now.
    pub delay: Duration,
    /// How often it fires from then on; once, where there is none.
    pub interval: Option<Duration>,
    /// What it says.
    pub payload: Bytes,
    /// Who handles it; a timer that is set keeps nobody there.
    pub to: Arc<dyn Addressee>,
}

impl std::fmt::Debug for NewTimer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewTimer").field("scope", &self.scope).field("name", &self.name).finish()
    }
}

/// The timers of one channel. They outlive its generations.
#[derive(Debug, Default)]
pub struct Timers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Timers that are set, to be asked without the lock.
    count: AtomicUsize,
    /// The first timer to fall due has changed.
    changed: Notify,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timers").field("count", &self.count).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// By the time they fall due; the number tells those of one instant apart.
    due: BTreeMap<(Instant, u64), (Scope, Arc<str>)>,
    by_scope: HashMap<Scope, BTreeMap<Arc<str>, Entry>>,
    last_number: u64,
    has_task: bool,
}

struct Entry {
    key: (Instant, u64),
    interval: Option<Duration>,
    to: Weak<dyn Addressee>,
    firing: Arc<Firing>,
}

impl Timers {
    /// Set a timer; one of the same name in its scope is replaced.
    pub fn set(&self, timer: NewTimer) {
        let mut state = self.0.state.lock();
        let is_first = state.set(timer, Instant::now());
        self.0.count.store(state.due.len(), Ordering::Relaxed);
        if !std::mem::replace(&mut state.has_task, true) {
            tokio::spawn(fire_when_due(Arc::downgrade(&self.0)));
        } else if is_first {
            self.0.changed.notify_one();
        }
    }

    /// Cancel a timer, and a firing of it that waits.
    pub fn cancel(&self, scope: &Scope, name: &str) {
        if self.is_empty() {
            return;
        }
        let mut state = self.0.state.lock();
        state.remove(scope, name);
        self.0.count.store(state.due.len(), Ordering::Relaxed);
    }

    /// Cancel all timers of a scope.
    pub fn cancel_all(&self, scope: &Scope) {
        if self.is_empty() {
            return;
        }
        let mut state = self.0.state.lock();
        state.remove_all(scope);
        self.0.count.store(state.due.len(), Ordering::Relaxed);
    }

    /// Cancel all timers.
    pub fn clear(&self) {
        let mut state = self.0.state.lock();
        let scopes: Vec<Scope> = state.by_scope.keys().cloned().collect();
        for scope in &scopes {
            state.remove_all(scope);
        }
        self.0.count.store(state.due.len(), Ordering::Relaxed);
    }

    /// The names of a scope's timers.
    pub fn names(&self, scope: &Scope) -> Vec<Arc<str>> {
        if self.is_empty() {
            return Vec::new();
        }
        let state = self.0.state.lock();
        state.by_scope.get(scope).map(|of| of.keys().cloned().collect()).unwrap_or_default()
    }

    /// Whether a scope has a timer.
    pub fn has_any(&self, scope: &Scope) -> bool {
        !self.is_empty() && self.0.state.lock().by_scope.contains_key(scope)
    }

    /// Whether no timer is set at all.
    pub fn is_empty(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) == 0
    }
}

impl State {
    /// Whether it is the first of all to fall due.
    fn set(&mut self, timer: NewTimer, now: Instant) -> bool {
        let NewTimer { scope, name, delay, interval, payload, to } = timer;
        self.remove(&scope, &name);
        let firing = Arc::new(Firing {
            name: name.clone(),
            payload,
            waits: AtomicBool::new(false),
            is_cancelled: AtomicBool::new(false),
        });
        self.last_number += 1;
        let key = (now + delay, self.last_number);
        let is_first = self.due.first_key_value().is_none_or(|(first, _)| key < *first);
        self.due.insert(key, (scope.clone(), name.clone()));
        let entry = Entry { key, interval, to: Arc::downgrade(&to), firing };
        self.by_scope.entry(scope).or_default().insert(name, entry);
        is_first
    }

    /// Cancel all timers of a scope.
    fn remove_all(&mut self, scope: &Scope) {
        for (_, entry) in self.by_scope.remove(scope).unwrap_or_default() {
            entry.firing.is_cancelled.store(true, Ordering::SeqCst);
            self.due.remove(&entry.key);
        }
    }

    fn remove(&mut self, scope: &Scope, name: &str) {
        let Some(of_scope) = self.by_scope.get_mut(scope) else {
            return;
        };
        if let Some(entry) = of_scope.remove(name) {
            entry.firing.is_cancelled.store(true, Ordering::SeqCst);
            self.due.remove(&entry.key);
        }
        if of_scope.is_empty() {
            self.by_scope.remove(scope);
        }
    }

    /// Take what has fallen due out of the table, some of it at most, and put back what repeats.
    fn take_due(&mut self, now: Instant) -> Vec<(Arc<dyn Addressee>, Arc<Firing>)> {
        let mut taken = Vec::new();
        while taken.len() < FIRINGS_PER_TURN
            && let Some((&key, _)) = self.due.first_key_value()
            && key.0 <= now
            && let Some((scope, name)) = self.due.remove(&key)
        {
            let of_scope = self.by_scope.get_mut(&scope);
            let Some(entry) = of_scope.and_then(|of_scope| of_scope.get_mut(&name)) else {
                continue;
            };
            let to = entry.to.upgrade();
            if let Some(to) = &to
                && !entry.firing.waits.swap(true, Ordering::SeqCst)
            {
                taken.push((to.clone(), entry.firing.clone()));
            }
            match entry.interval {
                Some(interval) if to.is_some() => {
                    // Times that have passed already are left out.
                    let mut next = key.0 + interval;
                    if next <= now {
                        next = now + interval;
                    }
                    entry.key = (next, key.1);
                    self.due.insert(entry.key, (scope, name));
                }
                _ => {
                    if let Some(of_scope) = self.by_scope.get_mut(&scope) {
                        of_scope.remove(&name);
                        if of_scope.is_empty() {
                            self.by_scope.remove(&scope);
                        }
                    }
                }
            }
        }
        taken
    }
}

/// Post what falls due until there are no timers left.
async fn fire_when_due(timers: Weak<Shared>) {
    loop {
        let Some(shared) = timers.upgrade() else {
            return;
        };
        let (taken, next) = {
            let mut state = shared.state.lock();
            let taken = state.take_due(Instant::now());
            shared.count.store(state.due.len(), Ordering::Relaxed);
            let next = state.due.first_key_value().map(|((due, _), _)| *due);
            state.has_task = next.is_some() || !taken.is_empty();
            if !state.has_task {
                return;
            }
            (taken, next)
        };
        let was_busy = !taken.is_empty();
        for (to, firing) in taken {
            post_firing(to, firing);
        }
        if was_busy {
            tokio::task::yield_now().await;
            continue;
        }
        if let Some(next) = next {
            let changed = shared.changed.notified();
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = changed => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::{Inbox, Posted};

    #[derive(Default)]
    struct Anybody(Inbox);

    impl Addressee for Anybody {
        fn inbox(&self) -> &Inbox {
            &self.0
        }

        fn attend(self: Arc<Self>) {}
    }

    fn timer(to: &Arc<Anybody>, name: &str, delay: u64, interval: Option<u64>) -> NewTimer {
        let to: Arc<dyn Addressee> = to.clone();
        NewTimer {
            scope: Scope::Connection(1),
            name: name.into(),
            delay: Duration::from_millis(delay),
            interval: interval.map(Duration::from_millis),
            payload: Bytes::new(),
            to,
        }
    }

    /// Let everything fire that falls due by then, and handle it.
    fn fired(state: &mut State, to: &Anybody, now: Instant) -> Vec<String> {
        for (to, firing) in state.take_due(now) {
            post_firing(to, firing);
        }
        let mut names = Vec::new();
        while let Some(Posted::Timer(firing)) = to.0.pop() {
            if firing.begin() {
                names.push(firing.name.to_string());
            }
        }
        names
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn timers_fire_in_order_once_or_again_and_again() {
        let (mut state, to, now) = (State::default(), Arc::default(), Instant::now());
        state.set(timer(&to, "late", 30, None), now);
        state.set(timer(&to, "soon", 10, None), now);
        state.set(timer(&to, "often", 20, Some(20)), now);
        assert!(fired(&mut state, &to, now + 9 * MS).is_empty());
        assert_eq!(fired(&mut state, &to, now + 35 * MS), ["soon", "often", "late"]);
        assert_eq!(fired(&mut state, &to, now + 41 * MS), ["often"]);
        assert_eq!(fired(&mut state, &to, now + 500 * MS), ["often"], "missed ones are left out");
        assert!(fired(&mut state, &to, now + 519 * MS).is_empty());
        state.remove_all(&Scope::Connection(1));
        assert!(fired(&mut state, &to, now + 900 * MS).is_empty());
        assert!(state.due.is_empty() && state.by_scope.is_empty());
    }

    #[test]
    fn what_falls_due_while_a_firing_waits_is_not_posted_twice() {
        let (mut state, to, now) = (State::default(), Arc::default(), Instant::now());
        state.set(timer(&to, "often", 10, Some(10)), now);
        for round in 1..=3 {
            for (to, firing) in state.take_due(now + 10 * round * MS) {
                post_firing(to, firing);
            }
        }
        assert_eq!(fired(&mut state, &to, now + 31 * MS), ["often"]);
    }

    #[test]
    fn a_timer_that_is_set_again_or_cancelled_counts_no_more_even_if_it_has_fired() {
        let (mut state, to, now) = (State::default(), Arc::default(), Instant::now());
        state.set(timer(&to, "one", 10, None), now);
        state.set(timer(&to, "one", 20, None), now);
        assert!(fired(&mut state, &to, now + 15 * MS).is_empty());
        assert_eq!(fired(&mut state, &to, now + 25 * MS), ["one"]);
        state.set(timer(&to, "one", 10, Some(10)), now);
        for (to, firing) in state.take_due(now + 11 * MS) {
            post_firing(to, firing);
        }
        state.remove(&Scope::Connection(1), "one");
        assert!(fired(&mut state, &to, now + 50 * MS).is_empty());
    }

    #[test]
    fn a_timer_ends_with_whom_it_belongs_to() {
        let (mut state, to, now) = (State::default(), Arc::default(), Instant::now());
        state.set(timer(&to, "often", 10, Some(10)), now);
        drop(to);
        assert!(state.take_due(now + 11 * MS).is_empty());
        assert!(state.due.is_empty() && state.by_scope.is_empty());
    }
}
