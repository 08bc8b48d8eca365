//! A guest call of a connection, and how its socket is looked after meanwhile.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::wire::Wire;
use wharf_config::Config;
use wharf_hub::connection::ConnectionRecord;
use wharf_hub::outbound::Drains;
use wharf_runtime::channel::Channel;
use wharf_runtime::host_calls::{Call, Phase};
use wharf_runtime::instance::{Event, Finished};
use wharf_runtime::lease::{About, Unanswered, lease, patient_lease};

/// Run an event's handler.
pub(super) async fn start(
    config: &Config,
    channel: &Channel,
    client: &Arc<ConnectionRecord>,
    session: &[u8],
    event: &Event<'_>,
) -> Result<Finished<Option<Vec<u8>>>, Unanswered> {
    let phase = match event {
        Event::Close { .. } => Phase::Closing,
        _ => Phase::Open,
    };
    let (generation, mut lease) = match event {
        // These keep their place for as long as it takes. An end must run; and a client is not to
        // blame for what others post to it, or for its channel's timers.
        Event::Close { .. } | Event::Notice { .. } | Event::Timer { .. } => {
            patient_lease(config, channel, About::Connection(client), event.name()).await?
        }
        _ => lease(config, channel).await?,
    };
    let mut call = Call::new(client.clone(), phase);
    call.hops = event.hops();
    let finished = lease.instance.handle(call, session, event).await;
    generation.pool.give_back(lease);
    finished.map_err(|failure| Unanswered::Failed(generation.number, failure))
}

/// Wait for a guest call. Most are finished when they are first polled; while one is not, the
/// socket is looked after.
pub(super) async fn attend<F: Future>(
    mut call: Pin<&mut F>,
    wire: &mut Wire,
    drains: &mut Drains,
) -> F::Output {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = call.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        // What earlier events caused must not wait for this one.
        drains.drain_now();
        wire.poll_ahead(cx);
        Poll::Pending
    })
    .await
}
