//! Reading the messages that rooms keep, wherever their logs are.

use std::collections::VecDeque;

use wharf_contract::history::MAX_PAGE_BYTES;
use wharf_engine::Unavailable;

use super::Hub;
use crate::frame::FrameKind;
use crate::history::{Feeds, HistoryMessage, HistoryPage, Position};
use crate::logs::LogMessage;

impl Hub {
    /// Returns messages that a room keeps, in this process or in the cluster: the last ones before an offset; an empty
    /// page if it keeps none.
    ///
    /// # Errors
    ///
    /// The cluster has the log, and its engine does not answer.
    pub async fn history_everywhere(
        &self,
        room: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<HistoryPage, Unavailable> {
        let Some(feeds) = &self.feeds else { return Ok(self.history(room, before, limit)) };
        if !self.histories.covers(room) {
            return Ok(HistoryPage::default());
        }
        let (last, messages) = match before {
            None => {
                let part = feeds.logs.read_last(room, limit, MAX_PAGE_BYTES).await?;
                (part.last, part.messages.into())
            }
            Some(before) => read_before(feeds, room, before, limit).await?,
        };
        if last == Position::NONE {
            return Ok(HistoryPage::default());
        }
        let messages = messages.into_iter().filter_map(|(offset, message)| shown(offset, message));
        Ok(HistoryPage {
            epoch: last.epoch.to_string(),
            top: last.offset,
            messages: messages.collect(),
        })
    }
}

/// Reads the last messages before an offset.
async fn read_before(
    feeds: &Feeds,
    room: &str,
    before: u64,
    limit: usize,
) -> Result<(Position, VecDeque<(u64, LogMessage)>), Unavailable> {
    let (mut end, mut is_cut) = (before.saturating_sub(1), false);
    let mut after = end.saturating_sub(limit as u64);
    let (mut found, mut bytes) = (VecDeque::new(), 0);
    loop {
        let part = feeds.logs.read(room, after, limit, MAX_PAGE_BYTES).await?;
        // An offset beyond the last one stands for the end.
        if part.last.offset < end && !is_cut {
            (end, is_cut) = (part.last.offset, true);
            after = end.saturating_sub(limit as u64);
            continue;
        }
        let reached = part.messages.last().map_or(u64::MAX, |(offset, _)| *offset);
        for (offset, message) in part.messages {
            if offset <= end {
                bytes += message.size();
                found.push_back((offset, message));
            }
        }
        // A read has the oldest first, and the newest are wanted.
        while bytes > MAX_PAGE_BYTES && found.len() > 1 {
            bytes -= found.pop_front().map_or(0, |(_, message)| message.size());
        }
        if reached >= end || reached <= after {
            return Ok((part.last, found));
        }
        after = reached;
    }
}

/// Returns a message as it is shown; `None` for one that is for nobody.
fn shown(offset: u64, message: LogMessage) -> Option<HistoryMessage> {
    let frame = message.frame?;
    Some(HistoryMessage {
        offset,
        at_ms: message.at_ms,
        is_text: frame.kind() == FrameKind::Text,
        data: frame.payload().to_vec().into(),
    })
}
