//! The faults of a run.

use std::fmt;
use std::time::Duration;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A host is killed, and started again.
    Kill,
    /// The engine is killed, and started again with its data.
    Restart,
    /// The engine stands still, with its links open.
    Pause,
    /// A host does not reach the engine, and clients still reach the host.
    Cut,
    /// The engine has no room for one more record.
    Fill,
    /// All that comes from the engine comes 200 ms later.
    Slow,
}

impl Fault {
    /// All faults.
    pub const ALL: [Fault; 6] =
        [Fault::Kill, Fault::Restart, Fault::Pause, Fault::Cut, Fault::Fill, Fault::Slow];

    /// Returns true if the fault is one of a host, and not of the engine.
    pub fn is_of_host(self) -> bool {
        matches!(self, Fault::Kill | Fault::Cut)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Kill => "kill -9 of a host",
            Fault::Restart => "engine restarted",
            Fault::Pause => "engine stopped (SIGSTOP)",
            Fault::Cut => "host cut off",
            Fault::Fill => "engine's memory filled",
            Fault::Slow => "engine slower by 200 ms",
        })
    }
}

/// Time that the slow engine takes longer.
pub const SLOW: Duration = Duration::from_millis(200);

/// Durations of the faults of a run.
#[derive(Clone, Copy, Debug)]
pub struct Durations {
    /// Time for which the engine is stopped.
    pub pause: Duration,
    /// Time for which the other faults last. Those of a host last until all others have noticed.
    pub other: Duration,
    /// Time in which everything must be whole, after each fault.
    pub calm: Duration,
}
