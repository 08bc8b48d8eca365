//! The messages that a channel's rooms keep, as the operator writes them: one table for all rooms, or a list
//! of tables of which the first that covers a room counts.

use figment::value::{Dict, Value};
use wharf_contract::history::{
    HistoryRule, MAX_AGE_MS, MAX_BYTES, MAX_MESSAGES, Recovery, Retention, RoomPattern,
};

use super::GivenValue;
use crate::ConfigError;
use crate::kind::{Bytes, Count, Kind, Millis};

const ROOMS: &str = "rooms";
const MESSAGES: &str = "messages";
const BYTES: &str = "bytes";
const AGE: &str = "age_ms";
const NEWCOMERS: &str = "newcomers";
const RECOVERY: &str = "recovery";
const KEYS: &[&str] = &[ROOMS, MESSAGES, BYTES, AGE, NEWCOMERS, RECOVERY];

/// The rules so far. Later sources have replaced earlier ones.
#[derive(Default)]
pub(super) struct HistorySoFar {
    rules: Vec<HistoryRule>,
    /// True if they were written as one table, whose keys later sources replace one by one.
    is_table: bool,
}

impl HistorySoFar {
    /// Reads the value of one source.
    pub(super) fn read(&mut self, given: &GivenValue<'_>) -> Result<(), ConfigError> {
        match given.value {
            Value::Dict(_, table) => {
                let before = self.rules.pop().filter(|_| self.is_table).unwrap_or_default();
                *self = HistorySoFar { rules: vec![rule(given, table, before)?], is_table: true };
            }
            Value::Array(_, tables) => {
                let rules = tables.iter().enumerate().map(|(at, value)| {
                    let key = format!("{}[{at}]", given.key);
                    let given = GivenValue { key, value, source: given.source };
                    rule(&given, given.table("a table")?, HistoryRule::default())
                });
                *self = HistorySoFar { rules: rules.collect::<Result<_, _>>()?, is_table: false };
            }
            _ => {
                return Err(given.refused(
                    "it must be a table such as `{ messages = 100, age_ms = 600000 }`, or a list of them"
                        .to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// Returns the rules.
    pub(super) fn finish(self) -> Vec<HistoryRule> {
        self.rules
    }
}

fn rule(
    given: &GivenValue<'_>,
    table: &Dict,
    before: HistoryRule,
) -> Result<HistoryRule, ConfigError> {
    let HistoryRule { mut rooms, mut retention } = before;
    for (name, value) in table {
        let given = given.inner(name, value);
        match name.as_str() {
            ROOMS => {
                let pattern = value.as_str().and_then(RoomPattern::new);
                rooms = pattern.ok_or_else(|| {
                    given.not_allowed("a room's name, in which `*` stands for any characters")
                })?;
            }
            MESSAGES => retention.messages = read(&given, &Count(0..=MAX_MESSAGES))?,
            BYTES => retention.bytes = read(&given, &Bytes(0..=MAX_BYTES))?,
            AGE => {
                let age = read(&given, &Millis(1..=MAX_AGE_MS))?;
                retention.age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            }
            NEWCOMERS => retention.newcomers = read(&given, &Count(0..=MAX_MESSAGES))?,
            RECOVERY => {
                retention.recovery = match value.as_str() {
                    Some("all") => Recovery::All,
                    Some("newest") => Recovery::Newest,
                    _ => return Err(given.not_allowed("`all` or `newest`")),
                };
            }
            _ => return Err(given.unknown(name, KEYS)),
        }
    }
    Ok(HistoryRule { rooms, retention })
}

fn read<K: Kind>(given: &GivenValue<'_>, kind: &K) -> Result<K::Value, ConfigError> {
    kind.read(given.value).ok_or_else(|| given.not_allowed(&kind.allowed()))
}

/// Returns a rule as it is written in a file.
pub(crate) fn written(rule: &HistoryRule) -> toml::Value {
    let HistoryRule { rooms, retention } = rule;
    let Retention { messages, bytes, age_ms, newcomers, recovery } = *retention;
    let number = |value: usize| toml::Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
    let recovery = match recovery {
        Recovery::All => "all",
        Recovery::Newest => "newest",
    };
    let age = toml::Value::Integer(i64::try_from(age_ms).unwrap_or(i64::MAX));
    let values = [
        (ROOMS, rooms.as_str().into()),
        (MESSAGES, number(messages)),
        (BYTES, number(bytes)),
        (AGE, age),
        (NEWCOMERS, number(newcomers)),
        (RECOVERY, recovery.into()),
    ];
    toml::Value::Table(values.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
}
