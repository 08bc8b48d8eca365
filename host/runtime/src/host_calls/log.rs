//! `wharf:channel/log`: lines of a channel in the host's log, limited in rate and size.

use super::bindings::wharf::channel::log::{Host, Level};
use crate::instance::InstanceState;
use crate::ports::{GuestLine, LineSource};

impl Host for InstanceState {
    fn log(&mut self, level: Level, message: String, fields: Vec<(String, String)>) {
        self.channel.log(&GuestLine {
            channel: &self.channel.name,
            generation: self.generation,
            connection: self.client().map(|client| &**client),
            secrets: &self.channel.own.secrets,
            source: LineSource::Call,
            level: traced(level),
            message: &message,
            fields: &fields,
        });
    }

    fn max_level(&mut self) -> Option<Level> {
        let log = &self.channel.ports.log;
        LEVELS.into_iter().rev().find(|level| log.is_enabled(traced(*level)))
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
