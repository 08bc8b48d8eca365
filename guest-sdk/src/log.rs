//! The host's log.
//!
//! ```
//! # use wharf::prelude::*;
//! # let (room, count) = ("lobby", 3);
//! info!("user joined");
//! warn!(room, count; "room {room} is filling up");
//! error!(error = "refused"; "could not tell {} others", count - 1);
//! ```
//!
//! Lines are written at once and stay even where the event fails. They are marked with the
//! channel's name. The host cuts a message at 4 KiB and keeps 16 fields; beyond its
//! `log_lines_per_second` it drops lines and counts them. What is printed to standard output or
//! standard error becomes a line of the log as well.

use std::fmt;

use crate::backend;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed that should not.
    Error,
    /// Something is odd and goes on.
    Warn,
    /// Worth knowing in production.
    Info,
    /// For whoever looks for a fault.
    Debug,
    /// Everything.
    Trace,
}

/// Write one line; the macros [`error!`](crate::error!) to [`trace!`](crate::trace!) are the
/// convenient way.
pub fn log(level: Level, message: &str, fields: &[(&str, &dyn fmt::Display)]) {
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
    backend::log(level, message, &fields);
}

/// Write one line at a [`Level`]: fields first, if any, then `;`, then the message as
/// for [`format!`]. A field is `name = value` or a variable's name; values are written with
/// [`Display`](fmt::Display).
#[macro_export]
macro_rules! log {
    ($level:expr, $($key:ident $(= $value:expr)?),+ ; $($message:tt)+) => {
        $crate::log::log(
            $level,
            &::std::format!($($message)+),
            &[$((::core::stringify!($key), &$crate::__field!($key $(= $value)?))),+],
        )
    };
    ($level:expr, $($message:tt)+) => {
        $crate::log::log($level, &::std::format!($($message)+), &[])
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __field {
    ($key:ident = $value:expr) => {
        $value
    };
    ($key:ident) => {
        $key
    };
}

/// [`log!`](crate::log!) at [`Level::Error`]: something failed that should not.
#[macro_export]
macro_rules! error { ($($line:tt)+) => { $crate::log!($crate::log::Level::Error, $($line)+) }; }

/// [`log!`](crate::log!) at [`Level::Warn`]: something is odd and goes on.
#[macro_export]
macro_rules! warn { ($($line:tt)+) => { $crate::log!($crate::log::Level::Warn, $($line)+) }; }

/// [`log!`](crate::log!) at [`Level::Info`]: worth knowing in production.
#[macro_export]
macro_rules! info { ($($line:tt)+) => { $crate::log!($crate::log::Level::Info, $($line)+) }; }

/// [`log!`](crate::log!) at [`Level::Debug`]: for whoever looks for a fault.
#[macro_export]
macro_rules! debug { ($($line:tt)+) => { $crate::log!($crate::log::Level::Debug, $($line)+) }; }

/// [`log!`](crate::log!) at [`Level::Trace`]: everything.
#[macro_export]
macro_rules! trace { ($($line:tt)+) => { $crate::log!($crate::log::Level::Trace, $($line)+) }; }
