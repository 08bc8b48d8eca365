//! Messages between nodes.

use bytes::Bytes;

use crate::answer::Answer;
use crate::error::Unavailable;

/// Messages between nodes, by topic.
///
/// **Promised**: the messages that one node publishes are received in their order, over all topics. Nothing is received
/// twice. A node receives its own messages, if it subscribes to their topic.
///
/// **Not promised**: that a message arrives. Redis and NATS forget a message that a subscriber was not there to
/// take. Each loss that can be known of is told by [`Delivery::Interrupted`](crate::Delivery::Interrupted); who needs
/// more appends to a [log](crate::Logs) and compares offsets. Messages of different nodes have no order among each
/// other, nor have the entries of a log and the messages on any topic.
pub trait Topics {
    /// Queues a message. It never waits.
    ///
    /// While the link is down, messages wait up to the bound [`Limits::outbox_bytes`](crate::Limits::outbox_bytes), and are
    /// dropped and counted when they are older than [`Limits::outbox_age`](crate::Limits::outbox_age).
    ///
    /// # Errors
    ///
    /// The bound is reached, the message is larger than the engine carries, the name is not valid, or the engine is
    /// closed. The message is not sent.
    fn publish(&self, topic: &str, message: Bytes) -> Result<(), Unavailable>;

    /// Returns true if a message of so many bytes would be queued now. A caller that asks before it promises something
    /// is refused a little before the bound: the rest is for those that were allowed a moment ago, and for the node itself.
    fn has_room(&self, bytes: usize) -> bool;

    /// Subscribes to topics. Answers when each message that is published from now on is received, as long as the
    /// link stands. Calls of many tasks become few commands.
    ///
    /// A cluster of NATS servers tells the other servers a little later; messages published there within that time
    /// may be missed.
    ///
    /// # Errors
    ///
    /// The link is down, or breaks meanwhile. The topics are remembered nevertheless, and are subscribed to before
    /// the next [`Delivery::Restored`](crate::Delivery::Restored); [`unsubscribe`](Topics::unsubscribe) takes that back.
    fn subscribe(&self, topics: Vec<String>) -> Answer<'_, Result<(), Unavailable>>;

    /// Ends subscriptions, a little later. Messages that are on their way may still be received.
    fn unsubscribe(&self, topics: Vec<String>);
}
