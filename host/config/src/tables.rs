//! The tables of single channels, from the file and from the environment.
//!
//! Each value replaces the one that an earlier source gave; lists are replaced whole.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::value::{Dict, Value};

use wharf_contract::hidden::HIDDEN;
use wharf_contract::names::distance;

use super::channel::{self, AllowedHost, ChannelConfig, ChannelLimits, Grants};
use super::kind::{Count, Kind, is_sendable};
use super::mistake::excerpt;
use super::secret::{Secret, SecretOrigin};
use super::sources::{Source, Sources};
use super::token::{ChannelToken, TokenConfig};
use super::{CHANNEL_CONNECTIONS, ConfigError, MESSAGES_PER_SECOND};

pub(super) mod history;
mod token;

use history::HistorySoFar;
use token::TokenSoFar;

/// The key in the file, and the part of a variable after `WHARF_`.
const KEY: &str = "channels";
/// The key of the table for channels that have no such table of their own, and of theirs.
const TOKEN_KEY: &str = "token";
/// Keys that are not in [`SETTINGS`](super::SETTINGS).
pub(super) const ALL_KEYS: [&str; 2] = [KEY, TOKEN_KEY];

/// Largest setting or secret, in bytes.
const MAX_VALUE_BYTES: usize = 64 * 1024;
/// Longest name of a setting or secret, in bytes.
const MAX_NAME_BYTES: usize = 64;

const KEYS: &[&str] = &[
    "settings",
    "secrets",
    "http_hosts",
    "publish_to",
    channel::CONNECTIONS,
    channel::MESSAGES,
    channel::HISTORY,
    TOKEN_KEY,
];
const SECRET_KEYS: &[&str] = &["env", "file"];

/// The operator's input for channels, before it is read.
pub(super) struct Tables<'a> {
    /// The environment, for secrets that are kept there.
    pub variable: &'a dyn Fn(&str) -> Option<std::ffi::OsString>,
    /// Folder to which a path outside of files is relative.
    pub working_folder: &'a Path,
}

/// The content of all tables.
pub(super) struct Contents {
    /// Tables of channels, by the channel's name.
    pub channels: BTreeMap<String, Arc<ChannelConfig>>,
    /// Token rules for channels whose tables have none.
    pub token: Option<Arc<TokenConfig>>,
}

/// Returns a variable such as `WHARF_CHANNELS__CHAT__SETTINGS__GREETING` as the nested tables that
/// it stands for; `None` if it is not about a channel.
pub(super) fn of_variable(name: &str, value: &str) -> Option<Dict> {
    let path = name.strip_prefix("WHARF_")?.to_lowercase();
    let parts: Vec<&str> = path.split("__").collect();
    let (first, parts) = parts.split_first()?;
    if parts.is_empty() || !ALL_KEYS.contains(first) {
        return None;
    }
    let innermost = Value::from(value);
    let nested = parts
        .iter()
        .rev()
        .fold(innermost, |inner, part| Value::from(Dict::from([((*part).to_owned(), inner)])));
    Some(Dict::from([((*first).to_owned(), nested)]))
}

/// One value, while the sources are read.
struct GivenValue<'a> {
    /// Key, such as `channels.chat.settings.greeting`.
    key: String,
    value: &'a Value,
    source: &'a Source,
}

/// A channel's values so far. Later sources have replaced earlier ones.
#[derive(Default)]
struct Parts {
    settings: BTreeMap<String, String>,
    secrets: BTreeMap<String, Secret>,
    grants: Grants,
    limits: ChannelLimits,
    history: HistorySoFar,
    token: TokenSoFar,
}

impl Tables<'_> {
    /// Reads the values of all sources, by their keys, the weakest source first.
    pub(super) fn read(
        &self,
        layers: &[(Source, &'static str, Value)],
        sources: &mut Sources,
    ) -> Result<Contents, ConfigError> {
        let mut channels: BTreeMap<String, Parts> = BTreeMap::new();
        let mut token = TokenSoFar::Nothing;
        for (source, key, value) in layers {
            let given = GivenValue { key: (*key).to_owned(), value, source };
            if *key == TOKEN_KEY {
                self.read_token(&given, &mut token, sources)?;
                continue;
            }
            let tables = given.table("a table of tables, one for each channel")?;
            let mut seen: Vec<&String> = Vec::new();
            for (name, value) in tables {
                if let Some(other) = seen.iter().find(|other| channel::is_same(other, name)) {
                    return Err(given.refused(format!(
                        "{} and {} are the same channel: names may differ in case, and `-` and \
                         `_` are the same",
                        channel::key(other),
                        channel::key(name)
                    )));
                }
                seen.push(name);
                let known = channels.keys().find(|known| channel::is_same(known, name));
                let name = known.unwrap_or(name).clone();
                let key = format!("{KEY}.{}", channel::key(&name));
                let parts = channels.entry(name).or_default();
                self.read_channel(GivenValue { key, value, source }, parts, sources)?;
            }
        }
        let finish = |(name, parts): (String, Parts)| {
            if let Some(both) = parts.settings.keys().find(|n| parts.secrets.contains_key(*n)) {
                let table = format!("{KEY}.{}", channel::key(&name));
                return Err(ConfigError::Refused {
                    key: format!("{table}.secrets.{both}"),
                    given: sources.of(&format!("{table}.secrets.{both}")).clone(),
                    reason: format!("{table}.settings has a `{both}` as well; rename one of them"),
                });
            }
            let Parts { settings, secrets, grants, limits, history, token } = parts;
            let history = history.finish();
            let secrets = secrets.into_iter().collect();
            let token =
                token.finish(&format!("{KEY}.{}.{TOKEN_KEY}", channel::key(&name)), sources)?;
            let config = ChannelConfig { settings, secrets, grants, token, limits, history };
            Ok((name, Arc::new(config)))
        };
        let channels = channels.into_iter().map(finish).collect::<Result<_, _>>()?;
        let token = match token.finish(TOKEN_KEY, sources)? {
            ChannelToken::Own(token) => Some(token),
            ChannelToken::Inherited | ChannelToken::Off => None,
        };
        Ok(Contents { channels, token })
    }

    fn read_channel(
        &self,
        given: GivenValue<'_>,
        parts: &mut Parts,
        sources: &mut Sources,
    ) -> Result<(), ConfigError> {
        for (name, value) in given.table("a table")? {
            let given = given.inner(name, value);
            match name.as_str() {
                "settings" => {
                    for (name, value) in given.table("a table of settings")? {
                        let given = given.named(name, value)?;
                        sources.note(&given.key, given.source);
                        parts.settings.insert(name.clone(), given.text()?);
                    }
                }
                "secrets" => {
                    for (name, value) in given.table("a table of secrets")? {
                        let given = given.named(name, value)?;
                        sources.note(&given.key, given.source);
                        parts.secrets.insert(name.clone(), self.secret(&given)?);
                    }
                }
                "http_hosts" => {
                    const ALLOWED: &str = "hosts such as `api.example.com`, `*.example.com`, \
                        `127.0.0.1:8080` or `[::1]:8080`; without a port 80 and 443 are allowed";
                    sources.note(&given.key, given.source);
                    parts.grants.http_hosts = given.list(ALLOWED, AllowedHost::parse)?;
                }
                "publish_to" => {
                    sources.note(&given.key, given.source);
                    let name = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                    parts.grants.publish_to = given.list("names of channels", name)?;
                }
                channel::CONNECTIONS => {
                    sources.note(&given.key, given.source);
                    parts.limits.connections = Some(given.number(&CHANNEL_CONNECTIONS)?);
                }
                channel::MESSAGES => {
                    sources.note(&given.key, given.source);
                    parts.limits.messages_per_second = Some(given.number(&MESSAGES_PER_SECOND)?);
                }
                channel::HISTORY => {
                    sources.note(&given.key, given.source);
                    parts.history.read(&given)?;
                }
                TOKEN_KEY => self.read_token(&given, &mut parts.token, sources)?,
                _ => return Err(given.unknown(name, KEYS)),
            }
        }
        Ok(())
    }

    /// Returns a secret that does not belong to a channel.
    pub(super) fn secret_of_host(
        &self,
        key: &str,
        value: &Value,
        source: &Source,
    ) -> Result<Secret, ConfigError> {
        let given = GivenValue { key: key.to_owned(), value, source };
        let secret = self.secret(&given)?;
        match is_sendable(secret.expose()) {
            true => Ok(secret),
            false => Err(given.refused("it must be ASCII without spaces".to_owned())),
        }
    }

    /// Returns a secret, which is plain or kept elsewhere.
    fn secret(&self, given: &GivenValue<'_>) -> Result<Secret, ConfigError> {
        let (value, origin) = match given.secret_place()? {
            SecretValue::Text(text) => (text.to_owned(), SecretOrigin::Plain),
            SecretValue::Variable(variable) => {
                let value = self.in_variable(given, variable)?;
                (value, SecretOrigin::Environment(variable.to_owned()))
            }
            SecretValue::File(path) => {
                let path = self.beside(given.source, Path::new(path));
                let value = in_file(given, &self.working_folder.join(&path))?;
                (value, SecretOrigin::File(path))
            }
        };
        given.check_secret(&value)?;
        Ok(Secret::new(value, origin))
    }

    fn in_variable(&self, given: &GivenValue<'_>, variable: &str) -> Result<String, ConfigError> {
        let value = (self.variable)(variable).ok_or_else(|| {
            given.refused(format!("the environment variable {variable} is not set"))
        })?;
        value
            .into_string()
            .map_err(|_| given.refused(format!("the environment variable {variable} is not UTF-8")))
    }

    /// Returns the path that a value means: a path in a file is relative to that file.
    fn beside(&self, source: &Source, path: &Path) -> PathBuf {
        match source {
            Source::File(file) => file.parent().unwrap_or(Path::new("")).join(path),
            _ => path.to_owned(),
        }
    }
}

/// Returns the text of a file, without the line feed that editors put at its end.
fn in_file(given: &GivenValue<'_>, path: &Path) -> Result<String, ConfigError> {
    let failed = |reason: String| given.refused(format!("the file {}: {reason}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_VALUE_BYTES as u64 + 1).read_to_string(&mut text))
        .map_err(|error| failed(error.to_string()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// A secret as it is written in the configuration.
enum SecretValue<'a> {
    /// The secret itself.
    Text(&'a str),
    /// An environment variable's name.
    Variable(&'a str),
    /// A file's path.
    File(&'a str),
}

impl<'a> GivenValue<'a> {
    /// Returns the secret, or the place where it is kept.
    fn secret_place(&self) -> Result<SecretValue<'a>, ConfigError> {
        const ALLOWED: &str = "text, `{ env = \"VARIABLE\" }` or `{ file = \"PATH\" }`";
        let odd = || self.refused(format!("it must be {ALLOWED}"));
        match self.value {
            Value::String(_, text) if text == HIDDEN => Err(self.refused(format!(
                "{HIDDEN} is what `wharf config` shows in place of a secret; write the secret"
            ))),
            Value::String(_, text) => Ok(SecretValue::Text(text)),
            Value::Dict(_, table) => {
                let unknown = table.iter().find(|(key, _)| !SECRET_KEYS.contains(&key.as_str()));
                if let Some((key, value)) = unknown {
                    return Err(self.inner(key, value).unknown(key, SECRET_KEYS));
                }
                let reference = table.iter().next().filter(|_| table.len() == 1);
                match reference.and_then(|(key, value)| Some((key.as_str(), value.as_str()?))) {
                    Some(("env", variable)) => Ok(SecretValue::Variable(variable)),
                    Some((_, path)) => Ok(SecretValue::File(path)),
                    None => Err(odd()),
                }
            }
            _ => Err(odd()),
        }
    }

    /// Checks the size of a secret.
    fn check_secret(&self, secret: &str) -> Result<(), ConfigError> {
        match secret.is_empty() {
            true => Err(self.refused("it is empty".to_owned())),
            false => self.check_size(secret),
        }
    }

    /// Returns a value in this table.
    fn inner(&self, name: &str, value: &'a Value) -> GivenValue<'a> {
        GivenValue {
            key: format!("{}.{}", self.key, channel::key(name)),
            value,
            source: self.source,
        }
    }

    /// Returns a value in this table that has a name of the operator's choice.
    fn named(&self, name: &str, value: &'a Value) -> Result<GivenValue<'a>, ConfigError> {
        let given = self.inner(name, value);
        let is_fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_fine) {
            return Err(given.refused(format!(
                "a name has 1 to {MAX_NAME_BYTES} lower-case letters, digits and `_`, so that it \
                 can be given as an environment variable too"
            )));
        }
        Ok(given)
    }

    fn switch(&self) -> Option<bool> {
        match self.value {
            Value::Bool(_, value) => Some(*value),
            _ => self.value.as_str()?.trim().parse().ok(),
        }
    }

    fn table(&self, allowed: &str) -> Result<&'a Dict, ConfigError> {
        self.value.as_dict().ok_or_else(|| self.refused(format!("it must be {allowed}")))
    }

    /// Returns the value as text: numbers and switches are text to a plugin.
    fn text(&self) -> Result<String, ConfigError> {
        let text = match self.value {
            Value::String(_, text) => text.clone(),
            Value::Bool(_, value) => value.to_string(),
            Value::Num(..) => excerpt(self.value),
            _ => {
                return Err(self.refused("it must be text, a number, `true` or `false`".to_owned()));
            }
        };
        self.check_size(&text)?;
        Ok(text)
    }

    fn check_size(&self, text: &str) -> Result<(), ConfigError> {
        match text.len() > MAX_VALUE_BYTES {
            true => Err(self.refused(format!("it has more than {MAX_VALUE_BYTES} bytes"))),
            false => Ok(()),
        }
    }

    /// Returns a list. In text its items are separated by commas.
    fn list<T>(
        &self,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let items: Option<Vec<T>> = match self.value {
            Value::Array(_, items) => items.iter().map(|item| parse(item.as_str()?)).collect(),
            Value::String(_, text) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(parse).collect()
            }
            _ => None,
        };
        items.ok_or_else(|| self.not_allowed(allowed))
    }

    /// Returns a number of this kind.
    fn number(&self, kind: &Count) -> Result<usize, ConfigError> {
        kind.read(self.value).ok_or_else(|| self.not_allowed(&kind.allowed()))
    }

    fn not_allowed(&self, allowed: &str) -> ConfigError {
        self.refused(format!("{} is not allowed: it must be {allowed}", excerpt(self.value)))
    }

    fn refused(&self, reason: String) -> ConfigError {
        ConfigError::Refused { key: self.key.clone(), given: self.source.clone(), reason }
    }

    /// Returns the error for a key that its table does not have.
    fn unknown(&self, name: &str, known: &'static [&'static str]) -> ConfigError {
        let nearest = known.iter().min_by_key(|key| distance(name, key));
        let nearest = nearest.filter(|key| distance(name, key) <= 1 + name.chars().count() / 3);
        ConfigError::UnknownInTable {
            key: self.key.clone(),
            given: self.source.clone(),
            nearest: nearest.copied(),
            known,
        }
    }
}

#[cfg(test)]
mod tests;
