//! The closing handshake (RFC 6455, 7), and the end of the stream.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::super::arrival::Arrival;
use super::Arrivals;
use wharf_contract::close::MAX_REASON_BYTES;
use wharf_contract::text::cut;
use wharf_hub::frame::{Frame, FrameKind};

/// Time for which reading goes on after a close frame to a client that broke the protocol, so that
/// a reset of the connection does not destroy the frame.
const LINGER: Duration = Duration::from_secs(1);

impl Arrivals {
    /// Queues the answer to the client's close frame, with its code and reason as RFC 6455, 5.5.1
    /// requires, behind all that was queued before.
    pub(in crate::connection) fn answer_close(&mut self) {
        if let Some(close) = self.unanswered_close.take() {
            let close = close.as_ref().as_ref();
            self.push_close(close.map(|(code, reason)| (*code, reason.as_str())));
        }
    }

    /// Queues a close frame. Nothing but control frames may follow it.
    pub(in crate::connection) fn begin_close(&mut self, code: Option<u16>, reason: &str) {
        self.push_close(code.map(|code| (code, reason)));
        self.client.outbound.refuse_messages(false);
    }

    fn push_close(&mut self, close: Option<(u16, &str)>) {
        if std::mem::replace(&mut self.has_closed, true) {
            return;
        }
        let mut payload = Vec::new();
        if let Some((code, reason)) = close {
            payload.extend_from_slice(&code.to_be_bytes());
            payload.extend_from_slice(cut(reason, MAX_REASON_BYTES).as_bytes());
        }
        self.push_control(Frame::encode(FrameKind::Close, &payload));
    }

    /// Writes the queue and, if the client can still be understood and has not sent its close
    /// frame, waits for that; `close_timeout_ms` at most. Then it ends the stream, and reads away
    /// the rest of the client's bytes, so that the client gets our last frames.
    pub(in crate::connection) async fn finish_close(&mut self, wait_for_client: bool) {
        let close_timeout = self.config.close_timeout;
        let handshake = async {
            let mut client_is_done = !wait_for_client;
            std::future::poll_fn(|cx| {
                while !client_is_done {
                    match self.poll_read(cx) {
                        Poll::Ready(Arrival::Closed { .. } | Arrival::Broken { .. }) => {
                            client_is_done = true;
                        }
                        Poll::Ready(_) => {}
                        Poll::Pending if self.is_over => client_is_done = true,
                        Poll::Pending => {
                            self.end_turn(cx);
                            break;
                        }
                    }
                }
                if std::mem::take(&mut self.owes_drain) {
                    self.client.outbound.flush();
                }
                match self.client.outbound.poll_flushed(cx) {
                    Poll::Ready(()) if client_is_done => Poll::Ready(()),
                    _ => Poll::Pending,
                }
            })
            .await;
        };
        if tokio::time::timeout(close_timeout, handshake).await.is_err() {
            return;
        }
        if self.client_has_closed {
            // The client sends nothing more, so nothing can destroy our last frames.
            self.client.outbound.release();
            return;
        }
        self.client.outbound.shut();
        let linger = LINGER.min(close_timeout);
        let _ = tokio::time::timeout(linger, self.read_away()).await;
    }

    /// Reads and discards until the client ends the stream.
    async fn read_away(&mut self) {
        let mut scratch = vec![0; 4096];
        std::future::poll_fn(|cx| {
            loop {
                let mut buffer = ReadBuf::new(&mut scratch);
                match Pin::new(&mut self.reader).poll_read(cx, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }
}
