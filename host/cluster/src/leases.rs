//! Leases: one holder at a time.

use std::time::Duration;

use crate::answer::Answer;
use crate::error::Unavailable;

/// Number of an acquisition. A later one of the same name has a greater number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);

/// The holder of a lease that another one wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBy {
    /// The holder, as it named itself.
    pub holder: String,
    /// Time until the lease ends, unless it is renewed.
    pub expires_in: Duration,
}

/// Leases, by name.
///
/// **Promised**: by the engine's clock a name has one holder at a time. A holder that takes the time *before* it
/// asks, and stops when `ttl` has passed from there, has stopped before another one begins. The numbers of a name grow.
///
/// **Not promised**: that a holder which was asleep knows that it has lost the lease. Its writes are refused if they
/// compare versions, see [`Keys`](crate::Keys). A Redis that fails over before it has copied a lease
/// can give it twice; its writes go to the same new server, so that versions still tell the two apart.
pub trait Leases {
    /// Acquires a lease for `ttl`. Who has it already under the same name of holder gets a new number, and the old one
    /// is void.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present (outer), or another one holds it (inner).
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> Answer<'a, Result<Result<Fence, HeldBy>, Unavailable>>;

    /// Makes a lease last for `ttl` from now. Returns false if it is lost.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    fn renew<'a>(
        &'a self,
        name: &'a str,
        fence: Fence,
        ttl: Duration,
    ) -> Answer<'a, Result<bool, Unavailable>>;

    /// Gives a lease up, if it is still held.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    fn release<'a>(&'a self, name: &'a str, fence: Fence) -> Answer<'a, Result<(), Unavailable>>;
}
