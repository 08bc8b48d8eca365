//! The side of a connection on which messages come in.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Subscriber};
use tokio::task::JoinHandle;

use super::frame;
use super::names::subject_of_topic;
use super::probe::Probe;
use super::queues::Queues;
use crate::deliveries::Inbox;
use crate::error::Unavailable;

/// Messages of one topic that the client keeps until they are taken. It drops what is beyond, and says so.
pub(super) const CAPACITY: usize = 8_192;

/// Messages after which the task lets others run.
const TURN: usize = 256;

/// The side of a connection on which messages come in.
pub(super) struct Receiver {
    client: Client,
    pub(super) probe: Probe,
    queues: Arc<Queues<Subscriber>>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Starts the task that takes the messages of all topics.
    pub(super) fn new(client: Client, probe: Probe, inbox: Arc<Inbox>) -> Receiver {
        let queues = Arc::new(Queues::new(CAPACITY));
        let task = tokio::spawn(tokio::task::unconstrained(receive(queues.clone(), inbox)));
        Receiver { client, probe, queues, task }
    }

    /// Subscribes to topics, and waits until the server knows them.
    pub(super) async fn add(
        &mut self,
        prefix: &str,
        add: &[Arc<str>],
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
            self.queues.add(topic.clone(), subscriber);
        }
        self.probe.answered(timeout).await
    }

    /// Ends subscriptions.
    pub(super) fn remove(&self, remove: &[Arc<str>]) {
        for topic in remove {
            self.queues.remove(topic);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes the messages of all topics. The inbox is bounded, so that this task is never slow.
async fn receive(queues: Arc<Queues<Subscriber>>, inbox: Arc<Inbox>) {
    let (mut kept, mut count) = (Vec::new(), 0);
    loop {
        if kept.is_empty() {
            queues.filled().await;
        }
        let read = |message: async_nats::Message| {
            let read = frame::read_message(message.payload);
            if read.is_none() {
                tracing::debug!("a message of an unknown form was ignored");
            }
            read
        };
        for taken in queues.take(&mut kept, read) {
            let (message, position) = taken.message;
            inbox.message(taken.topic, message, position, None);
            count += 1;
        }
        if count >= TURN {
            count = 0;
            tokio::task::yield_now().await;
        }
    }
}
