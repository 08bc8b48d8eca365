//! Messages between nodes, by the pub/sub of Redis.

use bytes::Bytes;

use super::Redis;
use crate::answer::Answer;
use crate::error::Unavailable;
use crate::topics::Topics;

impl Topics for Redis {
    fn publish(&self, topic: &str, message: Bytes) -> Result<(), Unavailable> {
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
