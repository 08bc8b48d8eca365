//! All jobs, one after the other, and the document that their figures go into.
//!
//! Each job is a process of its own, with the arguments of the command in the document, so that
//! this command gives the figures beside it.

mod chart;
mod document;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::artefact;

/// Time limit for one job, after which it is ended.
const JOB_LIMIT: Duration = Duration::from_secs(30 * 60);

/// The jobs, their rounds, and the document that their figures go into.
#[derive(clap::Args)]
pub struct Options {
    /// Only jobs whose names contain one of these words [default: all]
    jobs: Vec<String>,

    /// Fewer rounds: enough to see that everything works, not enough to publish
    #[arg(long)]
    quick: bool,

    /// Rounds of each server in each job
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Servers to compare, the host first
    #[arg(
        long,
        value_name = "NAME,…",
        default_value = "wharf,bun,tungstenite,axum,gorilla,ws,socket.io,floor"
    )]
    servers: String,

    /// Another build of the host: `--servers wharf,wharf-baseline` compares the two
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// A document with the markers between which the figures go; the chart goes beside it
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,

    /// The host's program [default: target/release/wharf]
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,

    /// The folder of the plugins; the tests' are in `fixtures` beside it [default: target/plugins]
    #[arg(long, value_name = "FOLDER")]
    plugins: Option<PathBuf>,
}

/// One job with its load.
struct Entry {
    /// Name among the results.
    name: &'static str,
    /// Title in the document.
    title: &'static str,
    /// Arguments of this program.
    arguments: &'static [&'static str],
    /// Plugin that the job needs; the tests' plugins are named with their folder.
    plugin: &'static str,
    /// The figure that is drawn; `None` if there is nothing to compare.
    drawn: Option<&'static str>,
}

const ENTRIES: &[Entry] = &[
    Entry {
        name: "echo",
        title: "Echo, 64 connections, 1 in flight",
        arguments: &["echo"],
        plugin: "echo",
        drawn: Some("cpu_us_per_message"),
    },
    Entry {
        name: "echo-16",
        title: "Echo, 64 connections, 16 in flight",
        arguments: &["echo", "--in-flight", "16", "--messages", "1000000"],
        plugin: "echo",
        drawn: Some("cpu_us_per_message"),
    },
    Entry {
        name: "fanout-1",
        title: "Fan-out, 1 room of 1000, 1 sender, 1 in flight",
        arguments: &["fanout", "--senders", "1"],
        plugin: "relay",
        drawn: Some("cpu_us_per_delivery"),
    },
    Entry {
        name: "fanout-8",
        title: "Fan-out, 1 room of 1000, 8 senders, 1 in flight each",
        arguments: &["fanout"],
        plugin: "relay",
        drawn: Some("cpu_us_per_delivery"),
    },
    Entry {
        name: "fanout-64",
        title: "Fan-out, 1 room of 1000, 8 senders, 8 in flight each",
        arguments: &["fanout", "--in-flight", "8", "--deliveries", "2000000"],
        plugin: "relay",
        drawn: Some("cpu_us_per_delivery"),
    },
    Entry {
        name: "fanout-open",
        title: "Fan-out, 1 room of 1000, 8 senders, 100 messages/s in all",
        arguments: &["fanout", "--rate", "100", "--deliveries", "400000"],
        plugin: "relay",
        drawn: Some("p99_us"),
    },
    Entry {
        name: "rooms",
        title: "100 rooms of 10, 1 sender each, 1 in flight",
        arguments: &["rooms"],
        plugin: "relay",
        drawn: Some("cpu_us_per_delivery"),
    },
    Entry {
        name: "rooms-open",
        title: "100 rooms of 10, 1 sender each, 5,000 messages/s in all",
        arguments: &["rooms", "--rate", "5000", "--deliveries", "200000"],
        plugin: "relay",
        drawn: Some("p99_us"),
    },
    Entry {
        name: "mixed",
        title: "A chat in 100 rooms of 10, 5,000 messages/s in all, 100 visitors/s",
        arguments: &["mixed"],
        plugin: "relay",
        drawn: Some("cpu_us_per_delivery"),
    },
    Entry {
        name: "rooms-workers",
        title: "100 rooms of 10, 1 sender each: two workers beside one",
        arguments: &["rooms", "--servers", "wharf-two-workers,wharf"],
        plugin: "relay",
        drawn: None,
    },
    Entry {
        name: "idle",
        title: "5,000 connections after one message each",
        arguments: &["idle", "--after-message"],
        plugin: "echo",
        drawn: Some("bytes_per_connection_after_message"),
    },
    Entry {
        name: "joined",
        title: "5,000 connections in no room, in 1 and in 4",
        arguments: &["joined"],
        plugin: "../fixtures/rooms",
        drawn: None,
    },
    Entry {
        name: "kept",
        title: "Events of 256 rooms whose state is kept, on disk and in memory",
        arguments: &["kept"],
        plugin: "../fixtures/kept",
        drawn: None,
    },
    Entry {
        name: "storm",
        title: "Connections opened and closed",
        arguments: &["storm"],
        plugin: "echo",
        drawn: Some("cpu_us_per_connection"),
    },
    Entry {
        name: "reload",
        title: "From a rename in the folder to the first event on new code",
        arguments: &["reload"],
        plugin: "chat",
        drawn: None,
    },
    Entry {
        name: "reload-cached",
        title: "The same, of code that was compiled before",
        arguments: &["reload", "--cached"],
        plugin: "chat",
        drawn: None,
    },
    Entry {
        name: "swaps",
        title: "Echo at 5,000 messages/s while the plugin is swapped",
        arguments: &["swaps"],
        plugin: "echo",
        drawn: None,
    },
    Entry {
        name: "guests",
        title: "Further plugins",
        arguments: &["guests"],
        plugin: "echo",
        drawn: None,
    },
    Entry {
        name: "guests-cached",
        title: "Further plugins that were compiled before",
        arguments: &["guests", "--cached"],
        plugin: "echo",
        drawn: None,
    },
    Entry {
        name: "json",
        title: "A chat message in JSON, beside an echo",
        arguments: &["json"],
        plugin: "echo",
        drawn: None,
    },
];

/// Returns true for jobs that compare servers, and so take a list of them.
fn compares(entry: &Entry) -> bool {
    entry.drawn.is_some()
}

/// Runs the jobs, keeps their figures below the target folder, and writes the document of all
/// figures that are there.
///
/// # Errors
///
/// A job fails; the others run nevertheless. The document cannot be written.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let wanted = |entry: &&Entry| {
        options.jobs.is_empty()
            || options.jobs.iter().any(|word| entry.name.contains(word.as_str()))
    };
    let entries: Vec<&Entry> = ENTRIES.iter().filter(wanted).collect();
    let names: Vec<&str> = ENTRIES.iter().map(|entry| entry.name).collect();
    ensure!(!entries.is_empty(), "no job is called so; there are {}", names.join(", "));
    let results = artefact::scratch()?.join("bench-results");
    fs::create_dir_all(&results).with_context(|| format!("cannot make {}", results.display()))?;
    let mut failed = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        eprintln!("[{}/{}] {} …", number + 1, entries.len(), entry.title);
        let begun = Instant::now();
        match run_entry(options, entry) {
            Ok(mut result) => {
                result["command"] = shown_command(options, entry).into();
                fs::write(file(&results, entry), format!("{result:#}\n"))?;
                println!("{}", document::section(entry, &result));
                eprintln!("      {} s", begun.elapsed().as_secs());
            }
            Err(error) => {
                eprintln!("error: {}: {error:#}", entry.name);
                failed.push(entry.name);
            }
        }
    }
    if let Some(document) = &options.write {
        let results = all_results(&results)?;
        document::write(document, &results)?;
        let chart = document.with_extension("svg");
        fs::write(&chart, chart::draw(&results))
            .with_context(|| format!("cannot write {}", chart.display()))?;
        eprintln!("written: {} and {}", document.display(), chart.display());
    }
    ensure!(failed.is_empty(), "these jobs failed: {}", failed.join(", "));
    Ok(())
}

/// Returns the figures of the jobs, of this run or an earlier one.
fn all_results(folder: &Path) -> anyhow::Result<Vec<(&'static Entry, Value)>> {
    let mut results = Vec::new();
    for entry in ENTRIES {
        if let Ok(text) = fs::read_to_string(file(folder, entry)) {
            let result = serde_json::from_str(&text)
                .with_context(|| format!("the results of {} are not JSON", entry.name))?;
            results.push((entry, result));
        }
    }
    Ok(results)
}

fn file(folder: &Path, entry: &Entry) -> PathBuf {
    folder.join(entry.name).with_extension("json")
}

/// Returns the arguments that matter to the figures.
fn arguments(options: &Options, entry: &Entry) -> Vec<String> {
    let mut arguments: Vec<String> = entry.arguments.iter().map(|&a| a.to_owned()).collect();
    let rounds = if options.quick { 2 } else { options.rounds };
    match entry.name {
        "reload" | "reload-cached" => {
            arguments.extend(["--runs".to_owned(), (2 * rounds).to_string()])
        }
        _ => arguments.extend(["--rounds".to_owned(), rounds.to_string()]),
    }
    if compares(entry) {
        arguments.extend(["--servers".to_owned(), options.servers.clone()]);
    }
    arguments
}

fn shown_command(options: &Options, entry: &Entry) -> String {
    format!("cargo run --release -p wharf-bench -- {}", arguments(options, entry).join(" "))
}

fn run_entry(options: &Options, entry: &Entry) -> anyhow::Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--json").args(arguments(options, entry));
    if let Some(host) = &options.host {
        command.arg("--host").arg(host);
    }
    if let Some(plugins) = &options.plugins {
        command.arg("--plugin").arg(plugins.join(entry.plugin).with_extension("wasm"));
    }
    if let Some(baseline) = options.baseline.as_ref().filter(|_| compares(entry)) {
        command.arg("--baseline").arg(baseline);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let text = output_within(child, JOB_LIMIT)?;
    serde_json::from_str(&text).context("the job's report is not JSON")
}

/// Returns the output of a program that succeeds in time.
fn output_within(mut child: Child, limit: Duration) -> anyhow::Result<String> {
    let output = child.stdout.take().context("the job has no output")?;
    let reading = thread::spawn(move || std::io::read_to_string(output));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > limit {
            let _ = child.kill();
            child.wait()?;
            bail!("it had not finished after {} minutes", limit.as_secs() / 60);
        }
        // The standard library has no wait with a limit.
        thread::sleep(Duration::from_millis(20));
    };
    ensure!(status.success(), "it failed ({status})");
    let text = reading.join().ok().context("its output could not be read")?;
    text.context("its output could not be read")
}
