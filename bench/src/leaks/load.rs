//! The loads whose traces are looked for: connections, swaps and channels that come and go.

use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::component;
use crate::handshake;
use crate::probe::Probe;
use crate::reload::nanoseconds_since_1970;
use crate::server::Server;
use crate::visitors::Visitors;

/// Time limit for a host to take a change of its folder.
const LIMIT: Duration = Duration::from_secs(60);

/// Pause between two looks whether a change has been taken.
const PAUSE: Duration = Duration::from_millis(2);

/// Connections that are open at the same time.
const AT_ONCE: usize = 32;

/// Lets visitors come into a room of their own and go.
pub fn connect(server: &Server, numbers: Range<u32>) -> anyhow::Result<()> {
    let target = format!("/chat/room-{}?name=visitor", numbers.start);
    let mut visitors = Visitors::new(server.address(), &target, AT_ONCE)?;
    visitors.run(numbers.end - numbers.start).map(drop)
}

/// One swap in so many is to code that the host has to compile. The others are to and fro between two
/// versions that it has compiled before.
const NEW_CODE_EVERY: u32 = 10;

/// Swaps of one plugin, under a connection that stays open.
pub struct Swaps {
    probe: Probe,
    plugin: Vec<u8>,
    /// The plugin's file in the folder.
    target: PathBuf,
    /// The place beside the folder where the next version is written.
    next: PathBuf,
    /// Mark of the code of this run.
    mark: u128,
}

impl Swaps {
    /// Connects to the chat.
    ///
    /// # Errors
    ///
    /// The plugin cannot be read, or does not accept.
    pub fn begin(server: &Server, plugin: &Path) -> anyhow::Result<Swaps> {
        Ok(Swaps {
            probe: Probe::open(server.address(), "/chat/lobby?name=probe")?,
            plugin: read(plugin)?,
            target: in_folder(server, plugin)?,
            next: server.folder().join("next.wasm"),
            mark: nanoseconds_since_1970(),
        })
    }

    /// Swaps once for each number, and waits each time until the new code answers.
    ///
    /// # Errors
    ///
    /// A swap does not happen, or the connection ends.
    pub fn swap(&mut self, numbers: Range<u32>) -> anyhow::Result<()> {
        for number in numbers {
            let version = match number % NEW_CODE_EVERY {
                0 => format!("new {number}"),
                other => format!("known {}", other % 2),
            };
            let version = format!("{version} {}", self.mark);
            let before = self.probe.ping()?.generation;
            fs::write(&self.next, component::changed(&self.plugin, version.as_bytes())?)?;
            fs::rename(&self.next, &self.target)?;
            self.probe
                .follow(Instant::now(), before, PAUSE, LIMIT)
                .with_context(|| format!("swap {number}"))?;
        }
        Ok(())
    }
}

/// The path of the plugin that is given other names.
const PATH: &str = "/stores";

/// Channels that exist at the same time.
const CHANNELS_AT_ONCE: usize = 8;

/// Clients that visit a channel, and write into its store, before it is removed.
const VISITS: u32 = 4;

/// Channels that come under names of their own, are visited, and are removed.
pub struct Names {
    plugin: Vec<u8>,
}

impl Names {
    /// Reads the plugin.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn begin(plugin: &Path) -> anyhow::Result<Names> {
        Ok(Names { plugin: read(plugin)? })
    }

    /// Adds, visits and removes a channel for each number.
    ///
    /// # Errors
    ///
    /// A channel does not come, does not serve, or does not go.
    pub fn come_and_go(&self, server: &Server, numbers: Range<u32>) -> anyhow::Result<()> {
        let numbers: Vec<u32> = numbers.collect();
        for some in numbers.chunks(CHANNELS_AT_ONCE) {
            let mut files = Vec::new();
            for number in some {
                files.push(self.add(server, *number).context("cannot add a plugin")?);
            }
            for number in some {
                let target = format!("{}?on_connect=visits", path(*number));
                wait_until(server.address(), &target, "has come", |answer| answer.is_ok())?;
                Visitors::new(server.address(), &target, AT_ONCE)?
                    .run(VISITS)
                    .with_context(|| format!("visiting {target}"))?;
            }
            for file in files {
                fs::remove_file(&file)
                    .with_context(|| format!("cannot remove {}", file.display()))?;
            }
            for number in some {
                let is_gone = |answer: &anyhow::Result<handshake::Opened>| {
                    answer.as_ref().is_err_and(|error| format!("{error:#}").contains(" 404 "))
                };
                wait_until(server.address(), &path(*number), "has gone", is_gone)?;
            }
        }
        Ok(())
    }

    fn add(&self, server: &Server, number: u32) -> anyhow::Result<PathBuf> {
        let next = server.folder().join("next.wasm");
        let file = server.folder().join("plugins").join(format!("name-{number}.wasm"));
        fs::write(&next, component::moved(&self.plugin, PATH, &path(number))?)?;
        fs::rename(&next, &file)?;
        Ok(file)
    }
}

/// Returns the path of a channel, as long as the plugin's own.
fn path(number: u32) -> String {
    format!("/s{number:05}")
}

/// Asks for a path until the answer is as expected.
fn wait_until(
    address: SocketAddr,
    target: &str,
    what: &str,
    is_expected: impl Fn(&anyhow::Result<handshake::Opened>) -> bool,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let answer = handshake::open(address, target);
        if is_expected(&answer) {
            return Ok(());
        }
        let answer = answer.err().map_or_else(|| "101".to_owned(), |error| format!("{error:#}"));
        ensure!(begun.elapsed() < LIMIT, "{target} not {what} in {LIMIT:?}: {answer}");
        thread::sleep(PAUSE);
    }
}

fn read(plugin: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(plugin).with_context(|| format!("cannot read {}", plugin.display()))
}

/// Returns the place of a plugin in the host's folder.
fn in_folder(server: &Server, plugin: &Path) -> anyhow::Result<PathBuf> {
    let name = plugin.file_name().context("the plugin has no name")?;
    Ok(server.folder().join("plugins").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_each_channel_is_as_long_as_the_plugins() {
        for number in [0, 7, 99_999] {
            assert_eq!(path(number).len(), PATH.len());
        }
    }
}
