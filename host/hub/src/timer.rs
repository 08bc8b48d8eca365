//! Timers of one channel: of its connections, its rooms, and of the channel itself.
//!
//! All of them wait in one table ordered by time, which one task serves as long as there is a
//! timer. A firing is posted to the inbox of the timer's owner, so that it is handled in its turn.
//! If it has not been handled when the timer falls due again, it is not posted twice.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::inbox::{Addressee, Firing, Scope, post_firing};

/// Firings that are posted in a row before other tasks get their turn.
const FIRINGS_PER_TURN: usize = 512;

/// A timer that is to be set.
pub struct NewTimer {
    /// Number of its record; 0 for a timer that is not recorded.
    pub record: u64,
    /// Number of the record that it replaces, which is deleted with its own; 0 for none.
    pub replaces: u64,
    /// Owner.
    pub scope: Scope,
    /// Name.
    pub name: Arc<str>,
    /// Time from now to its first firing.
    pub delay: Duration,
    /// Time between firings; `None` for a timer that fires once.
    pub interval: Option<Duration>,
    /// Payload.
    pub payload: Bytes,
    /// Handler of its firings. A timer does not keep it alive.
    pub to: Arc<dyn Addressee>,
}

impl std::fmt::Debug for NewTimer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewTimer").field("scope", &self.scope).field("name", &self.name).finish()
    }
}

/// A timer that is set, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerFacts {
    /// Name.
    pub name: Arc<str>,
    /// Time to its next firing; zero if a firing waits and there is no other.
    pub due_in: Duration,
    /// Time between firings; `None` for a timer that fires once.
    pub interval: Option<Duration>,
    /// True if a firing waits for its turn.
    pub is_waiting: bool,
    /// Payload.
    pub payload: Bytes,
}

/// A firing whose turn has come.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    /// Payload.
    pub payload: Bytes,
    /// Number of the timer's record; 0 for a timer that is not recorded.
    pub record: u64,
    /// The timer as it goes on; `None` for one that fires once.
    pub again: Option<Again>,
}

/// A timer that fires again.
#[derive(Debug, PartialEq, Eq)]
pub struct Again {
    /// Time to the next firing.
    pub due_in: Duration,
    /// Time between firings.
    pub interval: Duration,
}

/// The timers of one channel. They outlive its generations.
#[derive(Debug, Default)]
pub struct Timers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Number of timers that are set, readable without the lock.
    count: AtomicUsize,
    /// Notified when another timer has become the first to fall due.
    changed: Notify,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timers").field("count", &self.count).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// Timers by the time they fall due; the number tells those of one instant apart.
    due: BTreeMap<(Instant, u64), Arc<Firing>>,
    by_scope: HashMap<Scope, BTreeMap<Arc<str>, Entry>>,
    /// Number of entries of all scopes.
    count: usize,
    /// Size of the payloads of all entries, in bytes.
    bytes: usize,
    last_number: u64,
    has_task: bool,
}

/// The timer and the firing of one name.
struct Entry {
    firing: Arc<Firing>,
    /// True if the firing is in an inbox.
    waits: bool,
    /// Payload of the firing when its turn comes, and the number of the timer's record; `None` if it
    /// was cancelled meanwhile.
    fired: Option<(Bytes, u64)>,
    /// Time of the next firing.
    next: Option<Next>,
}

struct Next {
    key: (Instant, u64),
    /// Number of its record, or 0.
    record: u64,
    interval: Option<Duration>,
    payload: Bytes,
    to: Weak<dyn Addressee>,
}

impl Entry {
    fn bytes(&self) -> usize {
        let next = self.next.as_ref().map_or(0, |next| next.payload.len());
        next + self.fired.as_ref().map_or(0, |(payload, _)| payload.len())
    }

    /// Returns the number of the record that is there for the name; 0 for none.
    fn record(&self) -> u64 {
        let fired = self.fired.as_ref().map_or(0, |(_, record)| *record);
        self.next.as_ref().map_or(fired, |next| next.record)
    }

    /// Returns the facts about the timer; `None` for one that was cancelled while its firing waits.
    fn facts(&self, now: Instant) -> Option<TimerFacts> {
        let payload = self.next.as_ref().map(|next| &next.payload);
        let payload = payload.or(self.fired.as_ref().map(|(payload, _)| payload))?;
        let due_in = self.next.as_ref().map(|next| next.key.0.saturating_duration_since(now));
        Some(TimerFacts {
            name: self.firing.name.clone(),
            due_in: due_in.unwrap_or_default(),
            interval: self.next.as_ref().and_then(|next| next.interval),
            is_waiting: self.fired.is_some(),
            payload: payload.clone(),
        })
    }
}

impl Timers {
    /// Sets a timer; one of the same name in its scope is replaced. Returns the number of that one's
    /// record, or 0.
    pub fn set(&self, timer: NewTimer) -> u64 {
        // The reference is kept until the timer is in the table: a room without one may be dropped.
        let _to = timer.to.clone();
        let mut state = self.0.state.lock();
        let (is_first, replaced) = state.set(timer, Instant::now());
        self.0.count.store(state.count, Ordering::SeqCst);
        if !std::mem::replace(&mut state.has_task, true) {
            tokio::spawn(fire_when_due(Arc::downgrade(&self.0)));
        } else if is_first {
            self.0.changed.notify_one();
        }
        replaced
    }

    /// Cancels a timer, and a firing of it that waits. Returns the number of its record, or 0.
    pub fn cancel(&self, scope: &Scope, name: &str) -> u64 {
        self.change(|state| state.cancel(scope, name))
    }

    /// Cancels all timers of a scope, which is gone.
    pub(crate) fn cancel_all(&self, scope: &Scope) {
        self.change(|state| drop(state.remove_all(scope)));
    }

    /// Cancels all timers. Returns the numbers of their records.
    pub fn clear(&self) -> Vec<u64> {
        self.change(|state| {
            let scopes: Vec<Scope> = state.by_scope.keys().cloned().collect();
            scopes.iter().flat_map(|scope| state.remove_all(scope)).collect()
        })
    }

    /// Returns the number of the record that is there for a timer's name; 0 for none.
    pub(crate) fn record_of(&self, scope: &Scope, name: &str) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let state = self.0.state.lock();
        let entry = state.by_scope.get(scope).and_then(|timers| timers.get(name));
        entry.map_or(0, Entry::record)
    }

    fn change<R: Default>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        if self.is_empty() {
            return R::default();
        }
        let mut state = self.0.state.lock();
        let result = change(&mut state);
        self.0.count.store(state.count, Ordering::SeqCst);
        result
    }

    /// Begins the turn of a firing. `None` if it was cancelled meanwhile. From now on it may be posted
    /// again.
    pub fn begin(&self, firing: &Firing) -> Option<Begun> {
        let mut state = self.0.state.lock();
        let begun = state.begin(firing, Instant::now());
        self.0.count.store(state.count, Ordering::SeqCst);
        begun
    }

    /// Returns the number of a scope's timers, and true if one of them has this name.
    pub fn count_of(&self, scope: &Scope, name: &str) -> (usize, bool) {
        if self.is_empty() {
            return (0, false);
        }
        let state = self.0.state.lock();
        let of_scope = state.by_scope.get(scope);
        of_scope.map_or((0, false), |timers| (timers.len(), timers.contains_key(name)))
    }

    /// Returns at most `limit` timers of a scope in ascending order of their names, beginning after
    /// `after`.
    pub(crate) fn page(&self, scope: &Scope, after: Option<&str>, limit: usize) -> Vec<TimerFacts> {
        let (now, start) = (Instant::now(), after.map_or(Bound::Unbounded, Bound::Excluded));
        let state = self.0.state.lock();
        let Some(of_scope) = state.by_scope.get(scope) else {
            return Vec::new();
        };
        let entries = of_scope.range::<str, _>((start, Bound::Unbounded));
        entries.filter_map(|(_, entry)| entry.facts(now)).take(limit).collect()
    }

    /// Returns the number of a scope's timers.
    pub(crate) fn count_in(&self, scope: &Scope) -> usize {
        if self.is_empty() {
            return 0;
        }
        self.0.state.lock().by_scope.get(scope).map_or(0, BTreeMap::len)
    }

    /// Returns the number of all timers.
    pub(crate) fn len(&self) -> usize {
        self.0.count.load(Ordering::SeqCst)
    }

    /// Returns the time until a timer fires the next time, if it is set.
    pub fn remaining(&self, scope: &Scope, name: &str) -> Option<Duration> {
        if self.is_empty() {
            return None;
        }
        let state = self.0.state.lock();
        let next = state.by_scope.get(scope)?.get(name)?.next.as_ref()?;
        Some(next.key.0.saturating_duration_since(Instant::now()))
    }

    /// Returns true if a scope has a timer.
    pub(crate) fn has_any(&self, scope: &Scope) -> bool {
        !self.is_empty() && self.0.state.lock().by_scope.contains_key(scope)
    }

    /// Returns true if no timer is set at all.
    pub fn is_empty(&self) -> bool {
        self.0.count.load(Ordering::SeqCst) == 0
    }

    /// Returns the size of all timers' payloads, in bytes.
    pub fn bytes(&self) -> usize {
        if self.is_empty() { 0 } else { self.0.state.lock().bytes }
    }
}

impl State {
    /// Sets a timer. Returns true if it is the first of all to fall due, and the number of the record of
    /// the one that it replaces, or 0.
    fn set(&mut self, timer: NewTimer, now: Instant) -> (bool, u64) {
        let NewTimer { record, scope, name, delay, interval, payload, to, .. } = timer;
        let replaced = self.cancel(&scope, &name);
        self.last_number += 1;
        let key = (now + delay, self.last_number);
        let is_first = self.due.first_key_value().is_none_or(|(first, _)| key < *first);
        let of_scope = self.by_scope.entry(scope.clone()).or_default();
        let count = &mut self.count;
        let entry = of_scope.entry(name.clone()).or_insert_with(|| {
            *count += 1;
            let firing = Arc::new(Firing { scope, name });
            Entry { firing, waits: false, fired: None, next: None }
        });
        self.bytes += payload.len();
        self.due.insert(key, entry.firing.clone());
        entry.next = Some(Next { key, record, interval, payload, to: Arc::downgrade(&to) });
        (is_first, replaced)
    }

    /// Calls a function with an entry, and drops the entry if nothing is left of it.
    fn with<R>(
        &mut self,
        scope: &Scope,
        name: &str,
        work: impl FnOnce(&mut Entry, &mut BTreeMap<(Instant, u64), Arc<Firing>>) -> R,
    ) -> Option<R> {
        let of_scope = self.by_scope.get_mut(scope)?;
        let entry = of_scope.get_mut(name)?;
        self.bytes -= entry.bytes();
        let result = work(entry, &mut self.due);
        self.bytes += entry.bytes();
        if !entry.waits && entry.next.is_none() {
            of_scope.remove(name);
            self.count -= 1;
            if of_scope.is_empty() {
                self.by_scope.remove(scope);
            }
        }
        Some(result)
    }

    /// Cancels a timer. A firing that waits keeps its place, and has no payload. Returns the number of
    /// its record, or 0.
    fn cancel(&mut self, scope: &Scope, name: &str) -> u64 {
        let cancelled = self.with(scope, name, |entry, due| {
            let record = entry.record();
            if let Some(next) = entry.next.take() {
                due.remove(&next.key);
            }
            entry.fired = None;
            record
        });
        cancelled.unwrap_or_default()
    }

    /// Removes the timers of a scope. Returns the numbers of their records.
    fn remove_all(&mut self, scope: &Scope) -> Vec<u64> {
        let mut records = Vec::new();
        for (_, entry) in self.by_scope.remove(scope).unwrap_or_default() {
            self.count -= 1;
            self.bytes -= entry.bytes();
            records.extend(Some(entry.record()).filter(|record| *record > 0));
            if let Some(next) = &entry.next {
                self.due.remove(&next.key);
            }
        }
        records
    }

    fn begin(&mut self, firing: &Firing, now: Instant) -> Option<Begun> {
        self.with(&firing.scope, &firing.name, |entry, _| {
            entry.waits = false;
            let (payload, record) = entry.fired.take()?;
            // Another timer of the name, set meanwhile, has cancelled this firing.
            let again = entry.next.as_ref().and_then(|next| {
                let due_in = next.key.0.saturating_duration_since(now);
                Some(Again { due_in, interval: next.interval? })
            });
            Some(Begun { payload, record, again })
        })?
    }

    /// Takes due timers out of the table, a limited number at a time, and puts back those that
    /// repeat.
    fn take_due(&mut self, now: Instant) -> Vec<(Arc<dyn Addressee>, Arc<Firing>)> {
        let mut taken = Vec::new();
        while taken.len() < FIRINGS_PER_TURN
            && let Some((&key, _)) = self.due.first_key_value()
            && key.0 <= now
            && let Some(firing) = self.due.remove(&key)
        {
            let to = self.with(&firing.scope, &firing.name, |entry, due| {
                let Next { key, record, interval, payload, to } = entry.next.take()?;
                let to = to.upgrade()?;
                entry.fired = Some((payload.clone(), record));
                if let Some(interval) = interval {
                    // Times that have passed already are left out.
                    let mut next = key.0 + interval;
                    if next <= now {
                        next = now + interval;
                    }
                    let (key, to) = ((next, key.1), Arc::downgrade(&to));
                    due.insert(key, entry.firing.clone());
                    let interval = Some(interval);
                    entry.next = Some(Next { key, record, interval, payload, to });
                }
                (!std::mem::replace(&mut entry.waits, true)).then_some(to)
            });
            if let Some(to) = to.flatten() {
                taken.push((to, firing));
            }
        }
        taken
    }
}

/// Posts firings as they fall due until there are no timers left.
async fn fire_when_due(timers: Weak<Shared>) {
    loop {
        let Some(shared) = timers.upgrade() else {
            return;
        };
        let (taken, next) = {
            let mut state = shared.state.lock();
            let taken = state.take_due(Instant::now());
            shared.count.store(state.count, Ordering::SeqCst);
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
    use crate::connection_id::ConnectionId;
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
            record: 0,
            replaces: 0,
            scope: Scope::Connection(ConnectionId::local(1)),
            name: name.into(),
            delay: Duration::from_millis(delay),
            interval: interval.map(Duration::from_millis),
            payload: Bytes::new(),
            to,
        }
    }

    /// Posts every firing that falls due by then, and handles it.
    fn fired(state: &mut State, to: &Anybody, now: Instant) -> Vec<String> {
        for (to, firing) in state.take_due(now) {
            post_firing(to, firing);
        }
        handled(state, to)
    }

    fn handled(state: &mut State, to: &Anybody) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(Posted::Timer(firing)) = to.0.pop() {
            if state.begin(&firing, Instant::now()).is_some() {
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
        state.remove_all(&Scope::Connection(ConnectionId::local(1)));
        assert!(fired(&mut state, &to, now + 900 * MS).is_empty());
        assert!(state.due.is_empty() && state.by_scope.is_empty());
    }

    #[test]
    fn timers_are_shown_in_pages_with_what_is_left_of_them() {
        let (timers, to, now) = (Timers::default(), Arc::default(), Instant::now());
        let scope = Scope::Connection(ConnectionId::local(1));
        let set = |name: &str, delay, interval| {
            timers.0.state.lock().set(timer(&to, name, delay, interval), now);
        };
        set("b", 10, None);
        set("a", 60_000, Some(1_000));
        set("c", 10, None);
        drop(timers.0.state.lock().take_due(now + 10 * MS));
        timers.0.state.lock().cancel(&scope, "c");
        let shown = timers.page(&scope, None, 10);
        let names: Vec<_> = shown.iter().map(|timer| (&*timer.name, timer.is_waiting)).collect();
        assert_eq!(names, [("a", false), ("b", true)], "a cancelled one is not there");
        assert_eq!(shown[0].interval, Some(1_000 * MS));
        assert!(shown[0].due_in > 50_000 * MS && shown[1].due_in.is_zero());
        let page = timers.page(&scope, Some("a"), 1);
        assert_eq!(page, shown[1..]);
        assert!(timers.page(&Scope::Channel, None, 1).is_empty());
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
        for interval in [None, Some(1000)] {
            let (mut state, to, now) = (State::default(), Arc::default(), Instant::now());
            state.set(timer(&to, "one", 10, interval), now);
            state.set(timer(&to, "one", 20, interval), now);
            assert!(fired(&mut state, &to, now + 15 * MS).is_empty());
            assert_eq!(fired(&mut state, &to, now + 25 * MS), ["one"]);
            state.set(timer(&to, "one", 10, interval), now);
            for (to, firing) in state.take_due(now + 11 * MS) {
                post_firing(to, firing);
            }
            state.cancel(&Scope::Connection(ConnectionId::local(1)), "one");
            assert!(handled(&mut state, &to).is_empty(), "cancelled while it waited");
            state.set(timer(&to, "one", 10, interval), now);
            for (to, firing) in state.take_due(now + 11 * MS) {
                post_firing(to, firing);
            }
            state.set(timer(&to, "one", 50, interval), now);
            assert!(handled(&mut state, &to).is_empty(), "replaced while it waited");
            assert_eq!(fired(&mut state, &to, now + 51 * MS), ["one"]);
        }
    }

    #[test]
    fn one_name_waits_once_however_often_it_is_set() {
        let (mut state, to, now) = (State::default(), Arc::<Anybody>::default(), Instant::now());
        for _ in 0..100 {
            state.set(timer(&to, "one", 0, None), now);
            for (to, firing) in state.take_due(now + MS) {
                post_firing(to, firing);
            }
            state.cancel(&Scope::Connection(ConnectionId::local(1)), "one");
        }
        state.set(timer(&to, "one", 0, None), now);
        for (to, firing) in state.take_due(now + MS) {
            post_firing(to, firing);
        }
        assert_eq!(handled(&mut state, &to), ["one"]);
        assert_eq!((state.count, state.bytes, state.due.len()), (0, 0, 0));
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
