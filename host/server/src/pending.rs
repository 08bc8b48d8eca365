//! Sockets whose handshake has not ended, and the seats that they hold.
//!
//! A seat is for a request on its way. Silent sockets cost their clients nothing, so there are many
//! of them in an attack: a socket that waits when the seats are taken loses its seat to a newer one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::tally::Tally;
use wharf_metrics::limits::Limit;

/// The sockets before their handshake has ended, in the order of their arrival.
#[derive(Debug)]
pub struct Pending {
    limit: usize,
    patience: Duration,
    seats: Mutex<Seats>,
    /// Wakes those that wait for a seat, and for the end of all.
    freed: Notify,
    /// Sockets that have lost their seats.
    evictions: Tally,
    /// Their clients, for the log.
    clients: &'static str,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: VecDeque<Taken>,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    since: Instant,
    /// True while the host works on a request: the socket keeps its seat.
    is_busy: bool,
    evicted: Arc<Notify>,
}

/// The seat of one socket. It is free again when this is dropped.
#[derive(Debug)]
pub struct Seat {
    pending: Arc<Pending>,
    number: u64,
    evicted: Arc<Notify>,
}

impl Pending {
    /// Makes `limit` seats. A socket that waits keeps its seat for at least `patience`. The log calls
    /// its clients `clients`.
    pub fn new(limit: usize, patience: Duration, clients: &'static str) -> Arc<Pending> {
        let (seats, freed) = (Mutex::new(Seats::default()), Notify::new());
        Arc::new(Pending { limit, patience, seats, freed, evictions: Tally::default(), clients })
    }

    /// Takes a seat. If all are taken, waits until one is free, or until the socket that has waited
    /// longest has waited for the patience: that socket loses its seat.
    pub async fn take(self: &Arc<Pending>) -> Seat {
        loop {
            // Registered before the seats are looked at, so that no seat that becomes free meanwhile
            // is missed.
            let freed = self.freed.notified();
            let until = match self.try_take() {
                Ok(seat) => return seat,
                Err(until) => until,
            };
            match until {
                Some(until) => drop(tokio::time::timeout_at(until, freed).await),
                None => freed.await,
            }
        }
    }

    /// Takes a seat, or returns the time at which the oldest socket that waits can be evicted; `None`
    /// if all seats are busy.
    fn try_take(self: &Arc<Pending>) -> Result<Seat, Option<Instant>> {
        let mut seats = self.seats.lock();
        let mut has_evicted = false;
        if seats.taken.len() >= self.limit {
            let waiting = seats.taken.iter().enumerate().filter(|(_, taken)| !taken.is_busy);
            let (oldest, since) = waiting
                .map(|(at, taken)| (at, taken.since))
                .min_by_key(|(_, since)| *since)
                .ok_or(None)?;
            let until = since + self.patience;
            if until > Instant::now() {
                return Err(Some(until));
            }
            if let Some(taken) = seats.taken.remove(oldest) {
                taken.evicted.notify_one();
                has_evicted = true;
            }
        }
        let number = seats.next;
        seats.next += 1;
        let evicted = Arc::new(Notify::new());
        let since = Instant::now();
        seats.taken.push_back(Taken { number, since, is_busy: false, evicted: evicted.clone() });
        drop(seats);
        if has_evicted {
            Limit::PendingSockets.reached();
        }
        if has_evicted && let Some(evicted) = self.evictions.take() {
            let (clients, seats) = (self.clients, self.limit);
            tracing::warn!(
                clients,
                evicted,
                seats,
                "sockets lost their seats to newer ones: too many are open without a request; if they \
                 are not clients of yours, let a proxy or firewall limit connections by address"
            );
        }
        Ok(Seat { pending: self.clone(), number, evicted })
    }

    /// Waits until no seat is taken.
    pub(crate) async fn all_free(&self) {
        loop {
            let freed = self.freed.notified();
            if self.seats.lock().taken.is_empty() {
                return;
            }
            freed.await;
        }
    }
}

impl Seat {
    /// Completes when the socket has lost its seat to a newer one.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Gives the seat back before the socket ends: the socket is counted elsewhere from now on.
    pub fn give_back(&self) {
        let mut seats = self.pending.seats.lock();
        if let Ok(at) = seats.taken.binary_search_by_key(&self.number, |taken| taken.number) {
            seats.taken.remove(at);
        }
        drop(seats);
        self.pending.freed.notify_waiters();
    }

    /// Keeps the seat while the host works on a request of this socket.
    pub fn busy(&self) -> Busy<'_> {
        self.change(|taken| taken.is_busy = true);
        Busy(self)
    }

    fn change(&self, change: impl FnMut(&mut Taken)) {
        let mut seats = self.pending.seats.lock();
        // They lie in the order of their numbers.
        if let Ok(at) = seats.taken.binary_search_by_key(&self.number, |taken| taken.number) {
            seats.taken.get_mut(at).into_iter().for_each(change);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A seat that its socket keeps; afterwards the socket waits from now on.
pub struct Busy<'a>(&'a Seat);

impl Busy<'_> {
    /// Keeps the seat until the socket ends.
    pub(crate) fn until_the_end(self) {
        std::mem::forget(self);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.change(|taken| (taken.is_busy, taken.since) = (false, Instant::now()));
        self.0.pending.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_waits_loses_its_seat_to_a_newer_one_after_a_while() {
        let pending = Pending::new(2, PATIENCE, "tests");
        let (oldest, newer) = (pending.take().await, pending.take().await);
        let begun = Instant::now();
        let newest = pending.take().await;
        assert_eq!(begun.elapsed(), PATIENCE);
        assert!(oldest.evicted().now_or_never().is_some());
        assert!(newer.evicted().now_or_never().is_none());
        assert!(newest.evicted().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_socket_keeps_its_seat() {
        let pending = Pending::new(2, PATIENCE, "tests");
        let (oldest, newer) = (pending.take().await, pending.take().await);
        let busy = oldest.busy();
        drop(pending.take().await);
        assert!(oldest.evicted().now_or_never().is_none());
        assert!(newer.evicted().now_or_never().is_some());
        drop(busy);
        let begun = Instant::now();
        let _others = (pending.take().await, pending.take().await);
        assert_eq!(begun.elapsed(), PATIENCE, "it has waited since its request ended");
        assert!(oldest.evicted().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_that_becomes_free_is_taken_at_once() {
        let pending = Pending::new(1, PATIENCE, "tests");
        let seat = pending.take().await;
        let _busy = seat.busy();
        let mut waiting = pending.take().boxed();
        assert!((&mut waiting).now_or_never().is_none());
        drop(_busy);
        drop(seat);
        let begun = Instant::now();
        drop(waiting.await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        pending.all_free().await;
    }
}
