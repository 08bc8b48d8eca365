//! The session of a node: a lease by which others know that it is alive and may own rooms.
//!
//! A session begins when the node first wants to own something, and is renewed until it is lost. A lost session never
//! comes back: the node begins another one, under another number. So what is said of a session that has ended stays
//! true. The node trusts its session for a tenth less than the lease lasts, and counts from the time before it asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use wharf_cluster::{Engine, Fence, HeldBy, Reason, Unavailable};
use wharf_hub::connection_id::NodeId;

/// Renewals in the time for which a lease lasts.
const RENEWALS: u32 = 5;

/// Part of the time of a lease in which it is not trusted any more: clocks do not run at the same pace.
const DOUBT: u32 = 10;

/// Pause after an engine that could not be asked.
const PAUSE: Duration = Duration::from_millis(50);

/// Sessions that are known to have ended.
const REMEMBERED: usize = 1024;

/// The name of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId {
    /// The node.
    pub node: NodeId,
    /// Number of the session among those of the node; the first one is 1, and 0 is none.
    pub number: u64,
}

impl SessionId {
    /// Returns the name of its lease, which is that of the holder as well.
    fn lease(self) -> String {
        format!("session:{}:{}", self.node, self.number)
    }
}

/// The state of another node's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is valid, for so long at least unless it is renewed.
    Alive(Duration),
    /// It has ended, and does not come back.
    Ended,
}

/// The sessions of one node.
pub struct Sessions {
    engine: Arc<dyn Engine>,
    own: NodeId,
    lasting: Duration,
    begun: Instant,
    /// Number of the session that is or was valid last; 0 before the first one.
    number: AtomicU64,
    /// Time until which it is trusted, in milliseconds since `begun`.
    trusted_until: AtomicU64,
    /// The lease; its lock makes one task at a time ask for it.
    lease: tokio::sync::Mutex<Option<Fence>>,
    /// Sessions of others that have ended.
    ended: Mutex<Vec<SessionId>>,
    /// True once this node wants no session any more.
    is_over: AtomicBool,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Sessions {
    /// Makes the sessions of a node, which has none yet. A session ends when it was not renewed for `lasting`.
    pub fn new(engine: Arc<dyn Engine>, own: NodeId, lasting: Duration) -> Sessions {
        Sessions {
            engine,
            own,
            lasting,
            begun: Instant::now(),
            number: AtomicU64::new(0),
            trusted_until: AtomicU64::new(0),
            lease: tokio::sync::Mutex::default(),
            ended: Mutex::default(),
            is_over: AtomicBool::new(false),
        }
    }

    /// Returns true if a session of this node is valid for certain.
    pub fn is_valid(&self, number: u64) -> bool {
        // The time is read first: a session that is renewed in between is the same one or a later one.
        let until = self.trusted_until.load(Ordering::Acquire);
        number == self.number.load(Ordering::Acquire) && number > 0 && self.now() < until
    }

    /// Returns true if no session of this node has begun after that of this number, and it wants one still.
    pub fn is_last(&self, number: u64) -> bool {
        number == self.number.load(Ordering::Acquire) && !self.is_over.load(Ordering::Acquire)
    }

    /// Returns the number of a valid session, which is begun if there is none.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    pub async fn current(&self) -> Result<u64, Unavailable> {
        let known = self.number.load(Ordering::Acquire);
        if self.is_valid(known) {
            return Ok(known);
        }
        self.renew_or_begin().await
    }

    /// Renews the session, if this node has one. Returns the time after which it is to be renewed again.
    pub async fn look(&self) -> Duration {
        if self.number.load(Ordering::Acquire) == 0 {
            return self.lasting / RENEWALS;
        }
        match self.renew_or_begin().await {
            Ok(_) => self.lasting / RENEWALS,
            Err(_) => PAUSE,
        }
    }

    async fn renew_or_begin(&self) -> Result<u64, Unavailable> {
        let mut lease = self.lease.lock().await;
        let mut number = self.number.load(Ordering::Acquire);
        if let Some(fence) = *lease {
            let asked_at = self.now();
            let id = SessionId { node: self.own, number };
            if self.engine.renew(&id.lease(), fence, self.lasting).await? {
                self.trust_from(asked_at);
                return Ok(number);
            }
            *lease = None;
        }
        loop {
            if self.is_over.load(Ordering::Acquire) {
                return Err(Unavailable::new(Reason::Closed, "this host stops"));
            }
            // Nothing that was got in an earlier session counts from here on.
            number += 1;
            self.trusted_until.store(0, Ordering::Release);
            self.number.store(number, Ordering::Release);
            let asked_at = self.now();
            let id = SessionId { node: self.own, number };
            // An answer that was lost may have been a yes, so that each try has a number of its own.
            if let Ok(fence) = self.engine.acquire(&id.lease(), &id.lease(), self.lasting).await? {
                *lease = Some(fence);
                self.trust_from(asked_at);
                return Ok(number);
            }
        }
    }

    fn trust_from(&self, asked_at: u64) {
        let trusted = self.lasting - self.lasting / DOUBT;
        let trusted = u64::try_from(trusted.as_millis()).unwrap_or(u64::MAX);
        self.trusted_until.store(asked_at.saturating_add(trusted), Ordering::Release);
    }

    /// Returns the time since the start in milliseconds, at least 1.
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Ends the session of this node, and begins no other. Others may take over what it owns at once.
    pub async fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        let mut lease = self.lease.lock().await;
        self.trusted_until.store(0, Ordering::Release);
        if let Some(fence) = lease.take() {
            let id = SessionId { node: self.own, number: self.number.load(Ordering::Acquire) };
            // Otherwise it ends by itself in a while.
            let _ = self.engine.release(&id.lease(), fence).await;
        }
    }

    /// Looks if a session of another node is valid. One that is not is made impossible for good.
    ///
    /// # Errors
    ///
    /// The engine cannot be used at present.
    pub async fn find(&self, id: SessionId) -> Result<Found, Unavailable> {
        if id.number == 0 || self.ended.lock().contains(&id) {
            return Ok(Found::Ended);
        }
        let own = SessionId { node: self.own, number: 0 }.lease();
        let name = id.lease();
        match self.engine.acquire(&name, &own, self.lasting).await? {
            Err(HeldBy { holder, expires_in }) if holder == name => {
                return Ok(Found::Alive(expires_in));
            }
            // Its node cannot renew it any more, since its fence is void. The node begins another one then.
            Ok(fence) => drop(self.engine.release(&name, fence).await),
            // Another node has just found the same.
            Err(HeldBy { .. }) => {}
        }
        let mut ended = self.ended.lock();
        if ended.len() >= REMEMBERED {
            ended.remove(0);
        }
        ended.push(id);
        Ok(Found::Ended)
    }
}
