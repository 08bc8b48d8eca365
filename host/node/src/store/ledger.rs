//! The size of a store that several nodes write: a count on the engine, and the changes of this node that the count
//! does not have yet.
//!
//! A node tells its changes when they are more than a part of the bound, so that most writes leave the count alone.
//! Each error of the count is either bounded by that part, or makes the count too large. A count that is too large
//! refuses nothing: the store is counted anew before.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Mutex as Turns;
use tokio::time::Instant;
use wharf_cluster::Engine;
use wharf_contract::CallRefusal;

use super::{busy, refusal};

/// Part of the bound that a node may have written without telling it.
const UNTOLD_PART: usize = 64;

/// Shortest time between two counts of a store that seems to be full.
const PAUSE: Duration = Duration::from_secs(1);

/// The bounds of a ledger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Bytes of the store.
    pub(super) max_bytes: usize,
    /// Bytes that a node may have written without telling it.
    pub(super) untold: i64,
    /// Shortest time between two counts of a store that seems to be full.
    pub(super) pause: Duration,
}

impl Rules {
    /// Returns the rules of a store with this bound.
    pub(super) fn new(max_bytes: usize) -> Rules {
        Rules { max_bytes, untold: signed(max_bytes / UNTOLD_PART), pause: PAUSE }
    }
}

/// The size of a store.
pub(super) struct Ledger {
    pub(super) engine: Arc<dyn Engine>,
    /// Beginning of the names of the entries.
    pub(super) prefix: String,
    /// Name of the count.
    pub(super) name: String,
    pub(super) rules: Rules,
    pub(super) book: Mutex<Book>,
    /// Held by the one that tells.
    telling: Turns<()>,
    /// Held while the store is counted.
    pub(super) counting: Arc<Turns<()>>,
}

/// The size as a node knows it.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The count, when this node has seen it last.
    pub(super) known: Option<i64>,
    /// Changes of this node that the count does not have.
    pub(super) untold: i64,
    /// Sizes of the changes that are under way, without their signs.
    pub(super) under_way: i64,
    /// Number of times that this node has counted the store.
    pub(super) counted: u64,
    /// Time from which a store that seems to be full may be counted.
    pub(super) next_count: Option<Instant>,
}

/// The answer to a node that tells its changes.
pub(super) enum Told {
    /// The count has them, and the one that is asked for.
    Yes,
    /// The count has no room for the one that is asked for.
    Full,
    /// There is no count.
    Uncounted,
    /// Others have always been faster.
    Busy,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Ledger");
        shown.field("rules", &self.rules).field("book", &self.book).finish_non_exhaustive()
    }
}

impl Ledger {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        prefix: String,
        name: String,
        rules: Rules,
    ) -> Arc<Ledger> {
        Arc::new(Ledger {
            engine,
            prefix,
            name,
            rules,
            book: Mutex::default(),
            telling: Turns::new(()),
            counting: Arc::default(),
        })
    }

    /// Returns the size of the store, as far as this node knows.
    pub(super) fn size(&self) -> usize {
        let book = self.book.lock();
        let size = book.known.unwrap_or(0).saturating_add(book.untold);
        usize::try_from(size).unwrap_or(0)
    }

    /// Reserves room for a change of the size. A change to something smaller always has room.
    ///
    /// # Errors
    ///
    /// There is no room, or the engine cannot be used at present.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        change: i64,
    ) -> Result<Reserved<'_>, CallRefusal> {
        if let Some(reserved) = self.admit(change, self.rules.untold) {
            return Ok(reserved);
        }
        let _turn = self.telling.lock().await;
        let mut has_counted = false;
        loop {
            // Another one may have told all meanwhile, or counted.
            if let Some(reserved) = self.admit(change, self.rules.untold) {
                return Ok(reserved);
            }
            match self.tell(change).await.map_err(refusal)? {
                Told::Yes => return Ok(self.hold(change, &mut self.book.lock())),
                // Nobody waits for a count while there is room as far as is known.
                Told::Busy => return self.admit(change, i64::MAX).ok_or_else(busy),
                Told::Uncounted if has_counted => return Err(busy()),
                Told::Uncounted => {
                    self.begin_to_count();
                    if let Some(reserved) = self.admit(change, i64::MAX) {
                        return Ok(reserved);
                    }
                }
                Told::Full if has_counted || !self.may_count() => {
                    return Err(CallRefusal::StoreFull { limit: self.rules.max_bytes });
                }
                Told::Full => {}
            }
            self.count_anew().await.map_err(refusal)?;
            has_counted = true;
        }
    }

    /// Tells the changes if they are more than may be untold. A failure is none of the one whose change is done: they
    /// stay untold.
    pub(super) async fn settle(&self) {
        let is_due = || self.book.lock().untold.abs() > self.rules.untold;
        if !is_due() {
            return;
        }
        let _turn = self.telling.lock().await;
        if is_due() {
            let _ = self.tell(0).await;
        }
    }

    /// Reserves room as far as this node knows, if no more than `untold` is untold then.
    fn admit(&self, change: i64, untold: i64) -> Option<Reserved<'_>> {
        let mut book = self.book.lock();
        if change > 0 {
            let own = book.untold.saturating_add(change);
            let size = book.known?.saturating_add(own);
            if own > untold || size > signed(self.rules.max_bytes) {
                return None;
            }
            book.untold = own;
        }
        Some(self.hold(change, &mut book))
    }

    fn hold(&self, change: i64, book: &mut Book) -> Reserved<'_> {
        book.under_way = book.under_way.saturating_add(change.saturating_abs());
        Reserved { ledger: self, change, outcome: Outcome::Undone }
    }

    fn may_count(&self) -> bool {
        self.book.lock().next_count.is_none_or(|next| next <= Instant::now())
    }
}

/// A change of the size that has room. What is larger counts from now on, and what is smaller once it is done, so that
/// a change with an unknown end is never counted too little.
pub(super) struct Reserved<'a> {
    ledger: &'a Ledger,
    change: i64,
    outcome: Outcome,
}

enum Outcome {
    Undone,
    Unknown,
    /// It is done, and was this change.
    Done(i64),
}

impl Reserved<'_> {
    /// Notes that the change is under way: it may be done even if nobody waits for its answer any more.
    pub(super) fn begin(&mut self) {
        self.outcome = Outcome::Unknown;
    }

    /// Notes that nothing was changed.
    pub(super) fn undone(mut self) {
        self.outcome = Outcome::Undone;
    }

    /// Notes that it is done.
    pub(super) fn done(self) {
        let change = self.change;
        self.done_as(change);
    }

    /// Notes that it is done, and has changed the size by this.
    pub(super) fn done_as(mut self, change: i64) {
        self.outcome = Outcome::Done(change);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut book = self.ledger.book.lock();
        book.under_way = book.under_way.saturating_sub(self.change.saturating_abs());
        let counted = self.change.max(0);
        let is = match self.outcome {
            Outcome::Undone => 0,
            Outcome::Unknown => counted,
            Outcome::Done(change) => change,
        };
        book.untold = book.untold.saturating_add(is).saturating_sub(counted);
    }
}

/// Returns a number of bytes for sums with differences.
pub(super) fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
