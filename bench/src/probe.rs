//! A single client that asks which generation of a plugin serves it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::Value;

use crate::frame::{self, Opcode};
use crate::handshake;

/// The request, and its mask.
const PING: &[u8] = br#"{"type":"ping"}"#;
const MASK: [u8; 4] = [0x29, 0x8d, 0x4f, 0xe1];

/// One connection to a channel whose `ping` is answered with a `pong` that has a `generation`.
pub struct Probe {
    stream: TcpStream,
    ping: Vec<u8>,
    unparsed: Vec<u8>,
}

/// The answer to a ping.
#[derive(Clone, Copy, Debug)]
pub struct Pong {
    /// The generation of the plugin that served it.
    pub generation: u64,
    /// Time when it came.
    pub at: Instant,
    /// Time since its ping was sent.
    pub latency: Duration,
}

/// The pings from the rename of new code to its first pong.
pub struct Turnover {
    /// The generation of the new code.
    pub generation: u64,
    /// Time from the rename to the first pong of the new code.
    pub took: Duration,
    /// Number of pings answered, including the first by the new code.
    pub pongs: u64,
    /// Longest time that a pong took.
    pub longest: Duration,
}

impl Probe {
    /// Connects to a path such as `/chat/lobby?name=bench`.
    ///
    /// # Errors
    ///
    /// The connection cannot be opened.
    pub fn open(address: SocketAddr, target: &str) -> anyhow::Result<Probe> {
        let opened = handshake::open(address, target)?;
        Ok(Probe {
            stream: opened.stream,
            ping: frame::encode(Opcode::Text, PING, MASK),
            unparsed: opened.early,
        })
    }

    /// Sends a ping and waits for its pong. Other messages of the channel are passed over.
    ///
    /// # Errors
    ///
    /// There is no pong in time, it has no generation, or the connection ends.
    pub fn ping(&mut self) -> anyhow::Result<Pong> {
        let sent = Instant::now();
        self.stream.write_all(&self.ping).context("cannot write")?;
        loop {
            while let Some(frame) = frame::parse(&self.unparsed)? {
                let length = frame.length;
                let generation = match frame.opcode {
                    Opcode::Text => generation(frame.payload)?,
                    Opcode::Close => bail!("{}", frame::describe_close(frame.payload)),
                    Opcode::Ping => {
                        let pong = frame::encode(Opcode::Pong, frame.payload, MASK);
                        self.stream.write_all(&pong).context("cannot write")?;
                        None
                    }
                    Opcode::Binary | Opcode::Pong => None,
                };
                self.unparsed.drain(..length);
                if let Some(generation) = generation {
                    let at = Instant::now();
                    let latency = at.duration_since(sent);
                    return Ok(Pong { generation, at, latency });
                }
            }
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk).map_err(|error| match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow!("a ping had no pong"),
                _ => anyhow!(error).context("cannot read"),
            })?;
            ensure!(read > 0, "the server ended the connection");
            self.unparsed.extend(&chunk[..read]);
        }
    }

    /// Pings until a later generation than `before` answers, with a pause after each pong.
    ///
    /// # Errors
    ///
    /// A ping has no pong, an older generation answers, or a later one does not within `limit` of
    /// the rename.
    pub fn follow(
        &mut self,
        renamed: Instant,
        before: u64,
        pause: Duration,
        limit: Duration,
    ) -> anyhow::Result<Turnover> {
        let (mut pongs, mut longest) = (0, Duration::ZERO);
        loop {
            let pong = self.ping()?;
            pongs += 1;
            longest = longest.max(pong.latency);
            let generation = pong.generation;
            ensure!(
                generation >= before,
                "generation {generation} answered after generation {before} had"
            );
            let took = pong.at.duration_since(renamed);
            if generation > before {
                return Ok(Turnover { generation, took, pongs, longest });
            }
            ensure!(took < limit, "{limit:?} after the rename, generation {before} still answers");
            // The pause bounds the error of the measurement; nothing relies on it.
            thread::sleep(pause);
        }
    }
}

/// Returns the generation in a pong; `None` for any other message.
fn generation(message: &[u8]) -> anyhow::Result<Option<u64>> {
    let Ok(message) = serde_json::from_slice::<Value>(message) else {
        return Ok(None);
    };
    match message.get("type").and_then(Value::as_str) {
        Some("pong") => {
            let generation = message.get("generation").and_then(Value::as_u64);
            let generation = generation.with_context(|| {
                format!("the pong {message} does not say which `generation` served it")
            })?;
            Ok(Some(generation))
        }
        Some("error") => bail!("the channel answered {message}"),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pong_has_a_generation() {
        let read = |text: &str| generation(text.as_bytes());
        let pong = r#"{"type":"pong","generation":7}"#;
        assert_eq!(read(pong).expect("a pong"), Some(7));
        for other in [r#"{"type":"user_joined","generation":7}"#, "[]", "pong", ""] {
            assert_eq!(read(other).expect("passed over"), None, "{other}");
        }
        assert!(read(r#"{"type":"pong"}"#).is_err());
        assert!(read(r#"{"type":"error","code":"INVALID_JSON"}"#).is_err());
    }
}
