//! Hosts of a test that one host passes as well as several of a cluster.

use std::fmt::Debug;

use crate::cluster::Cluster;
use crate::folder::{configured, folder};
use crate::operator::Operated;
use crate::{Client, Line, Rejected, Wharf, eventually, json};

/// Hosts that a test runs on. [`on_one_host_and_on_two`](crate::on_one_host_and_on_two) makes a test of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// One host without an engine.
    One,
    /// Two hosts with a Redis between them.
    Redis,
    /// Two hosts with a NATS between them.
    Nats,
}

impl Setup {
    /// Starts the hosts with these plugins or fixtures; `flags` as for [`Wharf::start`].
    pub async fn start(self, plugins: &[&str], flags: &[&str]) -> Hosts {
        self.start_in(|| folder(plugins), flags).await
    }

    /// Starts the hosts like [`Setup::start`], with these tables in their `wharf.toml`.
    pub async fn start_with(self, plugins: &[&str], tables: &str, flags: &[&str]) -> Hosts {
        self.start_in(|| configured(plugins, tables), flags).await
    }

    /// Starts the hosts in folders that are made alike.
    pub async fn start_in(self, make: impl Fn() -> tempfile::TempDir, flags: &[&str]) -> Hosts {
        let engine = match self {
            Setup::One => return Hosts::One(Operated::start_in(make(), flags).await),
            Setup::Redis => "redis",
            Setup::Nats => "nats",
        };
        Hosts::Several(Cluster::start_in(engine, make, flags, 2).await)
    }
}

/// The running hosts of a test, which says to which of them a client connects.
pub enum Hosts {
    /// One host, which every client connects to.
    One(Operated),
    /// Hosts of a cluster.
    Several(Cluster),
}

impl Hosts {
    /// Returns all hosts.
    pub fn all(&self) -> &[Operated] {
        match self {
            Hosts::One(host) => std::slice::from_ref(host),
            Hosts::Several(cluster) => &cluster.nodes,
        }
    }

    /// Returns true if there are several of them. What is promised for one host only is asserted behind it.
    pub fn are_several(&self) -> bool {
        self.all().len() > 1
    }

    /// Returns a host by its number. They take turns, so that any number has one.
    pub fn host(&self, number: usize) -> &Operated {
        &self.all()[number % self.all().len()]
    }

    /// Returns the server of a host.
    pub fn wharf(&self, number: usize) -> &Wharf {
        &self.host(number).wharf
    }

    /// Connects a client to a host, which must accept it.
    pub async fn connect(&self, host: usize, path: &str) -> Client {
        self.wharf(host).connect(path).await
    }

    /// Connects a client to a host, which may refuse it.
    pub async fn try_connect(&self, host: usize, path: &str) -> Result<Client, Rejected> {
        self.wharf(host).try_connect(path, &[]).await
    }

    /// Returns ids of connections in the order of lists: host by host, and the oldest first on each. They are given
    /// oldest first.
    pub fn listed(&self, mut ids: Vec<String>) -> Vec<String> {
        let host = |id: &String| id.split('-').next().map(str::to_owned);
        ids.sort_by_key(host);
        ids
    }

    /// Asserts that a question has this answer. Hosts learn of others a little later, and may answer for a second as
    /// before: on several hosts the answer must come to this. One host must give it at once.
    pub async fn come_to<T>(&self, answer: T, mut question: impl AsyncFnMut() -> T)
    where
        T: PartialEq + Debug,
    {
        let first = question().await;
        if !self.are_several() {
            assert_eq!(first, answer);
        }
        let mut last = first;
        eventually(&format!("the answer {answer:?}"), async || {
            if last != answer {
                last = question().await;
            }
            (last == answer).then_some(())
        })
        .await;
    }

    /// Waits until each host has received all that the others had sent before this call: each asks all others, and
    /// messages between two hosts keep their order.
    pub async fn settle(&self) {
        if !self.are_several() {
            return;
        }
        for host in self.all() {
            eventually("the other hosts to answer", async || {
                let (_, channels) = host.get("").await;
                (channels["unanswered"] == json!([])).then_some(())
            })
            .await;
        }
    }

    /// Installs bytes as a plugin on all hosts, and waits until all have them in service.
    pub async fn swap(&self, name: &str, bytes: &[u8]) {
        for host in self.all() {
            host.wharf.swap(name, bytes).await;
        }
    }

    /// Waits for a line in the log of any host.
    pub async fn line(&self, what: &str, is_it: impl Fn(&Line) -> bool) -> Line {
        eventually(what, async || self.lines(&is_it).into_iter().next()).await
    }

    /// Returns the lines of all logs that are like this.
    pub fn lines(&self, is_it: impl Fn(&Line) -> bool) -> Vec<Line> {
        self.all().iter().flat_map(|host| host.wharf.log.find(&is_it)).collect()
    }
}

/// Makes three tests of each function: on one host, and on two with a Redis or a NATS between them.
///
/// The latter are ignored without their servers; `cargo xtask test` finds or installs these, and runs all.
#[macro_export]
macro_rules! on_one_host_and_on_two {
    ($($test:ident)*) => {
        mod one {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::Setup::One).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            #[ignore = "needs a server of Redis"]
            async fn $test() {
                super::$test($crate::Setup::Redis).await;
            })*
        }
        mod nats {
            $(#[tokio::test]
            #[ignore = "needs a server of NATS"]
            async fn $test() {
                super::$test($crate::Setup::Nats).await;
            })*
        }
    };
}
