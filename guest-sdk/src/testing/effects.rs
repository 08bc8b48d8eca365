//! What a handler asked the fake host to do, and what is checked at the call.

use std::time::Duration;

use crate::audience::{self, Audience};
use crate::error::{HostError, Remedy};

use super::client::Received;
use super::posts::Whose;

/// How much a channel may do: the host's settings of the same names, with its defaults.
///
/// ```
/// use wharf::testing::Limits;
///
/// let limits = Limits { max_rooms_per_connection: 1, ..Limits::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Limits {
    /// Size of one message from a client. A larger one closes the connection with code 1009.
    /// Default: 1 MiB.
    pub max_message_bytes: usize,
    /// Size of one message to a client. A larger one is refused with `message-too-big`. Default:
    /// 1 MiB.
    pub max_outbound_message_bytes: usize,
    /// Rooms one connection may be in. A further one is refused with `too-many-rooms`. Default:
    /// 64.
    pub max_rooms_per_connection: usize,
    /// Size of an encoded session. An event that returns more fails as a trap would. Default: 64
    /// KiB.
    pub max_session_bytes: usize,
    /// Effects of one event. Further ones are refused with `too-many-effects`. Default: 1024.
    pub max_effects_per_event: usize,
    /// Bytes of the messages of one event, each broadcast counted once. Further ones are refused
    /// with `too-many-effects`. Default: 1 MiB.
    pub max_effect_bytes_per_event: usize,
    /// Bytes of all entries in the store, about 160 for each beside its key and its value. Further
    /// ones are refused with `store-full`. Default: 64 MiB.
    pub max_store_bytes: usize,
    /// Size of one value in the store. A larger one is refused with `store-value-too-big`.
    /// Default: 256 KiB.
    pub max_store_value_bytes: usize,
    /// Notices that wait for one connection. A further one is refused with `inbox-full`. Default:
    /// 64.
    pub inbox_events: usize,
    /// Events that wait for one room. A further one is refused with `inbox-full`. Default: 1024.
    pub room_inbox_events: usize,
    /// Bytes that one notice, room event or timer carries. More is refused with
    /// `payload-too-big`. Default: 64 KiB.
    pub max_payload_bytes: usize,
    /// Size of one room's encoded state. A room event that returns more fails as a trap would.
    /// Default: 256 KiB.
    pub max_room_state_bytes: usize,
    /// Size of what a connection says of itself in a room, as JSON. More is refused with
    /// `metadata-too-big`. Default: 4 KiB.
    pub max_presence_bytes: usize,
    /// Bytes of all who are present in one room, 64 for each beside key and metadata. At the limit
    /// others are refused with `presence-full`. Default: 256 KiB.
    pub max_room_presence_bytes: usize,
    /// Timers of one connection. A further one is refused with `too-many-timers`. Default: 16.
    pub max_timers_per_connection: usize,
    /// Timers of one room. A further one is refused with `too-many-timers`. Default: 16.
    pub max_timers_per_room: usize,
    /// Timers of the channel. A further one is refused with `too-many-timers`. Default: 256.
    pub max_timers_per_channel: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 1024 * 1024,
            max_outbound_message_bytes: 1024 * 1024,
            max_rooms_per_connection: 64,
            max_session_bytes: 64 * 1024,
            max_effects_per_event: 1024,
            max_effect_bytes_per_event: 1024 * 1024,
            max_store_bytes: 64 * 1024 * 1024,
            max_store_value_bytes: 256 * 1024,
            inbox_events: 64,
            room_inbox_events: 1024,
            max_payload_bytes: 64 * 1024,
            max_room_state_bytes: 256 * 1024,
            max_presence_bytes: 4 * 1024,
            max_room_presence_bytes: 256 * 1024,
            max_timers_per_connection: 16,
            max_timers_per_room: 16,
            max_timers_per_channel: 256,
        }
    }
}

/// What a channel has sent to a room of another, with [`publish`](crate::publish).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The other channel's name.
    pub channel: String,
    /// The room's name.
    pub room: String,
    /// What its members would receive.
    pub message: Received,
}

/// One thing a handler asked for; connections by their numbers.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    Send(Received),
    SendTo(u64, Received),
    Broadcast {
        to: Audience,
        message: Received,
    },
    Join(String),
    Leave(String),
    Identify(String),
    SetLabel(String, String),
    Track {
        room: String,
        key: String,
        meta: String,
    },
    Untrack(String),
    Watch(String),
    Unwatch(String),
    ClearLabel(String),
    Disconnect(u64, (u16, String)),
    DisconnectUser(String, (u16, String)),
    Post {
        to: Vec<Whose>,
        payload: Vec<u8>,
    },
    SetTimer {
        whose: Whose,
        name: String,
        delay: Duration,
        interval: Option<Duration>,
        payload: Vec<u8>,
    },
    CancelTimer {
        whose: Whose,
        name: String,
    },
    Publish(Published),
}

/// Users that one message may be for.
const MAX_USERS_PER_MESSAGE: usize = 256;
/// Rooms that one broadcast may name.
const MAX_ROOMS_PER_BROADCAST: usize = 256;
/// Rooms and users of one audience, and its exceptions.
const MAX_NAMES: usize = 256;
/// Labels that one audience may ask for.
const MAX_CONDITIONS: usize = 8;
/// Labels of one connection.
pub(crate) const MAX_LABELS: usize = 16;

pub(crate) fn checked_rooms(rooms: &[&str]) -> Result<Audience, HostError> {
    if rooms.len() > MAX_ROOMS_PER_BROADCAST {
        return Err(refused(
            Remedy::ShedLoad,
            "too-many-rooms",
            format!("a broadcast names at most {MAX_ROOMS_PER_BROADCAST} rooms"),
        ));
    }
    rooms.iter().try_for_each(|room| room_name(room).map(drop))?;
    Ok(audience::to_rooms(rooms))
}

pub(crate) fn checked_users(users: &[&str]) -> Result<Audience, HostError> {
    if users.len() > MAX_USERS_PER_MESSAGE {
        return Err(refused(
            Remedy::ShedLoad,
            "too-many-users",
            format!("a message is for at most {MAX_USERS_PER_MESSAGE} users"),
        ));
    }
    users.iter().try_for_each(|user| user_id(user).map(drop))?;
    Ok(audience::to_users(users))
}

pub(crate) fn checked(to: &Audience) -> Result<Audience, HostError> {
    if !to.everyone && to.rooms.is_empty() && to.users.is_empty() {
        return Err(refused(
            Remedy::FixCall,
            "audience-empty",
            "name a room, a user or everyone before sending",
        ));
    }
    if to.rooms.len() + to.users.len() > MAX_NAMES
        || to.except.len() + to.except_users.len() > MAX_NAMES
        || to.labels.len() > MAX_CONDITIONS
    {
        return Err(refused(
            Remedy::ShedLoad,
            "audience-too-big",
            format!(
                "an audience has at most {MAX_NAMES} rooms and users, {MAX_NAMES} exceptions and \
                 {MAX_CONDITIONS} labels"
            ),
        ));
    }
    to.rooms.iter().try_for_each(|room| room_name(room).map(drop))?;
    to.users.iter().chain(&to.except_users).try_for_each(|user| user_id(user).map(drop))?;
    to.labels.iter().try_for_each(|(name, value)| label(name, value).map(drop))?;
    Ok(to.clone())
}

pub(crate) fn label(name: &str, value: &str) -> Result<(String, String), HostError> {
    if !(1..=64).contains(&name.len()) || value.len() > 255 {
        return Err(refused(
            Remedy::FixCall,
            "label-invalid",
            "a label's name has 1 to 64 bytes, its value at most 255",
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) fn room_name(room: &str) -> Result<String, HostError> {
    match room.len() {
        1..=255 => Ok(room.to_owned()),
        length => Err(refused(
            Remedy::FixCall,
            "room-name-invalid",
            format!("a room's name has 1 to 255 bytes, this one has {length}"),
        )),
    }
}

pub(crate) fn user_id(user: &str) -> Result<String, HostError> {
    match user.len() {
        1..=255 => Ok(user.to_owned()),
        length => Err(refused(
            Remedy::FixCall,
            "user-id-invalid",
            format!("a user's id has 1 to 255 bytes, this one has {length}"),
        )),
    }
}

/// Payload of a control frame, at most (RFC 6455, 5.5).
const MAX_CONTROL_BYTES: usize = 125;
/// The same, less the code: a close frame's reason.
pub(crate) const MAX_REASON_BYTES: usize = 123;

pub(crate) fn ping(data: &[u8]) -> Result<Received, HostError> {
    if data.len() > MAX_CONTROL_BYTES {
        return Err(refused(
            Remedy::FixCall,
            "control-frame-too-big",
            format!("a ping carries at most {MAX_CONTROL_BYTES} bytes, not {}", data.len()),
        ));
    }
    Ok(Received::Ping(data.to_vec()))
}

/// The close codes that a channel may send (RFC 6455, 7.4.2).
pub(crate) fn is_channel_code(code: u16) -> bool {
    code == 1000 || (3000..=4999).contains(&code)
}

pub(crate) fn close(code: u16, reason: &str) -> Result<(u16, String), HostError> {
    if !is_channel_code(code) {
        return Err(refused(
            Remedy::FixCall,
            "close-code-invalid",
            format!("{code} is not for channels to send; use 1000 or 3000 to 4999"),
        ));
    }
    if reason.len() > MAX_REASON_BYTES {
        return Err(refused(
            Remedy::FixCall,
            "close-reason-too-long",
            format!("{} bytes; a close frame has room for {MAX_REASON_BYTES}", reason.len()),
        ));
    }
    Ok((code, reason.to_owned()))
}

/// Whether a channel may put this header into a response.
pub(crate) fn is_channel_header(name: &str, value: &[u8]) -> bool {
    const OWNED: [&str; 5] =
        ["connection", "upgrade", "content-length", "transfer-encoding", "date"];
    let name = name.to_ascii_lowercase();
    let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    is_token(&name)
        && !OWNED.contains(&name.as_str())
        && !name.starts_with("sec-websocket-")
        && value.iter().all(is_text)
}

/// A token of RFC 9110, such as the name of a header.
pub(crate) fn is_token(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

pub(crate) fn refused(remedy: Remedy, code: &str, detail: impl Into<String>) -> HostError {
    HostError { remedy, code: code.to_owned(), detail: detail.into() }
}
