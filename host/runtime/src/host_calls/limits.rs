//! `wharf:channel/limits`: rate limits of a connection, a user, the channel. What is taken stays
//! taken, even if the event fails.

use wasmtime::component::Resource;

use super::ConnectionHandle;
use super::bindings::wharf::channel::limits::Host;
use super::bindings::wharf::channel::types::Error;
use crate::instance::InstanceState;
use wharf_contract::CallRefusal;
use wharf_contract::names::{check_rate_limit, check_user};
use wharf_contract::rate_limits::{Rate, Subject};
use wharf_metrics::limits::Limit;

impl Host for InstanceState {
    fn take(
        &mut self,
        _: Resource<ConnectionHandle>,
        name: String,
        count: u32,
        per_ms: u64,
    ) -> Result<Option<u64>, Error> {
        let connection = self.own()?.client.id.number;
        Ok(self.take_from_limit(Subject::Connection(connection), &name, count, per_ms)?)
    }

    fn take_for_user(
        &mut self,
        user: String,
        name: String,
        count: u32,
        per_ms: u64,
    ) -> Result<Option<u64>, Error> {
        self.call()?;
        check_user(&user)?;
        Ok(self.take_from_limit(Subject::User(&user), &name, count, per_ms)?)
    }

    fn take_for_channel(
        &mut self,
        name: String,
        count: u32,
        per_ms: u64,
    ) -> Result<Option<u64>, Error> {
        self.call()?;
        Ok(self.take_from_limit(Subject::Channel, &name, count, per_ms)?)
    }
}

impl InstanceState {
    fn take_from_limit(
        &self,
        subject: Subject<'_>,
        name: &str,
        count: u32,
        per_ms: u64,
    ) -> Result<Option<u64>, CallRefusal> {
        check_rate_limit(name)?;
        let rate = Rate::read(count, per_ms)?;
        let max_bytes = self.channel.config.max_channel_state_bytes;
        let taken = self.channel.hub.take_from_rate_limit(subject, name, rate, max_bytes);
        if let Ok(Some(_)) = taken {
            Limit::RateLimit.reached();
        }
        taken
    }
}
