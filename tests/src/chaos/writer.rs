//! Clients that write to the rooms with a history.

use std::sync::Arc;
use std::time::Duration;

use super::board::Board;
use super::visit::Visit;
use crate::{Ended, json};

/// The rooms that they write to.
pub const ROOMS: [&str; 2] = ["kept-0", "kept-1"];

/// Time between an answer and the next message.
const PACE: Duration = Duration::from_millis(40);

/// Writes from a host, one message after another.
pub async fn write(board: Arc<Board>, host: usize) {
    for number in 0.. {
        let name = format!("writer-{host}-{number}");
        let mut visit = Visit::begin(&board, host, &name, "").await;
        let life = visit.life;
        let Err(ended) = stay(&board, &mut visit).await;
        board.ended(&name, host, life, &ended, true);
        tokio::time::sleep(PACE).await;
    }
}

async fn stay(board: &Board, visit: &mut Visit) -> Result<std::convert::Infallible, Ended> {
    for step in 1.. {
        let mut is_running = board.is_running.subscribe();
        is_running.wait_for(|is_running| *is_running).await.expect("the board is there");
        let room = ROOMS[usize::from(step % 2 == 0)];
        board.count(&board.tally.sent, 1);
        let result = visit.step(json!({ "do": "broadcast", "room": room }), |_| ()).await?;
        match result.as_str() {
            Some("ok") => {
                board.count(&board.tally.accepted, 1);
                board.histories.accepted(room, &visit.name, step);
            }
            other => board.refused(&visit.name, visit.host, other.unwrap_or("no code")),
        }
        tokio::time::sleep(PACE).await;
    }
    unreachable!("it goes on for ever")
}
