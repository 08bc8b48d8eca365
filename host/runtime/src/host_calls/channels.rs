//! `wharf:channel/channels`: the rooms of other channels.

use super::bindings::wharf::channel::channels::Host;
use super::bindings::wharf::channel::types::{Error, Kind};
use super::rooms::checked;
use crate::instance::InstanceState;
use wharf_contract::CallRefusal;
use wharf_contract::text::{MAX_SHOWN_CHANNEL_BYTES, Shown};
use wharf_hub::effects::Effect;

impl Host for InstanceState {
    fn publish(
        &mut self,
        channel: String,
        room: String,
        kind: Kind,
        data: Vec<u8>,
    ) -> Result<(), Error> {
        self.call()?;
        // A channel without a grant is not looked up, so that a plugin cannot find out if it
        // exists.
        if !self.channel.own.grants.may_publish_to(&channel) {
            return Err(self.publish_not_granted(&channel).into());
        }
        let Some(hub) = self.channel.channels.find(&channel) else {
            let channel = Shown::new(&channel, MAX_SHOWN_CHANNEL_BYTES);
            return Err(CallRefusal::UnknownChannel { channel }.into());
        };
        let room = checked(room)?;
        let frame = self.encode(kind, &data)?;
        Ok(self.record(Effect::Publish(Box::new((hub, room)), frame))?)
    }
}

impl InstanceState {
    /// Returns the refusal, which tells the guest and the operator how to grant it.
    fn publish_not_granted(&self, to: &str) -> CallRefusal {
        let channel = &self.channel;
        let to = channel.shown(to, MAX_SHOWN_CHANNEL_BYTES);
        let how = channel.own.grants.how_to_allow_publishing(&channel.name, &to);
        if channel.failure_budget.take() {
            tracing::warn!(
                channel = &*channel.name,
                generation = self.generation,
                to,
                "publishing refused: {how}"
            );
        }
        CallRefusal::PublishNotGranted { to, how }
    }
}
