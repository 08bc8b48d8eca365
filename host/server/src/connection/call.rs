//! A guest call of a connection, and the care for its socket meanwhile.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::arrivals::Arrivals;
use wharf_hub::connection::ConnectionRecord;
use wharf_hub::outbound::PendingWrites;
use wharf_runtime::channel::Channel;
use wharf_runtime::guest_call::{About, CallError, GuestCall, Patience};
use wharf_runtime::host_calls::{Call, Phase};
use wharf_runtime::instance::{Event, Finished};

/// Runs an event's handler.
pub(super) async fn start(
    channel: &Channel,
    client: &Arc<ConnectionRecord>,
    session: &[u8],
    event: &Event<'_>,
) -> Result<Finished<Option<Vec<u8>>>, CallError> {
    let patience = match event {
        // The handler of a connection's end must run.
        Event::Close { .. } => Patience::Persistent,
        // A client is not to blame for what others post to it, or for its channel's timers.
        Event::Notice { .. } | Event::Timer { .. } => Patience::Unbounded,
        _ => Patience::Bounded,
    };
    let phase = match event {
        Event::Close { .. } => Phase::Closing,
        _ => Phase::Open,
    };
    let about = About::Connection(client);
    let guest_call = GuestCall { channel, about, event: event.kind(), patience };
    let finished = guest_call.run(async |instance| {
        let mut call = Call::new(client.clone(), phase);
        call.hops = event.hops();
        call.cause = event.cause().cloned();
        instance.handle(call, session, event).await
    });
    finished.await
}

/// Waits for a guest call. Most calls are finished at their first poll. During the others this
/// looks after the socket.
pub(super) async fn attend<F: Future>(
    mut call: Pin<&mut F>,
    arrivals: &mut Arrivals,
    writes: &mut PendingWrites,
) -> F::Output {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = call.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        // Effects of earlier events must not wait for this one.
        if !writes.write_some() {
            cx.waker().wake_by_ref();
        }
        arrivals.poll_ahead(cx);
        Poll::Pending
    })
    .await
}
