//! The settings that are a choice of a few words.

/// The moments at which data is written to the disk itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataSync {
    /// With each group of writes.
    Group,
    /// At an interval.
    Interval,
    /// When the system does it by itself.
    Never,
}

/// The answer of a start without the engine of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartWithoutEngine {
    /// The host waits until the engine is there, and serves nobody until then.
    Wait,
    /// The host does not start.
    Fail,
}

/// The header in which trusted proxies pass on the address of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, which most proxies write.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people at a terminal.
    Human,
    /// One JSON object a line, for programs that collect logs.
    Json,
}
