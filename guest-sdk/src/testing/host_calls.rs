//! What a handler can ask of the fake host: checked at the call, as the contract says.

use std::collections::BTreeSet;

use crate::audience::Audience;
use crate::error::{HostError, Remedy};
use crate::log::Level;
use crate::outgoing::Kind;

use super::client::Received;
use super::effects::{self, Effect, MAX_LABELS, Published, refused, room_name, user_id};
use super::host::LogLine;
use super::world::{Event, Phase, World, id};

impl World {
    fn event(&mut self) -> Result<&mut Event, HostError> {
        self.event.as_mut().ok_or_else(|| {
            refused(Remedy::FixCall, "no-event", "the event that this call belongs to is over")
        })
    }

    /// The event, if its connection can still receive something.
    pub(crate) fn open_event(&mut self) -> Result<&mut Event, HostError> {
        let event = self.event()?;
        match event.phase {
            Phase::Connecting | Phase::Open => Ok(event),
            Phase::Closing | Phase::Detached => Err(refused(
                Remedy::Gone,
                "connection-ended",
                "the connection has ended; in on_close only others can be reached",
            )),
        }
    }

    pub(crate) fn record(&mut self, effect: Effect, bytes: usize) -> Result<(), HostError> {
        let limits = self.limits;
        let event = self.event()?;
        if event.effects.len() >= limits.max_effects_per_event
            || event.bytes.saturating_add(bytes) > limits.max_effect_bytes_per_event
        {
            return Err(refused(
                Remedy::ShedLoad,
                "too-many-effects",
                format!(
                    "one event may record {} effects of {} bytes (max_effects_per_event, \
                     max_effect_bytes_per_event); flush, or do less",
                    limits.max_effects_per_event, limits.max_effect_bytes_per_event
                ),
            ));
        }
        event.bytes += bytes;
        event.effects.push(effect);
        Ok(())
    }

    pub(crate) fn message(&self, kind: Kind, data: &[u8]) -> Result<Received, HostError> {
        let limit = self.limits.max_outbound_message_bytes;
        if data.len() > limit {
            return Err(refused(
                Remedy::ShedLoad,
                "message-too-big",
                format!("{} bytes; max_outbound_message_bytes is {limit}", data.len()),
            ));
        }
        Ok(match kind {
            Kind::Text => Received::Text(String::from_utf8_lossy(data).into_owned()),
            Kind::Binary => Received::Binary(data.to_vec()),
        })
    }

    pub(crate) fn send(&mut self, kind: Kind, data: &[u8]) -> Result<(), HostError> {
        self.open_event()?;
        let message = self.message(kind, data)?;
        self.record(Effect::Send(message), data.len())
    }

    pub(crate) fn ping(&mut self, data: &[u8]) -> Result<(), HostError> {
        if self.open_event()?.phase == Phase::Connecting {
            return Err(refused(
                Remedy::RetryLater,
                "refused-while-connecting",
                "there is nobody to ping before the upgrade",
            ));
        }
        self.record(Effect::Send(effects::ping(data)?), data.len())
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) -> Result<(), HostError> {
        let event = self.open_event()?;
        let close = effects::close(code, reason)?;
        event.close.get_or_insert(close);
        Ok(())
    }

    pub(crate) fn set_header(&mut self, name: &str, value: &[u8]) -> Result<(), HostError> {
        const MAX_HEADERS: usize = 32;
        let event = self.event()?;
        if event.response_headers.len() >= MAX_HEADERS {
            return Err(refused(
                Remedy::ShedLoad,
                "too-many-headers",
                format!("a response takes at most {MAX_HEADERS} headers of a channel"),
            ));
        }
        if !effects::is_channel_header(name, value) {
            return Err(refused(
                Remedy::FixCall,
                "header-invalid",
                format!("{name:?} is no header that a channel can set"),
            ));
        }
        event.response_headers.push((name.to_ascii_lowercase(), value.to_vec()));
        Ok(())
    }

    pub(crate) fn join(&mut self, room: &str) -> Result<(), HostError> {
        let room = room_name(room)?;
        let limit = self.limits.max_rooms_per_connection;
        let joined = self.open_event()?.joined();
        if joined.contains(&room) {
            return Ok(());
        }
        if joined.len() >= limit {
            return Err(refused(
                Remedy::ShedLoad,
                "too-many-rooms",
                format!("a connection may be in {limit} rooms (max_rooms_per_connection)"),
            ));
        }
        let bytes = room.len();
        self.record(Effect::Join(room), bytes)
    }

    pub(crate) fn leave(&mut self, room: &str) -> Result<(), HostError> {
        let room = room_name(room)?;
        self.open_event()?;
        let bytes = room.len();
        self.record(Effect::Leave(room), bytes)
    }

    /// The connection's rooms, as the event's own joins and leaves make them.
    pub(crate) fn joined(&self, number: u64) -> Vec<String> {
        match &self.event {
            Some(event) if event.number == number => event.joined(),
            _ => self.connections.get(&number).map(|r| r.joined.clone()).unwrap_or_default(),
        }
    }

    /// The members of a room, as the event sees them: as committed, and with its own joins and
    /// leaves.
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
        let close = effects::close(code, reason)?;
        self.record(Effect::Disconnect(number, close), 0)
    }

    pub(crate) fn set_label(&mut self, name: &str, value: &str) -> Result<(), HostError> {
        let (name, value) = effects::label(name, value)?;
        let number = self.open_event()?.number;
        let labels = self.labels(number);
        if labels.len() >= MAX_LABELS && !labels.iter().any(|(known, _)| *known == name) {
            let detail = format!("a connection carries at most {MAX_LABELS} labels");
            return Err(refused(Remedy::ShedLoad, "too-many-labels", detail));
        }
        self.record(Effect::SetLabel(name, value), 0)
    }

    pub(crate) fn clear_label(&mut self, name: &str) -> Result<(), HostError> {
        let (name, _) = effects::label(name, "")?;
        self.open_event()?;
        self.record(Effect::ClearLabel(name), 0)
    }

    /// The connection's labels, as the event's own changes make them.
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
        let user = user_id(user)?;
        self.open_event()?;
        self.record(Effect::Identify(user), 0)
    }

    /// The connection's user, as the event's own `identify` makes it.
    pub(crate) fn identified(&self, number: u64) -> Option<String> {
        let event = self.event.as_ref().filter(|event| event.number == number);
        let becomes = event.and_then(|event| event.identity());
        becomes.or_else(|| self.connections.get(&number)?.user.clone())
    }

    /// The connections of a user, as the event sees them.
    pub(crate) fn connections_of(&self, user: &str) -> BTreeSet<u64> {
        let own = self.event.as_ref().filter(|event| event.phase == Phase::Connecting);
        let open = self.connections.iter().filter(|(_, record)| record.is_open);
        let numbers = open.map(|(number, _)| *number).chain(own.map(|event| event.number));
        numbers.filter(|number| self.identified(*number).as_deref() == Some(user)).collect()
    }

    pub(crate) fn must_be_online(&self, user: &str) -> Result<(), HostError> {
        let user = user_id(user)?;
        match self.connections_of(&user).is_empty() {
            false => Ok(()),
            true => {
                let detail = format!("{user:?} has no connection");
                Err(refused(Remedy::Gone, "user-offline", detail))
            }
        }
    }

    pub(crate) fn disconnect_user(
        &mut self,
        user: &str,
        code: u16,
        reason: &str,
    ) -> Result<(), HostError> {
        let user = user_id(user)?;
        let close = effects::close(code, reason)?;
        self.record(Effect::DisconnectUser(user, close), 0)
    }

    pub(crate) fn broadcast(
        &mut self,
        to: Audience,
        kind: Kind,
        data: &[u8],
        skip: Option<&str>,
    ) -> Result<(), HostError> {
        let message = self.message(kind, data)?;
        let to = Audience {
            except: skip.map(str::to_owned).into_iter().chain(to.except).collect(),
            ..to
        };
        self.record(Effect::Broadcast { to, message }, data.len())
    }

    /// The open connection with this id.
    pub(crate) fn find(&self, id: &str) -> Result<u64, HostError> {
        self.number(id).ok_or_else(|| {
            refused(
                Remedy::Gone,
                "unknown-connection",
                format!("{id:?} is no open connection of this channel"),
            )
        })
    }

    /// The event's own connection can be addressed while it is still connecting.
    pub(crate) fn number(&self, to: &str) -> Option<u64> {
        let own = self.event.as_ref().filter(|event| event.phase == Phase::Connecting);
        let open = self.connections.iter().filter(|(_, record)| record.is_open);
        let numbers = open.map(|(number, _)| *number).chain(own.map(|event| event.number));
        numbers.into_iter().find(|number| id(*number) == to)
    }

    /// The claims of a token that a client has brought later, if it may replace the one before.
    pub(crate) fn renewed_claims(
        &mut self,
        token: &str,
        before: Option<&str>,
    ) -> Result<String, HostError> {
        self.open_event()?;
        if self.tokens.is_empty() && before.is_none() {
            return Err(refused(
                Remedy::AskOperator,
                "no-token-rules",
                "no token is checked for this channel (in a test: `claims` of the client that \
                 connects, `host.accept_token`)",
            ));
        }
        let claims = self.tokens.get(token).cloned().ok_or_else(|| {
            refused(Remedy::Other, "token-invalid", "the token does not hold (`host.accept_token`)")
        })?;
        let subject = |claims: &str| {
            let claims: serde_json::Value = serde_json::from_str(claims).unwrap_or_default();
            claims["sub"].as_str().map(str::to_owned)
        };
        if before.is_some_and(|before| subject(before) != subject(&claims)) {
            return Err(refused(
                Remedy::Other,
                "token-subject-changed",
                "the token is about somebody else (sub) than the one before",
            ));
        }
        Ok(claims)
    }

    pub(crate) fn require_setting(&self, name: &str) -> Result<String, HostError> {
        self.settings.get(name).cloned().ok_or_else(|| {
            refused(
                Remedy::AskOperator,
                "setting-missing",
                format!(
                    "the setting `{name}` is missing: write `{name} = \"…\"` under \
                     `[channels.NAME.settings]` in wharf.toml (in a test: `host.set_setting`)"
                ),
            )
        })
    }

    pub(crate) fn publish(
        &mut self,
        channel: &str,
        room: &str,
        kind: Kind,
        data: &[u8],
    ) -> Result<(), HostError> {
        match self.publish_to.get(channel) {
            Some(true) => {}
            Some(false) => {
                let detail = format!("no channel {channel:?} is in service");
                return Err(refused(Remedy::Gone, "unknown-channel", detail));
            }
            None => {
                return Err(refused(
                    Remedy::AskOperator,
                    "publish-not-granted",
                    format!(
                        "the channel may not publish to {channel:?}: write `publish_to = \
                         [{channel:?}]` under `[channels.NAME]` in wharf.toml (in a test: \
                         `host.grant_publishing`)"
                    ),
                ));
            }
        }
        let room = room_name(room)?;
        let message = self.message(kind, data)?;
        let published = Published { channel: channel.to_owned(), room, message };
        self.record(Effect::Publish(published), data.len())
    }

    pub(crate) fn flush(&mut self) -> Result<(), HostError> {
        if self.event()?.phase == Phase::Connecting {
            return Err(refused(
                Remedy::RetryLater,
                "refused-while-connecting",
                "nothing commits before the connection is accepted",
            ));
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
            event.bytes = 0;
            event.close = None;
            event.response_headers.clear();
        }
    }

    pub(crate) fn ending(&self, number: u64) -> Option<String> {
        Some(self.connections.get(&number)?.ending?.to_owned())
    }

    pub(crate) fn failed(&mut self, detail: String) {
        eprintln!("handler failed: {detail}");
        self.errors.push(detail);
    }

    pub(crate) fn log(&mut self, level: Level, message: &str, fields: &[(String, String)]) {
        self.log.push(LogLine { level, message: message.to_owned(), fields: fields.to_vec() });
    }
}

pub(crate) fn set_label(labels: &mut Vec<(String, String)>, name: &str, value: &str) {
    match labels.iter_mut().find(|(known, _)| known == name) {
        Some((_, current)) => value.clone_into(current),
        None => labels.push((name.to_owned(), value.to_owned())),
    }
}

/// At most `limit` ids of these connections, those after `after`.
pub(crate) fn page(numbers: BTreeSet<u64>, after: Option<&str>, limit: u32) -> Vec<String> {
    let ids = numbers.into_iter().map(id);
    ids.filter(|id| after.is_none_or(|after| id.as_str() > after)).take(limit as usize).collect()
}
