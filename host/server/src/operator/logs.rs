//! The log of a channel: its last lines, and those that follow.

use std::sync::Arc;

use hyper::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use tracing::Level;
use wharf_runtime::registry::Registry;

use super::events::{Ended, Events};
use super::here;
use super::problem::{OperatorAnswer, Problem, bad_field};
use super::queries::unknown_parameter;
use crate::log_tail::{LogTail, TailLine};

/// The names of levels.
const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

/// A question for the lines of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Least severe level.
    level: Level,
    /// True if later lines are wanted as well.
    pub(super) follows: bool,
}

impl Wanted {
    /// Reads the parameters of a question.
    pub(super) fn read(query: Option<&str>) -> Result<Wanted, Problem> {
        let (mut level, mut follows) = (None, None);
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let is_news = match name {
                "level" => {
                    let named = LEVELS.iter().find(|(name, _)| *name == value);
                    let named = named.ok_or_else(|| {
                        bad_field(name, "`level` must be error, warn, info, debug or trace")
                    })?;
                    level.replace(named.1).is_none()
                }
                "follow" => {
                    let value = match value {
                        "true" => true,
                        "false" => false,
                        _ => return Err(bad_field(name, "`follow` must be `true` or `false`")),
                    };
                    follows.replace(value).is_none()
                }
                _ => return Err(unknown_parameter(name)),
            };
            if !is_news {
                return Err(bad_field(name, format!("`{name}` must be there once")));
            }
        }
        let (level, follows) = (level.unwrap_or(Level::TRACE), follows.unwrap_or(false));
        Ok(Wanted { level, follows })
    }
}

/// Returns the last lines of a channel, the oldest first. It may be a channel that is not in service any more, or was
/// not yet.
pub(super) fn last(
    registry: &Registry,
    tail: &LogTail,
    channel: &str,
    wanted: Wanted,
) -> OperatorAnswer {
    #[derive(Serialize)]
    struct Page {
        lines: Vec<Box<RawValue>>,
    }
    let lines = lines(registry, tail, channel, wanted)?;
    let json = lines.iter().filter_map(|line| RawValue::from_string(line.json.to_string()).ok());
    let page = Page { lines: json.collect() };
    Ok((StatusCode::OK, serde_json::to_string(&page).unwrap_or_default().into()))
}

/// Returns the last lines of a channel.
pub(super) fn lines(
    registry: &Registry,
    tail: &LogTail,
    channel: &str,
    wanted: Wanted,
) -> Result<Vec<TailLine>, Problem> {
    match tail.lines(channel, 0, wanted.level) {
        Some(lines) => Ok(lines),
        None => here::channel(registry, channel).map(|_| Vec::new()),
    }
}

/// Sends the lines of a channel, those that are there and those that come, until the stream ends.
pub(super) async fn follow(
    mut events: Events,
    tail: Arc<LogTail>,
    channel: String,
    Wanted { level, .. }: Wanted,
) -> Ended {
    let mut news = tail.follow();
    let mut after = 0;
    loop {
        for line in tail.lines(&channel, after, level).unwrap_or_default() {
            after = line.number;
            if let Err(ended) = events.send("line", &line.json) {
                return ended;
            }
        }
        match events.wait(news.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ended,
            Err(ended) => return ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_a_level_and_if_it_follows_each_once() {
        let read = |query| Wanted::read(Some(query)).ok();
        let wanted = |level, follows| Some(Wanted { level, follows });
        assert_eq!(Wanted::read(None).ok(), wanted(Level::TRACE, false));
        assert_eq!(read("level=warn&follow=true"), wanted(Level::WARN, true));
        for wrong in
            ["level=WARN", "level=", "follow=1", "follow", "limit=3", "level=info&level=info"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
