//! The backend of a component: the imports of the contract.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::audience::Audience;
use crate::bindings::channel::wharf::channel::connection::Connection as LentConnection;
use crate::bindings::channel::wharf::channel::handshake::Handshake as LentHandshake;
use crate::bindings::channel::wharf::channel::{
    audience, channels, event, history as host_history, labels, limits, log as host_log, notices,
    presence, room_posts, rooms, settings, store, timers, types, users,
};
use crate::encoding::payload::Readers;
use crate::error::{HostError, Remedy};
use crate::history::HistoryEntry;
use crate::log::{FieldValue, Level, LevelFilter};
use crate::outgoing::Kind;
use crate::store::Entry;

/// The readers of the component's channel.
static READERS: OnceLock<Readers> = OnceLock::new();

/// Sets the channel whose component this is.
pub(crate) fn install<C: crate::Channel>() {
    READERS.get_or_init(Readers::of::<C>);
}

pub(crate) fn readers() -> Readers {
    READERS.get().copied().unwrap_or_default()
}

/// The handle of the connection that was lent to this event. The bindings give it back.
pub(crate) struct Connection(ManuallyDrop<LentConnection>);

impl Connection {
    pub(crate) fn lent(conn: &LentConnection) -> Self {
        #[expect(unsafe_code, reason = "the bindings make a handle of its number in no other way")]
        // SAFETY: the handle is the one that the bindings hold for this call. It is not dropped
        // here, and the SDK's `Connection` around it does not outlive the call: handlers only
        // ever get a reference to it.
        Self(ManuallyDrop::new(unsafe { LentConnection::from_handle(conn.handle()) }))
    }

    pub(crate) fn id(&self) -> String {
        self.0.id()
    }

    pub(crate) fn path(&self) -> String {
        self.0.path()
    }

    pub(crate) fn query(&self) -> String {
        self.0.query()
    }

    pub(crate) fn params(&self) -> Vec<(String, String)> {
        self.0.params()
    }

    pub(crate) fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.0.headers()
    }

    pub(crate) fn remote_address(&self) -> String {
        self.0.remote_address()
    }

    pub(crate) fn subprotocol(&self) -> Option<String> {
        self.0.subprotocol()
    }

    pub(crate) fn claims(&self) -> Option<String> {
        self.0.claims()
    }

    pub(crate) fn renew_token(&self, token: &str) -> Result<(), HostError> {
        Ok(self.0.renew_token(token)?)
    }

    pub(crate) fn ending(&self) -> Option<String> {
        self.0.ending()
    }

    pub(crate) fn send(&self, kind: Kind, data: &[u8]) -> Result<(), HostError> {
        Ok(self.0.send(kind.into(), data)?)
    }

    pub(crate) fn ping(&self, data: &[u8]) -> Result<(), HostError> {
        Ok(self.0.ping(data)?)
    }

    pub(crate) fn close(&self, code: u16, reason: &str) -> Result<(), HostError> {
        Ok(self.0.close(code, reason)?)
    }

    pub(crate) fn join(&self, room: &str) -> Result<(), HostError> {
        Ok(rooms::join(&self.0, room)?)
    }

    pub(crate) fn join_if_fewer_than(&self, room: &str, count: u32) -> Result<bool, HostError> {
        Ok(rooms::join_if_fewer_than(&self.0, room, count)?)
    }

    pub(crate) fn leave(&self, room: &str) -> Result<(), HostError> {
        Ok(rooms::leave(&self.0, room)?)
    }

    pub(crate) fn joined(&self) -> Vec<String> {
        rooms::joined(&self.0)
    }

    pub(crate) fn track(&self, room: &str, key: &str, meta: &str) -> Result<(), HostError> {
        Ok(presence::track(&self.0, room, key, meta)?)
    }

    pub(crate) fn update_presence(&self, room: &str, meta: &str) -> Result<(), HostError> {
        Ok(presence::update(&self.0, room, meta)?)
    }

    pub(crate) fn untrack(&self, room: &str) -> Result<(), HostError> {
        Ok(presence::untrack(&self.0, room)?)
    }

    pub(crate) fn watch_presence(&self, room: &str) -> Result<(), HostError> {
        Ok(presence::watch(&self.0, room)?)
    }

    pub(crate) fn unwatch_presence(&self, room: &str) -> Result<(), HostError> {
        Ok(presence::unwatch(&self.0, room)?)
    }

    pub(crate) fn set_label(&self, name: &str, value: &str) -> Result<(), HostError> {
        Ok(labels::set_label(&self.0, name, value)?)
    }

    pub(crate) fn clear_label(&self, name: &str) -> Result<(), HostError> {
        Ok(labels::clear_label(&self.0, name)?)
    }

    pub(crate) fn labels(&self) -> Vec<(String, String)> {
        labels::labels(&self.0)
    }

    pub(crate) fn identify(&self, user: &str) -> Result<(), HostError> {
        Ok(users::identify(&self.0, user)?)
    }

    pub(crate) fn identify_if_fewer_than(&self, user: &str, count: u32) -> Result<bool, HostError> {
        Ok(users::identify_if_fewer_than(&self.0, user, count)?)
    }

    pub(crate) fn take_from_limit(
        &self,
        name: &str,
        count: u32,
        per_ms: u64,
    ) -> Result<Option<u64>, HostError> {
        Ok(limits::take(&self.0, name, count, per_ms)?)
    }

    pub(crate) fn identified(&self) -> Option<String> {
        users::identified(&self.0)
    }

    pub(crate) fn set_timer(
        &self,
        name: &str,
        delay_ms: u64,
        repeat_ms: Option<u64>,
        payload: &[u8],
    ) -> Result<(), HostError> {
        Ok(timers::set(&self.0, name, delay_ms, repeat_ms, payload)?)
    }

    pub(crate) fn cancel_timer(&self, name: &str) -> Result<(), HostError> {
        Ok(timers::cancel(&self.0, name)?)
    }

    pub(crate) fn timer_remaining(&self, name: &str) -> Result<Option<u64>, HostError> {
        Ok(timers::remaining(&self.0, name)?)
    }
}

/// The handle of the response that was lent to `on_connect`.
pub(crate) struct Handshake(ManuallyDrop<LentHandshake>);

impl Handshake {
    pub(crate) fn lent(shake: &LentHandshake) -> Self {
        #[expect(unsafe_code, reason = "as for the connection")]
        // SAFETY: as for the connection.
        Self(ManuallyDrop::new(unsafe { LentHandshake::from_handle(shake.handle()) }))
    }

    pub(crate) fn set_header(&self, name: &str, value: &[u8]) -> Result<(), HostError> {
        Ok(self.0.set_header(name, value)?)
    }
}

pub(crate) fn room_count(room: &str) -> u32 {
    rooms::count(room)
}

pub(crate) fn room_members(room: &str, after: Option<&str>, limit: u32) -> Vec<String> {
    rooms::members(room, after, limit)
}

pub(crate) fn broadcast_to_room(
    room: &str,
    kind: Kind,
    data: &[u8],
    skip: Option<&str>,
) -> Result<(), HostError> {
    Ok(rooms::broadcast_to_room(room, kind.into(), data, skip)?)
}

pub(crate) fn broadcast_to_rooms(
    rooms: &[&str],
    kind: Kind,
    data: &[u8],
    skip: Option<&str>,
) -> Result<(), HostError> {
    let rooms: Vec<String> = rooms.iter().map(|room| (*room).to_owned()).collect();
    Ok(rooms::broadcast_to_rooms(&rooms, kind.into(), data, skip)?)
}

pub(crate) fn broadcast_to_all(
    kind: Kind,
    data: &[u8],
    skip: Option<&str>,
) -> Result<(), HostError> {
    Ok(rooms::broadcast_to_all(kind.into(), data, skip)?)
}

pub(crate) fn send_to(to: &str, kind: Kind, data: &[u8]) -> Result<(), HostError> {
    Ok(rooms::send_to(to, kind.into(), data)?)
}

pub(crate) fn presence_count(room: &str) -> u32 {
    presence::count(room)
}

pub(crate) fn presence_page(
    room: &str,
    after: Option<&str>,
    limit: u32,
) -> (u64, Vec<(String, Vec<String>)>) {
    let presence::Page { sequence, entries } = presence::list(room, after, limit);
    (sequence, entries.into_iter().map(|entry| (entry.key, entry.metas)).collect())
}

pub(crate) fn send_to_audience(to: &Audience, kind: Kind, data: &[u8]) -> Result<(), HostError> {
    let audience = audience::Audience::new();
    if to.everyone {
        audience.everyone();
    }
    to.rooms.iter().for_each(|room| audience.room(room));
    to.users.iter().for_each(|user| audience.user(user));
    to.except.iter().for_each(|id| audience.except_connection(id));
    to.except_users.iter().for_each(|user| audience.except_user(user));
    to.labels.iter().for_each(|(name, value)| audience.where_label(name, value));
    Ok(audience.send(kind.into(), data)?)
}

pub(crate) fn disconnect(id: &str, code: u16, reason: &str) -> Result<(), HostError> {
    Ok(rooms::disconnect(id, code, reason)?)
}

pub(crate) fn is_online(user: &str) -> bool {
    users::is_online(user)
}

pub(crate) fn user_connections(user: &str, after: Option<&str>, limit: u32) -> Vec<String> {
    users::connections_of(user, after, limit)
}

pub(crate) fn send_to_user(
    user: &str,
    kind: Kind,
    data: &[u8],
    skip: Option<&str>,
) -> Result<(), HostError> {
    Ok(users::send_to_user(user, kind.into(), data, skip)?)
}

pub(crate) fn send_to_users(
    users: &[&str],
    kind: Kind,
    data: &[u8],
    skip: Option<&str>,
) -> Result<(), HostError> {
    let ids: Vec<String> = users.iter().map(|user| (*user).to_owned()).collect();
    Ok(users::send_to_users(&ids, kind.into(), data, skip)?)
}

pub(crate) fn disconnect_user(user: &str, code: u16, reason: &str) -> Result<(), HostError> {
    Ok(users::disconnect_user(user, code, reason)?)
}

pub(crate) fn setting(name: &str) -> Option<String> {
    settings::get(name)
}

pub(crate) fn require_setting(name: &str) -> Result<String, HostError> {
    Ok(settings::require(name)?)
}

pub(crate) fn store_get(key: &str) -> Result<Option<Entry>, HostError> {
    let entry = store::get(key)?;
    Ok(entry.map(|entry| Entry { value: entry.value, version: entry.version }))
}

pub(crate) fn store_set(key: &str, value: &[u8], ttl: Option<u64>) -> Result<u64, HostError> {
    Ok(store::set(key, value, ttl)?)
}

pub(crate) fn store_delete(key: &str) -> Result<bool, HostError> {
    Ok(store::delete(key)?)
}

pub(crate) fn store_increment(key: &str, by: i64) -> Result<i64, HostError> {
    Ok(store::increment(key, by)?)
}

pub(crate) fn store_increment_for(key: &str, by: i64, ttl: u64) -> Result<i64, HostError> {
    Ok(store::increment_for(key, by, ttl)?)
}

pub(crate) fn store_compare_and_swap(
    key: &str,
    expected: Option<u64>,
    value: &[u8],
    ttl: Option<u64>,
) -> Result<u64, HostError> {
    Ok(store::compare_and_swap(key, expected, value, ttl)?)
}

pub(crate) fn store_list(
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<String>, HostError> {
    Ok(store::list(prefix, after, limit)?)
}

pub(crate) fn take_from_user_limit(
    user: &str,
    name: &str,
    count: u32,
    per_ms: u64,
) -> Result<Option<u64>, HostError> {
    Ok(limits::take_for_user(user, name, count, per_ms)?)
}

pub(crate) fn take_from_channel_limit(
    name: &str,
    count: u32,
    per_ms: u64,
) -> Result<Option<u64>, HostError> {
    Ok(limits::take_for_channel(name, count, per_ms)?)
}

pub(crate) fn publish(channel: &str, room: &str, kind: Kind, data: &[u8]) -> Result<(), HostError> {
    Ok(channels::publish(channel, room, kind.into(), data)?)
}

pub(crate) fn notify(to: &str, payload: &[u8]) -> Result<(), HostError> {
    Ok(notices::notify(to, payload)?)
}

pub(crate) fn notify_room(
    room: &str,
    payload: &[u8],
    skip: Option<&str>,
) -> Result<u32, HostError> {
    Ok(notices::notify_room(room, payload, skip)?)
}

pub(crate) fn notify_user(
    user: &str,
    payload: &[u8],
    skip: Option<&str>,
) -> Result<u32, HostError> {
    Ok(notices::notify_user(user, payload, skip)?)
}

pub(crate) fn post(room: &str, payload: &[u8]) -> Result<(), HostError> {
    Ok(room_posts::post(room, payload)?)
}

pub(crate) fn history(
    room: &str,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<HistoryEntry>, HostError> {
    let entries = host_history::read(room, before, limit)?.entries.into_iter();
    let entry = |entry: host_history::Entry| HistoryEntry {
        offset: entry.offset,
        sent_at_ms: entry.sent_at_ms,
        kind: match entry.kind {
            types::Kind::Text => Kind::Text,
            types::Kind::Binary => Kind::Binary,
        },
        data: entry.data,
    };
    Ok(entries.map(entry).collect())
}

pub(crate) fn read_room(room: &str) -> Result<Option<Vec<u8>>, HostError> {
    Ok(room_posts::read(room)?)
}

pub(crate) fn room_timer_remaining(room: &str, name: &str) -> Result<Option<u64>, HostError> {
    Ok(timers::remaining_for_room(room, name)?)
}

pub(crate) fn channel_timer_remaining(name: &str) -> Result<Option<u64>, HostError> {
    Ok(timers::remaining_for_channel(name)?)
}

pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

pub(crate) fn set_reference(reference: &str) -> Result<(), HostError> {
    Ok(event::set_reference(Some(reference))?)
}

pub(crate) fn reference() -> Option<String> {
    event::reference()
}

pub(crate) fn sender_user() -> Option<String> {
    event::sender_user()
}

pub(crate) fn set_room_timer(
    room: &str,
    name: &str,
    delay_ms: u64,
    repeat_ms: Option<u64>,
    payload: &[u8],
) -> Result<(), HostError> {
    Ok(timers::set_for_room(room, name, delay_ms, repeat_ms, payload)?)
}

pub(crate) fn cancel_room_timer(room: &str, name: &str) -> Result<(), HostError> {
    Ok(timers::cancel_for_room(room, name)?)
}

pub(crate) fn set_channel_timer(
    name: &str,
    delay_ms: u64,
    repeat_ms: Option<u64>,
    payload: &[u8],
) -> Result<(), HostError> {
    Ok(timers::set_for_channel(name, delay_ms, repeat_ms, payload)?)
}

pub(crate) fn cancel_channel_timer(name: &str) -> Result<(), HostError> {
    Ok(timers::cancel_for_channel(name)?)
}

thread_local! {
    /// Id of the connection that posted the event being handled. An instance handles one at a time.
    static SENDER: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Sets the id of the connection that posted the event, until it is dropped.
pub(crate) struct SenderGuard;

impl SenderGuard {
    pub(crate) fn set(from: Option<String>) -> Self {
        SENDER.set(from);
        Self
    }
}

impl Drop for SenderGuard {
    fn drop(&mut self) {
        SENDER.set(None);
    }
}

pub(crate) fn sender() -> Option<String> {
    SENDER.with_borrow(Clone::clone)
}

pub(crate) fn flush() -> Result<(), HostError> {
    Ok(event::flush()?)
}

pub(crate) fn discard() {
    event::discard();
}

pub(crate) fn report_error(detail: &str) {
    event::report_error(detail);
}

pub(crate) fn report_invalid(body: &[u8]) {
    event::report_invalid(body);
}

pub(crate) fn report_unreadable_session(detail: &str) {
    event::report_unreadable_session(detail);
}

pub(crate) fn generation() -> u64 {
    event::generation()
}

/// Returns the most detailed lines that the host would write.
pub(crate) fn max_level() -> LevelFilter {
    match host_log::max_level() {
        None => LevelFilter::Off,
        Some(host_log::Level::Error) => LevelFilter::Error,
        Some(host_log::Level::Warn) => LevelFilter::Warn,
        Some(host_log::Level::Info) => LevelFilter::Info,
        Some(host_log::Level::Debug) => LevelFilter::Debug,
        Some(host_log::Level::Trace) => LevelFilter::Trace,
    }
}

pub(crate) fn log(level: Level, message: &str, fields: Vec<(String, FieldValue)>) {
    let level = match level {
        Level::Error => host_log::Level::Error,
        Level::Warn => host_log::Level::Warn,
        Level::Info => host_log::Level::Info,
        Level::Debug => host_log::Level::Debug,
        Level::Trace => host_log::Level::Trace,
    };
    let fields: Vec<(String, host_log::Value)> = fields
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                FieldValue::None => host_log::Value::None,
                FieldValue::Text(text) => host_log::Value::Text(text),
                FieldValue::Integer(value) => host_log::Value::Integer(value),
                FieldValue::Natural(value) => host_log::Value::Natural(value),
                FieldValue::Number(value) => host_log::Value::Number(value),
                FieldValue::Boolean(value) => host_log::Value::Boolean(value),
            };
            (name, value)
        })
        .collect();
    host_log::write(level, message, &fields);
}

impl From<Kind> for types::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => types::Kind::Text,
            Kind::Binary => types::Kind::Binary,
        }
    }
}

impl From<types::Error> for HostError {
    fn from(types::Error { remedy, code, detail }: types::Error) -> Self {
        let remedy = match remedy {
            types::Remedy::FixCall => Remedy::FixCall,
            types::Remedy::ShedLoad => Remedy::ShedLoad,
            types::Remedy::Gone => Remedy::Gone,
            types::Remedy::AskOperator => Remedy::AskOperator,
            types::Remedy::RetryLater => Remedy::RetryLater,
            types::Remedy::Other => Remedy::Other,
        };
        HostError { remedy, code, detail }
    }
}
