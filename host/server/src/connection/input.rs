//! The client's input: bytes → frames → messages.
//!
//! Bytes are read into a block that a thread lends for as long as it holds some, so that a
//! connection that waits for its client holds no buffer. A message that lies alone in its block
//! goes to the guest from there, without a copy.
//!
//! This module and [`super::frame`] implement the rules of RFC 6455 for a server that reads. A
//! property test compares them with another implementation.

use std::cell::RefCell;
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};

use super::frame::{Header, MAX_HEADER_BYTES, Opcode, Violation, decode_close, unmask};
use super::turn::Turn;
use wharf_config::Config;
use wharf_contract::close::Reason;

/// Blocks that a thread keeps for reuse.
const SPARE_BLOCKS: usize = 32;

/// Bytes that are reserved at first for a large message: a length that is only claimed costs
/// nothing.
const FIRST_RESERVE: u64 = 64 * 1024;

/// A whole message or control frame of the client.
#[derive(Debug)]
pub(super) enum Item {
    /// A text message. Only one in fragments is known to be UTF-8.
    Text(Payload),
    Binary(Payload),
    Ping(Payload),
    Pong(Payload),
    Close(Option<(u16, String)>),
}

/// The bytes of a message.
#[derive(Debug)]
pub(super) enum Payload {
    /// The whole content of a block.
    Block(Block),
    Owned(Vec<u8>),
}

impl Payload {
    /// Returns the same bytes without a block around them, for a payload that has to wait.
    pub(super) fn into_owned(self) -> Payload {
        match self {
            Payload::Block(block) => Payload::Owned(block.to_vec()),
            owned => owned,
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Payload::Block(block) => block,
            Payload::Owned(bytes) => bytes,
        }
    }
}

/// Memory for reading, and the part of it that is in use. Dropping it gives it back to its thread.
#[derive(Debug)]
pub(super) struct Block {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

impl Block {
    fn take(size: usize) -> Block {
        let spare = SPARE.with_borrow_mut(Vec::pop).filter(|memory| memory.len() == size);
        let memory = spare.unwrap_or_else(|| vec![0; size].into());
        Block { memory, start: 0, end: 0 }
    }

    /// Makes room for reading behind the part in use.
    fn compact(&mut self) {
        if self.start > 0 {
            self.memory.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// Returns the room behind the part in use.
    #[expect(clippy::indexing_slicing, reason = "`end` is within the memory")]
    fn room(&mut self) -> &mut [u8] {
        &mut self.memory[self.end..]
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
    }
}

impl Deref for Block {
    type Target = [u8];

    #[expect(clippy::indexing_slicing, reason = "`start` and `end` are within the memory")]
    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }
}

impl DerefMut for Block {
    #[expect(clippy::indexing_slicing, reason = "`start` and `end` are within the memory")]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        // At the thread's end the spare blocks may be gone.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_BLOCKS {
                spare.push(memory);
            }
        });
    }
}

/// A message that is not whole yet.
#[derive(Debug)]
struct Partial {
    is_text: bool,
    bytes: Vec<u8>,
    /// Bytes of a text that are known to be UTF-8.
    valid: usize,
    /// The frame being read, if it is too large for a block.
    frame: Option<LargeFrame>,
}

#[derive(Debug)]
struct LargeFrame {
    is_final: bool,
    mask: [u8; 4],
    taken: u64,
    length: u64,
}

/// The largest frame and message that a client may send.
#[derive(Clone, Copy, Debug)]
struct InputLimits {
    frame: u64,
    message: u64,
    block: usize,
}

/// A client's side of a connection.
#[derive(Debug)]
pub(super) struct Input {
    /// Bytes that have been read and not looked at.
    block: Option<Block>,
    /// The same while the connection waits for the client: the beginning of a frame, mostly
    /// nothing.
    kept: Vec<u8>,
    partial: Option<Box<Partial>>,
    limits: InputLimits,
}

impl Input {
    /// Makes input that begins with the bytes that were read already.
    pub(super) fn new(config: &Config, early: &[u8]) -> Input {
        let message = config.max_message_bytes as u64;
        let limits = InputLimits {
            frame: message.min(config.max_frame_bytes as u64),
            message,
            block: config.read_buffer_bytes,
        };
        Input { block: None, kept: early.to_vec(), partial: None, limits }
    }

    /// Returns true if a frame or a message has begun and is not whole. Between two calls of
    /// [`poll_next`](Input::poll_next), of which the last was pending.
    pub(super) fn has_begun(&self) -> bool {
        self.partial.is_some() || !self.kept.is_empty()
    }

    /// Returns true if the first frames of a message have come, but not its last.
    pub(super) fn is_within_message(&self) -> bool {
        self.partial.is_some()
    }

    /// Drops an unfinished message, for a connection that ends with it.
    pub(super) fn give_up(&mut self) {
        self.partial = None;
        self.kept = Vec::new();
    }

    /// Returns the memory that the input takes until the client sends more, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        let partial = self.partial.as_ref().map_or(0, |partial| partial.bytes.capacity());
        partial + self.kept.len()
    }

    /// Returns the client's next item; `None` at the end of the stream. Sets `heard` if anything
    /// was read. If the turn is over it is pending, and nobody wakes the task.
    pub(super) fn poll_next(
        &mut self,
        mut reader: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
        heard: &mut bool,
        turn: &mut Turn,
    ) -> Poll<Result<Option<Item>, InputEnd>> {
        loop {
            if let Some(item) = self.decode(turn).map_err(InputEnd::Violation)? {
                return Poll::Ready(Ok(Some(item)));
            }
            if turn.is_over() {
                return Poll::Pending;
            }
            turn.read();
            let mut block = self.open_block();
            let mut buffer = ReadBuf::new(block.room());
            let read = reader.as_mut().poll_read(cx, &mut buffer);
            let bytes = buffer.filled().len();
            block.end += bytes;
            match read {
                Poll::Ready(Ok(())) if bytes == 0 => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(())) => {
                    *heard = true;
                    self.block = Some(block);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(InputEnd::Io(error))),
                Poll::Pending => {
                    self.kept = block.to_vec();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Returns the block to read into, with room behind its content. A frame that fits into a block
    /// is collected in one, and nothing of a larger one remains there.
    fn open_block(&mut self) -> Block {
        match self.block.take() {
            Some(mut block) => {
                block.compact();
                block
            }
            None => {
                let size = self.limits.block.max(self.kept.len() + MAX_HEADER_BYTES);
                let mut block = Block::take(size);
                let kept = std::mem::take(&mut self.kept);
                block.end = kept.len();
                block.copy_from_slice(&kept);
                block
            }
        }
    }

    /// Returns the next item of the bytes that have been read, if it is whole.
    fn decode(&mut self, turn: &mut Turn) -> Result<Option<Item>, Violation> {
        if self.block.is_none() && !self.kept.is_empty() {
            // The bytes came with the handshake, or wait for the rest of their frame.
            self.block = Some(self.open_block());
        }
        while !turn.is_over() {
            let Some(block) = &mut self.block else {
                return Ok(None);
            };
            if let Some(partial) = &mut self.partial
                && let Some(frame) = &mut partial.frame
            {
                let left = frame.length - frame.taken;
                let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
                let (taken, _) = block.split_at_mut(bytes);
                unmask(taken, frame.mask, frame.taken);
                partial.bytes.extend_from_slice(taken);
                frame.taken += bytes as u64;
                block.consume(bytes);
                let (is_whole, is_final) = (frame.taken == frame.length, frame.is_final);
                partial.check(is_whole && is_final)?;
                if !is_whole {
                    return Ok(None);
                }
                partial.frame = None;
                if is_final {
                    return Ok(self.finish());
                }
                continue;
            }
            let Some((header, size)) = Header::decode(block)? else {
                return Ok(None);
            };
            let begun = self.partial.as_ref().map(|partial| partial.bytes.len() as u64);
            check(&header, begun, self.limits)?;
            let length = usize::try_from(header.length).unwrap_or(usize::MAX);
            if length > block.len() - size {
                let fits = header.length <= (block.memory.len() - size) as u64;
                if header.opcode.is_control() || fits {
                    return Ok(None);
                }
                block.consume(size);
                let frame = LargeFrame {
                    is_final: header.is_final,
                    mask: header.mask,
                    taken: 0,
                    length: header.length,
                };
                let partial = self.partial.get_or_insert_with(|| Partial::new(header.opcode));
                partial.bytes.reserve(header.length.min(FIRST_RESERVE) as usize);
                partial.frame = Some(frame);
                continue;
            }
            turn.frame();
            block.consume(size);
            let (payload, _) = block.split_at_mut(length);
            unmask(payload, header.mask, 0);
            match header.opcode {
                Opcode::Text | Opcode::Binary if header.is_final => {
                    let payload = self.take_payload(length);
                    return Ok(Some(match header.opcode {
                        Opcode::Text => Item::Text(payload),
                        _ => Item::Binary(payload),
                    }));
                }
                Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                    let partial = self.partial.get_or_insert_with(|| Partial::new(header.opcode));
                    partial.bytes.extend_from_slice(payload);
                    block.consume(length);
                    partial.check(header.is_final)?;
                    if header.is_final {
                        return Ok(self.finish());
                    }
                }
                Opcode::Ping => return Ok(Some(Item::Ping(self.take_payload(length)))),
                Opcode::Pong => return Ok(Some(Item::Pong(self.take_payload(length)))),
                Opcode::Close => {
                    let close = decode_close(payload)?.map(|(code, why)| (code, why.to_owned()));
                    return Ok(Some(Item::Close(close)));
                }
            }
        }
        Ok(None)
    }

    /// Returns the first `length` bytes of the block: the block itself if it holds nothing else.
    fn take_payload(&mut self, length: usize) -> Payload {
        match self.block.take() {
            Some(block) if block.len() == length => Payload::Block(block),
            Some(mut block) => {
                let bytes = block.split_at(length).0.to_vec();
                block.consume(length);
                self.block = Some(block);
                Payload::Owned(bytes)
            }
            None => Payload::Owned(Vec::new()),
        }
    }

    fn finish(&mut self) -> Option<Item> {
        let partial = self.partial.take()?;
        let payload = Payload::Owned(partial.bytes);
        Some(if partial.is_text { Item::Text(payload) } else { Item::Binary(payload) })
    }
}

impl Partial {
    fn new(opcode: Opcode) -> Box<Partial> {
        let is_text = opcode == Opcode::Text;
        Box::new(Partial { is_text, bytes: Vec::new(), valid: 0, frame: None })
    }

    /// Checks the part of a text that has come. It may end within a character unless it is whole.
    fn check(&mut self, is_whole: bool) -> Result<(), Violation> {
        if !self.is_text {
            return Ok(());
        }
        #[expect(clippy::indexing_slicing, reason = "no more is valid than there is")]
        let unchecked = &self.bytes[self.valid..];
        match std::str::from_utf8(unchecked) {
            Ok(_) => self.valid = self.bytes.len(),
            Err(error) if error.error_len().is_none() && !is_whole => {
                self.valid += error.valid_up_to();
            }
            Err(_) => return Err(Violation::utf8("a text message that is not UTF-8")),
        }
        Ok(())
    }
}

/// Checks that a frame may follow the ones before it (RFC 6455, 5.4), and is not too large. `begun`
/// is the size of the message that it would continue.
fn check(header: &Header, begun: Option<u64>, limits: InputLimits) -> Result<(), Violation> {
    if header.opcode.is_control() {
        return Ok(());
    }
    match (header.opcode, begun) {
        (Opcode::Continuation, None) => {
            return Err(Violation::protocol("a continuation of nothing"));
        }
        (Opcode::Text | Opcode::Binary, Some(_)) => {
            return Err(Violation::protocol("a new message within another"));
        }
        _ => {}
    }
    let too_big = |detail| Err(Violation { reason: Reason::MessageTooBig, detail });
    if header.length > limits.frame {
        return too_big("a frame over max_frame_bytes");
    }
    if begun.unwrap_or(0).saturating_add(header.length) > limits.message {
        return too_big("a message over max_message_bytes");
    }
    Ok(())
}

/// The reason why there will be no further item.
#[derive(Debug)]
pub(super) enum InputEnd {
    Violation(Violation),
    Io(io::Error),
}

/// Returns the number of whole messages and control frames in a client's bytes. Only for measuring
/// the cost of reading: the reader itself belongs to its connection.
///
/// # Errors
///
/// The client has broken a rule. The error is the reason that its connection would be closed for.
pub fn count_messages(config: &Config, mut sent: &[u8]) -> Result<usize, Reason> {
    let mut input = Input::new(config, &[]);
    let mut cx = Context::from_waker(Waker::noop());
    let mut count = 0;
    loop {
        match input.poll_next(Pin::new(&mut sent), &mut cx, &mut false, &mut Turn::endless()) {
            Poll::Ready(Ok(Some(_))) => count += 1,
            // Memory is always ready. The rest that it ends with is not waited for.
            Poll::Ready(Ok(None)) | Poll::Pending => return Ok(count),
            Poll::Ready(Err(InputEnd::Violation(violation))) => return Err(violation.reason),
            Poll::Ready(Err(InputEnd::Io(_))) => return Err(Reason::NetworkLost),
        }
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests;
