//! Messages between nodes, as messages of NATS.

use bytes::Bytes;

use super::Nats;
use super::failure::too_large;
use crate::answer::Answer;
use crate::error::Unavailable;
use crate::topics::Topics;

impl Topics for Nats {
    fn publish(&self, topic: &str, message: Bytes) -> Result<(), Unavailable> {
        if message.len() > self.link.client.max_message() {
            return Err(too_large());
        }
        self.link.outbox.put(topic, message)
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.link.outbox.has_room(bytes)
    }

    fn subscribe(&self, topics: Vec<String>) -> Answer<'_, Result<(), Unavailable>> {
        Box::pin(self.link.subscribe(topics))
    }

    fn unsubscribe(&self, topics: Vec<String>) {
        self.link.subscriptions.remove(topics);
    }
}
