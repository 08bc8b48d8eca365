//! Messages from outside: a channel is asked without a connection, and its answer goes to the
//! sender of the message.

use std::sync::Arc;

use bytes::Bytes;

use crate::channel::Channel;
use crate::event_kind::EventKind;
use crate::guest_call::{About, CallError, GuestCall, Patience};
use crate::host_calls::Call;
use crate::instance::{Finished, OutsideAnswer, OutsideRefusal};
use wharf_hub::outbound::PendingWrites;

/// Asks a channel. The effects of its handler commit if it replies, and are dropped if it refuses.
/// `None` if it has no handler for such messages. The future must be run to its end: a guest call
/// must not be dropped half-way.
///
/// # Errors
///
/// The call failed; the log has the reason.
pub async fn ask(
    channel: Arc<Channel>,
    payload: Bytes,
) -> Result<Option<OutsideAnswer>, CallError> {
    let guest_call = GuestCall {
        channel: &channel,
        about: About::Channel,
        event: EventKind::Outside,
        patience: Patience::Bounded,
    };
    let finished = guest_call
        .run(async |instance| instance.handle_outside(Call::detached(), &payload).await)
        .await;
    let Finished { mut call, returned } = finished?;
    if let Some(Ok(_)) = &returned {
        let mut writes = PendingWrites::default();
        if call.commit(&channel.context.hub, &mut writes).await.is_err() {
            return Ok(Some(Err(undone())));
        }
        writes.write().await;
    }
    Ok(returned)
}

/// Returns the answer to a message whose effects are dropped, since they cannot be recorded.
fn undone() -> OutsideRefusal {
    let body =
        r#"{"error":{"code":"data-unavailable","message":"the host cannot keep data at present"}}"#;
    OutsideRefusal { status: 503, body: body.into() }
}
