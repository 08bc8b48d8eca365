//! `wharf:channel/labels`: what a connection is labelled with.

use wasmtime::component::Resource;

use super::bindings::wharf::channel::labels::Host;
use super::bindings::wharf::channel::types::{Error, Remedy};
use super::{ConnectionHandle, fix_call, refused};
use crate::instance::InstanceState;
use wharf_hub::effects::Effect;
use wharf_hub::outbound::{Label, Labels};

/// The longest name and the longest value of a label, in bytes.
const MAX_NAME_BYTES: usize = 64;
const MAX_VALUE_BYTES: usize = 255;
/// Labels of one connection.
const MAX_LABELS: usize = 16;

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
            return Err(refused(
                Remedy::ShedLoad,
                "too-many-labels",
                format!("a connection carries at most {MAX_LABELS} labels"),
            ));
        }
        self.record(Effect::SetLabel(Box::new(label)))
    }

    fn clear_label(&mut self, _: Resource<ConnectionHandle>, name: String) -> Result<(), Error> {
        self.own()?;
        let (name, _) = checked(name, String::new())?;
        self.record(Effect::ClearLabel(name))
    }

    fn labels(&mut self, _: Resource<ConnectionHandle>) -> Vec<(String, String)> {
        let labels = self.own_labels();
        labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl InstanceState {
    /// The connection's labels, as this event changes them.
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

/// Check a label: a connection's, or one that a broadcast asks for.
pub(super) fn checked(name: String, value: String) -> Result<Label, Error> {
    if !(1..=MAX_NAME_BYTES).contains(&name.len()) {
        return Err(fix_call(
            "label-invalid",
            format!("a label's name has 1 to {MAX_NAME_BYTES} bytes, this one has {}", name.len()),
        ));
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(fix_call(
            "label-invalid",
            format!(
                "a label's value has at most {MAX_VALUE_BYTES} bytes, this one has {}",
                value.len()
            ),
        ));
    }
    Ok((name.into(), value.into()))
}
