//! The lines of a test's guests.

use wharf_contract::kit::Happened;
use wharf_runtime::ports::{GuestLine, GuestLog};

use super::super::happenings::Happenings;

/// Hands every line to the test, whole and without secrets.
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
        let shown = |text: &str| line.secrets.hide(text, usize::MAX).into_owned();
        let fields =
            line.fields.iter().map(|(name, value)| (shown(name), shown(&value.to_string())));
        let (message, fields) = (shown(line.message), fields.collect());
        self.happened.note(Happened::Logged { level, message, fields });
    }
}
