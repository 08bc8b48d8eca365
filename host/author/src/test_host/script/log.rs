//! The lines of a test's guests.

use wharf_contract::kit::Happened;
use wharf_runtime::ports::{GuestLine, GuestLog};

use super::super::happenings::Happenings;

/// Hands every line to the test.
#[derive(Debug)]
pub(super) struct HeardLog {
    happened: Happenings,
}

impl HeardLog {
    pub(super) fn new(happened: Happenings) -> HeardLog {
        HeardLog { happened }
    }
}

impl GuestLog for HeardLog {
    fn is_enabled(&self, _: tracing::Level) -> bool {
        true
    }

    fn write(&self, line: &GuestLine<'_>) {
        let level = line.level.as_str().to_ascii_lowercase();
        let fields = line.fields.iter().map(|(name, value)| (name.clone(), value.to_string()));
        let (message, fields) = (line.message.to_owned(), fields.collect());
        self.happened.note(Happened::Logged { level, message, fields });
    }
}
