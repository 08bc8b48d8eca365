//! Messages from outside: a channel is asked on behalf of nobody's connection, and what it answers is
//! for whoever has sent the message.

use std::sync::Arc;

use bytes::Bytes;

use crate::channel::Channel;
use crate::host_calls::{Call, Phase};
use crate::instance::{Finished, OutsideAnswer};
use crate::lease::{About, Unanswered, lease};
use wharf_hub::outbound::Drains;

/// The event's name, for logs.
const EVENT: &str = "on-outside-message";

/// Ask a channel. What its handler did commits if it replies, and is dropped if it refuses. `None` if
/// it has no handler for such messages. To be run to its end: a guest call must not be dropped
/// half-way.
pub async fn ask(
    channel: Arc<Channel>,
    payload: Bytes,
) -> Result<Option<OutsideAnswer>, Unanswered> {
    let answered = call(&channel, &payload).await;
    if let Err(unanswered) = &answered {
        unanswered.log(&channel, About::Channel, EVENT);
    }
    answered
}

async fn call(channel: &Channel, payload: &[u8]) -> Result<Option<OutsideAnswer>, Unanswered> {
    let context = &channel.context;
    let (generation, mut lease) = lease(&context.config, channel).await?;
    let finished = lease.instance.handle_outside(Call::apart(Phase::Apart), payload).await;
    generation.pool.give_back(lease);
    let Finished { mut call, returned } =
        finished.map_err(|failure| Unanswered::Failed(generation.number, failure))?;
    if let Some(Ok(_)) = &returned {
        let mut drains = Drains::default();
        call.commit(&context.hub, &mut drains).await;
        drains.drain().await;
    }
    Ok(returned)
}
