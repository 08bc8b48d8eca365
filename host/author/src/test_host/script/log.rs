//! The lines of a test's guests.

use parking_lot::Mutex;
use wharf_contract::kit::Happened;
use wharf_runtime::ports::{GuestLine, GuestLog, LineSource};

use super::super::happenings::Happenings;

/// Hands every line to the test.
#[derive(Debug)]
pub(in crate::test_host) struct HeardLog {
    happened: Happenings,
    panic: Mutex<Panic>,
}

/// The progress of a panic that is being printed.
#[derive(Debug, Default)]
enum Panic {
    #[default]
    None,
    /// The next line has its message.
    Begun,
    Said(String),
}

impl HeardLog {
    pub(super) fn new(happened: Happenings) -> HeardLog {
        HeardLog { happened, panic: Mutex::default() }
    }

    /// Takes the message of the panic with which the guest has just ended, if it was one.
    pub(in crate::test_host) fn take_panic(&self) -> Option<String> {
        match std::mem::take(&mut *self.panic.lock()) {
            Panic::Said(message) => Some(message),
            Panic::None | Panic::Begun => None,
        }
    }
}

impl GuestLog for HeardLog {
    fn is_enabled(&self, _: tracing::Level) -> bool {
        true
    }

    fn write(&self, line: &GuestLine<'_>) {
        let GuestLine { level, message, fields, source, .. } = *line;
        if source == LineSource::Stderr {
            let mut panic = self.panic.lock();
            match &*panic {
                _ if message.contains("panicked at ") => *panic = Panic::Begun,
                Panic::Begun => *panic = Panic::Said(message.to_owned()),
                Panic::None | Panic::Said(_) => {}
            }
        }
        let level = level.as_str().to_ascii_lowercase();
        let (message, fields) = (message.to_owned(), fields.to_owned());
        self.happened.note(Happened::Logged { level, message, fields });
    }
}
