//! A channel's key-value store: what every backend promises, and what is checked for all of them.

mod memory;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use wharf_contract::CallRefusal;

pub use memory::{Clock, Memory};

/// What a key has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value. Cheap to clone.
    pub value: Bytes,
    /// Names this value of this key.
    pub version: u64,
}

/// What a call will have answered.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, CallRefusal>> + Send + 'a>>;

/// The store of one channel. What its callers rely on, wherever the entries lie:
///
/// - **Each call is one step.** Calls of all connections, instances and nodes of the channel have one
///   order; a call sees what every call before it has done, and nothing of those after. So
///   concurrent increments lose nothing, and of two `compare_and_swap` with the same expectation
///   one fails.
/// - **A write that was answered stays**, until it is overwritten, deleted, or has expired. An
///   error has changed nothing.
/// - **Versions grow.** Each write of a key makes a version that is larger than any that the key
///   had before, also before it was deleted or expired: a version is never used twice.
/// - **What has expired is not there**: not for `get`, `list` and `compare_and_swap`, not as a
///   counter's value, and it takes no room that anybody else needs. A time to live begins
///   when the write is done, and is not shortened; an increment leaves it as it is.
/// - **Channels are apart**: no key of another channel is seen or changed.
/// - **A future that is dropped** before it is ready has done its work or has not, and nothing in
///   between. Callers are dropped at a missed deadline.
///
/// Keys, values and times to live are [checked](wharf_contract::names::check_key) before; backends need not look again.
/// Entries and what they may take are for each backend to bound: [`CallRefusal::StoreFull`].
pub trait Store: fmt::Debug + Send + Sync {
    /// What the key has.
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>>;

    /// Give the key a value for `ttl`, or for good. Answers the version.
    fn set<'a>(&'a self, key: &'a str, value: Bytes, ttl: Option<Duration>) -> Answer<'a, u64>;

    /// Take the key away. Answers whether there was one.
    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, bool>;

    /// Add to the decimal number that the key has, 0 where it has nothing. Answers the sum.
    fn increment<'a>(&'a self, key: &'a str, by: i64) -> Answer<'a, i64>;

    /// Give the key a value if it has this version, or nothing where `None`. Answers the version.
    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        expected: Option<u64>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Answer<'a, u64>;

    /// Keys that begin with `prefix`, in ascending order of their bytes, after `after`, at most
    /// `limit` (callers ask for no more than [`MAX_PAGE`](wharf_contract::store::MAX_PAGE)).
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<String>>;

    /// Give back some memory of what has expired; called now and then. A bounded amount of work.
    fn sweep(&self);
}
