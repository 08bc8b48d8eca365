//! The tasks that wait for slots, and the slots that channels borrow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use tokio::sync::oneshot;

use super::{Credits, Signs};
use crate::sync::AtomicBool;

/// Tells a task that it has a slot.
pub(super) type Granted = oneshot::Sender<()>;

/// The accounts of all channels, behind a lock.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Number of slots that no channel has borrowed. There are none while a channel waits for one.
    free: usize,
    /// Channels, in the order of their creation.
    accounts: BTreeMap<u64, Account>,
    /// Channels that wait for a slot to borrow: the first ticket of each, and its account.
    queue: BTreeSet<(u64, u64)>,
    /// Next ticket, and number of the next account.
    next: u64,
}

/// A channel.
#[derive(Debug)]
struct Account {
    credits: Arc<Credits>,
    /// Waiting tasks, by their tickets: in the order of their arrival.
    waiting: BTreeMap<u64, Granted>,
    /// Ticket that it has in the queue.
    queued: Option<u64>,
}

impl Account {
    fn borrowed(&self) -> usize {
        self.credits.borrowed.load(SeqCst)
    }

    fn may_borrow(&self) -> bool {
        self.borrowed() < self.credits.max_borrowed
    }

    fn set_borrowed(&self, borrowed: usize) {
        self.credits.borrowed.store(borrowed, SeqCst);
    }

    fn grant_first(&mut self, grants: &mut Vec<Granted>) {
        grants.extend(self.waiting.pop_first().map(|(_, granted)| granted));
    }
}

impl Ledger {
    /// Creates a ledger of `free` slots, and no channels.
    pub(super) fn new(free: usize) -> Ledger {
        Ledger { free, accounts: BTreeMap::new(), queue: BTreeSet::new(), next: 0 }
    }

    /// Adds a channel.
    pub(super) fn open(&mut self, credits: Arc<Credits>) -> u64 {
        let number = self.draw_number();
        self.accounts.insert(number, Account { credits, waiting: BTreeMap::new(), queued: None });
        number
    }

    /// Removes a channel, whose slots are all free.
    pub(super) fn close(&mut self, number: u64, signs: &Signs, grants: &mut Vec<Granted>) {
        self.trim(number, signs, grants);
        self.accounts.remove(&number);
    }

    /// Borrows a slot for a channel, if it may and there is one.
    pub(super) fn borrow_one(&mut self, number: u64, signs: &Signs) -> bool {
        let Some(account) = self.accounts.get(&number) else {
            return false;
        };
        let is_lent = account.may_borrow() && account.waiting.is_empty() && self.free > 0;
        if is_lent {
            account.set_borrowed(account.borrowed() + 1);
            self.set_free(self.free - 1, signs);
        }
        is_lent
    }

    /// Enters a task that waits. Slots that are free after all are handed out at once.
    pub(super) fn wait(
        &mut self,
        number: u64,
        granted: Granted,
        signs: &Signs,
        grants: &mut Vec<Granted>,
    ) -> u64 {
        let ticket = self.draw_number();
        if let Some(account) = self.accounts.get_mut(&number) {
            account.waiting.insert(ticket, granted);
        }
        let was_wanted = !self.queue.is_empty();
        // The flags are set before the look at the free slots: a slot that becomes free meanwhile
        // is either seen here, or its thread sees the flags.
        self.update(number, signs);
        if self.free > 0 && self.borrow_for_first(signs, grants) {
            self.set_free(self.free - 1, signs);
        }
        self.sweep(number, signs, grants);
        if !was_wanted {
            self.recall(signs, grants);
        }
        ticket
    }

    /// Removes a task that waits. `false` if it has a slot.
    pub(super) fn give_up(&mut self, number: u64, ticket: u64, signs: &Signs) -> bool {
        let account = self.accounts.get_mut(&number);
        let is_gone = account.is_some_and(|account| account.waiting.remove(&ticket).is_some());
        if is_gone {
            self.update(number, signs);
        }
        is_gone
    }

    /// Returns the borrowed slots of a channel that are free.
    pub(super) fn trim(&mut self, number: u64, signs: &Signs, grants: &mut Vec<Granted>) {
        let Some(account) = self.accounts.get(&number) else {
            return;
        };
        let credits = account.credits.clone();
        let free = self.hand_on(number, credits.sweep(), signs, grants);
        // No task waits for these.
        let borrowed = credits.borrowed.load(SeqCst);
        let returned = free.min(borrowed);
        credits.borrowed.store(borrowed - returned, SeqCst);
        self.set_free(self.free + returned, signs);
        credits.free.own().fetch_add(free - returned, SeqCst);
    }

    /// Hands out slots of a channel that have become free. This thread keeps those that no task
    /// waits for.
    pub(super) fn hand_out(
        &mut self,
        number: u64,
        free: usize,
        signs: &Signs,
        grants: &mut Vec<Granted>,
    ) {
        let left = self.hand_on(number, free, signs, grants);
        if left > 0
            && let Some(account) = self.accounts.get(&number)
        {
            account.credits.free.own().fetch_add(left, SeqCst);
        }
    }

    /// Hands out all free slots of a channel.
    fn sweep(&mut self, number: u64, signs: &Signs, grants: &mut Vec<Granted>) {
        if let Some(account) = self.accounts.get(&number) {
            let free = account.credits.sweep();
            self.hand_out(number, free, signs, grants);
        }
    }

    /// Hands out slots that channels have borrowed and do not use, for as long as a task waits for one.
    fn recall(&mut self, signs: &Signs, grants: &mut Vec<Granted>) {
        let borrowers = self.accounts.iter().filter(|(_, account)| account.borrowed() > 0);
        for number in borrowers.map(|(number, _)| *number).collect::<Vec<_>>() {
            if self.queue.is_empty() {
                return;
            }
            self.sweep(number, signs, grants);
        }
    }

    /// Gives free slots of a channel to the tasks that wait for one. Returns the number of slots
    /// left.
    fn hand_on(
        &mut self,
        number: u64,
        mut free: usize,
        signs: &Signs,
        grants: &mut Vec<Granted>,
    ) -> usize {
        while free > 0
            && let Some(account) = self.accounts.get_mut(&number)
        {
            let own = account.waiting.first_key_value().map(|(ticket, _)| *ticket);
            let first = self.queue.first().map(|(ticket, _)| *ticket);
            let borrowed = account.borrowed();
            // Below its reserve, a channel's own tasks come first. Beyond it, the task that has
            // waited longest comes first.
            let is_own =
                own.is_some_and(|own| borrowed < free || first.is_none_or(|first| own <= first));
            if is_own {
                account.grant_first(grants);
                self.update(number, signs);
            } else if borrowed > 0 && first.is_some() {
                account.set_borrowed(borrowed - 1);
                // The channel may wait itself, and may borrow again from now on.
                self.update(number, signs);
                self.borrow_for_first(signs, grants);
            } else {
                break;
            }
            free -= 1;
        }
        free
    }

    /// Lends a slot to the task that has waited longest for one. `false` if none waits.
    fn borrow_for_first(&mut self, signs: &Signs, grants: &mut Vec<Granted>) -> bool {
        let Some(&(_, number)) = self.queue.first() else {
            return false;
        };
        if let Some(account) = self.accounts.get_mut(&number) {
            account.set_borrowed(account.borrowed() + 1);
            account.grant_first(grants);
        }
        self.update(number, signs);
        true
    }

    /// Brings the queue and the flags into line with an account that has changed.
    fn update(&mut self, number: u64, signs: &Signs) {
        let Some(account) = self.accounts.get_mut(&number) else {
            return;
        };
        let first = account.waiting.first_key_value().map(|(ticket, _)| *ticket);
        set(&account.credits.is_wanted, first.is_some());
        let queued = first.filter(|_| account.may_borrow());
        if queued != account.queued {
            if let Some(ticket) = account.queued {
                self.queue.remove(&(ticket, number));
            }
            if let Some(ticket) = queued {
                self.queue.insert((ticket, number));
            }
            account.queued = queued;
            set(&signs.is_wanted, !self.queue.is_empty());
        }
    }

    fn set_free(&mut self, free: usize, signs: &Signs) {
        self.free = free;
        set(&signs.is_free, free > 0);
    }

    fn draw_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// Sets a flag that all threads read: it is only written if it changes.
fn set(flag: &AtomicBool, value: bool) {
    if flag.load(SeqCst) != value {
        flag.store(value, SeqCst);
    }
}

#[cfg(test)]
impl Ledger {
    /// Returns the number of slots that no channel has borrowed.
    pub(super) fn free(&self) -> usize {
        self.free
    }
}
