//! The figures of a run, as a table.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::board::{Board, HOSTS, RECOVERY};
use super::fault::Fault;

/// Memory that a host may have more after the run than after its first round, in bytes.
pub const GROWTH: usize = 16 * 1024 * 1024;

/// Effects of one kind of fault in all rounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct OfFault {
    pub times: u64,
    /// Refusals that the documents announce.
    pub refused: u64,
    /// The longest time until presence was right for those who were left.
    pub presence_during: Duration,
    /// The longest time until presence was right after the fault.
    pub presence_after: Duration,
    /// The longest time for which a room with a state stood still.
    pub standstill: Duration,
}

/// The figures.
#[derive(Debug)]
pub struct Figures {
    pub engine: String,
    pub seed: u64,
    pub rounds: u64,
    pub faults: Vec<(Fault, OfFault)>,
    /// The reason why a fault was not run.
    pub not_run: Option<(Fault, String)>,
    /// Resident memory of each host after the first round and after the last one, in bytes, and true if it is the
    /// same process.
    pub memory: [(usize, usize, bool); HOSTS],
    /// Promises that were broken.
    pub failures: Vec<String>,
    numbers: Vec<(&'static str, u64)>,
}

impl Figures {
    pub fn new(engine: &str, seed: u64) -> Figures {
        let faults = Fault::ALL.map(|fault| (fault, OfFault::default())).to_vec();
        Figures {
            engine: engine.to_owned(),
            seed,
            rounds: 0,
            faults,
            not_run: None,
            memory: [(0, 0, false); HOSTS],
            failures: Vec::new(),
            numbers: Vec::new(),
        }
    }

    /// Returns the figures of a kind of fault.
    pub fn of(&mut self, fault: Fault) -> &mut OfFault {
        let place = self.faults.iter_mut().find(|(of, _)| *of == fault);
        &mut place.expect("all faults are there").1
    }

    /// Takes the numbers of a board.
    pub fn finish(&mut self, board: &Board) {
        let tally = &board.tally;
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let of_usize = |number: usize| u64::try_from(number).expect("a number");
        self.numbers = vec![
            ("messages and posts sent", read(&tally.sent)),
            ("messages received", read(&tally.received)),
            ("refused during a fault, as documented", read(&tally.refused)),
            ("without history, lost between hosts during a fault", read(&tally.missed)),
            ("accepted for a history", read(&tally.accepted)),
            ("different messages in histories", of_usize(board.histories.messages())),
            ("clients that recovered", read(&tally.recovered)),
            ("messages that they had missed and got", read(&tally.caught_up)),
            ("events of rooms with a state", of_usize(board.counters.events())),
            ("of which members heard late, after later ones", read(&tally.late)),
            ("promises broken", of_usize(board.failures().len())),
        ];
        self.failures = board.failures();
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { engine, seed, rounds, .. } = self;
        writeln!(f, "Chaos on {engine}, {rounds} rounds, seed {seed}")?;
        writeln!(f)?;
        writeln!(
            f,
            "| fault | times | refused | presence right for the others | after it | room at a standstill |"
        )?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | ---: |")?;
        for (fault, of) in &self.faults {
            if let Some((_, why)) = self.not_run.as_ref().filter(|(not_run, _)| not_run == fault) {
                writeln!(f, "| {fault} | NOT RUN: {why} | | | | |")?;
                continue;
            }
            let shown = |time: Duration| match time.is_zero() {
                true => "–".to_owned(),
                false => format!("{:.2} s", time.as_secs_f64()),
            };
            let (during, after) = (shown(of.presence_during), shown(of.presence_after));
            let standstill = shown(of.standstill);
            let OfFault { times, refused, .. } = of;
            writeln!(f, "| {fault} | {times} | {refused} | {during} | {after} | {standstill} |")?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "Times are the longest of all rounds. The bound is {:.1} s.",
            RECOVERY.as_secs_f64()
        )?;
        writeln!(f)?;
        writeln!(f, "| | |")?;
        writeln!(f, "| --- | ---: |")?;
        for (name, number) in &self.numbers {
            writeln!(f, "| {name} | {number} |")?;
        }
        for (host, (first, last, is_same)) in self.memory.iter().enumerate() {
            let mebibytes = |bytes: usize| bytes as f64 / 1024.0 / 1024.0;
            let note = if *is_same { "" } else { ", a new process since" };
            let (first, last) = (mebibytes(*first), mebibytes(*last));
            writeln!(f, "| MiB of host {host} after the first round{note} | {first:.1} |")?;
            writeln!(f, "| MiB of host {host} after the last round | {last:.1} |")?;
        }
        writeln!(f)?;
        writeln!(f, "A host may have {} MiB more after the last round.", GROWTH / 1024 / 1024)?;
        Ok(())
    }
}
