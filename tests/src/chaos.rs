//! Clusters under faults: hosts that are killed or cut off, engines that stop, forget nothing, are full or slow.
//!
//! - `fault`: the faults;
//! - `stage`: three hosts and an engine, with `namespace` and `engine`;
//! - `visit` and `socket`: one connection; the clients are `speaker`, `writer`, `follower`, `poster` and
//!   `attendee`;
//! - `board`: what clients tell each other and the conductor, with `histories` and `counters`;
//! - `conductor`: the course of a run, and what must be true;
//! - `figures`: the table at its end.

mod attendee;
mod board;
mod conductor;
mod counters;
mod dice;
mod engine;
mod fault;
mod figures;
mod follower;
mod histories;
mod namespace;
mod poster;
mod socket;
mod speaker;
mod stage;
mod visit;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use board::{Board, HOSTS};
use conductor::Conductor;
use dice::Dice;
pub use fault::{Durations, Fault};
pub use figures::Figures;
use follower::Follower;
use namespace::Namespace;
use stage::Stage;

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// "redis" or "nats".
    pub engine: String,
    pub rounds: u64,
    pub seed: u64,
    pub durations: Durations,
    /// True if a host is cut off by a network namespace, and false if it is by a proxy.
    pub has_namespace: bool,
}

impl Durations {
    /// The durations of the command.
    pub const WHOLE: Durations = Durations {
        pause: Duration::from_secs(5),
        other: Duration::from_secs(4),
        calm: Duration::from_millis(3500),
    };

    /// The durations of the test.
    pub const SHORT: Durations = Durations {
        pause: Duration::from_millis(2500),
        other: Duration::from_millis(1500),
        calm: Duration::from_millis(300),
    };
}

impl Plan {
    /// Runs it, and returns the figures, with the promises that were broken.
    pub async fn run(self) -> Figures {
        let mut figures = Figures::new(&self.engine, self.seed);
        let namespace = match self.has_namespace.then(Namespace::create) {
            Some(Err(why)) => {
                println!("chaos: NOT RUN: {}: {why}", Fault::Cut);
                figures.not_run = Some((Fault::Cut, why));
                None
            }
            Some(Ok(namespace)) => Some(namespace),
            None => None,
        };
        let mut dice = Dice::new(self.seed);
        let stage = Stage::start(&self.engine, namespace).await;
        let board = Arc::new(Board::new(stage.addresses()));
        let mut clients = clients(&board, &mut dice);
        let durations = self.durations;
        let mut conductor = Conductor { board: board.clone(), stage, dice, durations, figures };
        conductor.begin(2 * HOSTS * (writer::ROOMS.len() + 1)).await;
        let not_run = conductor.figures.not_run.as_ref().map(|(fault, _)| *fault);
        let faults: Vec<Fault> =
            Fault::ALL.into_iter().filter(|fault| Some(*fault) != not_run).collect();
        for round in 1..=self.rounds {
            board.say(&format!("round {round} of {}", self.rounds));
            conductor.round(&faults).await;
        }
        conductor.end();
        while let Some(ended) = clients.try_join_next() {
            if let Err(panicked) = ended {
                conductor.figures.failures.push(format!("a client has panicked: {panicked}"));
            }
        }
        clients.shutdown().await;
        if !conductor.figures.failures.is_empty() {
            conductor.stage.keep_logs(self.seed);
        }
        conductor.figures
    }
}

/// Starts the clients of all hosts.
fn clients(board: &Arc<Board>, dice: &mut Dice) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for host in 0..HOSTS {
        for (number, room) in writer::ROOMS.into_iter().chain([poster::TALLIED]).enumerate() {
            for is_wandering in [false, true] {
                let kind = if is_wandering { "wanderer" } else { "follower" };
                let name = format!("{kind}-{number}-{host}");
                let mut follower = Follower::new(board, name, room, host, dice.for_task());
                follower.is_wandering = is_wandering;
                clients.spawn(follower.follow());
            }
        }
        for index in 0..2 {
            clients.spawn(speaker::speak(board.clone(), host, index));
        }
        clients.spawn(writer::write(board.clone(), host));
        for room in poster::ROOMS {
            clients.spawn(poster::post(board.clone(), host, room));
        }
        clients.spawn(attendee::attend(board.clone(), host));
        clients.spawn(attendee::come_and_go(board.clone(), host, dice.for_task()));
    }
    clients
}
