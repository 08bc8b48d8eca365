//! `wharf:channel/store`: the channel's key-value store. A write stays, even if the event fails.

use super::bindings::wharf::channel::store::{Entry, Host};
use super::bindings::wharf::channel::types::Error;

use crate::channel_counters::StoreOperation;
use crate::instance::InstanceState;
use wharf_contract::CallRefusal;
use wharf_contract::names::{check_key, check_prefix};
use wharf_contract::store::{MAX_PAGE, check_value, time_to_live};
use wharf_hub::store::Store;

impl Host for InstanceState {
    async fn get(&mut self, key: String) -> Result<Option<Entry>, Error> {
        let store = self.store_for(&key)?;
        let found = store.get(&key).await;
        let found = self.noted(StoreOperation::Get, found)?;
        Ok(found.map(|entry| Entry { value: entry.value.into(), version: entry.version }))
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl: Option<u64>) -> Result<u64, Error> {
        let limit = self.channel.config.max_store_value_bytes;
        let store = self.store_for(&key)?;
        check_value(&value, limit)?;
        let version = store.set(&key, value.into(), time_to_live(ttl)?).await;
        Ok(self.noted(StoreOperation::Set, version)?)
    }

    async fn delete(&mut self, key: String) -> Result<bool, Error> {
        let had_value = self.store_for(&key)?.delete(&key).await;
        Ok(self.noted(StoreOperation::Delete, had_value)?)
    }

    async fn increment(&mut self, key: String, by: i64) -> Result<i64, Error> {
        let sum = self.store_for(&key)?.increment(&key, by, None).await;
        Ok(self.noted(StoreOperation::Increment, sum)?)
    }

    async fn increment_for(&mut self, key: String, by: i64, ttl: u64) -> Result<i64, Error> {
        let store = self.store_for(&key)?;
        let sum = store.increment(&key, by, time_to_live(Some(ttl))?).await;
        Ok(self.noted(StoreOperation::Increment, sum)?)
    }

    async fn compare_and_swap(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<u64>,
    ) -> Result<u64, Error> {
        let limit = self.channel.config.max_store_value_bytes;
        let store = self.store_for(&key)?;
        check_value(&value, limit)?;
        let ttl = time_to_live(ttl)?;
        let version = store.compare_and_swap(&key, expected, value.into(), ttl).await;
        Ok(self.noted(StoreOperation::CompareAndSwap, version)?)
    }

    async fn list(
        &mut self,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<String>, Error> {
        self.call()?;
        check_prefix(&prefix)?;
        let limit = usize::try_from(limit).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let keys = self.channel.store.list(&prefix, after.as_deref(), limit).await;
        Ok(self.noted(StoreOperation::List, keys)?)
    }
}

impl InstanceState {
    /// Counts a call, and notes that the event may have seen writes that are not on disk yet.
    fn noted<T>(
        &mut self,
        operation: StoreOperation,
        result: Result<T, CallRefusal>,
    ) -> Result<T, CallRefusal> {
        self.channel.counters.stored(operation, result.is_ok());
        if let Some(unwritten) = self.channel.store.unwritten() {
            self.call()?.seen = Some(unwritten);
        }
        result
    }

    /// Returns the store, for an event that names this key.
    fn store_for(&mut self, key: &str) -> Result<&dyn Store, CallRefusal> {
        self.call()?;
        check_key(key)?;
        Ok(&*self.channel.store)
    }
}
