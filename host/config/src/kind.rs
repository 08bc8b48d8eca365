//! Kinds of values: the way in which each is read, shown, and described when it is wrong.
//!
//! Environment and flags give text, files give typed values. The same code reads both, so that a
//! value has the same meaning in each.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use wharf_contract::limits::{Limit, Unit};

use super::{Secret, SecretOrigin};

mod certificates;
mod list;

pub(super) use certificates::Certificates;
pub(super) use list::{Addresses, HostPatterns, Networks, Origins};

/// Milliseconds, for defaults.
pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A kind of value.
pub(super) trait Kind {
    /// Type of the value in `Config`.
    type Value;

    /// Returns the value if `given` is an allowed one.
    fn read(&self, given: &Value) -> Option<Self::Value>;

    /// Returns the value as it is written in a file.
    fn show(&self, value: &Self::Value) -> toml::Value;

    /// Returns the default for documents and help. It differs from a value if it depends on the
    /// environment.
    fn show_default(&self, value: &Self::Value) -> String {
        self.show(value).to_string()
    }

    /// Returns the allowed values, in words that follow "must be".
    fn allowed(&self) -> String;

    /// Returns the placeholder for the value in help.
    fn metavar(&self) -> &'static str;

    /// Returns true if the value is a list, which may be given in several pieces.
    fn is_list(&self) -> bool {
        false
    }
}

/// A number of things.
pub(super) struct Count(pub RangeInclusive<usize>);

impl Kind for Count {
    type Value = usize;

    fn read(&self, given: &Value) -> Option<usize> {
        let number = usize::try_from(integer(given)?).ok()?;
        self.0.contains(&number).then_some(number)
    }

    fn show(&self, value: &usize) -> toml::Value {
        toml::Value::Integer(i64::try_from(*value).unwrap_or(i64::MAX))
    }

    fn allowed(&self) -> String {
        format!("{} to {}", self.0.start(), self.0.end())
    }

    fn metavar(&self) -> &'static str {
        "N"
    }
}

/// A size in bytes, also written with a unit.
pub(super) struct Bytes(pub RangeInclusive<usize>);

impl Kind for Bytes {
    type Value = usize;

    fn read(&self, given: &Value) -> Option<usize> {
        let number = integer(given).or_else(|| with_unit(given.as_str()?))?;
        let number = usize::try_from(number).ok()?;
        self.0.contains(&number).then_some(number)
    }

    fn show(&self, value: &usize) -> toml::Value {
        toml::Value::Integer(i64::try_from(*value).unwrap_or(i64::MAX))
    }

    fn allowed(&self) -> String {
        format!("{} to {} bytes", self.0.start(), self.0.end())
    }

    fn metavar(&self) -> &'static str {
        "BYTES"
    }
}

/// A limit that the SDK's test kit has as well.
impl Kind for Limit {
    type Value = usize;

    fn read(&self, given: &Value) -> Option<usize> {
        match self.unit {
            Unit::Count => Count(self.range()).read(given),
            Unit::Bytes => Bytes(self.range()).read(given),
        }
    }

    fn show(&self, value: &usize) -> toml::Value {
        Count(self.range()).show(value)
    }

    fn allowed(&self) -> String {
        match self.unit {
            Unit::Count => Count(self.range()).allowed(),
            Unit::Bytes => Bytes(self.range()).allowed(),
        }
    }

    fn metavar(&self) -> &'static str {
        match self.unit {
            Unit::Count => Count(self.range()).metavar(),
            Unit::Bytes => Bytes(self.range()).metavar(),
        }
    }
}

/// A duration in milliseconds.
pub(super) struct Millis(pub RangeInclusive<u64>);

impl Kind for Millis {
    type Value = Duration;

    fn read(&self, given: &Value) -> Option<Duration> {
        let number = u64::try_from(integer(given)?).ok()?;
        self.0.contains(&number).then_some(ms(number))
    }

    fn show(&self, value: &Duration) -> toml::Value {
        toml::Value::Integer(i64::try_from(value.as_millis()).unwrap_or(i64::MAX))
    }

    fn allowed(&self) -> String {
        format!("{} to {} ms", self.0.start(), self.0.end())
    }

    fn metavar(&self) -> &'static str {
        "MS"
    }
}

/// On or off.
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn read(&self, given: &Value) -> Option<bool> {
        match given {
            Value::Bool(_, value) => Some(*value),
            _ => match given.as_str()?.trim() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            },
        }
    }

    fn show(&self, value: &bool) -> toml::Value {
        toml::Value::Boolean(*value)
    }

    fn allowed(&self) -> String {
        "`true` or `false`".to_owned()
    }

    fn metavar(&self) -> &'static str {
        "true|false"
    }
}

/// A switch that is on by default while only this machine can reach the host.
pub(super) struct LocalSwitch;

impl Kind for LocalSwitch {
    type Value = bool;

    fn read(&self, given: &Value) -> Option<bool> {
        Switch.read(given)
    }

    fn show(&self, value: &bool) -> toml::Value {
        Switch.show(value)
    }

    fn show_default(&self, _: &bool) -> String {
        "true on loopback".to_owned()
    }

    fn allowed(&self) -> String {
        Switch.allowed()
    }

    fn metavar(&self) -> &'static str {
        Switch.metavar()
    }
}

/// A folder. It need not exist yet.
pub(super) struct Folder;

impl Kind for Folder {
    type Value = PathBuf;

    fn read(&self, given: &Value) -> Option<PathBuf> {
        let path = given.as_str()?;
        (!path.is_empty() && !path.contains('\0')).then(|| PathBuf::from(path))
    }

    fn show(&self, value: &PathBuf) -> toml::Value {
        toml::Value::String(value.to_string_lossy().into_owned())
    }

    fn allowed(&self) -> String {
        "the path of a folder".to_owned()
    }

    fn metavar(&self) -> &'static str {
        "DIR"
    }
}

/// A folder, or none, which is written as empty text. Contains the default for documents and help,
/// which depends on the environment.
pub(super) struct OptionalFolder(pub &'static str);

impl Kind for OptionalFolder {
    type Value = Option<PathBuf>;

    fn read(&self, given: &Value) -> Option<Option<PathBuf>> {
        match given.as_str()? {
            "" => Some(None),
            _ => Folder.read(given).map(Some),
        }
    }

    fn show(&self, value: &Option<PathBuf>) -> toml::Value {
        let none = || toml::Value::String(String::new());
        value.as_ref().map_or_else(none, |path| Folder.show(path))
    }

    fn show_default(&self, _: &Option<PathBuf>) -> String {
        self.0.to_owned()
    }

    fn allowed(&self) -> String {
        "the path of a folder, or `\"\"` for none".to_owned()
    }

    fn metavar(&self) -> &'static str {
        "DIR"
    }
}

/// A file, or none, which is written as empty text.
pub(super) struct OptionalFile;

impl Kind for OptionalFile {
    type Value = Option<PathBuf>;

    fn read(&self, given: &Value) -> Option<Option<PathBuf>> {
        OptionalFolder("").read(given)
    }

    fn show(&self, value: &Option<PathBuf>) -> toml::Value {
        OptionalFolder("").show(value)
    }

    fn allowed(&self) -> String {
        "the path of a file, or `\"\"` for none".to_owned()
    }

    fn metavar(&self) -> &'static str {
        "FILE"
    }
}

/// A secret that is sent in a header, or none, which is written as empty text. A secret that is
/// kept elsewhere is read once all sources are merged.
pub(super) struct OperatorToken;

impl Kind for OperatorToken {
    type Value = Option<Secret>;

    fn read(&self, given: &Value) -> Option<Option<Secret>> {
        match given.as_str()? {
            "" => Some(None),
            text => is_sendable(text).then(|| Some(Secret::new(text, SecretOrigin::Plain))),
        }
    }

    fn show(&self, value: &Option<Secret>) -> toml::Value {
        value.as_ref().map_or_else(|| toml::Value::String(String::new()), Secret::as_toml)
    }

    fn allowed(&self) -> String {
        "ASCII without spaces, or `\"\"` for none".to_owned()
    }

    fn metavar(&self) -> &'static str {
        "SECRET"
    }
}

/// Returns true if a text can be sent as a token in a header.
pub(super) fn is_sendable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A name, or none, which is written as empty text.
pub(super) struct Name;

impl Kind for Name {
    type Value = String;

    fn read(&self, given: &Value) -> Option<String> {
        let text = given.as_str()?;
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        (text.len() <= 64 && text.bytes().all(is_fit)).then(|| text.to_owned())
    }

    fn show(&self, value: &String) -> toml::Value {
        toml::Value::String(value.clone())
    }

    fn allowed(&self) -> String {
        "at most 64 letters, digits, `_`, `-`, `.` and `:`".to_owned()
    }

    fn metavar(&self) -> &'static str {
        "NAME"
    }
}

/// The directives for the log, as `tracing` writes them.
pub(super) struct Directives;

impl Kind for Directives {
    type Value = String;

    fn read(&self, given: &Value) -> Option<String> {
        let text = given.as_str()?.trim();
        // `tracing` accepts empty directives, which log hardly anything. It takes a bare word for a
        // target, which silences everything else.
        let is_word = text.chars().all(char::is_alphanumeric);
        let is_level = text.parse::<LevelFilter>().is_ok();
        let is_usable = !text.is_empty() && (is_level || !is_word);
        (is_usable && EnvFilter::try_new(text).is_ok()).then(|| text.to_owned())
    }

    fn show(&self, value: &String) -> toml::Value {
        toml::Value::String(value.clone())
    }

    fn allowed(&self) -> String {
        "a level or directives such as `info,wharf=debug`".to_owned()
    }

    fn metavar(&self) -> &'static str {
        "DIRECTIVES"
    }
}

/// One of a few words.
pub(super) struct OneOf<T: 'static>(pub &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Kind for OneOf<T> {
    type Value = T;

    fn read(&self, given: &Value) -> Option<T> {
        let word = given.as_str()?.trim();
        let found = self.0.iter().find(|(name, _)| *name == word);
        found.map(|(_, value)| *value)
    }

    fn show(&self, value: &T) -> toml::Value {
        let found = self.0.iter().find(|(_, candidate)| candidate == value);
        toml::Value::String(found.map_or("", |(name, _)| name).to_owned())
    }

    fn allowed(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(name, _)| format!("`{name}`")).collect();
        words.join(" or ")
    }

    fn metavar(&self) -> &'static str {
        "WORD"
    }
}

/// Returns a size with a unit, such as `64KiB` or `1 MB`.
fn with_unit(text: &str) -> Option<u128> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit: u128 = match unit.trim_start() {
        "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u128>().ok()?.checked_mul(unit)
}

/// Returns a whole number that is not negative, from a number or from text.
fn integer(given: &Value) -> Option<u128> {
    match given {
        Value::Num(_, number) => {
            number.to_u128().or_else(|| number.to_i128().and_then(|n| u128::try_from(n).ok()))
        }
        _ => given.as_str()?.trim().parse().ok(),
    }
}
