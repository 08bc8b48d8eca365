//! The place of a connection among others, which it leaves whatever happens.

use std::sync::Arc;

use wharf_hub::connection::ConnectionRecord;
use wharf_runtime::channel::Channel;

/// The place of a connection in its hub, its rooms and its user, and its socket. Dropping it leaves
/// all of them, also if the host has panicked.
pub(super) struct InHub {
    channel: Arc<Channel>,
    client: Arc<ConnectionRecord>,
    is_left: bool,
}

impl InHub {
    /// Makes the place of a connection that its hub has.
    pub(super) fn of(channel: &Arc<Channel>, client: &Arc<ConnectionRecord>) -> InHub {
        InHub { channel: channel.clone(), client: client.clone(), is_left: false }
    }

    /// Leaves the hub, once.
    pub(super) fn leave(&mut self) {
        if !std::mem::replace(&mut self.is_left, true) {
            self.channel.context.hub.remove(&self.client);
        }
    }
}

impl Drop for InHub {
    fn drop(&mut self) {
        self.leave();
        self.client.outbound.shut();
    }
}
