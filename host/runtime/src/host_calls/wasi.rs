//! The WASI interfaces of guests: clocks and randomness as they are, no files, no network, no
//! arguments, no environment. Printed text becomes log lines of their channel.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::channel_context::ChannelContext;
use crate::instance::InstanceState;
use crate::ports::{Clock, GuestLine, LineSource};

use super::printing::Printing;

/// Longest printed line that is kept, in bytes; a longer one is broken there.
const MAX_LINE_BYTES: usize = 4 * 1024;

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Gives a guest the time of this clock. Its monotonic one begins now.
pub(crate) fn guest_clocks(builder: &mut WasiCtxBuilder, clock: &Arc<dyn Clock>) {
    builder.wall_clock(WallClock(clock.clone()));
    builder.monotonic_clock(MonotonicClock { start: clock.monotonic(), clock: clock.clone() });
}

/// Smallest difference of two times that guests may see.
const RESOLUTION: Duration = Duration::from_nanos(1);

struct WallClock(Arc<dyn Clock>);

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        self.0.wall()
    }
}

struct MonotonicClock {
    clock: Arc<dyn Clock>,
    start: Duration,
}

impl HostMonotonicClock for MonotonicClock {
    fn resolution(&self) -> u64 {
        nanoseconds(RESOLUTION)
    }

    fn now(&self) -> u64 {
        nanoseconds(self.clock.monotonic().saturating_sub(self.start))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One of a guest's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputName {
    /// Lines are logged as `info`.
    Stdout,
    /// Lines are logged as `warn`. A panic arrives here, and is told with the failure.
    Stderr,
}

/// A guest's standard output or standard error.
#[derive(Clone)]
pub struct GuestOutput {
    channel: Arc<ChannelContext>,
    generation: u64,
    printing: Arc<Printing>,
    stream: OutputName,
}

impl GuestOutput {
    /// Returns the output of one instance.
    pub fn new(
        channel: &Arc<ChannelContext>,
        generation: u64,
        printing: &Arc<Printing>,
        stream: OutputName,
    ) -> GuestOutput {
        let (channel, printing) = (channel.clone(), printing.clone());
        GuestOutput { channel, generation, printing, stream }
    }

    /// Writes a printed line.
    pub(crate) fn log(&self, line: &str) {
        let (level, source) = match self.stream {
            OutputName::Stdout => (Level::INFO, LineSource::Stdout),
            OutputName::Stderr => (Level::WARN, LineSource::Stderr),
        };
        self.channel.log(&GuestLine {
            channel: &self.channel.name,
            generation: self.generation,
            connection: self.printing.connection(),
            secrets: &self.channel.own.secrets,
            source,
            level,
            message: line,
            fields: &[],
        });
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.2 guests are linked, and those use the stream below.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LineWriter { output: self.clone(), line: Vec::new() })
    }
}

/// Collects a guest's printed text into lines.
struct LineWriter {
    output: GuestOutput,
    line: Vec<u8>,
}

impl LineWriter {
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.log(&line);
    }

    /// Logs the first part of a line that is too long. The possible beginning of a secret is left
    /// for the next part.
    fn break_line(&mut self) {
        let secrets = &self.output.channel.own.secrets;
        let left = secrets.longest().saturating_sub(1);
        if left == 0 {
            return self.end_line();
        }
        if self.line.len() < MAX_LINE_BYTES + left {
            return;
        }
        // The last character may not be complete.
        let incomplete = self.line.utf8_chunks().last().map_or(0, |chunk| chunk.invalid().len());
        let end = self.line.split_off(self.line.len() - incomplete);
        let text = String::from_utf8_lossy(&self.line);
        let text = secrets.hide(&text, usize::MAX);
        let at = text.floor_char_boundary(text.len().saturating_sub(left).min(MAX_LINE_BYTES));
        let (part, rest) = text.split_at(at);
        let (part, rest) = (part.as_bytes().to_vec(), [rest.as_bytes(), &end].concat());
        self.line = rest;
        self.log(&part);
    }

    fn log(&self, line: &[u8]) {
        // A guest has no environment in which it could follow this advice of Rust's panics.
        if line.is_empty() || line.starts_with(b"note: run with `RUST_BACKTRACE=1`") {
            return;
        }
        let (output, line) = (&self.output, String::from_utf8_lossy(line));
        let is_error = output.stream == OutputName::Stderr;
        // Last words are cut, and the part of a secret before the cut could not be found any more.
        let hidden = || output.channel.own.secrets.hide(&line, usize::MAX);
        if !(is_error && output.printing.keep(&hidden())) {
            output.log(&line);
        }
    }
}

impl OutputStream for LineWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        for byte in bytes {
            if byte == b'\n' {
                self.end_line();
            } else {
                self.line.push(byte);
                if self.line.len() >= MAX_LINE_BYTES {
                    self.break_line();
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        // The last printed text of a panic need not have ended its line.
        self.end_line();
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LineWriter {
    async fn ready(&mut self) {}
}
