//! The input of clients, compared with the reading of another implementation of RFC 6455.

use std::collections::VecDeque;
use std::io::Cursor;
use std::task::Waker;

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::*;

const MAX_FRAME: usize = 3_000;
const MAX_MESSAGE: usize = 5_000;

/// The items that were read, up to the end or the first violation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Violated(Reason),
    Ended,
}

#[derive(Clone, Debug)]
struct Frame {
    first: u8,
    is_masked: bool,
    mask: [u8; 4],
    payload: Vec<u8>,
    long_length: bool,
}

impl Frame {
    fn encode(&self, into: &mut Vec<u8>) {
        let masked = if self.is_masked { 0x80 } else { 0 };
        into.push(self.first);
        match self.payload.len() {
            length if length > 0xffff || self.long_length => {
                into.push(masked | 127);
                into.extend((length as u64).to_be_bytes());
            }
            length if length > 125 => {
                into.push(masked | 126);
                into.extend((length as u16).to_be_bytes());
            }
            length => into.push(masked | length as u8),
        }
        if self.is_masked {
            into.extend(self.mask);
        }
        let mask = if self.is_masked { self.mask } else { [0; 4] };
        into.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
}

fn frame() -> impl Strategy<Value = Frame> {
    // Mostly valid frames, and now and then one that no client may send.
    let opcode = prop_oneof![
        10 => prop_oneof![Just(0u8), Just(1), Just(2)],
        3 => prop_oneof![Just(8u8), Just(9), Just(10)],
        1 => 0..16u8,
    ];
    let reserved = prop_oneof![40 => Just(0u8), 1 => 1..8u8];
    let payload = prop_oneof![
        4 => "[a-zß€😀]{0,40}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(any::<u8>(), 0..130),
        1 => (0..4_000usize).prop_map(|length| vec![b'x'; length]),
        1 => (900..5_100u16, "[a-zß]{0,9}").prop_map(|(code, reason)| {
            [&code.to_be_bytes()[..], reason.as_bytes()].concat()
        }),
    ];
    let rare = prop::bool::weighted(0.97);
    (any::<bool>(), opcode, reserved, rare, any::<[u8; 4]>(), payload, any::<bool>()).prop_map(
        |(is_final, opcode, reserved, is_masked, mask, payload, long)| Frame {
            first: (u8::from(is_final) << 7) | (reserved << 4) | opcode,
            is_masked,
            mask,
            long_length: long && payload.len() % 7 == 0,
            payload,
        },
    )
}

/// A stream that gives its bytes in pieces, and is not ready between two of them.
struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    pause: bool,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pause = !self.pause;
        if self.pause {
            return Poll::Pending;
        }
        if let Some(mut piece) = self.pieces.pop_front() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

pub(super) fn ours(stream: &[u8], cuts: &[usize], early: usize, block: usize) -> Vec<Read> {
    let config = Config {
        max_frame_bytes: MAX_FRAME,
        max_message_bytes: MAX_MESSAGE,
        read_buffer_bytes: block,
        ..Config::default()
    };
    let (early, rest) = stream.split_at(early.min(stream.len()));
    let mut pieces = VecDeque::new();
    let mut left = rest;
    for cut in cuts {
        let (piece, next) = left.split_at((*cut).min(left.len()));
        if !piece.is_empty() {
            pieces.push_back(piece.to_vec());
        }
        left = next;
    }
    if !left.is_empty() {
        pieces.push_back(left.to_vec());
    }
    let mut pieces = Pieces { pieces, pause: false };
    let mut input = Input::new(&config, early);
    let mut context = Context::from_waker(Waker::noop());
    let mut read = Vec::new();
    loop {
        let polled =
            input.poll_next(Pin::new(&mut pieces), &mut context, &mut false, &mut Turn::endless());
        let Poll::Ready(next) = polled else {
            assert!(input.block.is_none(), "whoever waits holds no block");
            continue;
        };
        read.push(match next {
            Ok(Some(Item::Text(text))) if std::str::from_utf8(&text).is_err() => {
                Read::Violated(Reason::InvalidUtf8)
            }
            Ok(Some(Item::Text(text))) => Read::Text(text.to_vec()),
            Ok(Some(Item::Binary(data))) => Read::Binary(data.to_vec()),
            Ok(Some(Item::Ping(data))) => Read::Ping(data.to_vec()),
            Ok(Some(Item::Pong(data))) => Read::Pong(data.to_vec()),
            Ok(Some(Item::Close(close))) => Read::Close(close),
            Ok(None) => Read::Ended,
            Err(InputEnd::Violation(violation)) => Read::Violated(violation.reason),
            Err(InputEnd::Io(error)) => panic!("{error}"),
        });
        if let Some(Read::Close(_) | Read::Ended | Read::Violated(_)) = read.last() {
            return read;
        }
    }
}

pub(super) fn theirs(stream: &[u8]) -> Vec<Read> {
    let config = WebSocketConfig::default()
        .max_frame_size(Some(MAX_FRAME))
        .max_message_size(Some(MAX_MESSAGE));
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    // The implementation writes behind its input, and never reads its own output.
    let mut stream = Duplex { input: Cursor::new(stream.to_vec()) };
    let mut read = Vec::new();
    loop {
        read.push(match context.read(&mut stream) {
            Ok(Message::Text(text)) => Read::Text(text.as_bytes().to_vec()),
            Ok(Message::Binary(data)) => Read::Binary(data.to_vec()),
            Ok(Message::Ping(data)) => Read::Ping(data.to_vec()),
            Ok(Message::Pong(data)) => Read::Pong(data.to_vec()),
            Ok(Message::Close(None)) => Read::Close(None),
            Ok(Message::Close(Some(close))) => {
                Read::Close(Some((close.code.into(), close.reason.to_string())))
            }
            Ok(Message::Frame(_)) => panic!("reading yields no frames"),
            Err(Error::Utf8(_)) => Read::Violated(Reason::InvalidUtf8),
            Err(Error::Capacity(_)) => Read::Violated(Reason::MessageTooBig),
            Err(Error::Protocol(error)) => {
                use tokio_tungstenite::tungstenite::error::ProtocolError;
                match error {
                    ProtocolError::ResetWithoutClosingHandshake => Read::Ended,
                    _ => Read::Violated(Reason::ProtocolError),
                }
            }
            Err(error) => panic!("{error}"),
        });
        if let Some(Read::Close(_) | Read::Ended | Read::Violated(_)) = read.last() {
            return read;
        }
    }
}

struct Duplex {
    input: Cursor<Vec<u8>>,
}

impl io::Read for Duplex {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self.input, buffer)
    }
}

impl io::Write for Duplex {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns true if both end alike. A frame may break several rules, and either of them may be
/// named. The other implementation accepts a close code that must not be sent, and answers it with
/// 1002 itself. It does so with 1014 as well, which is registered for use.
pub(super) fn end_alike(theirs: Option<&Read>, ours: Option<&Read>) -> bool {
    match (theirs, ours) {
        (Some(Read::Violated(theirs)), Some(Read::Violated(ours))) => {
            theirs == ours || [theirs, ours].contains(&&Reason::ProtocolError)
        }
        (Some(Read::Close(Some(_))), Some(Read::Violated(Reason::ProtocolError))) => true,
        (Some(Read::Close(Some((1002, _)))), Some(Read::Close(Some((1014, _))))) => true,
        (theirs, ours) => theirs == ours,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn clients_are_understood_as_another_implementation_understands_them(
        frames in proptest::collection::vec(frame(), 1..12),
        cuts in proptest::collection::vec(1..400usize, 0..60),
        early in 0..300usize,
        block in prop_oneof![Just(512usize), Just(4096), 512..3_000usize],
    ) {
        let mut stream = Vec::new();
        for frame in &frames {
            frame.encode(&mut stream);
        }
        let (mut ours, mut theirs) = (ours(&stream, &cuts, early, block), theirs(&stream));
        prop_assert!(end_alike(theirs.last(), ours.last()), "{theirs:?}, {ours:?}");
        ours.pop();
        theirs.pop();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn no_bytes_make_reading_panic_or_go_on_for_ever(
        stream: Vec<u8>, cuts in proptest::collection::vec(1..9usize, 0..20),
    ) {
        prop_assert!(!ours(&stream, &cuts, 0, 512).is_empty());
    }
}

#[test]
fn frames_that_need_no_handler_end_the_turn_and_nothing_is_lost() {
    const FRAMES: usize = 10_000;
    let fragment = |first: u8| [first, 0x80, 0, 0, 0, 0];
    let mut stream = fragment(0x01).to_vec();
    stream.extend((0..FRAMES).flat_map(|_| fragment(0x00)));
    stream.extend(fragment(0x80));
    let config = Config { read_buffer_bytes: 1 << 20, ..Config::default() };
    let mut input = Input::new(&config, &[]);
    let mut rest = &stream[..];
    let mut context = Context::from_waker(Waker::noop());
    let mut turns = 0;
    loop {
        turns += 1;
        let mut turn = Turn::new();
        match input.poll_next(Pin::new(&mut rest), &mut context, &mut false, &mut turn) {
            Poll::Pending => assert!(turn.is_over() && input.has_begun()),
            Poll::Ready(Ok(Some(Item::Text(text)))) => break assert!(text.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    assert!(turns >= FRAMES / 256, "{turns} turns");
}

#[test]
fn a_length_that_is_only_claimed_costs_no_memory() {
    let config =
        Config { max_frame_bytes: 1 << 30, max_message_bytes: 1 << 30, ..Config::default() };
    let mut header = vec![0x82, 0xff];
    header.extend((1u64 << 30).to_be_bytes());
    header.extend([0; 4]);
    let mut input = Input::new(&config, &header);
    let mut nothing = Pieces { pieces: VecDeque::new(), pause: false };
    let mut context = Context::from_waker(Waker::noop());
    let polled =
        input.poll_next(Pin::new(&mut nothing), &mut context, &mut false, &mut Turn::endless());
    assert!(polled.is_pending());
    let reserved = input.partial.map_or(0, |partial| partial.bytes.capacity());
    assert!((1..=1 << 20).contains(&reserved), "{reserved}");
}
