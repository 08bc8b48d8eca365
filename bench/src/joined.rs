//! Resident memory of the host per connection and joined room.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use serde_json::json;

use crate::artefact;
use crate::comparison::{Figure, Figures, compare_starts};
use crate::files;
use crate::frame::{self, Opcode};
use crate::handshake::{self, Opened};
use crate::report::Report;
use crate::server::Server;
use crate::setting::HostSetting;

const EXPLANATION: &str = "\
Each case has a fresh process. Each connection sends four messages, of which as many join a room \
as the case says, and the others ask for its id; so all cases differ in their rooms only. Memory \
is the Rss of /proc/PID/smaps_rollup, as in the job `idle`. The figure is what a connection takes \
more than in no room, by joined room. In shared rooms the room's own memory is divided among its \
members; a connection alone in its rooms pays for the whole of them. The rooms' names have 9 to \
12 bytes.";

/// Messages of a connection, which is the largest number of rooms that it joins.
const MESSAGES: u32 = 4;

const MASK: [u8; 4] = [0x71, 0x0c, 0xd3, 0x8a];

/// The number of connections, and of members of a room.
#[derive(clap::Args, Serialize)]
#[command(after_help = EXPLANATION)]
pub struct Options {
    /// Connections that are open at the same time
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    connections: u32,

    /// Members of a shared room
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=25_000))]
    members: u32,

    #[command(flatten)]
    setting: HostSetting,
}

const FIGURES: &[Figure] = &[
    Figure::shown("bytes/connection in no room", "bytes_in_no_room", 0),
    Figure::shown("bytes/room, 1 shared", "bytes_1_shared", 0),
    Figure::shown("bytes/room, 4 shared", "bytes_4_shared", 0),
    Figure::shown("bytes/room, 1 alone", "bytes_1_alone", 0),
    Figure::shown("bytes/room, 4 alone", "bytes_4_alone", 0),
];

/// The rooms that connections join.
#[derive(Clone, Copy)]
struct Case {
    rooms: u32,
    members: u32,
}

/// Measures and reports.
///
/// # Errors
///
/// Something is missing, the host fails, or it does not let a connection join.
pub fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    report.begin("joined", "resident memory of the host per connection and joined room")?;
    report.line(&format!(
        "load: {} connections, in no room, in 1 and in {MESSAGES}; shared by {} or alone",
        options.connections, options.members
    ))?;
    report.set("options", options);
    let mut flags = files::allow_connections(options.connections + 1)?;
    // A day, since the connections stay silent.
    flags.push("--keep-alive-interval-ms=86400000".to_owned());
    let plugin = artefact::fixture(options.setting.plugin.as_deref(), "rooms")?;
    let stage = options.setting.prepare_file(plugin, &flags, report)?;
    let case = |rooms, members| Case { rooms, members };
    let shared = options.members;
    compare_starts(&stage, FIGURES, report, |contestant| {
        let measure = |case: Case| {
            let server = contestant.start(Some(stage.cores.server))?;
            let bytes = measure(options.connections, case, &server);
            bytes.map_err(|error: anyhow::Error| server.process.explain(error))
        };
        let none = measure(case(0, 1))?;
        let more = |case: Case| Ok((measure(case)? - none) / f64::from(case.rooms));
        let cases = [case(1, shared), case(MESSAGES, shared), case(1, 1), case(MESSAGES, 1)];
        let more = cases.into_iter().map(more).collect::<anyhow::Result<Figures>>()?;
        Ok([vec![none], more].concat())
    })
}

/// Returns the bytes by connection.
fn measure(connections: u32, case: Case, server: &Server) -> anyhow::Result<f64> {
    // Memory that the host allocates once is not counted.
    let _first = join(server.address(), case, 0)?;
    let before = server.process.settled_memory()?;
    let mut open = Vec::new();
    for number in 1..=connections {
        let joined = join(server.address(), case, number);
        open.push(joined.with_context(|| format!("connection {number} of {connections}"))?);
    }
    let after = server.process.settled_memory()?;
    Ok((after as f64 - before as f64) / f64::from(connections))
}

/// Opens a connection and joins its rooms.
fn join(address: SocketAddr, case: Case, number: u32) -> anyhow::Result<TcpStream> {
    let mut opened = handshake::open(address, "/rooms")?;
    for message in 0..MESSAGES {
        let order = match message < case.rooms {
            true => json!({ "do": "join", "room": room(message, number / case.members) }),
            false => json!({ "do": "id" }),
        };
        let answer = ask(&mut opened, &order.to_string())?;
        ensure!(!answer.contains("refused"), "{order} is answered with {answer}");
    }
    Ok(opened.stream)
}

/// Returns a room's name, as long as those of real ones.
fn room(kind: u32, number: u32) -> String {
    format!("room-{kind}-{number:02}")
}

fn ask(opened: &mut Opened, order: &str) -> anyhow::Result<String> {
    opened.stream.write_all(&frame::encode(Opcode::Text, order.as_bytes(), MASK))?;
    loop {
        if let Some(frame) = frame::parse(&opened.early)? {
            let text = String::from_utf8_lossy(frame.payload).into_owned();
            let (length, opcode) = (frame.length, frame.opcode);
            opened.early.drain(..length);
            match opcode {
                Opcode::Text => return Ok(text),
                other => bail!("{order} is answered with a frame of kind {other:?}"),
            }
        }
        let mut chunk = [0; 4096];
        match opened.stream.read(&mut chunk) {
            Ok(0) => bail!("the server hung up instead of answering {order}"),
            Ok(read) => opened.early.extend(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).with_context(|| format!("no answer to {order}")),
        }
    }
}
