//! `wharf:channel/log`: lines of a channel in the host's log, limited in rate and size.

use super::bindings::wharf::channel::log::{Host, Level, Value};
use crate::instance::InstanceState;
use crate::ports::{FieldValue, GuestLine, LineSource};

impl Host for InstanceState {
    fn write(&mut self, level: Level, message: String, fields: Vec<(String, Value)>) {
        let fields = fields.into_iter().map(|(name, value)| (name, value.into()));
        self.log_line(level, &message, &fields.collect::<Vec<_>>());
    }

    fn log(&mut self, level: Level, message: String, fields: Vec<(String, String)>) {
        let fields = fields.into_iter().map(|(name, text)| (name, FieldValue::Text(text)));
        self.log_line(level, &message, &fields.collect::<Vec<_>>());
    }

    fn max_level(&mut self) -> Option<Level> {
        let log = &self.channel.ports.log;
        LEVELS.into_iter().rev().find(|level| log.is_enabled(traced(*level)))
    }
}

impl InstanceState {
    fn log_line(&self, level: Level, message: &str, fields: &[(String, FieldValue)]) {
        self.channel.log(&GuestLine {
            channel: &self.channel.name,
            generation: self.generation,
            connection: self.client().map(|client| client.id),
            secrets: &self.channel.own.secrets,
            source: LineSource::Call,
            level: traced(level),
            message,
            fields,
        });
    }
}

impl From<Value> for FieldValue {
    fn from(value: Value) -> FieldValue {
        match value {
            Value::None => FieldValue::None,
            Value::Text(text) => FieldValue::Text(text),
            Value::Integer(value) => FieldValue::Integer(value),
            Value::Natural(value) => FieldValue::Natural(value),
            Value::Number(value) => FieldValue::Number(value),
            Value::Boolean(value) => FieldValue::Boolean(value),
        }
    }
}

/// All levels, each with more detail than the one before.
const LEVELS: [Level; 5] = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

fn traced(level: Level) -> tracing::Level {
    match level {
        Level::Error => tracing::Level::ERROR,
        Level::Warn => tracing::Level::WARN,
        Level::Info => tracing::Level::INFO,
        Level::Debug => tracing::Level::DEBUG,
        Level::Trace => tracing::Level::TRACE,
    }
}
