//! The queues of a connection, one for each topic, and the order in which their messages came.
//!
//! The client puts each message into the queue of its topic, in the order in which the server has sent them, so that the order
//! of messages on different topics is lost. A publisher numbers its messages. [`Queues::take`] gives those of one
//! publisher back in the order of their numbers, without a wait and without a gap to wait for:
//!
//! 1. It empties all queues that have something, one after the other. Meanwhile more may come, so that an earlier
//!    message may be in a queue that was emptied before it came.
//! 2. It empties them once more. All that came before a message of the first time is here by now.
//! 3. It gives out what the first time has found, and of the second what has a smaller number than a message of the same
//!    publisher among it. The rest is the first time of the next round.
//! 4. What is older than a message that was given out before it has come by a connection that its publisher has given up:
//!    the system still sends what was in the buffer of its socket, once the network is back. It counts as lost.
//!
//! A queue that is empty wakes its bell with the next message, before the client looks at the message after that one.
//! So the list of bells has each queue with something in it, and queues without cost nothing.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::frame::Stamp;

/// Publishers of whom the last number is remembered. Each start of a node is one more; beyond it all are forgotten.
const PUBLISHERS: usize = 1_024;

/// The queues of a connection, by topic.
#[derive(Debug)]
pub(super) struct Queues<Q> {
    state: Mutex<State<Q>>,
    /// The last number of each publisher that was given out.
    given: Mutex<HashMap<u64, u64>>,
    bells: Arc<Bells>,
    /// Messages that one queue holds at most.
    capacity: usize,
}

#[derive(Debug)]
struct State<Q> {
    next: u64,
    numbers: HashMap<Arc<str>, u64>,
    queues: HashMap<u64, Queue<Q>>,
}

#[derive(Debug)]
struct Queue<Q> {
    topic: Arc<str>,
    messages: Q,
    bell: Arc<Bell>,
    waker: Waker,
}

/// The numbers of the queues that have something.
#[derive(Debug, Default)]
struct Bells {
    rung: Mutex<Vec<u64>>,
    changed: Notify,
}

/// The waker of a queue.
#[derive(Debug)]
struct Bell {
    number: u64,
    is_listed: AtomicBool,
    bells: Arc<Bells>,
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Bell>) {
        if !self.is_listed.swap(true, Ordering::AcqRel) {
            self.bells.rung.lock().push(self.number);
            self.bells.changed.notify_one();
        }
    }
}

/// A message from a queue.
#[derive(Debug)]
pub(super) struct Taken<M> {
    pub(super) topic: Arc<str>,
    pub(super) stamp: Option<Stamp>,
    pub(super) message: M,
}

impl<Q: Stream + Unpin> Queues<Q> {
    /// Makes no queues yet.
    pub(super) fn new(capacity: usize) -> Queues<Q> {
        let state = State { next: 0, numbers: HashMap::new(), queues: HashMap::new() };
        Queues {
            state: Mutex::new(state),
            given: Mutex::default(),
            bells: Arc::default(),
            capacity,
        }
    }

    /// Adds the queue of a topic.
    pub(super) fn add(&self, topic: Arc<str>, messages: Q) {
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        let bells = self.bells.clone();
        let bell = Arc::new(Bell { number, is_listed: AtomicBool::new(false), bells });
        let waker = Waker::from(bell.clone());
        let queue = Queue { topic: topic.clone(), messages, bell: bell.clone(), waker };
        state.queues.insert(number, queue);
        if let Some(before) = state.numbers.insert(topic, number) {
            state.queues.remove(&before);
        }
        drop(state);
        // Its first look finds what has come already, and has the bell rung by what comes then.
        bell.wake();
    }

    /// Removes the queue of a topic, with what is in it.
    pub(super) fn remove(&self, topic: &str) {
        let mut state = self.state.lock();
        let removed = state.numbers.remove(topic).and_then(|number| state.queues.remove(&number));
        drop(state);
        drop(removed);
    }

    /// Waits until a queue has something.
    pub(super) async fn filled(&self) {
        self.bells.changed.notified().await;
    }

    /// Takes what can be given out, in order. `kept` is what was taken for the next round; while there is something in
    /// it, there is no need to wait. The task must be without the budget of tokio, as a queue that hides its messages
    /// for a while would lose its place.
    pub(super) fn take<M>(
        &self,
        kept: &mut Vec<Taken<M>>,
        read: impl Fn(Q::Item) -> Option<(Option<Stamp>, M)>,
    ) -> Vec<Taken<M>> {
        let mut first = std::mem::take(kept);
        if first.is_empty() {
            self.empty(&mut first, &read);
        }
        let mut second = Vec::new();
        self.empty(&mut second, &read);
        let mut taken = ordered(first, second, kept);
        let mut given = self.given.lock();
        taken.retain(|taken| taken.stamp.is_none_or(|stamp| is_later(&mut given, stamp)));
        taken
    }

    /// Empties all queues that have something.
    fn empty<M>(
        &self,
        found: &mut Vec<Taken<M>>,
        read: impl Fn(Q::Item) -> Option<(Option<Stamp>, M)>,
    ) {
        let rung = std::mem::take(&mut *self.bells.rung.lock());
        if rung.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for number in rung {
            let Some(queue) = state.queues.get_mut(&number) else { continue };
            // From here on the bell is listed again by each message.
            queue.bell.is_listed.swap(false, Ordering::AcqRel);
            let mut is_empty = false;
            // Messages that came since the beginning belong to the next round.
            for _ in 0..self.capacity {
                let mut context = Context::from_waker(&queue.waker);
                match Pin::new(&mut queue.messages).poll_next(&mut context) {
                    Poll::Ready(Some(item)) => {
                        let topic = queue.topic.clone();
                        let read = read(item);
                        found.extend(read.map(|(stamp, message)| Taken { topic, stamp, message }));
                    }
                    Poll::Ready(None) | Poll::Pending => {
                        is_empty = true;
                        break;
                    }
                }
            }
            if !is_empty {
                queue.bell.wake_by_ref();
            }
        }
    }
}

/// Returns true for a message that comes after all others of its publisher, and remembers it.
fn is_later(given: &mut HashMap<u64, u64>, Stamp { publisher, number }: Stamp) -> bool {
    if given.len() >= PUBLISHERS && !given.contains_key(&publisher) {
        given.clear();
    }
    let last = given.entry(publisher).or_default();
    let is_later = number > *last;
    *last = number.max(*last);
    is_later
}

/// Gives out the messages of the first time in order, with those of the second that belong among them.
fn ordered<M>(
    mut first: Vec<Taken<M>>,
    second: Vec<Taken<M>>,
    kept: &mut Vec<Taken<M>>,
) -> Vec<Taken<M>> {
    if first.len() == 1 && second.is_empty() {
        return first;
    }
    let mut last: HashMap<u64, u64> = HashMap::new();
    for Stamp { publisher, number } in first.iter().filter_map(|taken| taken.stamp) {
        let last = last.entry(publisher).or_default();
        *last = number.max(*last);
    }
    let is_among = |taken: &Taken<M>| {
        let stamp = taken.stamp;
        stamp.is_some_and(|stamp| last.get(&stamp.publisher).is_some_and(|l| stamp.number < *l))
    };
    for taken in second {
        if is_among(&taken) {
            first.push(taken);
        } else {
            kept.push(taken);
        }
    }
    // Those without a stamp keep the order of their queues.
    first.sort_by_key(|taken| taken.stamp.map(|stamp| (stamp.publisher, stamp.number)));
    first
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures_util::stream::poll_fn;
    use proptest::prelude::*;
    use tokio::sync::mpsc;

    use super::*;

    type Item = (Option<Stamp>, u64);

    /// Makes queues of topics, and their other ends.
    fn queues(
        topics: usize,
    ) -> (Queues<impl Stream<Item = Item> + Unpin>, Vec<mpsc::Sender<Item>>) {
        let queues = Queues::new(1_000);
        let ends = (0..topics).map(|number| {
            let (sender, mut receiver) = mpsc::channel(1_000);
            queues.add(
                Arc::from(number.to_string()),
                poll_fn(move |context| receiver.poll_recv(context)),
            );
            sender
        });
        let ends = ends.collect();
        (queues, ends)
    }

    proptest! {
        #[test]
        fn messages_that_came_before_are_given_out_before(
            parts in proptest::collection::vec(
                proptest::collection::vec((0..5_usize, 0..3_u64), 0..20), 1..8,
            ),
        ) {
            let (queues, ends) = queues(5);
            let (mut numbers, mut sent) = (BTreeMap::new(), 0);
            let (mut kept, mut found) = (Vec::new(), Vec::new());
            for part in parts {
                for (topic, publisher) in part {
                    let number = numbers.entry(publisher).or_insert(0);
                    *number += 1;
                    sent += 1;
                    let stamp = Stamp { publisher, number: *number };
                    ends[topic].try_send((Some(stamp), 0)).expect("room");
                }
                found.extend(queues.take(&mut kept, Some));
            }
            while !kept.is_empty() {
                found.extend(queues.take(&mut kept, Some));
            }
            prop_assert_eq!(found.len(), sent);
            let mut last = BTreeMap::new();
            for stamp in found.iter().filter_map(|taken| taken.stamp) {
                let before = last.insert(stamp.publisher, stamp.number);
                prop_assert_eq!(before.unwrap_or(0) + 1, stamp.number);
            }
        }
    }

    #[test]
    fn what_comes_during_a_round_does_not_overtake_what_came_before() {
        const MESSAGES: u64 = 200_000;
        let (queues, ends) = queues(40);
        let feeder = std::thread::spawn(move || {
            let mut place = 1_usize;
            for number in 1..=MESSAGES {
                place = place.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(3_037_000_493);
                let stamp = Stamp { publisher: number % 2, number };
                ends[(place >> 33) % 40].blocking_send((Some(stamp), number)).expect("taken");
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (mut kept, mut count, mut last) = (Vec::new(), 0, [0, 0]);
        runtime.block_on(tokio::task::unconstrained(async {
            while count < MESSAGES {
                if kept.is_empty() {
                    queues.filled().await;
                }
                for taken in queues.take(&mut kept, Some) {
                    let stamp = taken.stamp.expect("a stamp");
                    let last = &mut last[usize::try_from(stamp.publisher).expect("0 or 1")];
                    assert!(stamp.number > *last, "{} after {last}", stamp.number);
                    *last = stamp.number;
                    count += 1;
                }
            }
        }));
        feeder.join().expect("all was sent");
    }

    #[test]
    fn a_lost_message_holds_nothing_back() {
        let (queues, ends) = queues(2);
        let mut kept = Vec::new();
        for number in [1, 7, 1_000] {
            let stamp = Stamp { publisher: 1, number };
            ends[0].try_send((Some(stamp), number)).expect("room");
        }
        let found: Vec<u64> =
            queues.take(&mut kept, Some).into_iter().map(|taken| taken.message).collect();
        assert_eq!((found, kept.len()), (vec![1, 7, 1_000], 0));
    }

    #[test]
    fn a_message_that_comes_after_later_ones_is_lost() {
        let (queues, ends) = queues(2);
        let take = |numbers: &[u64]| -> Vec<u64> {
            for number in numbers {
                let stamp = Stamp { publisher: 1, number: *number };
                ends[0].try_send((Some(stamp), *number)).expect("room");
            }
            queues.take(&mut Vec::new(), Some).into_iter().map(|taken| taken.message).collect()
        };
        assert_eq!(take(&[1, 5]), [1, 5]);
        assert_eq!(take(&[2, 3, 5]), Vec::<u64>::new());
        assert_eq!(take(&[4, 6]), [6]);
        let another = Stamp { publisher: 2, number: 1 };
        ends[1].try_send((Some(another), 9)).expect("room");
        assert_eq!(queues.take(&mut Vec::new(), Some).len(), 1, "one of another publisher");
    }

    #[test]
    fn entries_of_logs_keep_the_order_of_their_queue() {
        let (queues, ends) = queues(1);
        for number in [3, 1, 2] {
            ends[0].try_send((None, number)).expect("room");
        }
        queues.remove("unknown");
        let found = queues.take(&mut Vec::new(), Some);
        assert_eq!(found.iter().map(|taken| taken.message).collect::<Vec<_>>(), [3, 1, 2]);
        ends[0].try_send((None, 4)).expect("room");
        queues.remove("0");
        assert!(ends[0].is_closed() && queues.take(&mut Vec::new(), Some).is_empty());
    }
}
