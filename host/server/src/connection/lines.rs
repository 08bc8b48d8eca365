//! Lines of the log about a connection.

use wharf_hub::client_bytes;
use wharf_hub::connection::ConnectionRecord;
use wharf_metrics::limits::Limit;
use wharf_runtime::channel::Channel;
use wharf_runtime::channel_context::ChannelContext;

/// Logs that a session is refused because of what all clients make the host hold.
pub(super) fn log_exhausted(channel: &Channel, client: &ConnectionRecord) {
    let ChannelContext { config, failure_budget, .. } = &*channel.context;
    Limit::MaxClientBytes.reached();
    if failure_budget.take() {
        tracing::warn!(
            channel = channel.name(),
            connection = client.id.to_string(),
            client_bytes = client_bytes::counted(),
            max_client_bytes = config.max_client_bytes,
            "no room for a session: clients make the host hold max_client_bytes together"
        );
    }
}

/// Logs a panic in the host, which is a bug of the host. It ends its own connection, and other
/// members and `on-close` see the end like any other.
pub(super) fn log_panic(channel: &Channel, client: &ConnectionRecord) {
    if channel.context.failure_budget.take() {
        tracing::error!(
            channel = channel.name(),
            connection = client.id.to_string(),
            "the host panicked while serving this connection; please report it"
        );
    }
}
