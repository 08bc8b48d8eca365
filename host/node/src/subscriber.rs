//! The subscriptions of a node, in the order in which they begin and end.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use wharf_cluster::Engine;

use crate::topics::Topic;

/// The wishes of a node. A later one for the same topic replaces an earlier one.
#[derive(Debug, Default)]
pub(crate) struct Subscriber {
    wishes: Mutex<HashMap<Topic, bool>>,
    changed: Notify,
}

impl Subscriber {
    /// Has a topic be subscribed to.
    pub(crate) fn open(&self, topic: Topic) {
        self.wishes.lock().insert(topic, true);
        self.changed.notify_one();
    }

    /// Has a subscription be ended.
    pub(crate) fn close(&self, topic: Topic) {
        self.wishes.lock().insert(topic, false);
        self.changed.notify_one();
    }

    /// Fulfils wishes until it is dropped. `subscribed` is told the topics whose messages are received from now on.
    pub(crate) async fn run(&self, engine: Arc<dyn Engine>, subscribed: impl Fn(Vec<Topic>)) {
        loop {
            self.changed.notified().await;
            let wishes = std::mem::take(&mut *self.wishes.lock());
            let (open, close): (Vec<_>, Vec<_>) = wishes.into_iter().partition(|(_, open)| *open);
            if !close.is_empty() {
                engine.unsubscribe(close.iter().map(|(topic, _)| topic.name()).collect());
            }
            if !open.is_empty() {
                let names = open.iter().map(|(topic, _)| topic.name()).collect();
                // Without a link they are subscribed to when it is back, which is told to all parts.
                let _ = engine.subscribe(names).await;
                subscribed(open.into_iter().map(|(topic, _)| topic).collect());
            }
        }
    }
}
