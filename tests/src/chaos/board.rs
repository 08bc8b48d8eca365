//! The facts that the clients of a run and its conductor share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::counters::Counters;
use super::histories::Histories;
use crate::Ended;
use crate::cluster::NODE_TIMEOUT;

/// Number of hosts.
pub const HOSTS: usize = 3;

/// Time in which presence is right, rooms have moved and hosts are whole again.
pub const RECOVERY: Duration = Duration::from_millis(NODE_TIMEOUT + 1000);

/// Failures that are kept; the first ones tell most.
const FAILURES: usize = 40;

/// One host as its clients see it.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Its address; `None` while it is down.
    pub address: Option<SocketAddr>,
    /// Number of its process.
    pub life: u64,
    /// True while it may have to refuse what needs the engine.
    pub is_refusing: bool,
    /// True while messages from and to other hosts may be lost.
    pub is_cut: bool,
    /// The time since which neither is true.
    since: Instant,
}

/// Numbers that the run prints.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages and posts that clients have sent.
    pub sent: AtomicU64,
    /// Messages that clients have got.
    pub received: AtomicU64,
    /// Messages to rooms with a history that were accepted.
    pub accepted: AtomicU64,
    /// Messages and posts that were refused during a fault, as the documents say.
    pub refused: AtomicU64,
    /// Clients that came back with a position and got what they had missed.
    pub recovered: AtomicU64,
    /// Messages that they got so.
    pub caught_up: AtomicU64,
    /// Events of rooms with a state whose effects came after those of later events, from a host that had lost the
    /// room meanwhile.
    pub late: AtomicU64,
    /// Messages of rooms without history that did not reach another host during a fault.
    pub missed: AtomicU64,
}

/// The facts.
pub struct Board {
    begun: Instant,
    hosts: Mutex<[Host; HOSTS]>,
    failures: Mutex<Vec<String>>,
    /// Names that must be present, with the host of each.
    tracked: Mutex<BTreeMap<String, usize>>,
    /// The list of each host, as a client of it knows it.
    lists: Mutex<[Option<BTreeSet<String>>; HOSTS]>,
    is_toggling: AtomicBool,
    /// Number of clients that follow a room from its beginning.
    followers: AtomicUsize,
    /// True while clients send.
    pub is_running: watch::Sender<bool>,
    /// The rooms with a history.
    pub histories: Histories,
    /// The rooms with a state.
    pub counters: Counters,
    /// The numbers that the run prints.
    pub tally: Tally,
}

impl Board {
    pub fn new(addresses: [SocketAddr; HOSTS]) -> Board {
        let host = |address| Host {
            address: Some(address),
            life: 0,
            is_refusing: false,
            is_cut: false,
            since: Instant::now(),
        };
        Board {
            begun: Instant::now(),
            hosts: Mutex::new(addresses.map(host)),
            failures: Mutex::default(),
            tracked: Mutex::default(),
            lists: Mutex::default(),
            is_toggling: AtomicBool::new(true),
            followers: AtomicUsize::new(0),
            is_running: watch::Sender::new(false),
            histories: Histories::default(),
            counters: Counters::default(),
            tally: Tally::default(),
        }
    }

    /// Adds to a number of the tally.
    pub fn count(&self, number: &AtomicU64, more: u64) {
        number.fetch_add(more, Ordering::Relaxed);
    }

    /// Records that a promise was broken.
    pub fn fail(&self, what: String) {
        let mut failures = self.failures.lock().expect("no holder panics");
        let at = self.begun.elapsed().as_secs_f64();
        eprintln!("chaos: {at:.3} s: BROKEN: {what}");
        if failures.len() < FAILURES {
            failures.push(format!("{at:.3} s: {what}"));
        }
    }

    /// Says what happens, in the output of the run.
    pub fn say(&self, what: &str) {
        println!("chaos: {:.3} s: {what}", self.begun.elapsed().as_secs_f64());
    }

    /// Returns the promises that were broken.
    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().expect("no holder panics").clone()
    }

    /// Returns a host as it is.
    pub fn host(&self, host: usize) -> Host {
        self.hosts.lock().expect("no holder panics")[host]
    }

    /// Records that a host goes down. Its clients' ends are no failures from now on.
    pub fn down(&self, host: usize) {
        let mut hosts = self.hosts.lock().expect("no holder panics");
        hosts[host].address = None;
        // Under the lock, so that nothing is recorded for the end of its clients.
        self.tracked.lock().expect("no holder panics").retain(|_, of| *of != host);
        self.lists.lock().expect("no holder panics")[host] = None;
    }

    /// Records that a host is there again.
    pub fn up(&self, host: usize, address: SocketAddr) {
        let mut hosts = self.hosts.lock().expect("no holder panics");
        let host = &mut hosts[host];
        (host.address, host.life, host.since) = (Some(address), host.life + 1, Instant::now());
    }

    /// Records what a host cannot do from now on.
    pub fn trouble(&self, host: usize, is_refusing: bool, is_cut: bool) {
        let mut hosts = self.hosts.lock().expect("no holder panics");
        let host = &mut hosts[host];
        (host.is_refusing, host.is_cut) = (is_refusing, is_cut);
        host.since = Instant::now();
    }

    /// Returns true if a host may refuse what needs the engine: now, or until it must have recovered.
    pub fn may_refuse(&self, host: usize) -> bool {
        let host = self.host(host);
        host.is_refusing || host.since.elapsed() < RECOVERY
    }

    /// Returns true if no message from a host to another one may have been lost since a moment.
    pub fn is_whole_since(&self, from: usize, to: usize, moment: Instant) -> bool {
        let is_whole = |host: Host| !host.is_cut && host.since + RECOVERY < moment;
        is_whole(self.host(from)) && is_whole(self.host(to))
    }

    /// Returns true if no host has been without the engine for a while.
    pub fn is_whole(&self) -> bool {
        (0..HOSTS).all(|host| !self.may_refuse(host))
    }

    /// Judges the end of a client's connection. It may end with its host, or, where it has asked for what needs the
    /// engine, with 1013.
    pub fn ended(&self, who: &str, host: usize, life: u64, ended: &Ended, needs_engine: bool) {
        let now = self.host(host);
        if now.address.is_none() || now.life != life {
            return;
        }
        let is_refusal = matches!(ended, Ended::Closed(1013, _));
        if is_refusal && needs_engine && self.may_refuse(host) {
            self.count(&self.tally.refused, 1);
            return;
        }
        self.fail(format!("the connection of {who} to the healthy host {host} ended: {ended:?}"));
    }

    /// Judges a refusal, by its code.
    pub fn refused(&self, who: &str, host: usize, code: &str) {
        let is_documented = ["data-unavailable", "cluster-queue-full"].contains(&code);
        match is_documented && self.may_refuse(host) {
            true => self.count(&self.tally.refused, 1),
            false => self.fail(format!("{who} on host {host} was refused: {code}")),
        }
    }

    /// Records that a name is present by a client of a host, or not any more.
    pub fn track(&self, name: &str, host: usize, life: u64, is_present: bool) {
        let hosts = self.hosts.lock().expect("no holder panics");
        if hosts[host].address.is_none() || hosts[host].life != life {
            return;
        }
        let mut tracked = self.tracked.lock().expect("no holder panics");
        match is_present {
            true => tracked.insert(name.to_owned(), host),
            false => tracked.remove(name),
        };
    }

    /// Changes the list that a client of a host knows.
    pub fn list(&self, host: usize, life: u64, change: impl FnOnce(&mut BTreeSet<String>)) {
        let hosts = self.hosts.lock().expect("no holder panics");
        if hosts[host].address.is_none() || hosts[host].life != life {
            return;
        }
        let mut lists = self.lists.lock().expect("no holder panics");
        change(lists[host].get_or_insert_default());
    }

    /// Has clients come and go in the list, or stay as they are.
    pub fn toggle(&self, is_toggling: bool) {
        self.is_toggling.store(is_toggling, Ordering::Release);
    }

    /// Returns true while clients come and go in the list.
    pub fn is_toggling(&self) -> bool {
        self.is_toggling.load(Ordering::Acquire)
    }

    /// Returns the first host of these whose list is not that of all clients of these hosts.
    pub fn wrong_list(&self, hosts: &[usize]) -> Option<String> {
        let tracked = self.tracked.lock().expect("no holder panics");
        let of_hosts = tracked.iter().filter(|(_, host)| hosts.contains(host));
        let expected: BTreeSet<String> = of_hosts.map(|(name, _)| name.clone()).collect();
        let lists = self.lists.lock().expect("no holder panics");
        let wrong = hosts.iter().find(|host| lists[**host].as_ref() != Some(&expected))?;
        Some(format!("host {wrong} has {:?}, and there are {expected:?}", lists[*wrong]))
    }

    /// Records that one more client follows a room.
    pub fn follows(&self) {
        self.followers.fetch_add(1, Ordering::Release);
    }

    /// Returns the number of clients that follow a room.
    pub fn followers(&self) -> usize {
        self.followers.load(Ordering::Acquire)
    }

    /// Returns true if a name is present.
    pub fn is_present(&self, name: &str) -> bool {
        self.tracked.lock().expect("no holder panics").contains_key(name)
    }

    /// Returns the number of names that are present.
    pub fn present(&self) -> usize {
        self.tracked.lock().expect("no holder panics").len()
    }
}
