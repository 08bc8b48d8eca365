//! Messages between nodes, by the pub/sub of Redis.

use bytes::Bytes;

use super::Redis;
use crate::answer::Answer;
use crate::error::Unavailable;
use crate::names::check_name;
use crate::topics::Topics;

impl Topics for Redis {
    fn publish(&self, topic: &str, message: Bytes) -> Result<(), Unavailable> {
        self.shared.outbox.put(topic, message)
    }

    fn subscribe(&self, topics: Vec<String>) -> Answer<'_, Result<(), Unavailable>> {
        Box::pin(async move {
            topics.iter().try_for_each(|topic| check_name(topic))?;
            self.shared.subscriptions.add(topics).await
        })
    }

    fn unsubscribe(&self, topics: Vec<String>) {
        self.shared.subscriptions.remove(topics);
    }
}
