//! The fake host's store: the rules of the contract, with a clock that stands still.

use std::collections::BTreeMap;
use std::time::Duration;

use wharf_contract::CallRefusal;
use wharf_contract::limits::Limits;
use wharf_contract::names::{check_key, check_prefix};
use wharf_contract::store::{MAX_PAGE, check_value, entry_bytes, number, sum, time_to_live};

use crate::error::HostError;
use crate::store::Entry;

use super::world::World;

/// The entries of the channel.
#[derive(Default)]
pub(crate) struct Store {
    entries: BTreeMap<String, Kept>,
    last_version: u64,
}

struct Kept {
    value: Vec<u8>,
    version: u64,
    /// Time of expiry on the fake host's clock.
    expires: Option<Duration>,
}

impl World {
    pub(crate) fn store_get(&mut self, key: &str) -> Result<Option<Entry>, HostError> {
        self.check(key)?;
        let kept = self.store.entries.get(key);
        Ok(kept.map(|kept| Entry { value: kept.value.clone(), version: kept.version }))
    }

    pub(crate) fn store_set(
        &mut self,
        key: &str,
        value: &[u8],
        ttl: Option<u64>,
    ) -> Result<u64, HostError> {
        self.check(key)?;
        Ok(self.write(key, value, ttl)?)
    }

    pub(crate) fn store_delete(&mut self, key: &str) -> Result<bool, HostError> {
        self.check(key)?;
        Ok(self.store.entries.remove(key).is_some())
    }

    pub(crate) fn store_increment(
        &mut self,
        key: &str,
        by: i64,
        ttl: Option<u64>,
    ) -> Result<i64, HostError> {
        self.check(key)?;
        let ttl = time_to_live(ttl)?;
        let (before, expires) = match self.store.entries.get(key) {
            Some(kept) => (number(&kept.value)?, kept.expires),
            None => (0, ttl.and_then(|ttl| self.now.checked_add(ttl))),
        };
        let sum = sum(before, by)?;
        self.store.put(key, sum.to_string().into_bytes(), expires, &self.limits)?;
        Ok(sum)
    }

    pub(crate) fn store_compare_and_swap(
        &mut self,
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl: Option<u64>,
    ) -> Result<u64, HostError> {
        self.check(key)?;
        check_value(value, self.limits.max_store_value_bytes)?;
        time_to_live(ttl)?;
        if self.store.entries.get(key).map(|kept| kept.version) != expected {
            return Err(CallRefusal::StoreConflict.into());
        }
        Ok(self.write(key, value, ttl)?)
    }

    pub(crate) fn store_list(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, HostError> {
        check_prefix(prefix)?;
        self.drop_expired();
        let keys = self.store.entries.keys().filter(|key| key.starts_with(prefix));
        let keys = keys.filter(|key| after.is_none_or(|after| key.as_str() > after));
        Ok(keys.take(MAX_PAGE.min(limit as usize)).cloned().collect())
    }

    /// Checks a key, and drops expired entries.
    fn check(&mut self, key: &str) -> Result<(), CallRefusal> {
        self.drop_expired();
        check_key(key)
    }

    fn write(&mut self, key: &str, value: &[u8], ttl: Option<u64>) -> Result<u64, CallRefusal> {
        check_value(value, self.limits.max_store_value_bytes)?;
        let expires = time_to_live(ttl)?.and_then(|ttl| self.now.checked_add(ttl));
        self.store.put(key, value.to_vec(), expires, &self.limits)
    }

    fn drop_expired(&mut self) {
        let now = self.now;
        self.store.entries.retain(|_, kept| kept.expires.is_none_or(|expires| now < expires));
    }
}

impl Store {
    fn put(
        &mut self,
        key: &str,
        value: Vec<u8>,
        expires: Option<Duration>,
        limits: &Limits,
    ) -> Result<u64, CallRefusal> {
        let limit = limits.max_store_bytes;
        let others = self.entries.iter().filter(|(other, _)| *other != key);
        let bytes: usize = others.map(|(key, kept)| entry_bytes(key, &kept.value)).sum();
        if bytes + entry_bytes(key, &value) > limit {
            return Err(CallRefusal::StoreFull { limit });
        }
        self.last_version += 1;
        let version = self.last_version;
        self.entries.insert(key.to_owned(), Kept { value, version, expires });
        Ok(version)
    }
}
