//! Leases by name.

use std::collections::HashMap;
use std::time::Duration;

use super::milliseconds;
use crate::leases::{Fence, HeldBy};

/// Number of leases from which the ended ones are looked for; again at twice of what is left.
const SWEPT_FROM: usize = 1_024;

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) holder: String,
    pub(crate) fence: u64,
    pub(crate) expires_at: u64,
}

/// Leases by name.
#[derive(Debug, Default)]
pub(crate) struct LeaseTable {
    leases: HashMap<String, Lease>,
    pub(crate) last_fence: u64,
    sweep_at: usize,
}

impl LeaseTable {
    pub(crate) fn acquire(
        &mut self,
        now: u64,
        name: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Fence, HeldBy> {
        if let Some(lease) = self.live(now, name).filter(|lease| lease.holder != holder) {
            let expires_in = Duration::from_millis(lease.expires_at.saturating_sub(now));
            return Err(HeldBy { holder: lease.holder.clone(), expires_in });
        }
        self.last_fence += 1;
        let fence = self.last_fence;
        let expires_at = now.saturating_add(milliseconds(ttl));
        self.replace(name, Some(Lease { holder: holder.to_owned(), fence, expires_at }));
        Ok(Fence(fence))
    }

    pub(crate) fn renew(&mut self, now: u64, name: &str, fence: Fence, ttl: Duration) -> bool {
        match self.leases.get_mut(name) {
            Some(lease) if lease.fence == fence.0 && now < lease.expires_at => {
                lease.expires_at = now.saturating_add(milliseconds(ttl));
                true
            }
            _ => false,
        }
    }

    /// Gives a lease up. Returns true if it was there.
    pub(crate) fn release(&mut self, name: &str, fence: Fence) -> bool {
        let is_held = self.leases.get(name).is_some_and(|lease| lease.fence == fence.0);
        if is_held {
            self.leases.remove(name);
        }
        is_held
    }

    pub(crate) fn stored(&self, name: &str) -> Option<&Lease> {
        self.leases.get(name)
    }

    /// Sets a lease as it is stored.
    pub(crate) fn replace(&mut self, name: &str, to: Option<Lease>) {
        match to {
            Some(lease) => self.leases.insert(name.to_owned(), lease),
            None => self.leases.remove(name),
        };
    }

    /// Removes the ended leases if there are many, and returns their names.
    pub(crate) fn sweep(&mut self, now: u64) -> Vec<String> {
        if self.leases.len() < self.sweep_at.max(SWEPT_FROM) {
            return Vec::new();
        }
        let ended = self.leases.iter().filter(|(_, lease)| lease.expires_at <= now);
        let ended: Vec<String> = ended.map(|(name, _)| name.clone()).collect();
        for name in &ended {
            self.leases.remove(name);
        }
        self.sweep_at = self.leases.len() * 2;
        ended
    }

    fn live(&self, now: u64, name: &str) -> Option<&Lease> {
        self.leases.get(name).filter(|lease| now < lease.expires_at)
    }
}
