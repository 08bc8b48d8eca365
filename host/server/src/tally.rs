//! Events of which one line of the log in a second tells the number.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// The events since the last line about them.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<(u64, Option<Instant>)>);

impl Tally {
    /// Counts an event. Returns the number to tell, if a line may be written now.
    pub(crate) fn take(&self) -> Option<u64> {
        let mut tally = self.0.lock();
        let (events, told) = &mut *tally;
        *events += 1;
        let now = Instant::now();
        if told.is_some_and(|told| now < told + PAUSE) {
            return None;
        }
        *told = Some(now);
        Some(std::mem::take(events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_a_second_tells_the_events_since_the_one_before() {
        let tally = Tally::default();
        assert_eq!([tally.take(), tally.take(), tally.take()], [Some(1), None, None]);
        tokio::time::advance(PAUSE).await;
        assert_eq!([tally.take(), tally.take()], [Some(3), None]);
    }
}
