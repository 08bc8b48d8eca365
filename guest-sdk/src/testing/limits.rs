//! The fake host's rate limits, and memberships of which there are only so many.

use wharf_contract::CallRefusal;
use wharf_contract::names::{check_rate_limit, check_room, check_user};
use wharf_contract::rate_limits::{Rate, RateLimits, Subject, Taken};

use crate::error::HostError;

use super::world::World;

/// The rate limits of the channel.
#[derive(Default)]
pub(crate) struct Limits {
    taken: RateLimits,
    bytes: usize,
}

/// Rate limits.
impl World {
    pub(crate) fn take_from_limit(
        &mut self,
        name: &str,
        count: u32,
        per_ms: u64,
    ) -> Result<Option<u64>, HostError> {
        let number = self.open_event()?.number;
        Ok(self.take(Subject::Connection(number), name, count, per_ms)?)
    }

    pub(crate) fn take_from_user_limit(
        &mut self,
        user: &str,
        name: &str,
        count: u32,
        per_ms: u64,
    ) -> Result<Option<u64>, HostError> {
        self.event()?;
        check_user(user)?;
        Ok(self.take(Subject::User(user), name, count, per_ms)?)
    }

    pub(crate) fn take_from_channel_limit(
        &mut self,
        name: &str,
        count: u32,
        per_ms: u64,
    ) -> Result<Option<u64>, HostError> {
        self.event()?;
        Ok(self.take(Subject::Channel, name, count, per_ms)?)
    }

    fn take(
        &mut self,
        subject: Subject<'_>,
        name: &str,
        count: u32,
        per_ms: u64,
    ) -> Result<Option<u64>, CallRefusal> {
        check_rate_limit(name)?;
        let rate = Rate::read(count, per_ms)?;
        let limit = self.limits.max_channel_state_bytes;
        let Limits { taken, bytes } = &mut self.rate_limits;
        *bytes -= taken.forget_passed(self.now, usize::MAX).1;
        let reserve = |more: usize| {
            let fits = bytes.saturating_add(more) <= limit;
            *bytes += if fits { more } else { 0 };
            fits
        };
        match taken.take(&subject.key(name), rate, self.now, reserve) {
            Taken::Yes => Ok(None),
            Taken::After(milliseconds) => Ok(Some(milliseconds)),
            Taken::Full => Err(CallRefusal::TooManyRateLimits { limit }),
        }
    }

    /// Forgets the limits of a connection, which has ended or was refused.
    pub(crate) fn forget_limits(&mut self, number: u64) {
        self.rate_limits.bytes -= self.rate_limits.taken.forget(Subject::Connection(number));
    }
}

/// At most so many. Events of the fake host run one at a time, so that no other event can take a place
/// between a call and its commit.
impl World {
    pub(crate) fn join_if_fewer_than(&mut self, room: &str, count: u32) -> Result<bool, HostError> {
        check_room(room)?;
        let own = self.open_event()?.number;
        let members = self.members(room);
        let is_member = members.contains(&own);
        if !is_member {
            // The host looks at the connection's own limit first.
            self.check_room_count()?;
        }
        if !is_member && members.len() >= count as usize {
            return Ok(false);
        }
        self.join(room)?;
        Ok(true)
    }

    pub(crate) fn identify_if_fewer_than(
        &mut self,
        user: &str,
        count: u32,
    ) -> Result<bool, HostError> {
        check_user(user)?;
        let own = self.open_event()?.number;
        let connections = self.connections_of(user);
        if connections.contains(&own) {
            return Ok(true);
        }
        if connections.len() >= count as usize {
            return Ok(false);
        }
        self.identify(user)?;
        Ok(true)
    }
}
