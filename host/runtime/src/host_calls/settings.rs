//! `wharf:channel/settings`: what the operator set for this channel.

use super::bindings::wharf::channel::settings::Host;
use super::bindings::wharf::channel::types::{Error, Remedy};
use super::{cut, escape, refused};
use crate::instance::InstanceState;
use wharf_config::how_to_set;

/// Bytes of a name that an error repeats.
const MAX_SHOWN_NAME_BYTES: usize = 64;

impl Host for InstanceState {
    fn get(&mut self, name: String) -> Option<String> {
        self.channel.own.setting(&name).map(str::to_owned)
    }

    fn require(&mut self, name: String) -> Result<String, Error> {
        self.get(name.clone()).ok_or_else(|| {
            let name = escape(cut(&name, MAX_SHOWN_NAME_BYTES));
            let how = how_to_set(&self.channel.name, &name);
            let detail = format!("the setting `{name}` is missing: {how}");
            refused(Remedy::AskOperator, "setting-missing", detail)
        })
    }
}
