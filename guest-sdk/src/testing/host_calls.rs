//! The calls of a handler to the fake host, checked as the contract requires.

use std::collections::BTreeSet;

use wharf_contract::CallRefusal;
use wharf_contract::audience::{Size, check_rooms, check_users};
use wharf_contract::close::{Close, check_ping};
use wharf_contract::effects::Recorded;
use wharf_contract::header;
use wharf_contract::hidden::HiddenTexts;
use wharf_contract::names::{MAX_LABELS, check_label, check_room, check_user};
use wharf_contract::text::{MAX_SHOWN_CHANNEL_BYTES, MAX_SHOWN_SETTING_BYTES, Shown};
use wharf_contract::token::Identity;

use crate::audience::{self, Audience};
use crate::error::HostError;
use crate::outgoing::Kind;

use super::client::Received;
use super::effects::{Effect, Published};
use super::host::LogLine;
use super::world::{Event, Phase, World, id, parse_id};

impl World {
    pub(crate) fn event(&mut self) -> Result<&mut Event, CallRefusal> {
        self.event.as_mut().ok_or(CallRefusal::NoEvent)
    }

    /// Returns the event, if its connection can still receive something.
    pub(crate) fn open_event(&mut self) -> Result<&mut Event, CallRefusal> {
        let event = self.event()?;
        match event.phase {
            Phase::Connecting | Phase::Open => Ok(event),
            Phase::Closing => Err(CallRefusal::ConnectionEnded),
            Phase::Detached => Err(CallRefusal::NoEvent),
        }
    }

    pub(crate) fn record(&mut self, effect: Effect) -> Result<(), CallRefusal> {
        let limits = self.effect_limits();
        let receivers = effect.is_broadcast().then_some(|| self.reach(&effect));
        let recorded = self.event.as_ref().map(|event| event.recorded).unwrap_or_default();
        let (payload, names) = (effect.payload_bytes(), effect.name_bytes());
        let recorded = recorded.with(payload, names, receivers, limits);
        let event = self.event()?;
        event.recorded = recorded.ok_or_else(|| limits.exceeded())?;
        event.effects.push(effect);
        Ok(())
    }

    pub(crate) fn message(&self, kind: Kind, data: &[u8]) -> Result<Received, CallRefusal> {
        let limit = self.limits.max_outbound_message_bytes;
        if data.len() > limit {
            return Err(CallRefusal::MessageTooBig { bytes: data.len(), limit });
        }
        Ok(match kind {
            Kind::Text => Received::Text(String::from_utf8_lossy(data).into_owned()),
            Kind::Binary => Received::Binary(data.to_vec()),
        })
    }

    pub(crate) fn send(&mut self, kind: Kind, data: &[u8]) -> Result<(), HostError> {
        self.open_event()?;
        let message = self.message(kind, data)?;
        Ok(self.record(Effect::Send(message))?)
    }

    pub(crate) fn send_to(&mut self, to: &str, kind: Kind, data: &[u8]) -> Result<(), HostError> {
        let to = self.find(to)?;
        let message = self.message(kind, data)?;
        Ok(self.record(Effect::SendTo(to, message))?)
    }

    pub(crate) fn ping(&mut self, data: &[u8]) -> Result<(), HostError> {
        if self.open_event()?.phase == Phase::Connecting {
            return Err(CallRefusal::PingWhileConnecting.into());
        }
        check_ping(data)?;
        Ok(self.record(Effect::Send(Received::Ping(data.to_vec())))?)
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) -> Result<(), HostError> {
        let event = self.open_event()?;
        let Close { code, reason } = Close::new(code, reason.to_owned())?;
        event.close.get_or_insert((code, reason));
        Ok(())
    }

    pub(crate) fn set_header(&mut self, name: &str, value: &[u8]) -> Result<(), HostError> {
        let event = self.event()?;
        header::check(event.response_headers.len(), name, value)?;
        event.response_headers.push((name.to_ascii_lowercase(), value.to_vec()));
        Ok(())
    }

    pub(crate) fn join(&mut self, room: &str) -> Result<(), HostError> {
        check_room(room)?;
        let joined = self.open_event()?.joined();
        if joined.iter().any(|joined| joined == room) {
            return Ok(());
        }
        self.check_room_count()?;
        Ok(self.record(Effect::Join(room.to_owned()))?)
    }

    /// Checks that the event's connection may join one more room.
    pub(crate) fn check_room_count(&mut self) -> Result<(), CallRefusal> {
        let limit = self.limits.max_rooms_per_connection;
        match self.open_event()?.joined().len() {
            count if count >= limit => Err(CallRefusal::TooManyRooms { limit }),
            _ => Ok(()),
        }
    }

    pub(crate) fn leave(&mut self, room: &str) -> Result<(), HostError> {
        check_room(room)?;
        self.open_event()?;
        Ok(self.record(Effect::Leave(room.to_owned()))?)
    }

    /// Returns the connection's rooms, as the event's own joins and leaves make them.
    pub(crate) fn joined(&self, number: u64) -> Vec<String> {
        match &self.event {
            Some(event) if event.number == number => event.joined(),
            _ => self.connections.get(&number).map(|r| r.joined.clone()).unwrap_or_default(),
        }
    }

    /// Returns the members of a room, as the event sees them: as committed, and with its own joins
    /// and leaves.
    pub(crate) fn members(&self, room: &str) -> BTreeSet<u64> {
        let mut members: BTreeSet<u64> = (self.connections.iter())
            .filter(|(_, record)| record.is_open && record.joined.iter().any(|r| r == room))
            .map(|(number, _)| *number)
            .collect();
        if let Some(event) = self.event.as_ref()
            && matches!(event.phase, Phase::Connecting | Phase::Open)
        {
            match event.joined().iter().any(|joined| joined == room) {
                true => members.insert(event.number),
                false => members.remove(&event.number),
            };
        }
        members
    }

    pub(crate) fn disconnect(
        &mut self,
        id: &str,
        code: u16,
        reason: &str,
    ) -> Result<(), HostError> {
        let number = self.find(id)?;
        let Close { code, reason } = Close::new(code, reason.to_owned())?;
        Ok(self.record(Effect::Disconnect(number, (code, reason)))?)
    }

    pub(crate) fn set_label(&mut self, name: &str, value: &str) -> Result<(), HostError> {
        let number = self.open_event()?.number;
        check_label(name, value)?;
        let labels = self.labels(number);
        if labels.len() >= MAX_LABELS && !labels.iter().any(|(known, _)| *known == name) {
            return Err(CallRefusal::TooManyLabels.into());
        }
        Ok(self.record(Effect::SetLabel(name.to_owned(), value.to_owned()))?)
    }

    pub(crate) fn clear_label(&mut self, name: &str) -> Result<(), HostError> {
        self.open_event()?;
        check_label(name, "")?;
        Ok(self.record(Effect::ClearLabel(name.to_owned()))?)
    }

    /// Returns the connection's labels, as the event's own changes make them.
    pub(crate) fn labels(&self, number: u64) -> Vec<(String, String)> {
        let record = self.connections.get(&number);
        let mut labels = record.map(|record| record.labels.clone()).unwrap_or_default();
        let event = self.event.as_ref().filter(|event| event.number == number);
        for effect in event.into_iter().flat_map(|event| &event.effects) {
            match effect {
                Effect::SetLabel(name, value) => set_label(&mut labels, name, value),
                Effect::ClearLabel(name) => labels.retain(|(known, _)| known != name),
                _ => {}
            }
        }
        labels
    }

    pub(crate) fn identify(&mut self, user: &str) -> Result<(), HostError> {
        check_user(user)?;
        self.open_event()?;
        Ok(self.record(Effect::Identify(user.to_owned()))?)
    }

    /// Returns the connection's user, as the event's own `identify` makes it.
    pub(crate) fn identified(&self, number: u64) -> Option<String> {
        let event = self.event.as_ref().filter(|event| event.number == number);
        let becomes = event.and_then(|event| event.identity());
        becomes.or_else(|| self.connections.get(&number)?.user.clone())
    }

    /// Returns the connections of a user, as the event sees them.
    pub(crate) fn connections_of(&self, user: &str) -> BTreeSet<u64> {
        let own = self.event.as_ref().filter(|event| event.phase == Phase::Connecting);
        let open = self.connections.iter().filter(|(_, record)| record.is_open);
        let numbers = open.map(|(number, _)| *number).chain(own.map(|event| event.number));
        numbers.filter(|number| self.identified(*number).as_deref() == Some(user)).collect()
    }

    pub(crate) fn must_be_online(&self, user: &str) -> Result<(), CallRefusal> {
        check_user(user)?;
        match self.connections_of(user).is_empty() {
            false => Ok(()),
            true => Err(CallRefusal::UserOffline { user: Shown::id(user) }),
        }
    }

    pub(crate) fn disconnect_user(
        &mut self,
        user: &str,
        code: u16,
        reason: &str,
    ) -> Result<(), HostError> {
        check_user(user)?;
        let Close { code, reason } = Close::new(code, reason.to_owned())?;
        Ok(self.record(Effect::DisconnectUser(user.to_owned(), (code, reason)))?)
    }

    pub(crate) fn broadcast(
        &mut self,
        to: Audience,
        kind: Kind,
        data: &[u8],
        skip: Option<&str>,
    ) -> Result<(), HostError> {
        let message = self.message(kind, data)?;
        let skip = skip.and_then(parse_id);
        Ok(self.record(Effect::Broadcast { to, message, skip })?)
    }

    /// Returns the open connection with this id.
    pub(crate) fn find(&self, id: &str) -> Result<u64, CallRefusal> {
        let unknown = || CallRefusal::UnknownConnection { id: Shown::id(id) };
        self.number(id).ok_or_else(unknown)
    }

    /// Returns the number of a connection. The event's own can be addressed while it is still
    /// connecting.
    pub(crate) fn number(&self, to: &str) -> Option<u64> {
        let own = self.event.as_ref().filter(|event| event.phase == Phase::Connecting);
        let open = self.connections.iter().filter(|(_, record)| record.is_open);
        let numbers = open.map(|(number, _)| *number).chain(own.map(|event| event.number));
        numbers.into_iter().find(|number| id(*number) == to)
    }

    /// Returns the claims of a token that a client has brought later, if it may replace the one
    /// before.
    pub(crate) fn renewed_claims(
        &mut self,
        token: &str,
        before: Option<&str>,
    ) -> Result<String, HostError> {
        self.open_event()?;
        if self.tokens.is_empty() && !self.has_claims {
            let channel = "NAME".to_owned();
            let hint = "`claims` of the client that connects, `host.accept_token`";
            return Err(in_a_test(CallRefusal::NoTokenRules { channel }, hint));
        }
        let claims = self.tokens.get(token).cloned().ok_or_else(|| {
            let why = "the test has not said so (TestHost::accept_token)".to_owned();
            CallRefusal::TokenInvalid { why }
        })?;
        let is_other = |before| !Identity::of(&claims).may_follow(&Identity::of(before));
        if before.is_some_and(is_other) {
            return Err(CallRefusal::TokenSubjectChanged.into());
        }
        Ok(claims)
    }

    pub(crate) fn require_setting(&self, name: &str) -> Result<String, HostError> {
        self.settings.get(name).cloned().ok_or_else(|| {
            let name = Shown::new(name, MAX_SHOWN_SETTING_BYTES);
            let how = format!(
                "write `{name} = \"…\"` under `[channels.NAME.settings]` in wharf.toml, and restart"
            );
            in_a_test(CallRefusal::SettingMissing { name, how }, "`host.set_setting`")
        })
    }

    pub(crate) fn publish(
        &mut self,
        channel: &str,
        room: &str,
        kind: Kind,
        data: &[u8],
    ) -> Result<(), HostError> {
        let shown = Shown::new(channel, MAX_SHOWN_CHANNEL_BYTES);
        match self.publish_to.get(channel) {
            Some(true) => {}
            Some(false) => return Err(CallRefusal::UnknownChannel { channel: shown }.into()),
            None => {
                let to = shown.to_string();
                let how = format!(
                    "to allow it, write `publish_to = [\"{to}\"]` under `[channels.NAME]` in \
                     wharf.toml, and restart"
                );
                let refusal = CallRefusal::PublishNotGranted { to, how };
                return Err(in_a_test(refusal, "`host.grant_publishing`"));
            }
        }
        check_room(room)?;
        let message = self.message(kind, data)?;
        let published = Published { channel: channel.to_owned(), room: room.to_owned(), message };
        Ok(self.record(Effect::Publish(published))?)
    }

    pub(crate) fn flush(&mut self) -> Result<(), HostError> {
        if self.event()?.phase == Phase::Connecting {
            return Err(CallRefusal::FlushWhileConnecting.into());
        }
        self.apply();
        let number = self.event()?.number;
        let committed = self.connections.get(&number).map(|record| record.joined.clone());
        let event = self.event()?;
        event.committed = committed.unwrap_or_default();
        event.flushed_close = event.flushed_close.take().or(event.close.take());
        Ok(())
    }

    pub(crate) fn discard(&mut self) {
        if let Some(event) = &mut self.event {
            event.effects.clear();
            event.recorded = Recorded::default();
            event.close = None;
            event.response_headers.clear();
        }
    }

    pub(crate) fn ending(&self, number: u64) -> Option<String> {
        Some(self.connections.get(&number)?.ending?.token().to_owned())
    }

    pub(crate) fn set_setting(&mut self, name: &str, value: &str, is_secret: bool) {
        self.settings.insert(name.to_owned(), value.to_owned());
        match is_secret {
            true => self.secrets.insert(name.to_owned()),
            false => self.secrets.remove(name),
        };
        let secrets = self.settings.iter().filter(|(name, _)| self.secrets.contains(*name));
        self.hidden = HiddenTexts::of(secrets.map(|(_, value)| &**value));
    }

    pub(crate) fn failed(&mut self, detail: String) {
        let detail = self.shown(&detail);
        eprintln!("handler failed: {detail}");
        self.errors.push(detail);
    }

    pub(crate) fn log(&mut self, line: LogLine) {
        self.log.push(line);
    }

    /// Returns a text without secrets.
    pub(crate) fn shown(&self, text: &str) -> String {
        self.hidden.hide(text, usize::MAX).into_owned()
    }
}

pub(crate) fn set_label(labels: &mut Vec<(String, String)>, name: &str, value: &str) {
    match labels.iter_mut().find(|(known, _)| known == name) {
        Some((_, current)) => value.clone_into(current),
        None => labels.push((name.to_owned(), value.to_owned())),
    }
}

/// Returns at most `limit` ids of these connections, beginning after `after`.
pub(crate) fn page(numbers: BTreeSet<u64>, after: Option<&str>, limit: u32) -> Vec<String> {
    let after = match after.map(parse_id) {
        // A page after an unknown id has no beginning.
        Some(None) => return Vec::new(),
        Some(after) => after,
        None => None,
    };
    let numbers = numbers.into_iter().filter(|number| after.is_none_or(|after| *number > after));
    numbers.take(limit as usize).map(id).collect()
}

/// Checks the rooms of a broadcast.
pub(crate) fn checked_rooms(rooms: &[&str]) -> Result<Audience, CallRefusal> {
    check_rooms(rooms.len())?;
    rooms.iter().try_for_each(|room| check_room(room))?;
    Ok(audience::to_rooms(rooms))
}

/// Checks the users of a message.
pub(crate) fn checked_users(users: &[&str]) -> Result<Audience, CallRefusal> {
    check_users(users.len())?;
    users.iter().try_for_each(|user| check_user(user))?;
    Ok(audience::to_users(users))
}

/// Checks an audience part by part, as it is built in a component.
pub(crate) fn checked(to: &Audience) -> Result<Audience, CallRefusal> {
    let mut size = Size::default();
    let add = |part: &mut usize| {
        *part += 1;
    };
    for room in &to.rooms {
        check_room(room)?;
        add(&mut size.names);
        size.check()?;
    }
    for user in &to.users {
        check_user(user)?;
        add(&mut size.names);
        size.check()?;
    }
    let except = to.except.iter().filter(|id| parse_id(id).is_some());
    size.exceptions = except.count();
    size.check()?;
    for user in &to.except_users {
        check_user(user)?;
        add(&mut size.exceptions);
        size.check()?;
    }
    for (name, value) in &to.labels {
        check_label(name, value)?;
        add(&mut size.conditions);
        size.check()?;
    }
    match to.everyone || size.names > 0 {
        true => Ok(to.clone()),
        false => Err(CallRefusal::AudienceEmpty),
    }
}

/// Returns the error of a refusal, with its remedy in a test.
fn in_a_test(refusal: CallRefusal, hint: &str) -> HostError {
    let error = HostError::from(refusal);
    HostError { detail: format!("{} (in a test: {hint})", error.detail), ..error }
}
