//! The figures of this host as a stream: once a second, and outcomes of loads as they come.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::events::{Ended, Events};
use super::loads::LoadHistory;
use crate::metrics::Metrics;

/// Time between two figures.
const PAUSE: Duration = Duration::from_secs(1);

/// Age up to which figures are shared among streams.
const FRESH: Duration = Duration::from_millis(500);

/// The figures that were taken last, for all streams.
#[derive(Debug, Default)]
pub(super) struct LastFigures(Mutex<Option<(Instant, Arc<str>)>>);

impl LastFigures {
    /// Returns figures, which are taken anew if the last ones are old.
    pub(super) async fn get(&self, metrics: &Metrics) -> Arc<str> {
        let mut last = self.0.lock().await;
        if let Some((at, figures)) = &*last
            && at.elapsed() < FRESH
        {
            return figures.clone();
        }
        let figures: Arc<str> = metrics.stats().await.to_string().into();
        *last = Some((Instant::now(), figures.clone()));
        figures
    }
}

/// Sends figures and outcomes until the stream ends.
pub(super) async fn follow<F>(
    mut events: Events,
    loads: &LoadHistory,
    figures: impl Fn() -> F,
) -> Ended
where
    F: Future<Output = Arc<str>>,
{
    let mut news = loads.follow();
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = async {
            tokio::select! {
                _ = ticks.tick() => Ok(None),
                load = news.recv() => load.map(Some),
            }
        };
        let sent = match events.wait(next).await {
            Ok(Ok(None)) => events.send("stats", &figures().await),
            Ok(Ok(Some(load))) => events.send("load", &load.shown().to_string()),
            // The page asks for the history when it shows it.
            Ok(Err(RecvError::Lagged(_))) => Ok(()),
            Ok(Err(RecvError::Closed)) => Err(Ended),
            Err(ended) => Err(ended),
        };
        if let Err(ended) = sent {
            return ended;
        }
    }
}
