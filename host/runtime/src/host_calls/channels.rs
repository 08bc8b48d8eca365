//! `wharf:channel/channels`: the rooms of other channels.

use super::bindings::wharf::channel::channels::Host;
use super::bindings::wharf::channel::types::{Error, Kind, Remedy};
use super::rooms::checked;
use super::{cut, escape, refused};
use crate::instance::InstanceState;
use wharf_hub::effects::Effect;

/// Bytes of a channel's name that an error repeats.
const MAX_SHOWN_NAME_BYTES: usize = 255;

impl Host for InstanceState {
    fn publish(
        &mut self,
        channel: String,
        room: String,
        kind: Kind,
        data: Vec<u8>,
    ) -> Result<(), Error> {
        self.call()?;
        // What is not granted is not looked up: whether there is such a channel is none of its affair.
        if !self.channel.own.grants.may_publish_to(&channel) {
            return Err(self.publish_not_granted(&channel));
        }
        let Some(hub) = self.channel.channels.find(&channel) else {
            let channel = escape(cut(&channel, MAX_SHOWN_NAME_BYTES));
            let detail = format!("no channel {channel} is in service");
            return Err(refused(Remedy::Gone, "unknown-channel", detail));
        };
        let room = checked(room)?;
        let frame = self.encode(kind, &data)?;
        self.record(Effect::Publish(Box::new((hub, room)), frame))
    }
}

impl InstanceState {
    /// Tell the guest and the operator what to write into the configuration.
    fn publish_not_granted(&self, to: &str) -> Error {
        let channel = &self.channel;
        let to = channel.shown(to, MAX_SHOWN_NAME_BYTES);
        let how = channel.own.grants.how_to_allow_publishing(&channel.name, &to);
        if channel.failure_budget.take() {
            tracing::warn!(
                channel = %channel.name,
                generation = self.generation,
                to,
                "publishing refused: {how}"
            );
        }
        let detail = format!("the channel may not publish to {to}: {how}");
        refused(Remedy::AskOperator, "publish-not-granted", detail)
    }
}
