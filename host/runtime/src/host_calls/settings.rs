//! `wharf:channel/settings`: the operator's settings for this channel.

use super::bindings::wharf::channel::settings::Host;
use super::bindings::wharf::channel::types::Error;
use crate::instance::InstanceState;
use wharf_config::how_to_set;
use wharf_contract::CallRefusal;
use wharf_contract::text::{MAX_SHOWN_SETTING_BYTES, Shown};

impl Host for InstanceState {
    fn get(&mut self, name: String) -> Option<String> {
        self.channel.own.setting(&name).map(str::to_owned)
    }

    fn require(&mut self, name: String) -> Result<String, Error> {
        let found = self.get(name.clone());
        Ok(found.ok_or_else(|| {
            let name = Shown::new(&name, MAX_SHOWN_SETTING_BYTES);
            let how = how_to_set(&self.channel.name, &name.to_string());
            CallRefusal::SettingMissing { name, how }
        })?)
    }
}
