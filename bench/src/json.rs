//! CPU time of the server for a message that is parsed, checked, sent to a room and stored, above
//! that of an echo.

use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use crate::artefact;
use crate::comparison::{Figure, Figures, compare};
use crate::dialect::Dialect;
use crate::echo::exchange;
use crate::generator::Generator;
use crate::message::Messages;
use crate::report::Report;
use crate::server::{Contestant, Server};
use crate::setting::HostSetting;

const EXPLANATION: &str = "\
One process serves both plugins, and both are measured in it, one after the other, with the same \
number of connections. Each connection of the JSON plugin is in a room of its own, so that a \
broadcast is one delivery: {\"type\":\"chat_message\",\"message\":…} is parsed, checked and told \
to the room as JSON, and the session is another afterwards. Messages have 64 bytes, in JSON \
without what stands around them.";

/// Bytes of a message.
const SIZE: usize = 64;

/// The load.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Connections that send at the same time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=5000))]
    connections: u32,

    /// Messages of each of the two, over all connections
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,

    /// Messages before each that do not count
    #[arg(long, default_value_t = 50_000)]
    warm_up: u64,

    /// A plugin that answers chat messages [default: tally.wasm beside the plugin that echoes]
    #[arg(long, value_name = "FILE")]
    json_plugin: Option<PathBuf>,

    /// The path of that plugin; the number of the connection follows
    #[arg(long, default_value = "/tally/")]
    json_path: String,

    #[command(flatten)]
    setting: HostSetting,
}

const FIGURES: &[Figure] = &[
    Figure::shown("echo CPU µs", "echo_cpu_us", 3),
    Figure::shown("JSON CPU µs", "json_cpu_us", 3),
    Figure::shown("above the echo, µs", "above_echo_us", 3),
];

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, the host fails, or an answer is wrong.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    report.begin("json", "server CPU per message, median (min–max) of the rounds")?;
    report.line(&format!(
        "load: {} connections, 1 in flight each, {SIZE} bytes, {} messages of each after {} to \
         warm up",
        options.connections, options.messages, options.warm_up
    ))?;
    report.set("options", options);
    let beside = options.setting.plugin.as_ref().map(|echo| echo.with_file_name("tally.wasm"));
    let named = options.json_plugin.clone().or(beside);
    let json_plugin = artefact::plugin(named.as_deref(), "tally")?;
    let mut stage = options.setting.prepare("echo", &[], report)?;
    for contestant in &mut stage.contestants {
        if let Contestant::Host(host) = contestant {
            host.plugins.push(json_plugin.clone());
        }
    }
    compare(&stage, FIGURES, report, |server| measure(options, server))
}

fn measure(options: &Options, server: &Server) -> anyhow::Result<Figures> {
    let connections = options.connections as usize;
    let cpu_us = |mut generator: Generator| {
        let figures = exchange(&mut generator, server, options.warm_up, options.messages, 1)?;
        figures.first().copied().context("there is no figure")
    };
    let echo =
        cpu_us(Generator::open(server.address(), "/echo", server.dialect(), connections, SIZE)?)?;
    let json = cpu_us(Generator::open_each(
        server.address(),
        |number| format!("{}{number}", options.json_path),
        connections,
        |number| Messages::speaking(Dialect::Chat, number, SIZE),
    )?)?;
    Ok(vec![echo, json, json - echo])
}
