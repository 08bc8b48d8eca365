//! The lines of an export: a first one about the form, one for each record, a last one with their number.

use std::borrow::Cow;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use wharf_engine::stored::Entry;
use wharf_engine::{Kind, Record};

/// The form of exports that this version writes, and the newest that it reads.
const FORMAT: u64 = 1;

/// The word by which a file is known as an export.
const CONTENT: &str = "wharf-data";

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First<'a> {
    content: Cow<'a, str>,
    format: u64,
    /// The version of the program that has written it.
    version: Cow<'a, str>,
}

/// The line of a record.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded<'a> {
    channel: Cow<'a, str>,
    kind: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<Cow<'a, str>>,
    version: u64,
    /// In milliseconds since 1970.
    #[serde(default)]
    expires_at: Option<u64>,
}

/// The last line. Without it an export that was cut off between two lines would look whole.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    records: u64,
}

/// A line after the first.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A record.
    Record {
        /// The channel.
        channel: String,
        /// The kind.
        kind: Kind,
        /// The key.
        key: Vec<u8>,
        /// The content.
        record: Record,
    },
    /// The number of records; nothing comes after it.
    Last(u64),
}

/// Returns the first line.
pub fn first() -> anyhow::Result<String> {
    let version = env!("CARGO_PKG_VERSION").into();
    Ok(serde_json::to_string(&First { content: CONTENT.into(), format: FORMAT, version })?)
}

/// Returns the line of a record.
pub fn recorded(entry: &Entry<'_>) -> anyhow::Result<String> {
    let (key, key_base64) = text_or_base64(&entry.key);
    let (value, value_base64) = text_or_base64(&entry.record.value);
    Ok(serde_json::to_string(&Recorded {
        channel: entry.channel.into(),
        kind: entry.kind.name().into(),
        key,
        key_base64,
        value,
        value_base64,
        version: entry.record.version,
        expires_at: entry.record.expires_at,
    })?)
}

/// Returns the last line.
pub fn last(records: u64) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&Last { records })?)
}

type Texts<'a> = (Option<Cow<'a, str>>, Option<Cow<'a, str>>);

fn text_or_base64(bytes: &[u8]) -> Texts<'_> {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.into()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes).into())),
    }
}

/// Checks the first line of an export.
///
/// # Errors
///
/// It is no export, or one of a newer version.
pub fn read_first(line: &[u8]) -> anyhow::Result<()> {
    let first: Option<First<'_>> = serde_json::from_slice(line).ok();
    let Some(First { format, version, .. }) = first.filter(|first| first.content == CONTENT) else {
        bail!("this is no export of `wharf data export`, whose first line has its form");
    };
    ensure!(
        format <= FORMAT,
        "the export has format {format}, and this version of wharf knows formats up to {FORMAT}; \
         import it with the version that wrote it ({version}), or a newer one"
    );
    Ok(())
}

/// Reads a line after the first.
///
/// # Errors
///
/// It is none of an export.
pub fn read(line: &[u8]) -> anyhow::Result<Line> {
    let recorded: Recorded<'_> = match serde_json::from_slice(line) {
        Ok(recorded) => recorded,
        Err(error) => match serde_json::from_slice(line) {
            Ok(Last { records }) => return Ok(Line::Last(records)),
            // The error about a record says more.
            Err(_) => return Err(error).context("it is no record"),
        },
    };
    let channel = recorded.channel.into_owned();
    ensure!(
        wharf_contract::names::is_channel(&channel),
        "{channel:?} cannot be the name of a channel"
    );
    let kind = Kind::named(&recorded.kind).with_context(|| {
        format!(
            "unknown kind {:?}: there are {}",
            recorded.kind,
            Kind::ALL.map(Kind::name).join(", ")
        )
    })?;
    let key = bytes("key", recorded.key, recorded.key_base64)?;
    let value = bytes("value", recorded.value, recorded.value_base64)?.into();
    let record = Record { value, version: recorded.version, expires_at: recorded.expires_at };
    Ok(Line::Record { channel, kind, key, record })
}

fn bytes(
    name: &str,
    text: Option<Cow<'_, str>>,
    base64: Option<Cow<'_, str>>,
) -> anyhow::Result<Vec<u8>> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_owned().into_bytes()),
        (None, Some(base64)) => STANDARD
            .decode(base64.as_bytes())
            .with_context(|| format!("`{name}_base64` is no base64")),
        _ => bail!("a record has one of `{name}` and `{name}_base64`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_any_bytes_is_read_as_it_was_written() {
        let bytes: [&[u8]; 4] = [b"", b"text \"\n\0", "gr\u{fc}n".as_bytes(), &[0xff, 0x00, 0xfe]];
        for key in bytes {
            for value in bytes {
                let expires_at = (!key.is_empty()).then_some(u64::MAX);
                let record =
                    Record { value: value.to_vec().into(), version: u64::MAX - 1, expires_at };
                let entry = Entry {
                    channel: "chat",
                    kind: Kind::RoomState,
                    key: key.to_vec().into(),
                    record: record.clone(),
                    is_damaged: false,
                };
                let line = recorded(&entry).expect("a line");
                assert!(!line.contains('\n'), "{line}");
                let (channel, kind, key) = ("chat".to_owned(), Kind::RoomState, key.to_vec());
                let expected = Line::Record { channel, kind, key, record };
                assert_eq!(read(line.as_bytes()).expect("a record"), expected);
            }
        }
        assert_eq!(read(last(7).expect("a line").as_bytes()).expect("a line"), Line::Last(7));
        read_first(first().expect("a line").as_bytes()).expect("an export");
    }

    #[test]
    fn a_line_of_another_form_is_refused_with_the_reason() {
        let why = |line: &str| format!("{:#}", read(line.as_bytes()).expect_err(line));
        let with = |channel: &str, kind: &str, rest: &str| {
            why(&format!(r#"{{"channel":"{channel}","kind":"{kind}",{rest},"version":1}}"#))
        };
        let whole = r#""key":"a","value":"b""#;
        assert!(with("../x", "store", whole).contains("cannot be the name of a channel"));
        assert!(
            with("chat", "stores", whole)
                .contains("there are store, rooms, timers, epochs, history")
        );
        assert!(with("chat", "store", r#""key":"a""#).contains("one of `value`"));
        let both = r#""key":"a","key_base64":"YQ==","value":"b""#;
        assert!(with("chat", "store", both).contains("one of `key`"));
        let odd = r#""key_base64":"?","value":"b""#;
        assert!(with("chat", "store", odd).contains("`key_base64` is no base64"));
        assert!(with("chat", "store", r#""key":"a","value":"b","more":1"#).contains("`more`"));
        assert!(why("").contains("it is no record"));
        let first = |line: &str| read_first(line.as_bytes()).expect_err(line).to_string();
        assert!(first("{}").contains("no export"));
        let newer = r#"{"content":"wharf-data","format":2,"version":"9.9.9"}"#;
        assert!(first(newer).contains("format 2") && first(newer).contains("(9.9.9)"));
    }
}
