//! `wharf:channel/history`: the messages that rooms keep.

use super::bindings::wharf::channel::history::{Entry, Host, Page};
use super::bindings::wharf::channel::types::{Error, Kind};

use crate::instance::InstanceState;
use wharf_contract::CallRefusal;
use wharf_contract::history::MAX_PAGE;
use wharf_contract::names::check_room;

impl Host for InstanceState {
    async fn read(&mut self, room: String, before: Option<u64>, limit: u32) -> Result<Page, Error> {
        self.call()?;
        check_room(&room)?;
        let limit = usize::try_from(limit).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let page = self.channel.hub.history_everywhere(&room, before, limit).await;
        let page = page.map_err(|why| CallRefusal::DataUnavailable { why: why.to_string() })?;
        let entries = page.messages.into_iter().map(|message| Entry {
            offset: message.offset,
            sent_at_ms: message.at_ms,
            kind: if message.is_text { Kind::Text } else { Kind::Binary },
            data: message.data.into(),
        });
        Ok(Page { epoch: page.epoch, top: page.top, entries: entries.collect() })
    }
}
