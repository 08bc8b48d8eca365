//! Clients in the presence list: one of each host stays and watches, one comes and goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::board::Board;
use super::dice::Dice;
use super::visit::Visit;
use crate::{Ended, Value, json};

/// The room with the list.
const ROOM: &str = "hall";

/// Shortest and longest time between two changes of a guest, in milliseconds.
const CHANGE: (u64, u64) = (200, 1200);

/// Stays in the list on a host, and keeps the list as the host tells it.
pub async fn attend(board: Arc<Board>, host: usize) {
    let name = format!("hall-{host}");
    loop {
        let mut visit = Visit::begin(&board, host, &name, "").await;
        let life = visit.life;
        let Err(ended) = stay(&board, &mut visit).await;
        board.ended(&name, host, life, &ended, false);
    }
}

async fn stay(board: &Board, visit: &mut Visit) -> Result<std::convert::Infallible, Ended> {
    let (host, life, name) = (visit.host, visit.life, visit.name.clone());
    let told = |message: Value| board.list(host, life, |list| change(list, &message));
    visit.join(ROOM, told).await?;
    let track = visit.step(json!({ "do": "track", "room": ROOM }), told).await?;
    if track != "ok" {
        board.fail(format!("{name} is not in the list: {track}"));
    }
    board.track(&name, host, life, true);
    visit.step(json!({ "do": "watch", "room": ROOM }), told).await?;
    loop {
        told(visit.socket.next().await?);
    }
}

/// Applies what a client is told of the list.
fn change(list: &mut BTreeSet<String>, message: &Value) {
    let names = |key: &str| message[key].as_object().cloned().unwrap_or_default();
    match message["type"].as_str() {
        Some("presence_state") => *list = names("present").into_iter().map(|it| it.0).collect(),
        Some("presence_diff") => {
            let leaves = message["leaves"].as_array().cloned().unwrap_or_default();
            list.retain(|name| !leaves.iter().any(|left| left == name.as_str()));
            list.extend(names("joins").into_iter().map(|it| it.0));
        }
        _ => {}
    }
}

/// Comes into the list on a host and leaves it again.
pub async fn come_and_go(board: Arc<Board>, host: usize, mut dice: Dice) {
    let name = format!("guest-{host}");
    loop {
        let mut visit = Visit::begin(&board, host, &name, "").await;
        let life = visit.life;
        let Err(ended) = toggle(&board, &mut visit, &mut dice).await;
        board.ended(&name, host, life, &ended, false);
    }
}

async fn toggle(
    board: &Board,
    visit: &mut Visit,
    dice: &mut Dice,
) -> Result<std::convert::Infallible, Ended> {
    visit.join(ROOM, |_| ()).await?;
    let mut is_present = false;
    loop {
        let wait = tokio::time::sleep(Duration::from_millis(dice.between(CHANGE.0, CHANGE.1)));
        tokio::pin!(wait);
        // It reads meanwhile, so that it knows of its end.
        loop {
            tokio::select! {
                () = &mut wait => break,
                message = visit.socket.next() => drop(message?),
            }
        }
        if !board.is_toggling() {
            continue;
        }
        is_present = !is_present;
        let what = if is_present { "track" } else { "untrack" };
        let result = visit.step(json!({ "do": what, "room": ROOM }), |_| ()).await?;
        if result != "ok" {
            board.fail(format!("{} cannot {what}: {result}", visit.name));
        }
        board.track(&visit.name, visit.host, visit.life, is_present);
    }
}
