//! The texts of mistakes: values in short, and the known key that an unknown one resembles.

use figment::value::Value;
use wharf_contract::names::distance;

use super::sources::Source;
use super::tables::ALL_KEYS;
use super::{ConfigError, SETTINGS};

/// Letters of the shortest part of a key that is taken for that key without its end.
const MIN_BEGINNING: usize = 5;

/// Returns the start of a value as it would be written in a file, for errors.
pub(super) fn excerpt(value: &Value) -> String {
    let mut text =
        value.deserialize::<toml::Value>().map_or_else(|_| "…".to_owned(), |v| v.to_string());
    if let Some((end, _)) = text.char_indices().nth(80) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Returns the error for a variable that no setting has, if it resembles one. Others are somebody
/// else's: `WHARF_VERSION` of an image, or the variables of a deployment's other programs.
pub(super) fn unknown_variable(key: &str, given: &Source) -> Option<ConfigError> {
    let letters = key.chars().count();
    let setting = SETTINGS.iter().find(|setting| {
        let lacks_unit = letters >= MIN_BEGINNING && setting.key.starts_with(key);
        lacks_unit || distance(key, setting.key) <= (letters / 4).max(1)
    })?;
    let (key, given) = (key.to_owned(), given.clone());
    Some(ConfigError::Unknown { key, given, nearest: Some(setting.key) })
}

/// Returns the error for a key that no setting has.
pub(super) fn unknown(key: String, given: Source) -> ConfigError {
    let nearest = nearest(&key);
    ConfigError::Unknown { key, given, nearest }
}

/// Returns the text of [`ConfigError::Unknown`]. Names are spelled as the source spells them.
pub(super) fn unknown_text(key: &str, source: &Source, nearest: Option<&str>) -> String {
    let in_environment = matches!(source, Source::Environment(_));
    let spell = |key: &str| match in_environment {
        true => format!("WHARF_{}", key.to_uppercase()),
        false => key.to_owned(),
    };
    let what = match in_environment {
        true => format!("unknown environment variable `{source}`"),
        false => format!("unknown key `{}` in {source}", key.escape_debug()),
    };
    match nearest {
        Some(nearest) => format!("{what}: did you mean `{}`?", spell(nearest)),
        None => format!("{what}: `wharf serve --help` lists all settings"),
    }
}

/// Returns the text of [`ConfigError::UnknownInTable`].
pub(super) fn unknown_in_table_text(
    key: &str,
    source: &Source,
    nearest: Option<&str>,
    known: &[&str],
) -> String {
    let key = key.escape_debug();
    match nearest {
        Some(nearest) => format!("unknown key `{key}` in {source}: did you mean `{nearest}`?"),
        None => format!("unknown key `{key}` in {source}: there are {}", known.join(", ")),
    }
}

/// Returns the most similar key of a setting or a table, unless none is similar.
fn nearest(key: &str) -> Option<&'static str> {
    let key = key.to_lowercase().replace('-', "_");
    let score = |known: &&'static str| match known.starts_with(&key) {
        // The key lacks its unit, or the plural.
        true => 1,
        false => distance(&key, known),
    };
    let all = SETTINGS.iter().map(|setting| setting.key).chain(ALL_KEYS);
    let best = all.min_by_key(score)?;
    (score(&best) <= 1 + key.chars().count() / 3).then_some(best)
}
