//! The events of the engine, as a node takes them.

use std::sync::Arc;

use bytes::Bytes;
use wharf_cluster::{Delivery, LinkState, Position};

use crate::node::Shared;

/// A message that the engine has brought.
pub(crate) struct Taken {
    pub(crate) topic: Arc<str>,
    pub(crate) message: Bytes,
    /// Its place in the log of the topic's name, if it is in one.
    pub(crate) position: Option<Position>,
}

/// Handles an event of the engine. Returns the message, if it is one.
pub(crate) fn taken(shared: &Shared, delivery: Delivery) -> Option<Taken> {
    match delivery {
        Delivery::Message { topic, message, position } => {
            return Some(Taken { topic, message, position });
        }
        Delivery::Interrupted { .. } => {
            let reason = match shared.engine.status().link {
                LinkState::Down(why) => why.to_string(),
                _ => "messages came faster than they were handled".to_owned(),
            };
            tracing::warn!(reason, "messages of other nodes are missing; local traffic goes on");
        }
        Delivery::Restored => {
            let dropped = shared.engine.status().dropped;
            tracing::info!(dropped, "other nodes are reached again");
            shared.restored();
        }
    }
    None
}
