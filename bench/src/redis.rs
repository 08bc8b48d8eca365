//! A Redis between hosts: its process, its counters, and the time of its own round trip.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Time limit for the server to answer.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Time between two messages of the probe.
const PACE: Duration = Duration::from_millis(5);

/// A running Redis, without a file. It is killed when this is dropped.
pub struct Redis {
    child: Child,
    address: SocketAddr,
}

impl Drop for Redis {
    fn drop(&mut self) {
        // One that has ended already needs no signal.
        let _ = (self.child.kill(), self.child.wait());
    }
}

impl Redis {
    /// Starts the program on a free port.
    ///
    /// # Errors
    ///
    /// It cannot be started, or does not answer.
    pub fn start(program: &Path) -> anyhow::Result<Redis> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let port = address.port().to_string();
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| {
            format!("cannot start {}; install Redis 7, or name it with --redis", program.display())
        })?;
        let redis = Redis { child, address };
        let begun = Instant::now();
        while Link::open(address).and_then(|mut link| link.ask(&["PING"])).is_err() {
            ensure!(begun.elapsed() < START_LIMIT, "redis-server does not answer");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(redis)
    }

    /// Returns the address, as hosts take it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Returns the number of messages that were published.
    ///
    /// # Errors
    ///
    /// The server does not answer.
    pub fn published(&self) -> anyhow::Result<u64> {
        let info = Link::open(self.address)?.ask(&["INFO", "commandstats"])?;
        let calls = |line: &str| {
            let rest = line.strip_prefix("cmdstat_publish:calls=")?;
            rest.split(',').next()?.parse::<u64>().ok()
        };
        Ok(info.lines().filter_map(calls).sum())
    }

    /// Returns the number of subscribers of each topic whose name has this part: the engine sends each message to so many.
    ///
    /// # Errors
    ///
    /// The server does not answer.
    pub fn subscribers(&self, part: &str) -> anyhow::Result<Vec<u64>> {
        let mut link = Link::open(self.address)?;
        let topics = link.ask(&["PUBSUB", "CHANNELS", &format!("*{part}*")])?;
        let mut question = vec!["PUBSUB", "NUMSUB"];
        question.extend(topics.lines().filter(|topic| !topic.is_empty()));
        let counted = link.ask(&question)?;
        let numbers = counted.lines().skip(1).step_by(2);
        numbers.map(|number| number.parse().context("a number of subscribers")).collect()
    }

    /// Begins to publish messages of `size` bytes to itself.
    ///
    /// # Errors
    ///
    /// The server does not answer.
    pub fn probe(&self, size: usize) -> anyhow::Result<Probe> {
        let mut subscriber = Link::open(self.address)?;
        subscriber.ask(&["SUBSCRIBE", "probe"])?;
        let mut publisher = Link::open(self.address)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = is_over.clone();
        let message = "x".repeat(size);
        let running = thread::spawn(move || {
            let mut times = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                let begun = Instant::now();
                publisher.send(&["PUBLISH", "probe", &message])?;
                subscriber.read()?;
                times.push(u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX));
                publisher.read()?;
                thread::sleep(PACE);
            }
            times.sort_unstable();
            Ok(times)
        });
        Ok(Probe { is_over, running })
    }
}

/// Messages that one client publishes and another one receives, one at a time.
pub struct Probe {
    is_over: Arc<AtomicBool>,
    running: JoinHandle<anyhow::Result<Vec<u32>>>,
}

impl Probe {
    /// Ends it, and returns the time of each message in nanoseconds, sorted.
    ///
    /// # Errors
    ///
    /// The server has not answered.
    pub fn end(self) -> anyhow::Result<Vec<u32>> {
        self.is_over.store(true, Ordering::Relaxed);
        match self.running.join() {
            Ok(times) => times,
            Err(_) => bail!("the probe has panicked"),
        }
    }
}

/// A connection to the server.
struct Link(BufReader<TcpStream>);

impl Link {
    fn open(address: SocketAddr) -> anyhow::Result<Link> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(START_LIMIT))?;
        Ok(Link(BufReader::new(stream)))
    }

    fn send(&mut self, words: &[&str]) -> anyhow::Result<()> {
        let mut bytes = format!("*{}\r\n", words.len());
        for word in words {
            bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        Ok(self.0.get_mut().write_all(bytes.as_bytes())?)
    }

    fn ask(&mut self, words: &[&str]) -> anyhow::Result<String> {
        self.send(words)?;
        self.read()
    }

    /// Reads one answer, and returns its texts, each a line.
    fn read(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.0.read_line(&mut line)? > 0, "redis-server has hung up");
        let (kind, rest) = line.trim_end().split_at_checked(1).context("an empty answer")?;
        match kind {
            "+" | ":" => Ok(rest.to_owned()),
            "$" => {
                let mut text = String::new();
                let length: usize = rest.parse()?;
                while text.len() < length + 2 {
                    ensure!(self.0.read_line(&mut text)? > 0, "redis-server has hung up");
                }
                text.truncate(length);
                Ok(text)
            }
            "*" => {
                let parts = (0..rest.parse::<usize>()?).map(|_| self.read());
                Ok(parts.collect::<anyhow::Result<Vec<_>>>()?.join("\n"))
            }
            _ => bail!("redis-server answers {line:?}"),
        }
    }
}
