//! `wharf:channel/labels`: the labels of a connection.

use wasmtime::component::Resource;

use super::ConnectionHandle;
use super::bindings::wharf::channel::labels::Host;
use super::bindings::wharf::channel::types::Error;
use crate::instance::InstanceState;
use wharf_contract::CallRefusal;
use wharf_contract::names::{MAX_LABELS, check_label};
use wharf_hub::effects::Effect;
use wharf_hub::outbound::{Label, Labels};

impl Host for InstanceState {
    fn set_label(
        &mut self,
        _: Resource<ConnectionHandle>,
        name: String,
        value: String,
    ) -> Result<(), Error> {
        self.own()?;
        let label = checked(name, value)?;
        let labels = self.own_labels();
        if labels.get(&label.0).is_none() && labels.len() >= MAX_LABELS {
            return Err(CallRefusal::TooManyLabels.into());
        }
        Ok(self.record(Effect::SetLabel(Box::new(label)))?)
    }

    fn clear_label(&mut self, _: Resource<ConnectionHandle>, name: String) -> Result<(), Error> {
        self.own()?;
        let (name, _) = checked(name, String::new())?;
        Ok(self.record(Effect::ClearLabel(name))?)
    }

    fn labels(&mut self, _: Resource<ConnectionHandle>) -> Vec<(String, String)> {
        let labels = self.own_labels();
        labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl InstanceState {
    /// Returns the connection's labels, as this event changes them.
    fn own_labels(&self) -> Labels {
        let mut labels = self.client().map(|client| client.outbound.labels()).unwrap_or_default();
        for (name, value) in self.call.iter().flat_map(|call| call.effects.labels()) {
            match value {
                Some(value) => labels.set(name, value),
                None => labels.clear(name),
            }
        }
        labels
    }
}

/// Checks a label of a connection, or one that a broadcast requires.
pub(super) fn checked(name: String, value: String) -> Result<Label, CallRefusal> {
    check_label(&name, &value)?;
    Ok((name.into(), value.into()))
}
