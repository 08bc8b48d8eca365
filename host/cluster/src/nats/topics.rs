//! Messages between nodes, as messages of NATS.

use bytes::Bytes;

use super::Nats;
use super::failure::too_large;
use crate::answer::Answer;
use crate::error::Unavailable;
use crate::names::check_name;
use crate::topics::Topics;

impl Topics for Nats {
    fn publish(&self, topic: &str, message: Bytes) -> Result<(), Unavailable> {
        if message.len() > self.shared.max_message() {
            return Err(too_large());
        }
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
