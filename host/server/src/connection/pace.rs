//! The pace at which a client's messages are handled, where that is limited.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A bucket of tokens, of which each message takes one. It is full after a second without
/// messages, and then holds those of a second.
#[derive(Debug)]
pub(super) struct Pace {
    /// Time in which the bucket gains a token.
    interval: Duration,
    /// Time in which an empty bucket gains all tokens but one.
    burst: Duration,
    /// Time at which the bucket would be full.
    full: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Pace {
    /// Makes a full bucket; `None` if there is no limit, which is written as 0.
    pub(super) fn of(messages_per_second: usize) -> Option<Box<Pace>> {
        let rate = u32::try_from(messages_per_second).unwrap_or(u32::MAX);
        let interval = Duration::from_secs(1).checked_div(rate)?;
        let (burst, full) = (interval * (rate - 1), Instant::now());
        let timer = Box::pin(tokio::time::sleep_until(full));
        Some(Box::new(Pace { interval, burst, full, timer }))
    }

    /// Takes a token, or registers the task to be woken when there is one.
    pub(super) fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            let next = self.full.checked_sub(self.burst).unwrap_or(now);
            if next <= now {
                self.full = self.full.max(now) + self.interval;
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(next);
            std::task::ready!(self.timer.as_mut().poll(cx));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of tokens that are there at once.
    fn taken(pace: &mut Pace) -> usize {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        std::iter::from_fn(|| pace.poll_take(&mut cx).is_ready().then_some(())).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_a_second_is_let_through_and_then_the_rate() {
        let mut pace = Pace::of(10).expect("a limit");
        assert_eq!(taken(&mut pace), 10);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(taken(&mut pace), 1);
        tokio::time::advance(Duration::from_millis(350)).await;
        assert_eq!(taken(&mut pace), 3);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(taken(&mut pace), 10, "it holds no more than those of a second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_is_woken_when_there_is_a_token() {
        let mut pace = Pace::of(2).expect("a limit");
        let begun = Instant::now();
        for _ in 0..6 {
            std::future::poll_fn(|cx| pace.poll_take(cx)).await;
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test]
    async fn there_may_be_no_limit() {
        assert!(Pace::of(0).is_none());
        let mut single = Pace::of(1).expect("a limit");
        assert_eq!(taken(&mut single), 1);
    }
}
