//! One connection of a client of a run, and what all clients do alike.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::board::{Board, RECOVERY};
use super::socket::Socket;
use crate::{Ended, Value, json};

/// Pause between two tries to connect.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection to the fixture `scripted`.
pub struct Visit {
    pub socket: Socket,
    pub host: usize,
    /// The process of the host that it is a connection to.
    pub life: u64,
    /// The name that it has, which is one of its own.
    pub name: String,
}

impl Visit {
    /// Connects to a host under a name as soon as the host is there, and waits for the welcome.
    pub async fn begin(board: &Arc<Board>, host: usize, name: &str, query: &str) -> Visit {
        let mut refused: Option<(u64, Instant)> = None;
        loop {
            let now = board.host(host);
            let life = now.life;
            let Some(address) = now.address else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let why = match Socket::connect(address, &format!("/scripted/{name}{query}")).await {
                Ok(mut socket) => match socket.next().await {
                    Ok(welcome) if welcome["welcome"] == name => {
                        return Visit { socket, host, life, name: name.to_owned() };
                    }
                    other => format!("{other:?}"),
                },
                Err(why) => why,
            };
            let begun = refused.filter(|(of, _)| *of == life).map_or_else(Instant::now, |it| it.1);
            refused = Some((life, begun));
            if begun.elapsed() > RECOVERY && board.host(host).life == life {
                board.fail(format!("{name} cannot connect to host {host}: {why}"));
                refused = None;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends a step, and returns its result. Other messages are given to `each`.
    pub async fn step(&mut self, step: Value, mut each: impl FnMut(Value)) -> Result<Value, Ended> {
        self.socket.send(&step).await;
        loop {
            let mut message = self.socket.next().await?;
            if message.get("done").is_some() {
                return Ok(message["result"].take());
            }
            each(message);
        }
    }

    /// Joins a room. Returns its result.
    pub async fn join(&mut self, room: &str, each: impl FnMut(Value)) -> Result<Value, Ended> {
        self.step(json!({ "do": "join", "room": room }), each).await
    }
}
