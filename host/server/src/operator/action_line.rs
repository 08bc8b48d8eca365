//! The line of the log about a command.

use std::sync::Arc;

use wharf_contract::text::{cut, escape};
use wharf_hub::remote::Remote;
use wharf_runtime::channel::Channel;

use super::route::Command;
use super::{Api, MAX_SHOWN_BYTES};

/// The line of the log about a command, so that its cause can be found later. It is written when this
/// is dropped: also if the host has panicked while it ran the command.
pub(super) struct ActionLine {
    api: Arc<Api>,
    is_final: bool,
    remote: Remote,
    channel: Arc<str>,
    action: &'static str,
    /// Connection, user or room.
    subject: Option<String>,
    /// Status of the answer, if there is one.
    pub(super) status: Option<u16>,
}

impl ActionLine {
    /// Begins the line of a command.
    pub(super) fn of(
        api: &Arc<Api>,
        remote: Remote,
        channel: &Channel,
        command: &Command,
    ) -> ActionLine {
        let subject = command.subject();
        let subject =
            subject.map(|(kind, name)| format!("{kind} {}", escape(cut(name, MAX_SHOWN_BYTES))));
        let (channel, action) = (channel.context.name.clone(), command.name());
        let (api, is_final) = (api.clone(), command.is_final());
        ActionLine { api, is_final, remote, channel, action, subject, status: None }
    }
}

impl Drop for ActionLine {
    fn drop(&mut self) {
        let ActionLine { api, is_final, remote, channel, action, subject, status } = self;
        let budget = if *is_final { &api.action_lines } else { &api.message_lines };
        if budget.take() {
            let channel: &str = channel;
            tracing::info!(%remote, channel, action, subject, status, "operator's action");
        }
    }
}
