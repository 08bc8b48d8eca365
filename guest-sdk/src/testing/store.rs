//! The fake host's store: what the contract says of it, with a clock that stands still.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{HostError, Remedy};
use crate::store::Entry;

use super::effects::{Limits, refused};
use super::world::World;

/// What the host in memory counts for an entry, beside its key and its value.
const ENTRY_OVERHEAD: usize = 160;
const MAX_KEY_BYTES: usize = 512;
const MAX_PAGE: usize = 1000;

/// The entries of the channel.
#[derive(Default)]
pub(crate) struct Store {
    entries: BTreeMap<String, Kept>,
    last_version: u64,
}

struct Kept {
    value: Vec<u8>,
    version: u64,
    /// On the fake host's clock.
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
        self.write(key, value, ttl)
    }

    pub(crate) fn store_delete(&mut self, key: &str) -> Result<bool, HostError> {
        self.check(key)?;
        Ok(self.store.entries.remove(key).is_some())
    }

    pub(crate) fn store_increment(&mut self, key: &str, by: i64) -> Result<i64, HostError> {
        self.check(key)?;
        let (before, expires) = match self.store.entries.get(key) {
            Some(kept) => {
                let text = std::str::from_utf8(&kept.value).ok();
                let number: Option<i64> = text.and_then(|text| text.parse().ok());
                let number = number.ok_or_else(|| {
                    let detail = "the key's value is no decimal number of 64 bits";
                    refused(Remedy::FixCall, "store-not-a-number", detail)
                })?;
                (number, kept.expires)
            }
            None => (0, None),
        };
        let sum = before.checked_add(by).ok_or_else(|| {
            refused(Remedy::FixCall, "store-overflow", "the sum has more than 64 bits")
        })?;
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
        if self.store.entries.get(key).map(|kept| kept.version) != expected {
            return Err(refused(
                Remedy::RetryLater,
                "store-conflict",
                "somebody else has written the key; read it again",
            ));
        }
        self.write(key, value, ttl)
    }

    pub(crate) fn store_list(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, HostError> {
        if prefix.len() > MAX_KEY_BYTES {
            return Err(refused(
                Remedy::FixCall,
                "store-key-invalid",
                format!(
                    "a prefix has at most {MAX_KEY_BYTES} bytes, this one has {}",
                    prefix.len()
                ),
            ));
        }
        self.drop_expired();
        let keys = self.store.entries.keys().filter(|key| key.starts_with(prefix));
        let keys = keys.filter(|key| after.is_none_or(|after| key.as_str() > after));
        Ok(keys.take(MAX_PAGE.min(limit as usize)).cloned().collect())
    }

    /// Whether this can name a key; what has expired is gone from here on.
    fn check(&mut self, key: &str) -> Result<(), HostError> {
        self.drop_expired();
        match key.len() {
            1..=MAX_KEY_BYTES => Ok(()),
            bytes => Err(refused(
                Remedy::FixCall,
                "store-key-invalid",
                format!("a key has 1 to {MAX_KEY_BYTES} bytes, this one has {bytes}"),
            )),
        }
    }

    fn write(&mut self, key: &str, value: &[u8], ttl: Option<u64>) -> Result<u64, HostError> {
        let limit = self.limits.max_store_value_bytes;
        if value.len() > limit {
            return Err(refused(
                Remedy::ShedLoad,
                "store-value-too-big",
                format!("{} bytes; max_store_value_bytes is {limit}", value.len()),
            ));
        }
        if ttl == Some(0) {
            return Err(refused(
                Remedy::FixCall,
                "store-ttl-invalid",
                "a value that lives 0 ms could never be read; delete the key instead",
            ));
        }
        let expires = ttl.and_then(|ttl| self.now.checked_add(Duration::from_millis(ttl)));
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
    ) -> Result<u64, HostError> {
        let limit = limits.max_store_bytes;
        let others = self.entries.iter().filter(|(other, _)| *other != key);
        let size = |key: &str, value: &[u8]| key.len() + value.len() + ENTRY_OVERHEAD;
        let bytes: usize = others.map(|(key, kept)| size(key, &kept.value)).sum();
        if bytes + size(key, &value) > limit {
            return Err(refused(
                Remedy::ShedLoad,
                "store-full",
                format!("the channel's store may take {limit} bytes (max_store_bytes)"),
            ));
        }
        self.last_version += 1;
        let version = self.last_version;
        self.entries.insert(key.to_owned(), Kept { value, version, expires });
        Ok(version)
    }
}
