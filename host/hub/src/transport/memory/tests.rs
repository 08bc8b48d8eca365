//! Both directions of a connection against a model, and between threads.

use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Counts how often a task would have been woken.
#[derive(Debug, Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    fn rings(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A step of one side.
#[derive(Clone, Debug)]
enum Step {
    Write(Vec<usize>),
    Read(usize),
    /// End its own direction.
    Shutdown,
    /// Close its end.
    Close,
}

fn steps() -> impl Strategy<Value = Vec<(bool, Step)>> {
    let step = prop_oneof![
        8 => prop::collection::vec(0..40_usize, 0..4).prop_map(Step::Write),
        8 => (0..60_usize).prop_map(Step::Read),
        1 => Just(Step::Shutdown),
        1 => Just(Step::Close),
    ];
    prop::collection::vec((any::<bool>(), step), 1..80)
}

/// The model of a direction.
#[derive(Default)]
struct Model {
    bytes: VecDeque<u8>,
    /// Number of the next byte that is written.
    next: u8,
    is_finished: bool,
    is_reset: bool,
    is_closed: bool,
    /// Numbers of rings when the writer and the reader began to wait.
    waiting_writer: Option<usize>,
    waiting_reader: Option<usize>,
}

/// A side: its end while it is open, and the bells of its two tasks.
struct Side {
    stream: Option<Stream>,
    reader: Arc<Bell>,
    writer: Arc<Bell>,
}

impl Side {
    fn new(stream: Stream) -> Side {
        Side { stream: Some(stream), reader: Arc::default(), writer: Arc::default() }
    }
}

fn check_bells(model: &Model, capacity: usize, reader: &Bell, writer: &Bell) {
    if let Some(before) = model.waiting_writer
        && (model.bytes.len() < capacity || model.is_finished || model.is_closed)
    {
        assert!(writer.rings() > before, "a writer that can go on is woken");
    }
    if let Some(before) = model.waiting_reader
        && (!model.bytes.is_empty() || model.is_finished || model.is_reset)
    {
        assert!(reader.rings() > before, "a reader that can go on is woken");
    }
}

fn write(side: &mut Side, model: &mut Model, capacity: usize, lengths: &[usize]) {
    let Some(stream) = &mut side.stream else {
        return;
    };
    let total: usize = lengths.iter().sum();
    let bytes: Vec<u8> = (0..total).map(|at| model.next.wrapping_add(at as u8)).collect();
    let mut rest = bytes.as_slice();
    let slices = lengths.iter().map(|length| {
        let (slice, after) = rest.split_at(*length);
        rest = after;
        IoSlice::new(slice)
    });
    let slices: Vec<_> = slices.collect();
    let waker = Waker::from(side.writer.clone());
    let mut cx = Context::from_waker(&waker);
    let before = side.writer.rings();
    model.waiting_writer = None;
    let room = capacity - model.bytes.len();
    match Pin::new(stream).poll_write_vectored(&mut cx, &slices) {
        Poll::Ready(Ok(written)) => {
            assert!(!model.is_finished && !model.is_closed);
            assert_eq!(written, total.min(room));
            model.bytes.extend(&bytes[..written]);
            model.next = model.next.wrapping_add(written as u8);
        }
        Poll::Ready(Err(error)) => {
            assert!(model.is_finished || model.is_closed);
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        }
        Poll::Pending => {
            assert!(total > 0 && room == 0);
            model.waiting_writer = Some(before);
        }
    }
}

fn read(side: &mut Side, model: &mut Model, length: usize) {
    let Some(stream) = &mut side.stream else {
        return;
    };
    let mut memory = vec![0; length];
    let mut buffer = ReadBuf::new(&mut memory);
    let waker = Waker::from(side.reader.clone());
    let mut cx = Context::from_waker(&waker);
    let before = side.reader.rings();
    model.waiting_reader = None;
    match Pin::new(stream).poll_read(&mut cx, &mut buffer) {
        Poll::Ready(Ok(())) => {
            let expected: Vec<u8> = model.bytes.drain(..length.min(model.bytes.len())).collect();
            assert_eq!(buffer.filled(), expected);
            assert!(length == 0 || !expected.is_empty() || model.is_finished);
        }
        Poll::Ready(Err(error)) => {
            assert!(model.bytes.is_empty() && model.is_reset);
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        Poll::Pending => {
            assert!(model.bytes.is_empty() && !model.is_finished && length > 0);
            model.waiting_reader = Some(before);
        }
    }
}

proptest! {
    #[test]
    fn both_directions_are_bounded_queues_whose_waiting_tasks_are_woken(
        capacity in 1..64_usize,
        steps in steps(),
    ) {
        let (left, right) = pair(capacity);
        let mut sides = [Side::new(left), Side::new(right)];
        // Each belongs to the side that writes.
        let mut models = [Model::default(), Model::default()];
        for (is_right, step) in steps {
            let (own, other) = (usize::from(is_right), usize::from(!is_right));
            match step {
                Step::Write(lengths) => {
                    write(&mut sides[own], &mut models[own], capacity, &lengths);
                }
                Step::Read(length) => read(&mut sides[own], &mut models[other], length),
                Step::Shutdown => {
                    if let Some(stream) = &mut sides[own].stream {
                        let mut cx = Context::from_waker(Waker::noop());
                        let done = Pin::new(stream).poll_shutdown(&mut cx);
                        prop_assert!(matches!(done, Poll::Ready(Ok(()))));
                        models[own].is_finished = true;
                    }
                }
                Step::Close => {
                    if sides[own].stream.take().is_some() {
                        let unread = std::mem::take(&mut models[other].bytes);
                        models[other].is_closed = true;
                        models[own].is_finished = true;
                        models[own].is_reset = !unread.is_empty();
                    }
                }
            }
            for (writer, reader) in [(0, 1), (1, 0)] {
                let bells = (&sides[reader].reader, &sides[writer].writer);
                check_bells(&models[writer], capacity, bells.0, bells.1);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bytes_arrive_in_order_between_threads_in_both_directions_at_once() {
    const BYTES: usize = 200_000;
    let (left, right) = pair(300);
    let ends = [left, right].into_iter().enumerate().map(|(end, stream)| {
        let (mut reader, mut writer) = stream.into_split();
        let writing = tokio::spawn(async move {
            let bytes: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
            for chunk in bytes.chunks(1 + 97 * (end + 1)) {
                writer.write_all(chunk).await.expect("the other side is there");
            }
        });
        let reading = tokio::spawn(async move {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).await.expect("it ends well");
            assert_eq!(bytes.len(), BYTES);
            assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
        });
        [writing, reading]
    });
    for task in ends.flatten().collect::<Vec<_>>() {
        task.await.expect("it does not panic");
    }
}

#[test]
fn an_idle_connection_has_no_memory_for_its_queues() {
    let (left, _right) = pair(64 * 1024);
    assert_eq!(left.writer.0.outgoing.state.lock().bytes.capacity(), 0);
}
