//! Members of a room without a history, who speak all the time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::board::Board;
use super::visit::Visit;
use crate::{Ended, Value, json};

/// Time between two messages of one speaker.
const PACE: Duration = Duration::from_millis(50);

/// Speaks in the room on a host, and checks what is heard there.
pub async fn speak(board: Arc<Board>, host: usize, index: usize) {
    for number in 0.. {
        let name = format!("speaker-{host}-{index}-{number}");
        let mut visit = Visit::begin(&board, host, &name, "").await;
        let life = visit.life;
        let Err(ended) = stay(&board, &mut visit).await;
        board.ended(&name, host, life, &ended, false);
    }
}

async fn stay(board: &Board, visit: &mut Visit) -> Result<std::convert::Infallible, Ended> {
    let mut heard = Heard { host: visit.host, last: HashMap::new() };
    visit.join("plain", |message| heard.message(board, &message)).await?;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let say = json!({ "do": "broadcast", "room": "plain" });
    loop {
        tokio::select! {
            _ = pace.tick() => {
                if *board.is_running.borrow() {
                    board.count(&board.tally.sent, 1);
                    visit.socket.send(&say).await;
                }
            }
            message = visit.socket.next() => {
                let message = message?;
                match message["result"].as_str() {
                    Some("ok") => {}
                    Some(code) => board.refused(&visit.name, visit.host, code),
                    None => heard.message(board, &message),
                }
            }
        }
    }
}

/// The last message of each speaker, and its time.
struct Heard {
    host: usize,
    last: HashMap<String, (u64, Instant)>,
}

impl Heard {
    fn message(&mut self, board: &Board, message: &Value) {
        let (Some(from), Some(step)) = (message["from"].as_str(), message["step"].as_u64()) else {
            return;
        };
        board.count(&board.tally.received, 1);
        let before = self.last.insert(from.to_owned(), (step, Instant::now()));
        let Some((last, moment)) = before else { return };
        let here = self.host;
        let there: Option<usize> = from.split('-').nth(1).and_then(|host| host.parse().ok());
        let there = there.expect("the name of a speaker");
        if step <= last {
            board.fail(format!("host {here} heard step {step} of {from} after step {last}"));
        } else if step > last + 1 {
            let missed = step - last - 1;
            if there == here {
                board.fail(format!(
                    "a client of host {here} missed {missed} messages of {from}, who is there too"
                ));
            } else if board.is_whole_since(there, here, moment) {
                board.fail(format!(
                    "host {here} missed {missed} messages of {from} without a fault"
                ));
            } else {
                board.count(&board.tally.missed, missed);
            }
        }
    }
}
