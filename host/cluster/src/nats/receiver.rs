//! The side of a connection on which messages come in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures_util::StreamExt;
use tokio::task::JoinHandle;

use super::frame;
use super::names::subject_of_topic;
use super::probe::Probe;
use crate::deliveries::Inbox;
use crate::error::Unavailable;

/// The side of a connection on which messages come in.
pub(super) struct Receiver {
    client: Client,
    pub(super) probe: Probe,
    topics: HashMap<Arc<str>, Receiving>,
}

/// A topic that is subscribed to. Dropping it ends the subscription.
struct Receiving(JoinHandle<()>);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Receiver {
    pub(super) fn new(client: Client, probe: Probe) -> Receiver {
        Receiver { client, probe, topics: HashMap::new() }
    }

    /// Subscribes to topics, and waits until the server knows them.
    pub(super) async fn add(
        &mut self,
        prefix: &str,
        add: &[Arc<str>],
        inbox: &Arc<Inbox>,
        timeout: Duration,
    ) -> Result<(), Unavailable> {
        if add.is_empty() {
            return Ok(());
        }
        for topic in add {
            let subject = subject_of_topic(prefix, topic);
            let subscribing = tokio::time::timeout(timeout, self.client.subscribe(subject));
            let subscriber = subscribing.await.map_err(|_| Unavailable::timed_out())?;
            let subscriber = subscriber.map_err(|_| Unavailable::link_lost())?;
            let task = tokio::spawn(receive(inbox.clone(), topic.clone(), subscriber));
            self.topics.insert(topic.clone(), Receiving(task));
        }
        self.probe.answered(timeout).await
    }

    /// Ends subscriptions.
    pub(super) fn remove(&mut self, remove: &[Arc<str>]) {
        for topic in remove {
            self.topics.remove(topic);
        }
    }
}

/// Takes the messages of a topic. The inbox is bounded, so that this task is never slow.
async fn receive(inbox: Arc<Inbox>, topic: Arc<str>, mut subscriber: Subscriber) {
    while let Some(message) = subscriber.next().await {
        match frame::read_message(message.payload) {
            Some((message, position)) => inbox.message(topic.clone(), message, position, None),
            None => tracing::debug!("a message of an unknown form was ignored"),
        }
    }
}
