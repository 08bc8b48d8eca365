//! The link of a node to a server: the tasks that watch it, make it again, and send what waits.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::configuration::Limits;
use crate::deliveries::{Deliveries, Inbox};
use crate::engine::{LinkState, Status};
use crate::error::{Reason, Unavailable};
use crate::names::check_name;
use crate::outbox::{Message, Outbox};
use crate::subscriptions::Subscriptions;

/// Shortest and longest time between two tries to make the link.
const RETRIES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A client of one kind of server: how its connections are opened, asked and watched.
pub(crate) trait Client: Debug + Send + Sync + Sized + 'static {
    /// The connection that steps use. Cheap to clone.
    type Connection: Clone + Debug + Send + Sync + 'static;

    /// The side on which messages come in. The task that watches the link has it alone.
    type Receiver: Send + 'static;

    /// The name for programs, as [`Status::engine`].
    const ENGINE: &'static str;

    /// The name for people.
    const NAME: &'static str;

    /// Opens a connection, and checks the server. What the connection tells later goes to `events`.
    fn open(
        &self,
        events: Events<Self>,
    ) -> impl Future<Output = Result<Opened<Self>, Unavailable>> + Send;

    /// Adds and removes subscriptions. Answers when the server knows them.
    fn change(
        link: &Link<Self>,
        receiver: &mut Self::Receiver,
        add: &[Arc<str>],
        remove: &[Arc<str>],
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Asks the server for a sign of life, on all ways that the link has.
    fn ask(
        link: &Arc<Link<Self>>,
        connection: &Self::Connection,
        receiver: &mut Self::Receiver,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Sends messages in their order.
    fn send(
        link: &Link<Self>,
        connection: Self::Connection,
        batch: Vec<Message>,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}

/// A connection that was opened.
pub(crate) struct Opened<C: Client> {
    pub(crate) connection: C::Connection,
    pub(crate) receiver: C::Receiver,
    /// The server, as the operator reads it.
    pub(crate) server: String,
}

/// The link of a node to a server.
#[derive(Debug)]
pub(crate) struct Link<C: Client> {
    pub(crate) client: C,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) outbox: Outbox,
    pub(crate) subscriptions: Subscriptions,
    limits: Limits,
    connection: watch::Sender<Result<C::Connection, Unavailable>>,
    /// The connection once more, for the task that sends: it is told of it last.
    sending: watch::Sender<Result<C::Connection, Unavailable>>,
    server: Mutex<String>,
    interruptions: AtomicU64,
    /// Time of the last sign of life.
    round_trip: Mutex<Option<Duration>>,
    /// Number of the connection that was begun last. An older one may still tell of its end.
    generation: AtomicU64,
    /// The reason for which the link must be made again.
    doubt: Mutex<Option<Unavailable>>,
    doubted: Notify,
}

/// The way from a connection back to its link. It ends with the connection, and does not keep the link alive.
pub(crate) struct Events<C: Client> {
    link: Weak<Link<C>>,
    generation: u64,
}

impl<C: Client> Clone for Events<C> {
    fn clone(&self) -> Events<C> {
        Events { link: self.link.clone(), generation: self.generation }
    }
}

impl<C: Client> Events<C> {
    /// Returns the link, unless it has another connection by now.
    pub(crate) fn link(&self) -> Option<Arc<Link<C>>> {
        let link = self.link.upgrade();
        link.filter(|link| link.generation.load(Ordering::Relaxed) == self.generation)
    }
}

impl<C: Client> Link<C> {
    /// Opens the first connection, and starts the tasks.
    pub(crate) async fn start(
        client: C,
        limits: &Limits,
    ) -> Result<(Arc<Link<C>>, Deliveries), Unavailable> {
        let (inbox, deliveries) = Inbox::new(limits.inbox_bytes);
        let link = Arc::new(Link {
            client,
            inbox,
            outbox: Outbox::new(limits),
            subscriptions: Subscriptions::new(),
            limits: limits.clone(),
            connection: watch::Sender::new(Err(Unavailable::link_lost())),
            sending: watch::Sender::new(Err(Unavailable::link_lost())),
            server: Mutex::default(),
            interruptions: AtomicU64::new(0),
            round_trip: Mutex::default(),
            generation: AtomicU64::new(0),
            doubt: Mutex::default(),
            doubted: Notify::new(),
        });
        let first = link.open().await?;
        link.set_up(&first.connection);
        tokio::spawn(watch(link.clone(), first));
        tokio::spawn(send_waiting(link.clone()));
        Ok((link, deliveries))
    }

    /// Returns the connection.
    pub(crate) fn connection(&self) -> Result<C::Connection, Unavailable> {
        self.connection.borrow().clone()
    }

    /// Subscribes to topics, and waits until the server knows them.
    pub(crate) async fn subscribe(&self, topics: Vec<String>) -> Result<(), Unavailable> {
        topics.iter().try_for_each(|topic| check_name(topic))?;
        self.subscriptions.add(topics).await
    }

    /// Returns the state, for the operator.
    pub(crate) fn status(&self) -> Status {
        let (published, dropped, waiting_bytes) = self.outbox.counters();
        let (received, overrun) = self.inbox.counters();
        Status {
            engine: C::ENGINE,
            server: self.server.lock().clone(),
            link: match self.connection() {
                Ok(_) => LinkState::Up,
                Err(why) if why.reason() == Reason::Closed => LinkState::Closed,
                Err(why) => LinkState::Down(why),
            },
            interruptions: self.interruptions.load(Ordering::Relaxed),
            published,
            dropped,
            waiting_bytes,
            received,
            overrun,
            topics: self.subscriptions.count(),
            round_trip: *self.round_trip.lock(),
        }
    }

    /// Has the link made again.
    pub(crate) fn doubt(&self, why: Unavailable) {
        self.doubt.lock().get_or_insert(why);
        self.doubted.notify_one();
    }

    /// Sends what waits, and ends the tasks.
    pub(crate) async fn close(&self) {
        self.outbox.close();
        let emptied = self.outbox.emptied.notified();
        self.outbox.filled.notify_one();
        if self.connection().is_ok() {
            let _ = tokio::time::timeout(self.limits.timeout, emptied).await;
        }
        self.end();
    }

    /// Ends the tasks.
    pub(crate) fn end(&self) {
        self.outbox.close();
        drop(self.connection.send_replace(Err(Unavailable::closed())));
        drop(self.sending.send_replace(Err(Unavailable::closed())));
        self.subscriptions.link_down(&Unavailable::closed());
        self.doubt(Unavailable::closed());
        self.outbox.filled.notify_one();
        self.inbox.end();
    }

    fn is_closed(&self) -> bool {
        matches!(&*self.connection.borrow(), Err(why) if why.reason() == Reason::Closed)
    }

    /// Waits for a reason to make the link again.
    async fn doubted(&self) -> Unavailable {
        loop {
            self.doubted.notified().await;
            if let Some(why) = self.doubt.lock().take() {
                return why;
            }
        }
    }

    /// Opens a connection, which has no subscriptions yet.
    async fn open(self: &Arc<Link<C>>) -> Result<Opened<C>, Unavailable> {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let events = Events { link: Arc::downgrade(self), generation };
        let opened = self.client.open(events).await?;
        self.server.lock().clone_from(&opened.server);
        self.subscriptions.link_up();
        Ok(opened)
    }

    /// Tells all of a connection, the receiver before the sender: a node would else receive what it has sent meanwhile
    /// before it knows of the return.
    fn set_up(&self, connection: &C::Connection) {
        set(&self.connection, Ok(connection.clone()));
        self.inbox.restore();
        set(&self.sending, Ok(connection.clone()));
    }

    /// Tells all that there is no connection.
    fn set_down(&self, why: &Unavailable) {
        set(&self.sending, Err(why.clone()));
        set(&self.connection, Err(why.clone()));
        self.subscriptions.link_down(why);
    }
}

/// Sets a connection, unless the engine was closed.
fn set<T>(to: &watch::Sender<Result<T, Unavailable>>, connection: Result<T, Unavailable>) {
    to.send_if_modified(|current| {
        let is_open = !matches!(current, Err(why) if why.reason() == Reason::Closed);
        if is_open {
            *current = connection;
        }
        is_open
    });
}

/// Watches the link, and makes it again, until the engine is closed.
async fn watch<C: Client>(link: Arc<Link<C>>, first: Opened<C>) {
    let mut opened = first;
    loop {
        let (why, last_answer) = serve(&link, opened).await;
        if link.is_closed() {
            return;
        }
        link.set_down(&why);
        link.inbox.interrupt(last_answer);
        link.interruptions.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            engine = C::NAME,
            reason = why.to_string(),
            "the link to the engine is down"
        );
        opened = match make_again(&link).await {
            Some(opened) => opened,
            None => return,
        };
    }
}

/// Serves a connection until it breaks. Returns the reason, and the time up to which it was well.
async fn serve<C: Client>(link: &Arc<Link<C>>, mut opened: Opened<C>) -> (Unavailable, Instant) {
    let mut last_answer = Instant::now();
    let mut pings = tokio::time::interval(link.limits.timeout / 2);
    pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            () = link.subscriptions.changed.notified() => change(link, &mut opened).await,
            why = link.doubted() => Err(why),
            _ = pings.tick() => {
                let asked = Instant::now();
                ask(link, &mut opened).await.map(|()| last_answer = asked)
            }
        };
        if let Err(why) = next {
            return (why, last_answer);
        }
    }
}

/// Brings the subscriptions of a connection to those that are wanted.
async fn change<C: Client>(link: &Link<C>, opened: &mut Opened<C>) -> Result<(), Unavailable> {
    let round = link.subscriptions.begin();
    // Not each client ends a wait by itself when its connection breaks.
    let outcome = tokio::select! {
        why = link.doubted() => Err(why),
        outcome = C::change(link, &mut opened.receiver, &round.add, &round.remove) => outcome,
    };
    link.subscriptions.end(round, &outcome);
    outcome
}

/// Asks the server for a sign of life.
async fn ask<C: Client>(link: &Arc<Link<C>>, opened: &mut Opened<C>) -> Result<(), Unavailable> {
    let begun = Instant::now();
    let asking = C::ask(link, &opened.connection, &mut opened.receiver);
    let answered = tokio::select! {
        why = link.doubted() => Err(why),
        answered = tokio::time::timeout(link.limits.timeout, asking) => {
            answered.unwrap_or_else(|_| Err(Unavailable::timed_out()))
        }
    };
    if answered.is_ok() {
        *link.round_trip.lock() = Some(begun.elapsed());
    }
    answered
}

/// Makes the link again; `None` when the engine is closed.
async fn make_again<C: Client>(link: &Arc<Link<C>>) -> Option<Opened<C>> {
    let mut pause = RETRIES.0;
    loop {
        // The doubt was about the connection before.
        link.doubt.lock().take();
        if link.is_closed() {
            return None;
        }
        match open_again(link).await {
            Ok(opened) => {
                tracing::info!(engine = C::NAME, "the link to the engine is back");
                return Some(opened);
            }
            Err(why) => link.set_down(&why),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRIES.1);
    }
}

/// Opens a connection, and tells all of it once it has all subscriptions and answers on all ways. Of a Cluster that has lost
/// a server, some ways may lead nowhere until a replica has taken the place of that server.
async fn open_again<C: Client>(link: &Arc<Link<C>>) -> Result<Opened<C>, Unavailable> {
    let mut opened = link.open().await?;
    change(link, &mut opened).await?;
    ask(link, &mut opened).await?;
    link.set_up(&opened.connection);
    Ok(opened)
}

/// Sends what waits in the outbox, while the link stands.
async fn send_waiting<C: Client>(link: Arc<Link<C>>) {
    let mut current = link.sending.subscribe();
    loop {
        let filled = link.outbox.filled.notified();
        let connection = current.borrow_and_update().clone();
        let connection = match connection {
            Ok(connection) => connection,
            Err(why) if why.reason() == Reason::Closed => return,
            Err(_) => {
                // They wait in the outbox, where they are bounded.
                if current.changed().await.is_err() {
                    return;
                }
                continue;
            }
        };
        let batch = link.outbox.take();
        if batch.is_empty() {
            // A connection that breaks meanwhile is not kept.
            drop(connection);
            filled.await;
            continue;
        }
        let count = batch.len();
        if let Err(why) = C::send(&link, connection, batch).await {
            // Some may have been sent; nothing is sent twice.
            link.outbox.lost(count);
            tracing::debug!(reason = why.to_string(), "messages were not sent");
            tokio::time::sleep(RETRIES.0).await;
        }
    }
}
