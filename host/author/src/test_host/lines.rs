//! The host's own log lines about errors, as the sentences that a test reads.

use std::fmt::{self, Write};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use wharf_contract::kit::Happened;

use super::happenings::Happenings;

/// Fields of every line that no test needs.
const KNOWN: [&str; 5] = ["channel", "generation", "connection", "place", "backtrace"];

/// The beginning of the detail of a panic.
const PANICKED: &str = "panicked: ";

/// A listener for the host's log. It reports nothing to a test before it is told to.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    happened: Happenings,
    is_telling: Arc<AtomicBool>,
}

impl Lines {
    /// Makes a listener for all lines of this process from now on.
    pub(super) fn hear(happened: Happenings) -> Lines {
        let lines = Lines { happened, is_telling: Arc::default() };
        // In a test of this crate another listener may be set already.
        let layer = lines.clone().with_filter(LevelFilter::WARN);
        let _ = tracing_subscriber::registry().with(layer).try_init();
        lines
    }

    /// Reports lines from now on.
    pub(super) fn tell(&self) {
        self.is_telling.store(true, Ordering::SeqCst);
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        // Lines of libraries are not for an author.
        if !metadata.target().starts_with("wharf_") {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        match self.is_telling.load(Ordering::SeqCst) {
            true => self.happened.note(Happened::Warned(line.sentence())),
            false => {
                let text = format!("{} {}\n", line.message, line.rest);
                // Nobody may read standard error any more.
                let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
            }
        }
    }
}

/// The content of a line.
#[derive(Debug, Default)]
struct Line {
    message: String,
    event: String,
    kind: String,
    detail: String,
    error: String,
    /// All other fields.
    rest: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), &format!("{value:?}"));
    }
}

impl Line {
    fn set(&mut self, name: &str, value: &str) {
        let place = match name {
            "message" => &mut self.message,
            "event" => &mut self.event,
            "kind" => &mut self.kind,
            "detail" => &mut self.detail,
            "error" => &mut self.error,
            _ if KNOWN.contains(&name) => return,
            _ => {
                // Writing into a String cannot fail.
                let _ = write!(self.rest, " {name}={value}");
                return;
            }
        };
        value.clone_into(place);
    }

    /// Returns the sentence in the kit's native form, if there is the same sentence.
    fn sentence(&self) -> String {
        let handler = self.event.replace('-', "_");
        match (self.message.as_str(), self.kind.as_str()) {
            ("handler failed", _) => self.error.clone(),
            (_, "session-unreadable") => self.detail.clone(),
            ("guest call failed", "trap") if self.detail.starts_with(PANICKED) => {
                // The log has it on one line, and the kit's native level as it is.
                format!("{handler} {}", self.detail.replace("\\n", "\n"))
            }
            ("guest call failed", "trap") => format!("{handler} trapped: {}", self.detail),
            ("guest call failed", kind) => format!("{handler} failed: {kind}: {}", self.detail),
            (message, _) => {
                let parts = [message, &handler, &self.kind, &self.detail, &self.error];
                let parts = parts.into_iter().filter(|part| !part.is_empty());
                parts.collect::<Vec<_>>().join(": ") + &self.rest
            }
        }
    }
}
