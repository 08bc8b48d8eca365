//! The log of a channel: the lines that a host has, and those that follow.

use std::ops::ControlFlow;

use serde_json::Value;
use wharf_contract::text::escape;
use wharf_server::operator_client::{Answer, OperatorClient, encoded};

use super::entries;
use crate::arguments::OperatorAction;
use crate::output::print_part;

/// Largest part of a stream without an end of an event, in bytes.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// Members of a line that have a place of their own, or none.
const PLACED: [&str; 6] = ["timestamp", "level", "message", "channel", "target", "fields"];

/// Returns the path of the log that an action asks for.
pub(super) fn path(action: &OperatorAction, follows: bool) -> String {
    let OperatorAction::Logs { channel, level, .. } = action else { return String::new() };
    format!("/api/channels/{}/logs?level={level}&follow={follows}", encoded(channel))
}

/// Shows the lines and those that follow, until the reader has gone or the host ends. Returns the answer of a host that
/// has refused it.
pub(super) async fn follow(
    client: &OperatorClient,
    action: &OperatorAction,
    is_json: bool,
) -> anyhow::Result<Option<Answer>> {
    let mut events = Events::default();
    let mut is_read = true;
    let mut show = |part: &[u8]| -> anyhow::Result<ControlFlow<()>> {
        for line in events.take(part)? {
            is_read = match is_json {
                true => print_part(&format!("{line}\n"))?,
                false => print_part(&text(&line))?,
            };
            if !is_read {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    };
    let answer = client.follow(&path(action, true), &mut show).await?;
    match answer.status {
        200 if is_read => {
            anyhow::bail!("the host has ended the stream: it stops, or this program was too slow")
        }
        200 => Ok(None),
        _ => Ok(Some(answer)),
    }
}

/// Returns the answer with the lines as text.
pub(super) fn shown(answer: &Value) -> String {
    entries(&answer["lines"]).iter().map(text).collect()
}

/// Returns a line as people read it.
fn text(line: &Value) -> String {
    let member = |name: &str| line[name].as_str().map(escape).unwrap_or_default();
    let mut text = format!("{} {:<5} {}", member("timestamp"), member("level"), member("message"));
    let own = line.as_object().into_iter().flatten();
    let own = own.filter(|(name, _)| !PLACED.contains(&name.as_str()));
    for (name, value) in own.chain(line["fields"].as_object().into_iter().flatten()) {
        let value = match value {
            Value::Null => continue,
            Value::String(text) => format!("{text:?}"),
            value => value.to_string(),
        };
        text.push_str(&format!(" {}={}", escape(name), escape(&value)));
    }
    text.push('\n');
    text
}

/// Server-sent events, as they come in parts.
#[derive(Debug, Default)]
struct Events(Vec<u8>);

impl Events {
    /// Takes a part. Returns the data of the lines in it that are complete.
    fn take(&mut self, part: &[u8]) -> anyhow::Result<Vec<Value>> {
        self.0.extend_from_slice(part);
        let mut lines = Vec::new();
        while let Some(end) = self.0.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = self.0.drain(..end + 2).collect();
            let event = String::from_utf8_lossy(&event);
            let data = event.lines().filter_map(|line| line.strip_prefix("data: "));
            lines.extend(data.filter_map(|data| serde_json::from_str::<Value>(data).ok()));
        }
        if self.0.len() > MAX_EVENT_BYTES {
            anyhow::bail!("the stream is none of a host's: an event has no end");
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_taken_in_any_parts() {
        let stream = b"event: line\ndata: {\"message\":\"caf\xc3\xa9\"}\n\n:\n\nevent: line\ndata: {\"message\":\"b\"}\n\n";
        let expected = [json!({ "message": "café" }), json!({ "message": "b" })];
        for size in 1..stream.len() {
            let mut events = Events::default();
            let lines: Vec<Value> =
                stream.chunks(size).flat_map(|part| events.take(part).expect("events")).collect();
            assert_eq!(lines, expected, "parts of {size}");
        }
    }

    #[test]
    fn a_line_is_on_one_line_with_its_fields_after_the_message() {
        let line = json!({
            "timestamp": "2026-11-28T12:00:00Z", "level": "WARN", "message": "two\nlines", "channel": "chat",
            "target": "wharf", "generation": 3, "connection": null, "fields": { "user": "a b" }
        });
        assert_eq!(
            text(&line),
            "2026-11-28T12:00:00Z WARN  two\\nlines generation=3 user=\"a b\"\n"
        );
    }
}
