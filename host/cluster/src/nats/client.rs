//! The client of NATS: the connection of a link, and what it tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{ConnectOptions, Event, ServerError};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::clock::Clock;
use super::failure::not_connected;
use super::frame::{self, Stamp};
use super::jetstream::JetStream;
use super::names::subject_of_topic;
use super::probe::Probe;
use super::receiver::{self, Receiver};
use super::streams::Streams;
use crate::configuration::{NatsAddress, NatsLogin, shown};
use crate::error::{Reason, Unavailable};
use crate::link::{Client, Events, Link, Opened};
use crate::outbox::Message;
use crate::random::random;

/// Shortest and longest time between two tries of the client itself.
const RETRIES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The oldest version: the first one that lets single messages expire, and that answers with many at a time.
const OLDEST: (u64, u64) = (2, 11);

/// Bytes that a message has beside what the caller gave.
const MARGIN: usize = 512;

/// The client of NATS.
#[derive(Debug)]
pub(super) struct NatsClient {
    address: NatsAddress,
    timeout: Duration,
    pub(super) prefix: String,
    pub(super) streams: Streams,
    pub(super) clock: Clock,
    max_payload: AtomicUsize,
    /// The last thing that the server did not permit.
    forbidden: Mutex<Option<(Instant, String)>>,
    /// The number of this node, for the order of its messages.
    publisher: u64,
    /// Messages that this node has sent.
    sent: AtomicU64,
}

impl Client for NatsClient {
    type Connection = async_nats::Client;
    type Receiver = Receiver;
    const ENGINE: &'static str = "nats";
    const NAME: &'static str = "NATS";

    /// Opens a connection, checks the server, and makes the streams that are missing.
    async fn open(&self, events: Events<NatsClient>) -> Result<Opened<NatsClient>, Unavailable> {
        let scheme = if self.address.tls.is_some() { "tls" } else { "nats" };
        let servers = self.address.servers.iter();
        let servers: Vec<String> = servers
            .map(|server| format!("{scheme}://{}", shown(std::slice::from_ref(server))))
            .collect();
        let options = self.options(events.clone()).await?;
        let connected = tokio::time::timeout(self.timeout * 2, options.connect(servers));
        let connection = connected.await.map_err(|_| Unavailable::timed_out())?;
        let connection = connection.map_err(|error| not_connected(&error))?;
        let info = connection.server_info();
        let mut numbers = info.version.split('.').map(|number| number.parse().unwrap_or(0));
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
            let version: String = info.version.chars().take(20).collect();
            return Err(Unavailable::new(
                Reason::TooOld,
                &format!("the server is nats-server {version}, and at least 2.11 is needed"),
            ));
        }
        let jetstream = JetStream { client: connection.clone(), timeout: self.timeout };
        let ready = async {
            jetstream.check().await?;
            jetstream.ensure(&self.streams.keys, &self.streams.keys_settings()).await?;
            jetstream.ensure(&self.streams.logs, &self.streams.logs_settings()).await?;
            jetstream.time(&self.streams.keys).await
        };
        self.clock.told(self.seen(ready.await)?);
        self.max_payload.store(info.max_payload, Ordering::Relaxed);
        let probe = Probe::new(&self.prefix, &connection);
        let probe = tokio::time::timeout(self.timeout, probe).await;
        let probe = probe.unwrap_or_else(|_| Err(Unavailable::timed_out()))?;
        let inbox = events.link().ok_or_else(Unavailable::closed)?.inbox.clone();
        let receiver = Receiver::new(connection.clone(), probe, inbox);
        let place = shown(&[(info.host, info.port)]);
        let server = format!("nats-server {} at {place}", info.version);
        Ok(Opened { connection, receiver, server })
    }

    async fn change(
        link: &Link<NatsClient>,
        receiver: &mut Receiver,
        add: &[Arc<str>],
        remove: &[Arc<str>],
    ) -> Result<(), Unavailable> {
        receiver.remove(remove);
        receiver.add(&link.client.prefix, add, link.client.timeout).await
    }

    async fn ask(
        link: &Arc<Link<NatsClient>>,
        _: &async_nats::Client,
        receiver: &mut Receiver,
    ) -> Result<(), Unavailable> {
        receiver.probe.answered(link.client.timeout).await?;
        tokio::spawn(ask_time(link.clone()));
        Ok(())
    }

    async fn send(
        link: &Link<NatsClient>,
        connection: async_nats::Client,
        batch: Vec<Message>,
    ) -> Result<(), Unavailable> {
        let client = &link.client;
        let sending = async {
            for message in batch {
                let subject = subject_of_topic(&client.prefix, &message.topic);
                let number = client.sent.fetch_add(1, Ordering::Relaxed) + 1;
                let stamp = Stamp { publisher: client.publisher, number };
                let frame = frame::numbered(stamp, &message.message);
                let sent = connection.publish(subject, frame).await;
                sent.map_err(|_| Unavailable::link_lost())?;
            }
            // They have left this process then.
            connection.flush().await.map_err(|_| Unavailable::link_lost())
        };
        let sent = tokio::time::timeout(client.timeout, sending).await;
        sent.map_err(|_| Unavailable::timed_out())?
    }
}

impl NatsClient {
    pub(super) fn new(
        address: &NatsAddress,
        prefix: &str,
        timeout: Duration,
    ) -> Result<NatsClient, Unavailable> {
        Ok(NatsClient {
            address: address.clone(),
            timeout,
            prefix: prefix.to_owned(),
            streams: Streams::new(prefix, address.replicas),
            clock: Clock::default(),
            max_payload: AtomicUsize::new(1 << 20),
            forbidden: Mutex::default(),
            publisher: random()?,
            sent: AtomicU64::new(0),
        })
    }

    /// Looks at the outcome of a step: one that the server has forbidden seems to have no answer.
    pub(super) fn seen<T>(&self, outcome: Result<T, Unavailable>) -> Result<T, Unavailable> {
        let why = match outcome {
            Ok(done) => return Ok(done),
            Err(why) => why,
        };
        let is_forbidden = |at: Instant| at.elapsed() <= self.timeout * 2;
        match &*self.forbidden.lock() {
            Some((at, text)) if why.reason() == Reason::TimedOut && is_forbidden(*at) => {
                Err(Unavailable::new(
                    Reason::NotPermitted,
                    &format!("NATS does not permit it ({text})"),
                ))
            }
            _ => Err(why),
        }
    }

    /// Returns the largest message, in bytes.
    pub(super) fn max_message(&self) -> usize {
        self.max_payload.load(Ordering::Relaxed).saturating_sub(MARGIN)
    }

    async fn options(&self, events: Events<NatsClient>) -> Result<ConnectOptions, Unavailable> {
        let mut options = ConnectOptions::new()
            .name("wharf")
            .connection_timeout(self.timeout)
            .request_timeout(Some(self.timeout))
            .ping_interval(self.timeout)
            .subscription_capacity(receiver::CAPACITY)
            // It is asked before the first try, too.
            .reconnect_delay_callback(|tries| {
                let tries = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX);
                RETRIES.0.saturating_mul(tries).min(RETRIES.1)
            })
            .event_callback(move |event| {
                if let Some(link) = events.link() {
                    link.notice(event);
                }
                std::future::ready(())
            });
        options = match &self.address.login {
            NatsLogin::Nobody => options,
            NatsLogin::User(user, password) => {
                options.user_and_password(user.clone(), password.reveal().to_owned())
            }
            NatsLogin::Token(token) => options.token(token.reveal().to_owned()),
            NatsLogin::File(file) => options.credentials_file(file).await.map_err(|error| {
                Unavailable::new(
                    Reason::Other,
                    &format!("{} cannot be used: {error}", file.display()),
                )
            })?,
        };
        if let Some(tls) = &self.address.tls {
            options = options.require_tls(true);
            // The client would not say which file it cannot read.
            tls.read()?;
            if let Some(file) = &tls.authorities {
                options = options.add_root_certificates(file.clone());
            }
        }
        Ok(options)
    }
}

impl Link<NatsClient> {
    /// Returns JetStream by the link.
    pub(super) fn jetstream(&self) -> Result<JetStream, Unavailable> {
        Ok(JetStream { client: self.connection()?, timeout: self.client.timeout })
    }

    /// Notes an event of the client. It never waits.
    fn notice(&self, event: Event) {
        match event {
            Event::Disconnected | Event::Closed | Event::LameDuckMode => {
                self.doubt(Unavailable::link_lost());
            }
            // The client has dropped messages.
            Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) => {
                self.inbox.missed();
            }
            Event::ServerError(ServerError::Other(text))
                if text.to_lowercase().contains("permissions violation") =>
            {
                let text = text.chars().filter(|c| !c.is_control()).take(200).collect();
                *self.client.forbidden.lock() = Some((Instant::now(), text));
            }
            _ => {}
        }
    }
}

/// Asks for the server's time. Its failure is that of the next step which needs JetStream.
async fn ask_time(link: Arc<Link<NatsClient>>) {
    if let Ok(jetstream) = link.jetstream()
        && let Ok(time) = jetstream.time(&link.client.streams.keys).await
    {
        link.client.clock.told(time);
    }
}
