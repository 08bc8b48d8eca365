//! A channel's key-value store: the promises of every backend, and the checks for all of them.

mod memory;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use wharf_contract::CallRefusal;
use wharf_engine::Written;

pub use memory::Memory;

#[cfg(test)]
mod tests;

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value. Cheap to clone.
    pub value: Bytes,
    /// Version of this value of this key.
    pub version: u64,
}

/// An entry of a list, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEntry {
    /// Key.
    pub key: String,
    /// Value. Cheap to clone.
    pub value: Bytes,
    /// Version of this value of this key.
    pub version: u64,
    /// Time to its expiry; `None` for a value that stays.
    pub expires_in: Option<Duration>,
}

/// The answer of a call.
pub type StoreAnswer<'a, T> = Pin<Box<dyn Future<Output = Result<T, CallRefusal>> + Send + 'a>>;

/// The store of one channel. Its callers rely on these promises, whatever the backend:
///
/// - **Each call is one step.** Calls of all connections, instances and nodes of the channel have one
///   order; a call sees what every call before it has done, and nothing of those after. So
///   concurrent increments lose nothing, and of two `compare_and_swap` with the same expectation
///   one fails.
/// - **A write that was answered stays**, until it is overwritten, deleted, or has expired. An
///   error has changed nothing. A read may see a write that is not answered yet, and may be undone: then
///   [`unwritten`](Store::unwritten) fails.
/// - **Versions grow.** Each write of a key makes a version that is larger than any that the key
///   had before, also before it was deleted or expired: a version is never used twice.
/// - **An expired value is not there**: not for `get`, `list` and `compare_and_swap`, not as a
///   counter's value, and it takes no room from other entries. A time to live begins
///   when the write is done, and is not shortened; an increment leaves it as it is.
/// - **Channels are apart**: no key of another channel is seen or changed.
/// - **A future that is dropped** before it is ready has done its work or has not, and nothing in
///   between. Callers are dropped at a missed deadline.
///
/// Keys, values and times to live are [checked](wharf_contract::names::check_key) before; backends
/// need not check again. Each backend bounds its entries and their size:
/// [`CallRefusal::StoreFull`].
pub trait Store: fmt::Debug + Send + Sync {
    /// Returns the value of the key.
    fn get<'a>(&'a self, key: &'a str) -> StoreAnswer<'a, Option<Entry>>;

    /// Sets the key's value for `ttl`, or for good. Answers the version.
    fn set<'a>(&'a self, key: &'a str, value: Bytes, ttl: Option<Duration>)
    -> StoreAnswer<'a, u64>;

    /// Deletes the key. Answers true if it had a value.
    fn delete<'a>(&'a self, key: &'a str) -> StoreAnswer<'a, bool>;

    /// Adds to the key's decimal number, which is 0 if it has none. A value that begins with it is kept
    /// for `ttl`, or for good. Answers the sum.
    fn increment<'a>(
        &'a self,
        key: &'a str,
        by: i64,
        ttl: Option<Duration>,
    ) -> StoreAnswer<'a, i64>;

    /// Sets the key's value if it has this version, or no value for `None`. Answers the version.
    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        expected: Option<u64>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> StoreAnswer<'a, u64>;

    /// Lists the keys that begin with `prefix`, in ascending order of their bytes, after `after`,
    /// at most `limit` (callers ask for no more than
    /// [`MAX_PAGE`](wharf_contract::store::MAX_PAGE)).
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreAnswer<'a, Vec<String>>;

    /// Lists entries like [`list`](Store::list), with their values.
    fn entries<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreAnswer<'a, Vec<ListedEntry>>;

    /// Returns the size of the entries in the memory of this process, in bytes, with those that have
    /// expired and were not dropped yet.
    fn bytes(&self) -> usize;

    /// Returns the size of the entries wherever they are, in bytes, as far as this process knows.
    fn stored_bytes(&self) -> usize {
        self.bytes()
    }

    /// Returns the last write, if it may not be on disk yet: effects that rest on what the store answers
    /// must wait for it. `None` where all is written.
    fn unwritten(&self) -> Option<Written> {
        None
    }

    /// Frees some memory of expired entries, with a bounded amount of work. Called now and then.
    /// Returns true if there may be more.
    fn sweep(&self) -> bool;
}
