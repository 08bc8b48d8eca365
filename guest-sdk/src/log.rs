//! The host's log, through the crate `log`: its macros are in the [prelude](crate::prelude). Lines
//! that a plugin's dependencies write with it are in the log as well.
//!
//! ```
//! # use wharf::prelude::*;
//! # let (room, count) = ("lobby", 3);
//! # let refused = "x".parse::<u8>().unwrap_err();
//! info!("user joined");
//! warn!(room, count; "room {room} is filling up");
//! error!(error:% = refused, rooms:? = ["a", "b"]; "could not tell {} others", count - 1);
//! ```
//!
//! Fields come first, if any, then `;`, then the message as for [`format!`]. A field is a
//! variable's name or `name = value`, of a text, a number or a `bool`; `:%` takes
//! whatever can be displayed, `:?` whatever can be debugged.
//!
//! Lines are written at once and stay even if the event fails. They are marked with the channel's
//! name, and those with another target than the plugin's own crate have it as the field `target`.
//! The host cuts a message at 4 KiB and keeps 16 fields. Beyond its `log_lines_per_second` it drops
//! lines and counts them. Text that is printed to standard output or standard error becomes a line
//! of the log as well.
//!
//! A line below the operator's level (the host's setting `log`; in tests every level is written)
//! costs next to nothing: its message is not even put together. If preparing a line is expensive in
//! itself, ask [`log_enabled!`].
//!
//! The SDK installs its logger before an instance's first event, so a plugin cannot install
//! another, and need not.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ::log::kv::{self, Key, Value, VisitSource};
use ::log::{Log, Metadata};

pub use ::log::{
    Level, LevelFilter, Record, debug, error, info, log, log_enabled, logger, max_level, trace,
    warn,
};

use crate::backend;

/// The name of the plugin's crate, once the logger is installed.
static OWN_CRATE: OnceLock<&'static str> = OnceLock::new();

/// True if the host has been asked for its level. It is asked at the first line, so that a plugin
/// that never logs never asks.
static KNOWS_LEVEL: AtomicBool = AtomicBool::new(false);

/// Makes the host's log that of the crate `log`, for the plugin with the channel `C`. Each export
/// begins with it, since each may be the first that an instance is called for.
pub(crate) fn install<C>() {
    if OWN_CRATE.get().is_none() {
        install_for(std::any::type_name::<C>());
    }
}

#[cold]
fn install_for(channel: &'static str) {
    let own = channel.split("::").next().unwrap_or_default();
    // In tests the author may have a logger already, and several threads may come here at once.
    if OWN_CRATE.set(own).is_ok() && ::log::set_logger(&HostLog).is_ok() {
        ::log::set_max_level(LevelFilter::Trace);
    }
}

/// Returns the target of the SDK's own lines about the plugin, as if the plugin had written them.
pub(crate) fn own_target() -> &'static str {
    OWN_CRATE.get().copied().unwrap_or_default()
}

/// Returns true if a target is the plugin's crate or one of its modules.
fn is_own(target: &str) -> bool {
    let rest = target.strip_prefix(own_target());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The host as the logger of the crate `log`.
struct HostLog;

impl Log for HostLog {
    fn enabled(&self, metadata: &Metadata) -> bool {
        if !KNOWS_LEVEL.swap(true, Ordering::Relaxed) {
            // From now on the macros skip the unwanted lines by themselves.
            ::log::set_max_level(backend::max_level().min(::log::max_level()));
        }
        metadata.level() <= ::log::max_level()
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut fields = Fields(Vec::new());
        if !is_own(record.target()) {
            fields.0.push(("target".to_owned(), record.target().to_owned()));
        }
        // `Fields` refuses nothing, so this cannot fail.
        let _ = record.key_values().visit(&mut fields);
        backend::log(record.level(), &record.args().to_string(), &fields.0);
    }

    fn flush(&self) {}
}

/// Key-values in the host's form.
struct Fields(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push((key.to_string(), value.to_string()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Channel;

    #[test]
    fn the_plugins_own_lines_are_told_from_those_of_others() {
        install::<Channel>();
        for own in ["wharf", "wharf::log", "wharf::log::tests"] {
            assert!(is_own(own), "{own}");
        }
        for other in ["", "wharfs", "other", "other::wharf"] {
            assert!(!is_own(other), "{other}");
        }
    }
}
