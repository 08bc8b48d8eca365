//! Leases: the number of the message that began a lease is its fencing number.

use std::time::Duration;

use super::Nats;
use super::frame;
use super::keys::{busy, pause, seconds};
use super::names::token;
use crate::answer::Answer;
use crate::error::Unavailable;
use crate::leases::{Fence, HeldBy, Leases};
use crate::names::check_name;
use crate::tables::milliseconds;

/// Most tries of a step for which several nodes race.
const TRIES: u32 = 64;

/// A lease as it is stored.
struct Lease {
    sequence: u64,
    fence: u64,
    holder: String,
    /// Milliseconds that it has left; `None` if it has ended.
    left: Option<u64>,
}

impl Leases for Nats {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> Answer<'a, Result<Result<Fence, HeldBy>, Unavailable>> {
        Box::pin(async move {
            let ttl = milliseconds(ttl);
            for attempt in 0..TRIES {
                let lease = self.lease(name).await?;
                if let Some(Lease { holder: other, left: Some(left), .. }) = &lease
                    && other != holder
                {
                    let expires_in = Duration::from_millis(*left);
                    return Ok(Err(HeldBy { holder: other.clone(), expires_in }));
                }
                let last = lease.map_or(0, |lease| lease.sequence);
                if let Some(fence) = self.write_lease(name, 0, ttl, holder, last).await? {
                    return Ok(Ok(Fence(fence)));
                }
                pause(attempt).await?;
            }
            Err(busy())
        })
    }

    fn renew<'a>(
        &'a self,
        name: &'a str,
        fence: Fence,
        ttl: Duration,
    ) -> Answer<'a, Result<bool, Unavailable>> {
        Box::pin(async move {
            for attempt in 0..TRIES {
                let lease = self.lease(name).await?;
                let held = lease.filter(|lease| lease.fence == fence.0 && lease.left.is_some());
                let Some(Lease { sequence, holder, .. }) = held else { return Ok(false) };
                let ttl = milliseconds(ttl);
                let written = self.write_lease(name, fence.0, ttl, &holder, sequence).await?;
                if written.is_some() {
                    return Ok(true);
                }
                pause(attempt).await?;
            }
            Err(busy())
        })
    }

    fn release<'a>(&'a self, name: &'a str, fence: Fence) -> Answer<'a, Result<(), Unavailable>> {
        Box::pin(async move {
            for attempt in 0..TRIES {
                let lease = self.lease(name).await?;
                let Some(lease) = lease.filter(|lease| lease.fence == fence.0) else {
                    return Ok(());
                };
                let stream = &self.link.client.streams.keys;
                if self.link.jetstream()?.delete(stream, lease.sequence).await? {
                    return Ok(());
                }
                pause(attempt).await?;
            }
            Err(busy())
        })
    }
}

impl Nats {
    async fn lease(&self, name: &str) -> Result<Option<Lease>, Unavailable> {
        check_name(name)?;
        let subject = format!("{}.e.{}", self.link.client.prefix, token(name));
        let jetstream = self.link.jetstream()?;
        let stored = jetstream.last(&self.link.client.streams.keys, &subject).await;
        let Some(stored) = self.link.client.seen(stored)? else { return Ok(None) };
        let Some((fence, ttl, holder)) = frame::read_lease(stored.payload) else {
            return Err(Unavailable::damaged("a lease in NATS"));
        };
        let left = stored.at.saturating_add(ttl).checked_sub(self.link.client.clock.now());
        // The node's clock may be a little behind.
        let left = left.filter(|left| *left > 0).map(|left| left.min(ttl));
        let fence = if fence == 0 { stored.sequence } else { fence };
        Ok(Some(Lease { sequence: stored.sequence, fence, holder, left }))
    }

    async fn write_lease(
        &self,
        name: &str,
        fence: u64,
        ttl: u64,
        holder: &str,
        last: u64,
    ) -> Result<Option<u64>, Unavailable> {
        let subject = format!("{}.e.{}", self.link.client.prefix, token(name));
        let payload = frame::lease(fence, ttl, holder);
        let jetstream = self.link.jetstream()?;
        let written = jetstream.store(&subject, payload, Some(last), Some(seconds(ttl))).await;
        self.link.client.seen(written)
    }
}
