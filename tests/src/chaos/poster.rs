//! Members of the rooms with a state, who post events to them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::board::Board;
use super::visit::Visit;
use crate::{Ended, Value, json};

/// The rooms that count. The last one has a history as well.
pub const ROOMS: [&str; 4] = ["counted-0", "counted-1", "counted-2", TALLIED];

/// The one that has a history.
pub const TALLIED: &str = "tallied";

/// Time between two posts of one poster.
const PACE: Duration = Duration::from_millis(150);

/// The same where each event costs an append to a history as well, and waits for its end.
const PACE_OF_TALLIED: Duration = Duration::from_millis(600);

/// Posts from a host to a room, and checks what is told in the room.
pub async fn post(board: Arc<Board>, host: usize, room: &'static str) {
    let mut heard = BTreeSet::new();
    for number in 0.. {
        let name = format!("poster-{room}-{host}-{number}");
        let mut visit = Visit::begin(&board, host, &name, "").await;
        let life = visit.life;
        let Err(ended) = stay(&board, &mut visit, room, &mut heard).await;
        board.ended(&name, host, life, &ended, false);
    }
}

async fn stay(
    board: &Board,
    visit: &mut Visit,
    room: &str,
    heard: &mut BTreeSet<u64>,
) -> Result<std::convert::Infallible, Ended> {
    let name = visit.name.clone();
    let mut hear = |message: &Value| {
        let Some(number) = message["event"].as_u64() else { return };
        board.count(&board.tally.received, 1);
        if !heard.insert(number) {
            board.fail(format!("{name}: event {number} of {room} comes twice: {message}"));
        } else if heard.last() != Some(&number) {
            let last = heard.last().copied().unwrap_or(0);
            if board.is_whole() {
                board.fail(format!("{name}: event {number} of {room} comes after {last}"));
            }
            board.count(&board.tally.late, 1);
        }
        if let Some(wrong) = board.counters.heard(room, number, &message.to_string()) {
            board.fail(wrong);
        }
    };
    visit.join(room, |message| hear(&message)).await?;
    let mut pace = interval(if room == TALLIED { PACE_OF_TALLIED } else { PACE });
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let post = json!({ "do": "post", "room": room });
    loop {
        tokio::select! {
            _ = pace.tick() => {
                if *board.is_running.borrow() {
                    board.count(&board.tally.sent, 1);
                    board.counters.posted(room);
                    visit.socket.send(&post).await;
                }
            }
            message = visit.socket.next() => {
                let message = message?;
                match message["result"].as_str() {
                    Some("ok") => {}
                    Some(code) => board.refused(&visit.name, visit.host, code),
                    None => hear(&message),
                }
            }
        }
    }
}
