//! The log of guests: logged and printed lines.

use std::fmt::{Debug, Write};

use tracing::Level;
use wharf_config::Secrets;
use wharf_contract::text::{cut, escape};
use wharf_hub::connection::ConnectionRecord;

/// Longest part of a message that is kept, in bytes.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;
/// Largest number of fields that are kept.
const MAX_FIELDS: usize = 16;
/// Longest part of a field's name and value that is kept, in bytes.
const MAX_FIELD_BYTES: usize = 1024;
/// Longest line, once it is escaped, in bytes.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// A receiver of guests' lines. An implementation must not block.
pub trait GuestLog: Debug + Send + Sync {
    /// Returns true if lines of this level are wanted. Others are not written, and are not counted.
    fn is_enabled(&self, level: Level) -> bool;

    /// Writes a line of an enabled level, within the channel's budget.
    fn write(&self, line: &GuestLine<'_>);
}

/// A line of a guest, in its original form.
#[derive(Clone, Copy, Debug)]
pub struct GuestLine<'a> {
    /// Name of its channel.
    pub channel: &'a str,
    /// Number of its generation.
    pub generation: u64,
    /// Connection whose event it is handling.
    pub connection: Option<&'a ConnectionRecord>,
    /// Secrets of the channel, which must not be in a log.
    pub secrets: &'a Secrets,
    /// Source of the line.
    pub source: LineSource,
    /// Level.
    pub level: Level,
    /// Text.
    pub message: &'a str,
    /// Names and values that belong to it.
    pub fields: &'a [(String, String)],
}

/// The source of a guest's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineSource {
    /// The host call `log`.
    Call,
    /// Standard output.
    Stdout,
    /// Standard error, where panics arrive.
    Stderr,
}

impl GuestLine<'_> {
    /// Returns the line in the form for an operator: without secrets, without control characters,
    /// and of a bounded length.
    pub(crate) fn text(&self) -> String {
        let shown = |text: &str, limit| escape(&self.secrets.hide(text, limit));
        if self.source != LineSource::Call {
            // Printed lines are broken into parts if they are too long.
            return shown(self.message, usize::MAX);
        }
        let mut text = shown(self.message, MAX_MESSAGE_BYTES);
        for (name, value) in self.fields.iter().take(MAX_FIELDS) {
            let value = self.secrets.hide(value, MAX_FIELD_BYTES);
            // Writing into a String cannot fail.
            let _ = write!(text, " {}={:?}", shown(name, MAX_FIELD_BYTES), value);
        }
        text.truncate(cut(&text, MAX_LINE_BYTES).len());
        text
    }
}

/// The host's own log.
#[derive(Clone, Copy, Debug)]
pub struct HostLog;

/// Calls a macro of `tracing` with a level that is known at compile time, as required.
macro_rules! at_level {
    ($level:expr, $then:ident) => {
        match $level {
            Level::ERROR => $then!(ERROR),
            Level::WARN => $then!(WARN),
            Level::INFO => $then!(INFO),
            Level::DEBUG => $then!(DEBUG),
            Level::TRACE => $then!(TRACE),
        }
    };
}

impl GuestLog for HostLog {
    fn is_enabled(&self, level: Level) -> bool {
        macro_rules! enabled {
            ($level:ident) => {
                tracing::enabled!(target: "wharf::guest", Level::$level)
            };
        }
        at_level!(level, enabled)
    }

    fn write(&self, line: &GuestLine<'_>) {
        let text = line.text();
        let GuestLine { channel, generation, .. } = *line;
        let connection = line.connection.map(|client| client.id.to_string());
        let connection = connection.as_deref();
        macro_rules! write {
            ($level:ident) => {
                tracing::event!(
                    target: "wharf::guest",
                    Level::$level,
                    channel,
                    generation,
                    connection,
                    "{text}"
                )
            };
        }
        at_level!(line.level, write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_config::{Secret, SecretOrigin};

    fn line<'a>(
        secrets: &'a Secrets,
        message: &'a str,
        fields: &'a [(String, String)],
    ) -> GuestLine<'a> {
        GuestLine {
            channel: "test",
            generation: 1,
            connection: None,
            secrets,
            source: LineSource::Call,
            level: Level::INFO,
            message,
            fields,
        }
    }

    #[test]
    fn a_line_has_no_secrets_and_no_control_characters() {
        let key = ("key".to_owned(), Secret::new("sesame", SecretOrigin::Plain));
        let secrets = Secrets::from_iter([key]);
        let fields = [("a\nb".to_owned(), "it is sesame\r".to_owned())];
        let text = line(&secrets, "open sesame\n", &fields).text();
        assert_eq!(text, "open ***\\n a\\nb=\"it is ***\\r\"");
    }

    #[test]
    fn a_line_is_bounded_however_long_its_parts_are() {
        let secrets = Secrets::default();
        let fields = vec![("é".repeat(2_000), "\n".repeat(2_000)); 20];
        let text = line(&secrets, &"m".repeat(5_000), &fields).text();
        assert!(text.len() <= MAX_LINE_BYTES);
        assert!(text.starts_with(&"m".repeat(MAX_MESSAGE_BYTES)));
        assert!(!text.starts_with(&"m".repeat(MAX_MESSAGE_BYTES + 1)));
    }
}
