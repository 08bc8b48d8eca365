//! The log of guests: logged and printed lines.

use std::fmt::{self, Debug, Display};

use serde_json::Value;
use tracing::Level;
use wharf_config::{LogFormat, Secrets};
use wharf_contract::text::{cut, escape};
use wharf_hub::connection_id::ConnectionId;

/// Longest part of a message that is kept, in bytes.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;
/// Largest number of fields that are kept.
const MAX_FIELDS: usize = 16;
/// Longest part of a field's name and value that is kept, in bytes.
const MAX_FIELD_BYTES: usize = 1024;
/// Longest line, once it is escaped, in bytes: the message and the fields.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// The target of guests' lines.
pub const GUEST_TARGET: &str = "wharf::guest";

/// The field of a line that has the guest's own fields, as a JSON object.
pub const GUEST_FIELDS: &str = "fields";

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
    pub connection: Option<ConnectionId>,
    /// Secrets of the channel, which must not be in a log.
    pub secrets: &'a Secrets,
    /// Source of the line.
    pub source: LineSource,
    /// Level.
    pub level: Level,
    /// Text.
    pub message: &'a str,
    /// Names and values that belong to it.
    pub fields: &'a [(String, FieldValue)],
}

/// The source of a guest's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineSource {
    /// The host calls `write` and `log`.
    Call,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue {
    /// Nothing.
    None,
    /// A text.
    Text(String),
    /// An integer.
    Integer(i64),
    /// An integer that is not negative.
    Natural(u64),
    /// A number.
    Number(f64),
    /// True or false.
    Boolean(bool),
}

impl Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldValue::None => f.write_str("None"),
            FieldValue::Text(text) => f.write_str(text),
            FieldValue::Integer(value) => Display::fmt(value, f),
            FieldValue::Natural(value) => Display::fmt(value, f),
            FieldValue::Number(value) => Display::fmt(value, f),
            FieldValue::Boolean(value) => Display::fmt(value, f),
        }
    }
}

impl GuestLine<'_> {
    /// Returns the line as text for people: without secrets, on one line, and of a bounded length.
    /// Every text of a guest that could be taken for a field is in quotes.
    fn text(&self) -> String {
        let mut text = self.shown_message();
        // The message may have a client's text. A part of it that looks like a field must not be one.
        if text.contains(['=', '"']) {
            text = quoted(&text, MAX_LINE_BYTES);
        }
        for (name, value) in self.shown_fields() {
            let field = match value {
                FieldValue::Text(value) => format!(" {name}={value:?}"),
                value => format!(" {name}={value}"),
            };
            if text.len() + field.len() <= MAX_LINE_BYTES {
                text.push_str(&field);
            }
        }
        text
    }

    /// Returns the fields as a JSON object for programs, without secrets and of a bounded length;
    /// `None` if the line has none. Fields that are too much are left out.
    fn json_fields(&self, message: &str) -> Option<String> {
        let mut object = String::new();
        let mut names: Vec<String> = Vec::new();
        for (name, value) in self.shown_fields() {
            let value = match value {
                FieldValue::None => Value::Null,
                FieldValue::Integer(value) => value.into(),
                FieldValue::Natural(value) => value.into(),
                // JSON has no infinities.
                FieldValue::Number(value) if value.is_finite() => value.into(),
                FieldValue::Boolean(value) => value.into(),
                value => escape(&value.to_string()).into(),
            };
            if names.contains(&name) {
                continue;
            }
            let member = format!("{}:{value}", Value::from(name.as_str()));
            if message.len() + object.len() + member.len() > MAX_LINE_BYTES {
                continue;
            }
            names.push(name);
            object.push(if object.is_empty() { '{' } else { ',' });
            object.push_str(&member);
        }
        (!object.is_empty()).then(|| object + "}")
    }

    /// Returns the message without secrets and control characters.
    fn shown_message(&self) -> String {
        let limit = match self.source {
            LineSource::Call => MAX_MESSAGE_BYTES,
            // Printed lines are broken into parts if they are too long.
            LineSource::Stdout | LineSource::Stderr => usize::MAX,
        };
        let mut text = escape(&self.secrets.hide(self.message, limit));
        text.truncate(cut(&text, MAX_LINE_BYTES).len());
        text
    }

    /// Returns the first fields: their names without control characters, and nothing with secrets.
    fn shown_fields(&self) -> impl Iterator<Item = (String, FieldValue)> {
        let hide = |text: &str| self.secrets.hide(text, MAX_FIELD_BYTES).into_owned();
        self.fields.iter().take(MAX_FIELDS).map(move |(name, value)| {
            let value = match value {
                FieldValue::Text(text) => FieldValue::Text(hide(text)),
                value => value.clone(),
            };
            (escape(&hide(name)), value)
        })
    }
}

/// Returns as much of a text in quotes as fits into `limit` bytes.
fn quoted(text: &str, limit: usize) -> String {
    let mut kept = text;
    loop {
        let quoted = format!("{kept:?}");
        if quoted.len() <= limit {
            return quoted;
        }
        kept = cut(kept, kept.len() / 4 * 3);
    }
}

/// The host's own log.
#[derive(Clone, Copy, Debug)]
pub struct HostLog {
    /// Form of the lines.
    pub format: LogFormat,
}

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
                tracing::enabled!(target: GUEST_TARGET, Level::$level)
            };
        }
        at_level!(level, enabled)
    }

    fn write(&self, line: &GuestLine<'_>) {
        let (text, fields) = match self.format {
            LogFormat::Human => (line.text(), None),
            LogFormat::Json => {
                let message = line.shown_message();
                let fields = line.json_fields(&message);
                (message, fields)
            }
        };
        let GuestLine { channel, generation, .. } = *line;
        let connection = line.connection.map(|id| id.to_string());
        let (connection, fields) = (connection.as_deref(), fields.as_deref());
        macro_rules! write {
            ($level:ident) => {
                tracing::event!(
                    target: GUEST_TARGET,
                    Level::$level,
                    channel,
                    generation,
                    connection,
                    fields,
                    "{text}"
                )
            };
        }
        at_level!(line.level, write)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use wharf_config::{Secret, SecretOrigin};

    fn line<'a>(
        secrets: &'a Secrets,
        message: &'a str,
        fields: &'a [(String, FieldValue)],
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

    fn text(name: &str, text: &str) -> (String, FieldValue) {
        (name.to_owned(), FieldValue::Text(text.to_owned()))
    }

    /// Returns the fields of a line as a collector of logs reads them.
    fn json(line: &GuestLine<'_>) -> Value {
        let fields = line.json_fields(&line.shown_message());
        fields.map_or(Value::Null, |fields| serde_json::from_str(&fields).expect("JSON"))
    }

    #[test]
    fn a_line_has_no_secrets_and_no_control_characters() {
        let key = ("key".to_owned(), Secret::new("sesame", SecretOrigin::Plain));
        let secrets = Secrets::from_iter([key]);
        let fields = [text("a\nb", "it is sesame\r")];
        let line = line(&secrets, "open sesame\n", &fields);
        assert_eq!(line.text(), "open ***\\n a\\nb=\"it is ***\\r\"");
        assert_eq!(json(&line), json!({ "a\\nb": "it is ***\\r" }));
    }

    #[test]
    fn a_line_is_bounded_however_long_its_parts_are() {
        let secrets = Secrets::default();
        let fields: Vec<_> =
            (0..20).map(|n| text(&format!("{n}{}", "é".repeat(200)), &"\n".repeat(200))).collect();
        let message = "m".repeat(5_000);
        let line = line(&secrets, &message, &fields);
        assert!(line.text().len() <= MAX_LINE_BYTES);
        let huge = [text(&"é".repeat(2_000), &"\n".repeat(2_000))];
        assert!(GuestLine { fields: &huge, ..line }.text().len() <= MAX_LINE_BYTES);
        let quotes = GuestLine { message: &"\"".repeat(5_000), fields: &[], ..line }.text();
        assert!(quotes.len() <= MAX_LINE_BYTES && quotes.ends_with("\\\"\""), "{quotes}");
        assert!(line.text().starts_with(&"m".repeat(MAX_MESSAGE_BYTES)));
        assert!(!line.text().starts_with(&"m".repeat(MAX_MESSAGE_BYTES + 1)));
        let message = line.shown_message();
        let fields = line.json_fields(&message).expect("some fit");
        assert!(message.len() + fields.len() <= MAX_LINE_BYTES + 2, "{}", fields.len());
        assert!(json(&line).is_object());
    }

    #[test]
    fn fields_keep_their_types_and_each_name_is_there_once() {
        let secrets = Secrets::default();
        let of = |name: &str, value| (name.to_owned(), value);
        let fields = [
            text("user", "3"),
            of("count", FieldValue::Natural(u64::MAX)),
            of("change", FieldValue::Integer(-3)),
            of("share", FieldValue::Number(0.5)),
            of("odd", FieldValue::Number(f64::NAN)),
            of("is_new", FieldValue::Boolean(true)),
            of("room", FieldValue::None),
            text("user", "another"),
        ];
        let line = line(&secrets, "joined", &fields);
        assert_eq!(
            json(&line),
            json!({
                "user": "3", "count": u64::MAX, "change": -3, "share": 0.5, "odd": "NaN",
                "is_new": true, "room": null,
            })
        );
        let expected = "joined user=\"3\" count=18446744073709551615 change=-3 share=0.5 odd=NaN \
            is_new=true room=None user=\"another\"";
        assert_eq!(line.text(), expected);
    }

    proptest! {
        /// Shows that a text of a client that looks like a field is in quotes.
        #[test]
        fn no_text_of_a_client_looks_like_a_field(
            said in "(\\PC|[ =\"\\\\]){0,20}", value in "(\\PC|[ =\"\\\\]){0,20}",
        ) {
            let secrets = Secrets::default();
            let fields = [text("value", &value)];
            let text = line(&secrets, &format!("said {said}"), &fields).text();
            let mut outside = String::new();
            let (mut is_quoted, mut is_escaped) = (false, false);
            for character in text.chars() {
                match character {
                    '"' if !is_escaped => is_quoted = !is_quoted,
                    _ if !is_quoted => outside.push(character),
                    _ => {}
                }
                is_escaped = is_quoted && character == '\\' && !is_escaped;
            }
            prop_assert!(!is_quoted, "{}", text);
            prop_assert_eq!(outside.matches('=').count(), 1, "{}", text);
            prop_assert!(outside.ends_with(" value="), "{}", text);
        }
    }
}
