//! Lines for programs: one JSON object each.
//!
//! The members are `timestamp`, `level`, `message`, the fields of the line, and `target`. The fields
//! of a guest are in an object of their own, `fields`: no guest can forge a member of the host.

use std::fmt::{self, Write};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use wharf_runtime::ports::{GUEST_FIELDS, GUEST_TARGET};

/// The target of lines that libraries write with the crate `log`, and the fields of such a line.
const LOG_TARGET: &str = "log";
const LOG_FIELDS: &str = "log.";
const LOG_TARGET_FIELD: &str = "log.target";

/// The format of lines for programs.
#[derive(Clone, Copy, Debug)]
pub struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writeln!(writer, "{}", object(event))
    }
}

/// Returns a line as a JSON object.
pub(super) fn object(event: &Event<'_>) -> String {
    let metadata = event.metadata();
    let mut timestamp = String::new();
    // A clock that is out of range leaves the timestamp empty.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let mut line = Line {
        members: String::from("{"),
        target: metadata.target().to_owned(),
        is_guests: metadata.target() == GUEST_TARGET,
    };
    line.put("timestamp", timestamp);
    line.put("level", metadata.level().as_str());
    event.record(&mut line);
    let target = std::mem::take(&mut line.target);
    line.put("target", target);
    line.members.push('}');
    line.members
}

/// A line while its fields are visited.
struct Line {
    members: String,
    target: String,
    is_guests: bool,
}

impl Line {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.put_json(name, &value.into().to_string());
    }

    fn put_json(&mut self, name: &str, json: &str) {
        if !self.members.ends_with('{') {
            self.members.push(',');
        }
        // Writing into a String cannot fail.
        let _ = write!(self.members, "{}:{json}", Value::from(name));
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            // The runtime has made it an object.
            GUEST_FIELDS if self.is_guests => self.put_json(GUEST_FIELDS, value),
            LOG_TARGET_FIELD if self.target == LOG_TARGET => value.clone_into(&mut self.target),
            name if name.starts_with(LOG_FIELDS) => {}
            name => self.put(name, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if !field.name().starts_with(LOG_FIELDS) {
            self.put(field.name(), value);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(act: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(JsonLines)
            .finish();
        tracing::subscriber::with_default(lines, act);
        let bytes = written.0.lock().expect("no panic").clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    #[test]
    fn a_line_has_the_time_the_level_its_fields_and_the_target() {
        let lines = lines(|| {
            tracing::warn!(target: "wharf_x", channel = "a \"b\"", n = -1, big = u64::MAX, is = true, "hello");
        });
        let line = lines[0].as_object().expect("an object");
        let names: Vec<&str> = line.keys().map(String::as_str).collect();
        for name in ["timestamp", "level", "message", "channel", "n", "big", "is", "target"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert_eq!((&line["level"], &line["message"]), (&"WARN".into(), &"hello".into()));
        assert_eq!((&line["channel"], &line["n"]), (&"a \"b\"".into(), &(-1).into()));
        assert_eq!((&line["big"], &line["is"]), (&u64::MAX.into(), &true.into()));
        assert_eq!(line["target"], "wharf_x");
        assert!(line["timestamp"].as_str().expect("text").starts_with("20"));
    }

    #[test]
    fn only_a_guests_fields_are_an_object() {
        let fields = "{\"count\":3}";
        let lines = lines(|| {
            tracing::info!(target: GUEST_TARGET, fields, "of a guest");
            tracing::info!(target: "another", fields, "of the host");
        });
        assert_eq!(lines[0]["fields"]["count"], 3);
        assert_eq!(lines[1]["fields"], fields);
    }
}
