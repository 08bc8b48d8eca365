//! The options that all comparisons have in common: servers, rounds and cores.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::artefact;
use crate::cores::{self, Cores};
use crate::report::Report;
use crate::server::{Contestant, Host, Kind};

/// The servers, the rounds and the cores of a comparison.
#[derive(clap::Args, Serialize)]
pub struct Setting {
    /// Servers to measure; the first is compared with the others
    #[arg(long, value_enum, value_delimiter = ',', default_value = "wharf,tungstenite,bun")]
    pub servers: Vec<Kind>,

    /// Another build of the host: the server wharf-baseline
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// The options of the jobs that measure only the host.
    #[command(flatten)]
    pub own: HostSetting,
}

/// The host, the rounds and the cores of a job that measures only the host.
#[derive(clap::Args, Serialize)]
pub struct HostSetting {
    /// Rounds of each server, each with a fresh process
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// The host's program [default: target/release/wharf]
    #[arg(long, value_name = "FILE")]
    pub host: Option<PathBuf>,

    /// Another plugin than the job's, from target/plugins
    #[arg(long, value_name = "FILE")]
    pub plugin: Option<PathBuf>,

    /// A further flag of `wharf serve`, such as --host-flag=--log=warn; may be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub host_flag: Vec<String>,

    /// The server's core [default: the first]
    #[arg(long, value_name = "NUMBER")]
    pub server_core: Option<usize>,

    /// The generator's core [default: the next]
    #[arg(long, value_name = "NUMBER")]
    pub generator_core: Option<usize>,
}

/// A [`Setting`] with all that it needs found or installed.
pub struct Stage {
    /// The servers, in the order in which they take turns.
    pub contestants: Vec<Contestant>,
    /// The cores of the servers and the generator.
    pub cores: Cores,
    /// Rounds of each server.
    pub rounds: u32,
}

impl Setting {
    /// Finds the host with the plugin of that name and installs the peers, reports what it found,
    /// and pins this thread to the generator's core. A peer that is not available here is left out,
    /// with a note.
    ///
    /// # Errors
    ///
    /// The host or its plugin is missing, or there is nothing to measure.
    pub fn prepare(
        &self,
        plugin: &str,
        flags: &[String],
        report: &mut Report,
    ) -> anyhow::Result<Stage> {
        self.prepare_without(&[], plugin, flags, report)
    }

    /// Prepares like [`prepare`](Self::prepare), without the servers that the job is not for. Each
    /// is given with the reason.
    ///
    /// # Errors
    ///
    /// The host or its plugin is missing, or there is nothing to measure.
    pub fn prepare_without(
        &self,
        left_out: &[(Kind, &str)],
        plugin: &str,
        flags: &[String],
        report: &mut Report,
    ) -> anyhow::Result<Stage> {
        Kind::check_distinct(&self.servers)?;
        let cores = self.own.choose_cores(report)?;
        let mut contestants = Vec::new();
        for &kind in &self.servers {
            if let Some((_, why)) = left_out.iter().find(|(unfit, _)| *unfit == kind) {
                report.note(&format!("{} is left out: {why}", kind.name()))?;
                continue;
            }
            let workers = match kind {
                Kind::Wharf | Kind::WharfBaseline => Some(1),
                Kind::WharfTwoWorkers => Some(2),
                _ => None,
            };
            if let Some(workers) = workers {
                let plugin = artefact::plugin(self.own.plugin.as_deref(), plugin)?;
                let mut host = self.own.find_host(plugin, flags, report)?;
                host.workers = workers;
                if kind == Kind::WharfBaseline {
                    host.program =
                        self.baseline.clone().context("wharf-baseline needs --baseline FILE")?;
                    host.is_baseline = true;
                }
                contestants.push(Contestant::Host(host));
                continue;
            }
            match Contestant::peer(kind) {
                Ok(peer) => contestants.push(peer),
                Err(error) => report.note(&format!("{} is left out: {error:#}", kind.name()))?,
            }
        }
        ensure!(!contestants.is_empty(), "none of the servers can be measured here");
        Stage::set(contestants, cores, self.own.rounds, report)
    }
}

impl HostSetting {
    /// Prepares jobs that measure only the host.
    ///
    /// # Errors
    ///
    /// The host or its plugin is missing.
    pub fn prepare(
        &self,
        plugin: &str,
        flags: &[String],
        report: &mut Report,
    ) -> anyhow::Result<Stage> {
        let plugin = artefact::plugin(self.plugin.as_deref(), plugin)?;
        self.prepare_file(plugin, flags, report)
    }

    /// Prepares like [`prepare`](Self::prepare), with a plugin that has been found already.
    ///
    /// # Errors
    ///
    /// The host is missing.
    pub fn prepare_file(
        &self,
        plugin: PathBuf,
        flags: &[String],
        report: &mut Report,
    ) -> anyhow::Result<Stage> {
        let cores = self.choose_cores(report)?;
        let host = Contestant::Host(self.find_host(plugin, flags, report)?);
        Stage::set(vec![host], cores, self.rounds, report)
    }

    fn choose_cores(&self, report: &mut Report) -> anyhow::Result<Cores> {
        let cores = Cores::choose(self.server_core, self.generator_core)?;
        report.line(&format!(
            "servers: 1 worker, on core {}; generator on core {}; a fresh process each round",
            cores.server, cores.generator
        ))?;
        if cores.are_shared() {
            report.note(
                "server and generator share one core: CPU time is higher than it would be, \
                 latency and throughput say nothing",
            )?;
        }
        Ok(cores)
    }

    /// Returns the host with a plugin.
    ///
    /// # Errors
    ///
    /// The host is missing.
    fn find_host(
        &self,
        plugin: PathBuf,
        flags: &[String],
        report: &mut Report,
    ) -> anyhow::Result<Host> {
        let host = Host {
            program: artefact::host(self.host.as_deref())?,
            plugins: vec![plugin],
            flags: [flags, &self.host_flag].concat(),
            cache: None,
            workers: 1,
            is_baseline: false,
        };
        if host.looks_unoptimised() {
            report.note("the host is not optimised: `cargo build --release -p wharf`")?;
        }
        Ok(host)
    }
}

impl Stage {
    fn set(
        contestants: Vec<Contestant>,
        cores: Cores,
        rounds: u32,
        report: &mut Report,
    ) -> anyhow::Result<Stage> {
        let mut versions = Vec::new();
        for contestant in &contestants {
            let version = format!("{}: {}", contestant.kind().name(), contestant.describe());
            report.line(&version)?;
            versions.push(version);
        }
        report.set("versions", versions);
        cores::stay_on(&[cores.generator])?;
        Ok(Stage { contestants, cores, rounds })
    }

    /// Starts one server after the other, round for round, and hands each to `measure`. So a change
    /// of the machine affects all servers.
    ///
    /// # Errors
    ///
    /// The first error of `measure`, with the server's name and the round.
    pub fn take_turns(
        &self,
        report: &mut Report,
        mut measure: impl FnMut(&Contestant, u32, &mut Report) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for round in 1..=self.rounds {
            for contestant in &self.contestants {
                let name = contestant.kind().name();
                report.progress(&format!("{name} round {round} …"));
                measure(contestant, round, report)
                    .with_context(|| format!("{name}, round {round}"))?;
            }
        }
        Ok(())
    }
}
