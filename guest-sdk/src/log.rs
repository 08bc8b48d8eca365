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
//! variable's name or `name = value`, of a text, a number or a `bool`, which keeps its type in the
//! host's log; `:%` takes whatever can be displayed, `:?` whatever can be debugged, as text.
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

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ::log::kv::{self, Key, Value, VisitSource, VisitValue};
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
            let target = FieldValue::Text(record.target().to_owned());
            fields.0.push(("target".to_owned(), target));
        }
        // `Fields` refuses nothing, so this cannot fail.
        let _ = record.key_values().visit(&mut fields);
        backend::log(record.level(), &record.args().to_string(), fields.0);
    }

    fn flush(&self) {}
}

/// A field's value in the host's form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FieldValue {
    None,
    Text(String),
    Integer(i64),
    Natural(u64),
    Number(f64),
    Boolean(bool),
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldValue::None => f.write_str("None"),
            FieldValue::Text(text) => f.write_str(text),
            FieldValue::Integer(value) => value.fmt(f),
            FieldValue::Natural(value) => value.fmt(f),
            FieldValue::Number(value) => value.fmt(f),
            FieldValue::Boolean(value) => value.fmt(f),
        }
    }
}

/// Key-values in the host's form.
struct Fields(Vec<(String, FieldValue)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let mut typed = Typed(None);
        // A visitor that refuses nothing cannot fail.
        let _ = value.visit(&mut typed);
        let value = typed.0.unwrap_or_else(|| FieldValue::Text(value.to_string()));
        self.0.push((key.to_string(), value));
        Ok(())
    }
}

/// A value with its type, once it has been visited; `None` if its text is all there is.
struct Typed(Option<FieldValue>);

impl<'v> VisitValue<'v> for Typed {
    fn visit_any(&mut self, _: Value) -> Result<(), kv::Error> {
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.0 = Some(FieldValue::None);
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0 = Some(FieldValue::Integer(value));
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0 = Some(FieldValue::Natural(value));
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.0 = Some(FieldValue::Number(value));
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0 = Some(FieldValue::Boolean(value));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Channel;

    #[test]
    fn a_field_keeps_its_type() {
        let fields: &[(&str, Value)] = &[
            ("text", "3".into()),
            ("small", Value::from(-3)),
            ("large", u64::MAX.into()),
            ("half", 0.5.into()),
            ("yes", true.into()),
            ("letter", 'x'.into()),
            ("huge", u128::MAX.into()),
            ("shown", Value::from_display(&3)),
            ("debugged", Value::from_debug(&[1, 2])),
            ("none", Value::null()),
        ];
        let mut typed = Fields(Vec::new());
        for (name, value) in fields {
            let _ = typed.visit_pair(Key::from(*name), value.clone());
        }
        let text = |text: &str| FieldValue::Text(text.to_owned());
        let expected = [
            text("3"),
            FieldValue::Integer(-3),
            FieldValue::Natural(u64::MAX),
            FieldValue::Number(0.5),
            FieldValue::Boolean(true),
            text("x"),
            text(&u128::MAX.to_string()),
        ];
        let values: Vec<FieldValue> = typed.0.into_iter().map(|(_, value)| value).collect();
        assert_eq!(values[..expected.len()], expected);
        assert_eq!(values[expected.len()..], [text("3"), text("[1, 2]"), FieldValue::None]);
    }

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
