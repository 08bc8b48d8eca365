//! A question to the server itself.

use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures_util::StreamExt;

use crate::error::Unavailable;
use crate::random::random;

/// A question to the server itself: a message to this node alone, which comes back when the server has done all that it
/// was sent before. The client's own `flush` waits for the socket only.
pub(super) struct Probe {
    client: Client,
    subject: String,
    answers: Subscriber,
    asked: u64,
}

impl Probe {
    pub(super) async fn new(prefix: &str, client: &Client) -> Result<Probe, Unavailable> {
        let subject = format!("{prefix}.p.{}", random()?);
        let answers = client.subscribe(subject.clone()).await;
        let answers = answers.map_err(|_| Unavailable::link_lost())?;
        Ok(Probe { client: client.clone(), subject, answers, asked: 0 })
    }

    /// Waits until the server has done all that it was sent.
    pub(super) async fn answered(&mut self, limit: Duration) -> Result<(), Unavailable> {
        let answered = tokio::time::timeout(limit, self.ask()).await;
        answered.unwrap_or_else(|_| Err(Unavailable::timed_out()))
    }

    async fn ask(&mut self) -> Result<(), Unavailable> {
        self.asked += 1;
        let number = self.asked.to_string();
        let sent = self.client.publish(self.subject.clone(), number.clone().into()).await;
        sent.map_err(|_| Unavailable::link_lost())?;
        // Those of questions that were given up are behind it.
        while let Some(answer) = self.answers.next().await {
            if answer.payload == number.as_bytes() {
                return Ok(());
            }
        }
        Err(Unavailable::link_lost())
    }
}
