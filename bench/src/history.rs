//! Start, memory and size of a host whose rooms keep their messages, and the time in which many clients get what
//! they have missed.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use crate::artefact;
use crate::comparison::{Figure, Figures, compare};
use crate::frame::{self, Opcode};
use crate::handshake::{self, Opened};
use crate::report::Report;
use crate::server::{Contestant, Host, Server};
use crate::setting::HostSetting;

const EXPLANATION: &str = "\
A host is filled: each room gets its messages from a client of its own, and keeps all of them. Then it is \
ended by SIGKILL and started again on the same data. Its start is measured until it listens, which is after the \
data is loaded, its memory then, and the size of its folder. At last many clients come back at once, each to \
another room, and say that they have missed everything. The folder is in the system's folder for temporary files.";

/// Clients that fill rooms at the same time.
const FILLING: u32 = 256;
/// Time for a client to get what it waits for.
const LIMIT: Duration = Duration::from_secs(60);

/// The load.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Rooms that keep their messages
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rooms: u32,

    /// Messages that each room keeps
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    messages: u32,

    /// Bytes of a message
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_000))]
    size: u32,

    /// Clients that come back at once
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    clients: u32,

    #[command(flatten)]
    setting: HostSetting,
}

const FIGURES: &[Figure] = &[
    Figure::shown("kept messages/s", "kept_per_s", 0),
    Figure::shown("empty start ms", "empty_start_ms", 0),
    Figure::shown("start ms", "start_ms", 0),
    Figure::shown("memory MiB", "memory_mib", 1),
    Figure::shown("on disk MiB", "disk_mib", 1),
    Figure::shown("recovery ms", "recovery_ms", 0),
];

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, the host fails, or a message is missing.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let (rooms, messages) = (options.rooms, options.messages);
    ensure!(options.clients <= rooms, "there are fewer rooms than clients");
    report.begin("history", "rooms that keep their messages, median (min–max) of the rounds")?;
    let (size, clients) = (options.size, options.clients);
    report.line(&format!(
        "load: {rooms} rooms with {messages} messages of {size} bytes each, {clients} clients that come back"
    ))?;
    report.set("options", options);
    let plugin = artefact::plugin(options.setting.plugin.as_deref(), "relay")?;
    let stage = options.setting.prepare_file(plugin, &[], report)?;
    let host = stage.contestants.iter().find_map(|contestant| match contestant {
        Contestant::Host(host) => Some(host.clone()),
        Contestant::Peer { .. } => None,
    });
    let host = host.context("the host is not measured")?;
    let core = stage.cores.server;
    compare(&stage, FIGURES, report, |server| measure(options, server, &host, core))
}

fn measure(options: &Options, empty: &Server, host: &Host, core: usize) -> anyhow::Result<Figures> {
    let folder = crate::server::own_folder()?;
    let (file, data) = (folder.path().join("wharf.toml"), folder.path().join("data"));
    let (messages, bytes) = (options.messages, (options.size + 64) * options.messages);
    let total = u64::from(bytes) * u64::from(options.rooms) * 2;
    fs::write(
        &file,
        format!(
            "max_channel_history_bytes = {total}\n[channels.relay]\nhistory = {{ messages = {messages}, bytes = {bytes} }}\n"
        ),
    )?;
    let mut host = host.clone();
    host.flags.push(format!("--config={}", file.display()));
    host.flags.push(format!("--data={}", data.display()));
    let start = || Server::start_host(&host, Some(1), Some(core));
    let server = start()?;
    let begun = Instant::now();
    let mut epochs = Vec::new();
    let mut next = 0;
    while next < options.rooms {
        let until = options.rooms.min(next + FILLING);
        epochs.extend(fill(server.address(), next..until, options)?);
        next = until;
    }
    let kept_per_s = f64::from(options.rooms * messages) / begun.elapsed().as_secs_f64();
    drop(server);
    let server = start()?;
    let start_ms = milliseconds(server.process.started_in());
    let memory = server.process.settled_memory()?;
    let disk = size_of(&data)?;
    let recovery_ms = milliseconds(recover(server.address(), &epochs, options)?);
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    let empty_start = milliseconds(empty.process.started_in());
    Ok(vec![kept_per_s, empty_start, start_ms, mib(memory), mib(disk), recovery_ms])
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn size_of(folder: &Path) -> anyhow::Result<u64> {
    let sizes = fs::read_dir(folder)?.map(|file| Ok(file?.metadata()?.len()));
    sizes.sum::<std::io::Result<u64>>().context("cannot read the data folder")
}

/// Sends each room its messages. Returns the epochs of the rooms.
fn fill(
    address: SocketAddr,
    rooms: std::ops::Range<u32>,
    options: &Options,
) -> anyhow::Result<Vec<String>> {
    let payload = vec![b'm'; options.size as usize];
    let frames =
        frame::encode(Opcode::Text, &payload, [1, 2, 3, 4]).repeat(options.messages as usize);
    let mut clients = Vec::new();
    for room in rooms {
        let mut client = Client::open(address, &format!("/room/{room}?wharf_recover="))?;
        client.opened.stream.write_all(&frames)?;
        clients.push(client);
    }
    let mut epochs = Vec::new();
    for mut client in clients {
        client.read_messages(options.messages)?;
        epochs.push(client.epoch);
    }
    Ok(epochs)
}

/// Lets clients come back that have missed everything. Returns the time until the last one has all of it.
fn recover(address: SocketAddr, epochs: &[String], options: &Options) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut clients = Vec::new();
    for (room, epoch) in epochs.iter().take(options.clients as usize).enumerate() {
        let target = format!("/room/{room}?wharf_recover={room}%2C{epoch}%2C0");
        clients.push(Client::open(address, &target)?);
    }
    for client in &mut clients {
        client.read_messages(options.messages)?;
        ensure!(client.has_recovered, "a client could not recover");
    }
    Ok(begun.elapsed())
}

/// A client that counts the messages of its room.
struct Client {
    opened: Opened,
    epoch: String,
    has_recovered: bool,
    messages: u32,
}

impl Client {
    fn open(address: SocketAddr, target: &str) -> anyhow::Result<Client> {
        let opened = handshake::open(address, target)?;
        opened.stream.set_read_timeout(Some(LIMIT))?;
        Ok(Client { opened, epoch: String::new(), has_recovered: false, messages: 0 })
    }

    fn read_messages(&mut self, count: u32) -> anyhow::Result<()> {
        let mut received = std::mem::take(&mut self.opened.early);
        let mut chunk = [0; 64 * 1024];
        loop {
            let mut used = 0;
            while let Some(frame) = frame::parse(&received[used..])? {
                ensure!(frame.opcode == Opcode::Text, "the host sent no text");
                self.take(frame.payload)?;
                used += frame.length;
            }
            received.drain(..used);
            if self.messages >= count {
                return Ok(());
            }
            match self.opened.stream.read(&mut chunk).context("cannot read")? {
                0 => bail!("the host hung up after {} messages", self.messages),
                read => received.extend(&chunk[..read]),
            }
        }
    }

    fn take(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        if payload.starts_with(b"m") {
            self.messages += 1;
        } else if payload.starts_with(br#"{"type":"wharf:history""#) {
            let note: serde_json::Value = serde_json::from_slice(payload)?;
            self.epoch = note["epoch"].as_str().unwrap_or_default().to_owned();
            self.has_recovered = note["recovered"] == true;
        }
        Ok(())
    }
}
