//! The lines that have a channel, kept for the operator.

use std::fmt;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use wharf_server::log_tail::LogTail;

use super::json::object;

/// The field that names the channel of a line.
const CHANNEL: &str = "channel";

/// Keeps each line with a channel. A line without one costs a look at the names of its fields.
#[derive(Debug)]
pub(super) struct TailLayer(pub(super) Arc<LogTail>);

impl<S: Subscriber> Layer<S> for TailLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().fields().field(CHANNEL).is_none() {
            return;
        }
        let mut found = ChannelField(None);
        event.record(&mut found);
        if let Some(channel) = found.0 {
            self.0.push(&channel, *event.metadata().level(), &object(event));
        }
    }
}

/// The channel that a line names.
struct ChannelField(Option<String>);

impl Visit for ChannelField {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == CHANNEL {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == CHANNEL {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn only_lines_with_a_channel_are_kept() {
        let tail = Arc::new(LogTail::default());
        let lines = tracing_subscriber::registry().with(TailLayer(tail.clone()));
        tracing::subscriber::with_default(lines, || {
            tracing::info!("of nobody");
            tracing::info!(channel = Option::<&str>::None, "of none");
            tracing::warn!(channel = "chat", n = 3, "of a channel");
        });
        assert_eq!(tail.channels(), ["chat"]);
    }
}
