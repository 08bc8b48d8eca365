//! Slots: the right to use an instance, of one channel and of all channels together.
//!
//! Each channel has a few slots in reserve, which no other can take, so that one busy channel
//! leaves the others able to answer. It borrows further ones from those that all channels share.
//!
//! A free slot stays with the worker thread that used it last, and that thread takes it again
//! without a write to memory that others write. A thread that has none borrows one, or takes one
//! that is free elsewhere. Only tasks that find none are entered in the `Ledger`, in the order of
//! their arrival. While one of them waits, a slot that becomes free goes to the ledger and not to
//! the thread.

mod ledger;
#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::per_worker::PerWorker;
use crate::sync::{AtomicBool, AtomicUsize, Mutex};

use ledger::{Granted, Ledger};

/// The slots that all channels share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedSlots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    signs: Signs,
    ledger: Mutex<Ledger>,
}

/// Facts about the ledger that each event reads, without its lock. Aligned, because the lock is
/// written more often than these.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Signs {
    /// True if a task waits for one of the shared slots.
    is_wanted: AtomicBool,
    /// True if some of them are not borrowed.
    is_free: AtomicBool,
}

impl SharedSlots {
    /// Creates `max_instances` slots, beyond each channel's reserve.
    pub fn new(max_instances: usize) -> SharedSlots {
        let signs = Signs { is_free: AtomicBool::new(max_instances > 0), ..Signs::default() };
        SharedSlots(Arc::new(Shared { signs, ledger: Mutex::new(Ledger::new(max_instances)) }))
    }
}

/// The slots of one channel, over all of its generations.
pub struct ChannelSlots {
    /// Number of the channel's account.
    account: u64,
    credits: Arc<Credits>,
    shared: SharedSlots,
}

/// The part of a channel's slots that needs no lock. Only `free` is written with each event.
#[derive(Debug)]
struct Credits {
    /// Slots that are free, for the worker that used them last.
    free: PerWorker<AtomicUsize>,
    /// True if a task waits for a slot of this channel.
    is_wanted: AtomicBool,
    /// Number of slots in reserve.
    reserved: usize,
    /// Number of borrowed slots. Changed with the ledger locked.
    borrowed: AtomicUsize,
    /// Largest number of borrowed slots.
    max_borrowed: usize,
}

/// The right to use one instance, of any generation. Dropping it gives the right back.
#[derive(Debug)]
pub struct Slot<'a>(&'a ChannelSlots);

impl ChannelSlots {
    /// Creates at most `max` slots, of which `reserved` need not be borrowed.
    pub fn new(max: usize, reserved: usize, shared: SharedSlots) -> ChannelSlots {
        ChannelSlots::with(max, reserved, shared, PerWorker::new())
    }

    pub(crate) fn with(
        max: usize,
        reserved: usize,
        shared: SharedSlots,
        free: PerWorker<AtomicUsize>,
    ) -> ChannelSlots {
        let max = max.max(1);
        let reserved = reserved.clamp(1, max);
        for free in free.all().cycle().take(reserved) {
            free.fetch_add(1, SeqCst);
        }
        let credits = Arc::new(Credits {
            free,
            is_wanted: AtomicBool::new(false),
            reserved,
            borrowed: AtomicUsize::new(0),
            max_borrowed: max - reserved,
        });
        let account = shared.0.ledger.lock().open(credits.clone());
        ChannelSlots { account, credits, shared }
    }

    /// Waits for a slot. A task that waits has its place: slots are given in the order asked for.
    pub async fn take(&self) -> Slot<'_> {
        match self.take_now() {
            Some(slot) => slot,
            None => self.wait().await,
        }
    }

    /// Takes a slot that is free, unless a task waits for one.
    pub(crate) fn take_now(&self) -> Option<Slot<'_>> {
        let Credits { free, is_wanted, .. } = &*self.credits;
        // While a task waits, there are none.
        let is_taken = !is_wanted.load(SeqCst)
            && (take_one(free.own()) || self.borrow_one() || free.all().any(take_one));
        is_taken.then(|| Slot(self))
    }

    /// Borrows a slot, until there is one for each worker. Returns true if it has borrowed one.
    fn borrow_one(&self) -> bool {
        let Credits { free, reserved, borrowed, max_borrowed, .. } = &*self.credits;
        let borrowed = borrowed.load(SeqCst);
        borrowed < *max_borrowed
            && reserved + borrowed < free.count()
            && self.shared.0.signs.is_free.load(SeqCst)
            && self.ledger(|ledger, signs, _| ledger.borrow_one(self.account, signs))
    }

    fn wait(&self) -> Waiting<'_> {
        let (granted, is_granted) = oneshot::channel();
        let ticket =
            self.ledger(|ledger, signs, grants| ledger.wait(self.account, granted, signs, grants));
        Waiting { slots: self, ticket, is_granted, is_over: false }
    }

    /// Gives a slot back: to a task that waits, else to this thread.
    fn give_back(&self) {
        let own = self.credits.free.own();
        if !self.is_due() {
            own.fetch_add(1, SeqCst);
            // A task that had begun to wait just before may have looked here too early. One that
            // begins now looks here later.
            if !self.is_due() || !take_one(own) {
                return;
            }
        }
        self.ledger(|ledger, signs, grants| ledger.hand_out(self.account, 1, signs, grants));
    }

    /// Returns true if a slot that becomes free belongs to a task that waits.
    fn is_due(&self) -> bool {
        let Credits { is_wanted, borrowed, .. } = &*self.credits;
        is_wanted.load(SeqCst)
            || (self.shared.0.signs.is_wanted.load(SeqCst) && borrowed.load(SeqCst) > 0)
    }

    /// Returns the borrowed slots that are free, for other channels to borrow.
    pub fn trim(&self) {
        if self.credits.borrowed.load(SeqCst) > 0 {
            self.ledger(|ledger, signs, grants| ledger.trim(self.account, signs, grants));
        }
    }

    /// Locks the ledger for `act`, and then wakes the tasks that were granted a slot.
    fn ledger<R>(&self, act: impl FnOnce(&mut Ledger, &Signs, &mut Vec<Granted>) -> R) -> R {
        let mut grants = Vec::new();
        let result = act(&mut self.shared.0.ledger.lock(), &self.shared.0.signs, &mut grants);
        for granted in grants {
            // A task that has given up waiting notices that the slot is its own, and gives it back.
            let _ = granted.send(());
        }
        result
    }
}

impl fmt::Debug for ChannelSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSlots").field("credits", &self.credits).finish_non_exhaustive()
    }
}

impl Drop for ChannelSlots {
    fn drop(&mut self) {
        self.ledger(|ledger, signs, grants| ledger.close(self.account, signs, grants));
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Credits {
    /// Takes all slots that are free.
    fn sweep(&self) -> usize {
        self.free.all().map(|free| free.swap(0, SeqCst)).sum()
    }
}

/// Takes one of the slots that are free with a worker.
fn take_one(free: &AtomicUsize) -> bool {
    let mut count = free.load(SeqCst);
    while let Some(less) = count.checked_sub(1) {
        match free.compare_exchange_weak(count, less, SeqCst, SeqCst) {
            Ok(_) => return true,
            Err(now) => count = now,
        }
    }
    false
}

/// A task's place among those that wait.
struct Waiting<'a> {
    slots: &'a ChannelSlots,
    ticket: u64,
    is_granted: oneshot::Receiver<()>,
    is_over: bool,
}

impl<'a> Future for Waiting<'a> {
    type Output = Slot<'a>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Slot<'a>> {
        // The ledger drops no grant without sending it, so there is no error.
        Pin::new(&mut self.is_granted).poll(cx).map(|_| {
            self.is_over = true;
            Slot(self.slots)
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let Waiting { slots, ticket, .. } = *self;
            let is_gone =
                slots.ledger(|ledger, signs, _| ledger.give_up(slots.account, ticket, signs));
            if !is_gone {
                // It was granted meanwhile.
                slots.give_back();
            }
        }
    }
}
