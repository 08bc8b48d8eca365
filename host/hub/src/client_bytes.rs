//! The bytes that clients make this process hold, of all connections together.
//!
//! Everything that waits for or of one client has a bound of its own: its unfinished message, the
//! messages that are read ahead, its outbound queue, its inbox. The sum of ten thousand such bounds
//! is more than a machine has, so the sum has a bound too. Most connections never come near it: each
//! of these may have [`FREE_BYTES`] that are not counted, so that an ordinary message touches nothing
//! that all threads share.
//!
//! A frame or a payload that many receivers share is counted once, by itself, if it has more than
//! `SMALL_BYTES`; smaller ones count for each receiver. The memory is that of the process, and so
//! is the counter.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Bytes that one queue, inbox or input may hold without being counted.
pub const FREE_BYTES: usize = 16 * 1024;

/// Steps in which bytes beyond that are counted.
const STEP: usize = 16 * 1024;

/// Size of the largest frame or payload that counts for each of its receivers.
pub(crate) const SMALL_BYTES: usize = 4 * 1024;

/// Bytes counted at present.
static COUNTED: AtomicUsize = AtomicUsize::new(0);

/// Bound of the counted bytes.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Sets the bound of the process.
pub fn set_limit(bytes: usize) {
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// Returns the bytes counted at present.
pub fn counted() -> usize {
    COUNTED.load(Ordering::Relaxed)
}

/// Returns true if no more than the free bytes may be held.
pub(crate) fn is_exhausted() -> bool {
    counted() > LIMIT.load(Ordering::Relaxed)
}

/// Makes bytes that can be shared. Large ones are counted until the last clone is dropped, also
/// beyond the bound: it is for their receivers to refuse them.
pub fn shared(bytes: Vec<u8>) -> Bytes {
    if is_small(bytes.len()) {
        return Bytes::from(bytes);
    }
    COUNTED.fetch_add(bytes.len(), Ordering::Relaxed);
    Bytes::from_owner(Counted(bytes))
}

/// Returns true for bytes that do not count by themselves.
pub(crate) fn is_small(bytes: usize) -> bool {
    bytes <= SMALL_BYTES
}

/// Bytes that are counted as long as they exist.
struct Counted(Vec<u8>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        COUNTED.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

/// The counted part of what one queue, inbox or input holds. Dropping it gives the part back.
#[derive(Debug, Default)]
pub struct Share {
    counted: usize,
}

impl Share {
    /// Notes that `bytes` are held now. Returns false if they are more than before and the bound
    /// does not allow it; the part is then as it was.
    #[inline]
    pub fn cover(&mut self, bytes: usize) -> bool {
        if bytes <= FREE_BYTES && self.counted == 0 {
            return true;
        }
        self.count(bytes.saturating_sub(FREE_BYTES))
    }

    fn count(&mut self, beyond: usize) -> bool {
        let needed = beyond.next_multiple_of(STEP);
        if beyond > self.counted {
            let more = needed - self.counted;
            let before = COUNTED.fetch_add(more, Ordering::Relaxed);
            if before.saturating_add(more) > LIMIT.load(Ordering::Relaxed) {
                COUNTED.fetch_sub(more, Ordering::Relaxed);
                return false;
            }
            self.counted = needed;
        } else if needed == 0 || needed + STEP < self.counted {
            // One step is kept, so that a queue at its edge does not count at each frame.
            COUNTED.fetch_sub(self.counted - needed, Ordering::Relaxed);
            self.counted = needed;
        }
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.counted > 0 {
            COUNTED.fetch_sub(self.counted, Ordering::Relaxed);
        }
    }
}

/// Serializes the unit tests that change the counter of the process.
#[cfg(test)]
pub(crate) fn alone() -> parking_lot::MutexGuard<'static, ()> {
    static ALONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    ALONE.lock()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everything_that_is_counted_is_given_back(
            sizes in proptest::collection::vec((0..4usize, 0..200_000usize), 1..60),
        ) {
            let _alone = alone();
            let before = counted();
            set_limit(before + 300_000);
            let mut shares: [Share; 4] = Default::default();
            let mut held = [0; 4];
            for (at, bytes) in sizes {
                if shares[at].cover(bytes) {
                    held[at] = bytes;
                }
                let least: usize = held.iter().map(|bytes: &usize| bytes.saturating_sub(FREE_BYTES)).sum();
                let counted = counted() - before;
                prop_assert!(counted >= least, "{counted} for {held:?}");
                prop_assert!(counted <= least + 4 * 2 * STEP && counted <= 300_000);
            }
            drop(shares);
            prop_assert_eq!(counted(), before);
            set_limit(usize::MAX);
        }
    }

    #[test]
    fn shared_bytes_count_once_and_until_the_last_clone_is_gone() {
        let _alone = alone();
        let before = counted();
        let small = shared(vec![0; SMALL_BYTES]);
        assert_eq!(counted(), before);
        let large = shared(vec![0; SMALL_BYTES + 1]);
        let clones: Vec<_> = (0..1000).map(|_| large.slice(1..)).collect();
        drop(large);
        assert_eq!(counted(), before + SMALL_BYTES + 1);
        drop((clones, small));
        assert_eq!(counted(), before);
    }
}
