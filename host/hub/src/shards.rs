//! Tables in parts, each with a lock of its own.

/// Parts of a table.
pub(crate) const SHARDS: usize = 32;

/// Returns the part that is for a key.
#[expect(clippy::indexing_slicing, reason = "a remainder is less than its divisor")]
pub(crate) fn shard_of<'a, T>(shards: &'a [T; SHARDS], key: &[u8]) -> &'a T {
    // Keys mostly differ in their last bytes, which is enough to spread them.
    let tail = key.last_chunk::<8>().map_or(key, |tail| tail);
    let word = tail.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let hash = word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SHARDS.ilog2());
    &shards[hash as usize % SHARDS]
}
