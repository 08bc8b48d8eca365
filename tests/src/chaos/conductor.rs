//! The course of a run: one fault after another, and what must be true during each and after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::board::{Board, HOSTS, RECOVERY};
use super::dice::Dice;
use super::fault::{Durations, Fault, SLOW};
use super::figures::{Figures, GROWTH};
use super::poster;
use super::stage::Stage;
use super::visit::Visit;
use crate::json;

/// Pause between two looks at something.
const LOOK: Duration = Duration::from_millis(10);

/// Time after which what was on its way when a fault began has arrived.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// Longest time that the run waits for something that has missed its bound, to tell how late it is.
const LATE: Duration = Duration::from_secs(20);

/// A run.
pub struct Conductor {
    pub board: Arc<Board>,
    pub stage: Stage,
    pub dice: Dice,
    pub durations: Durations,
    pub figures: Figures,
}

impl Conductor {
    /// Waits until all clients are there and hear each other.
    pub async fn begin(&mut self, followers: usize) {
        let board = self.board.clone();
        let has_all = || {
            let are_there = (board.present(), board.followers());
            let is_missing = are_there.0 < HOSTS || are_there.1 < followers;
            is_missing
                .then(|| format!("of those present and those who follow there are {are_there:?}"))
        };
        self.within("clients to be there", Instant::now(), has_all).await;
        self.board.is_running.send_replace(true);
        self.presence(&[0, 1, 2], Instant::now()).await;
        self.rooms(Instant::now()).await;
    }

    /// Runs the faults of a round, each once, in a random order.
    pub async fn round(&mut self, faults: &[Fault]) {
        let mut order = faults.to_vec();
        self.dice.shuffle(&mut order);
        for fault in order {
            let before = self.board.tally.refused.load(Ordering::Relaxed);
            match fault {
                Fault::Kill => self.kill().await,
                Fault::Cut => self.cut().await,
                other => self.of_engine(other).await,
            }
            self.states(fault).await;
            tokio::time::sleep(self.durations.calm).await;
            let more = self.board.tally.refused.load(Ordering::Relaxed) - before;
            if fault == Fault::Fill && more == 0 {
                // Then it was not full, and nothing was tried.
                self.board.fail("the full engine has refused nothing".to_owned());
            }
            let of = self.figures.of(fault);
            (of.times, of.refused) = (of.times + 1, of.refused + more);
        }
        self.quiet().await;
        let is_first = self.figures.rounds == 0;
        self.figures.rounds += 1;
        for host in 0..HOSTS {
            let bytes = self.stage.nodes[host].wharf.resident_bytes();
            let memory = &mut self.figures.memory[host];
            if is_first {
                memory.0 = bytes;
            }
            let life = self.board.host(host).life;
            memory.1 = bytes;
            memory.2 = if is_first { life == 0 } else { memory.2 && life == 0 };
        }
    }

    /// Compares the hosts' memory after the run with that after the first round.
    pub fn end(&mut self) {
        for (host, (first, last, _)) in self.figures.memory.iter().enumerate() {
            if *last > first + GROWTH {
                let what =
                    format!("the memory of host {host} has grown from {first} to {last} bytes");
                self.board.fail(what);
            }
        }
        self.figures.finish(&self.board);
    }

    /// Kills a host. The first one lives for the whole run, so that its memory can be compared.
    async fn kill(&mut self) {
        let victim = 1 + self.dice.below(HOSTS - 1);
        let others: Vec<usize> = (0..HOSTS).filter(|host| *host != victim).collect();
        self.board.say(&format!("{}: host {victim}", Fault::Kill));
        self.board.toggle(false);
        self.board.down(victim);
        self.stage.nodes[victim].wharf.kill();
        let begun = Instant::now();
        self.board.counters.watch();
        self.left(Fault::Kill, &[&others], begun).await;
        self.stage.nodes[victim].start_again().await;
        self.board.up(victim, self.stage.nodes[victim].wharf.address);
        let board = self.board.clone();
        let name = format!("hall-{victim}");
        let is_there = || (!board.is_present(&name)).then(|| format!("{name} is not there"));
        self.within("the clients of the host to come back", Instant::now(), is_there).await;
        self.healed(Fault::Kill).await;
    }

    /// Cuts a host off. One in a namespace is the only one that can be.
    async fn cut(&mut self) {
        let in_namespace = self.stage.nodes.iter().position(|node| node.is_in_namespace());
        let victim = in_namespace.unwrap_or_else(|| self.dice.below(HOSTS));
        let others: Vec<usize> = (0..HOSTS).filter(|host| *host != victim).collect();
        self.board.say(&format!("{}: host {victim}", Fault::Cut));
        self.board.toggle(false);
        self.board.trouble(victim, true, true);
        self.stage.nodes[victim].cut(true);
        let begun = Instant::now();
        self.board.counters.watch();
        // The one that is cut off has no ghosts either.
        self.left(Fault::Cut, &[&others, &[victim]], begun).await;
        self.stage.nodes[victim].cut(false);
        self.board.trouble(victim, false, false);
        self.healed(Fault::Cut).await;
    }

    /// Checks what those see who are left, where hosts of different parts do not reach each other.
    async fn left(&mut self, fault: Fault, parts: &[&[usize]], begun: Instant) {
        let mut took = Duration::ZERO;
        for part in parts {
            took = took.max(self.presence(part, begun).await);
        }
        self.rooms(begun).await;
        self.board.toggle(true);
        let standstill = self.board.counters.silence();
        let of = self.figures.of(fault);
        of.presence_during = of.presence_during.max(took);
        of.standstill = of.standstill.max(standstill);
        tokio::time::sleep_until((begun + self.durations.other).into()).await;
    }

    /// Does something to the engine.
    async fn of_engine(&mut self, fault: Fault) {
        self.board.say(&fault.to_string());
        self.board.counters.watch();
        let (is_refusing, is_cut) = match fault {
            Fault::Fill => (true, false),
            Fault::Slow => (false, false),
            _ => (true, true),
        };
        let trouble = |is_refusing, is_cut| {
            for host in 0..HOSTS {
                self.board.trouble(host, is_refusing, is_cut);
            }
        };
        trouble(is_refusing, is_cut);
        let Durations { pause, other, .. } = self.durations;
        match fault {
            Fault::Restart => {
                self.stage.with_engine(|engine| engine.server().kill()).await;
                tokio::time::sleep(other / 4).await;
                self.stage.with_engine(|engine| engine.server().restart()).await;
            }
            Fault::Pause => {
                self.stage.with_engine(|engine| engine.server().pause(true)).await;
                tokio::time::sleep(pause).await;
                self.stage.with_engine(|engine| engine.server().pause(false)).await;
            }
            Fault::Fill => {
                self.stage.with_engine(|engine| engine.fill()).await;
                tokio::time::sleep(other).await;
                self.stage.with_engine(|engine| engine.free()).await;
            }
            _ => {
                self.stage.slow(SLOW);
                tokio::time::sleep(other).await;
                self.stage.slow(Duration::ZERO);
            }
        }
        trouble(false, false);
        self.healed(fault).await;
    }

    /// Checks that all is whole again.
    async fn healed(&mut self, fault: Fault) {
        let healed = Instant::now();
        self.board.toggle(false);
        let took = self.presence(&[0, 1, 2], healed).await;
        self.board.toggle(true);
        self.rooms(healed).await;
        let standstill = self.board.counters.silence();
        let of = self.figures.of(fault);
        of.presence_after = of.presence_after.max(took);
        of.standstill = of.standstill.max(standstill);
    }

    /// Waits until the lists of these hosts are right, and returns the time since the beginning.
    async fn presence(&self, hosts: &[usize], begun: Instant) -> Duration {
        let what = format!("presence to be right on the hosts {hosts:?}");
        self.within(&what, begun, || self.board.wrong_list(hosts)).await
    }

    /// Waits until each room with a state tells something new.
    async fn rooms(&self, begun: Instant) {
        let moment = begun + ON_ITS_WAY;
        let silent = || self.board.counters.silent_since(moment);
        self.within("each room with a state to go on", begun, silent).await;
    }

    /// Asks each host for the state of each room. None is below what somebody has seen, or above what was posted.
    async fn states(&self, fault: Fault) {
        for host in 0..HOSTS {
            let name = format!("checker-{host}");
            let mut visit = Visit::begin(&self.board, host, &name, "").await;
            for room in poster::ROOMS {
                let (seen, _) = self.board.counters.bounds(room);
                let ask = json!({ "do": "read_room", "room": room });
                let result = match visit.step(ask, |_| ()).await {
                    Ok(result) => result,
                    Err(ended) => {
                        self.board.fail(format!("{name} was ended after {fault}: {ended:?}"));
                        break;
                    }
                };
                let (_, posted) = self.board.counters.bounds(room);
                let is_right =
                    result.as_u64().is_some_and(|number| (seen..=posted).contains(&number));
                if !is_right {
                    self.board.fail(format!(
                        "host {host} says after {fault} that {room} has {result}: {seen} were seen, {posted} posted"
                    ));
                }
            }
        }
    }

    /// Lets everybody be silent, and checks that nothing is missing.
    async fn quiet(&self) {
        self.board.is_running.send_replace(false);
        self.within("histories to be whole", Instant::now(), || self.board.histories.missing())
            .await;
        self.board.is_running.send_replace(true);
    }

    /// Waits until nothing is wrong, and returns the time since the beginning. Later than the bound is a failure.
    async fn within(
        &self,
        what: &str,
        begun: Instant,
        wrong: impl Fn() -> Option<String>,
    ) -> Duration {
        let mut last = None;
        while let Some(why) = wrong() {
            if begun.elapsed() > RECOVERY + LATE {
                let took = begun.elapsed();
                self.board.fail(format!("waited {took:?} for {what}, in vain: {why}"));
                return took;
            }
            if begun.elapsed() > RECOVERY && last.is_none() {
                last = Some(why);
            }
            tokio::time::sleep(LOOK).await;
        }
        let took = begun.elapsed();
        if let Some(why) = last {
            self.board.fail(format!("waited {took:?} for {what}: {why}"));
        }
        took
    }
}
