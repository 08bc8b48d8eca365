//! The backend of everything that is not a component: the fake host of the test kit.
//!
//! A thread runs one event at a time, as an instance does, and the event's host is in a
//! thread-local for as long as its handler runs.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

use wharf_contract::presence::MAX_PAGE;

use crate::audience::{self, Audience};
use crate::encoding::payload::Readers;
use crate::error::HostError;
use crate::history::HistoryEntry;
use crate::http::{Request as HttpRequest, Response as HttpResponse, Target};
use crate::log::{FieldValue, Level, LevelFilter};
use crate::outgoing::Kind;
use crate::store::Entry;
use crate::testing::LogLine;
use crate::testing::effects::Effect;
use crate::testing::host_calls::{checked, checked_rooms, checked_users, page};
use crate::testing::posts::Scope;
use crate::testing::world::{Request, Shared, World, id};

thread_local! {
    static CURRENT: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

/// Makes `world` the host of this thread until the guard is dropped, panics included.
pub(crate) fn enter(world: &Shared) -> impl Drop {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            CURRENT.set(None);
        }
    }
    let before = CURRENT.replace(Some(world.clone()));
    assert!(before.is_none(), "a handler cannot drive the test host that runs it");
    Leave
}

#[expect(clippy::expect_used, reason = "a test fails by a panic")]
fn host<R>(call: impl FnOnce(&mut World) -> R) -> R {
    let world = CURRENT.with_borrow(Clone::clone).expect(
        "there is no host outside an event: drive the channel with wharf::testing::TestHost, \
         and run what needs no connection with its `run`",
    );
    call(&mut world.borrow_mut())
}

/// The connection of the event, by its number in the fake host.
pub(crate) struct Connection {
    request: Rc<Request>,
}

impl Connection {
    pub(crate) fn of(request: Rc<Request>) -> Self {
        Self { request }
    }

    pub(crate) fn id(&self) -> String {
        self.request.id()
    }

    pub(crate) fn path(&self) -> String {
        self.request.path.clone()
    }

    pub(crate) fn query(&self) -> String {
        self.request.query.clone()
    }

    pub(crate) fn params(&self) -> Vec<(String, String)> {
        self.request.params.clone()
    }

    pub(crate) fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.request.headers.clone()
    }

    pub(crate) fn remote_address(&self) -> String {
        self.request.remote_address.clone()
    }

    pub(crate) fn subprotocol(&self) -> Option<String> {
        self.request.subprotocol.clone()
    }

    pub(crate) fn claims(&self) -> Option<String> {
        self.request.claims.borrow().clone()
    }

    pub(crate) fn renew_token(&self, token: &str) -> Result<(), HostError> {
        let before = self.claims();
        let claims = host(|world| world.renewed_claims(token, before.as_deref()))?;
        self.request.claims.replace(Some(claims));
        Ok(())
    }

    pub(crate) fn ending(&self) -> Option<String> {
        host(|world| world.ending(self.request.number))
    }

    pub(crate) fn send(&self, kind: Kind, data: &[u8]) -> Result<(), HostError> {
        host(|world| world.send(kind, data))
    }

    pub(crate) fn ping(&self, data: &[u8]) -> Result<(), HostError> {
        host(|world| world.ping(data))
    }

    pub(crate) fn close(&self, code: u16, reason: &str) -> Result<(), HostError> {
        host(|world| world.close(code, reason))
    }

    pub(crate) fn join(&self, room: &str) -> Result<(), HostError> {
        host(|world| world.join(room))
    }

    pub(crate) fn join_if_fewer_than(&self, room: &str, count: u32) -> Result<bool, HostError> {
        host(|world| world.join_if_fewer_than(room, count))
    }

    pub(crate) fn leave(&self, room: &str) -> Result<(), HostError> {
        host(|world| world.leave(room))
    }

    pub(crate) fn joined(&self) -> Vec<String> {
        host(|world| world.joined(self.request.number))
    }

    pub(crate) fn track(&self, room: &str, key: &str, meta: &str) -> Result<(), HostError> {
        host(|world| world.track(room, key, meta))
    }

    pub(crate) fn update_presence(&self, room: &str, meta: &str) -> Result<(), HostError> {
        host(|world| world.update_presence(room, meta))
    }

    pub(crate) fn untrack(&self, room: &str) -> Result<(), HostError> {
        host(|world| world.change_presence(room, Effect::Untrack, false))
    }

    pub(crate) fn watch_presence(&self, room: &str) -> Result<(), HostError> {
        host(|world| world.change_presence(room, Effect::Watch, true))
    }

    pub(crate) fn unwatch_presence(&self, room: &str) -> Result<(), HostError> {
        host(|world| world.change_presence(room, Effect::Unwatch, false))
    }

    pub(crate) fn set_label(&self, name: &str, value: &str) -> Result<(), HostError> {
        host(|world| world.set_label(name, value))
    }

    pub(crate) fn clear_label(&self, name: &str) -> Result<(), HostError> {
        host(|world| world.clear_label(name))
    }

    pub(crate) fn labels(&self) -> Vec<(String, String)> {
        host(|world| world.labels(self.request.number))
    }

    pub(crate) fn identify(&self, user: &str) -> Result<(), HostError> {
        host(|world| world.identify(user))
    }

    pub(crate) fn identify_if_fewer_than(&self, user: &str, count: u32) -> Result<bool, HostError> {
        host(|world| world.identify_if_fewer_than(user, count))
    }

    pub(crate) fn take_from_limit(
        &self,
        name: &str,
        count: u32,
        per_ms: u64,
    ) -> Result<Option<u64>, HostError> {
        host(|world| world.take_from_limit(name, count, per_ms))
    }

    pub(crate) fn identified(&self) -> Option<String> {
        host(|world| world.identified(self.request.number))
    }

    pub(crate) fn set_timer(
        &self,
        name: &str,
        delay_ms: u64,
        repeat_ms: Option<u64>,
        payload: &[u8],
    ) -> Result<(), HostError> {
        let scope = Scope::Connection(self.request.number);
        host(|world| world.set_timer(scope, name, (delay_ms, repeat_ms), payload))
    }

    pub(crate) fn cancel_timer(&self, name: &str) -> Result<(), HostError> {
        host(|world| world.cancel_timer(Scope::Connection(self.request.number), name))
    }

    pub(crate) fn timer_remaining(&self, name: &str) -> Result<Option<u64>, HostError> {
        host(|world| world.timer_remaining(Scope::Connection(self.request.number), name))
    }
}

/// The response of the event's handshake.
pub(crate) struct Handshake;

impl Handshake {
    pub(crate) fn set_header(&self, name: &str, value: &[u8]) -> Result<(), HostError> {
        host(|world| world.set_header(name, value))
    }
}

pub(crate) fn room_count(room: &str) -> u32 {
    host(|world| world.members(room).len() as u32)
}

pub(crate) fn room_members(room: &str, after: Option<&str>, limit: u32) -> Vec<String> {
    host(|world| page(world.members(room), after, limit.min(MAX_PAGE)))
}

pub(crate) fn broadcast_to_room(
    room: &str,
    kind: Kind,
    data: &[u8],
    skip: Option<&str>,
) -> Result<(), HostError> {
    host(|world| world.broadcast(checked_rooms(&[room])?, kind, data, skip))
}

pub(crate) fn broadcast_to_rooms(
    rooms: &[&str],
    kind: Kind,
    data: &[u8],
    skip: Option<&str>,
) -> Result<(), HostError> {
    host(|world| world.broadcast(checked_rooms(rooms)?, kind, data, skip))
}

pub(crate) fn broadcast_to_all(
    kind: Kind,
    data: &[u8],
    skip: Option<&str>,
) -> Result<(), HostError> {
    host(|world| world.broadcast(audience::to_all(), kind, data, skip))
}

pub(crate) fn send_to(to: &str, kind: Kind, data: &[u8]) -> Result<(), HostError> {
    host(|world| world.send_to(to, kind, data))
}

pub(crate) fn presence_count(room: &str) -> u32 {
    host(|world| world.presence_count(room))
}

pub(crate) fn presence_page(
    room: &str,
    after: Option<&str>,
    limit: u32,
) -> (u64, Vec<(String, Vec<String>)>) {
    host(|world| world.presence_page(room, after, limit.min(MAX_PAGE)))
}

pub(crate) fn send_to_audience(to: &Audience, kind: Kind, data: &[u8]) -> Result<(), HostError> {
    host(|world| world.broadcast(checked(to)?, kind, data, None))
}

pub(crate) fn disconnect(id: &str, code: u16, reason: &str) -> Result<(), HostError> {
    host(|world| world.disconnect(id, code, reason))
}

pub(crate) fn is_online(user: &str) -> bool {
    host(|world| !world.connections_of(user).is_empty())
}

pub(crate) fn user_connections(user: &str, after: Option<&str>, limit: u32) -> Vec<String> {
    host(|world| page(world.connections_of(user), after, limit.min(MAX_PAGE)))
}

pub(crate) fn send_to_user(
    user: &str,
    kind: Kind,
    data: &[u8],
    skip: Option<&str>,
) -> Result<(), HostError> {
    host(|world| {
        world.must_be_online(user)?;
        world.broadcast(checked_users(&[user])?, kind, data, skip)
    })
}

pub(crate) fn send_to_users(
    users: &[&str],
    kind: Kind,
    data: &[u8],
    skip: Option<&str>,
) -> Result<(), HostError> {
    host(|world| world.broadcast(checked_users(users)?, kind, data, skip))
}

pub(crate) fn disconnect_user(user: &str, code: u16, reason: &str) -> Result<(), HostError> {
    host(|world| world.disconnect_user(user, code, reason))
}

pub(crate) fn setting(name: &str) -> Option<String> {
    host(|world| world.settings.get(name).cloned())
}

pub(crate) fn require_setting(name: &str) -> Result<String, HostError> {
    host(|world| world.require_setting(name))
}

pub(crate) fn store_get(key: &str) -> Result<Option<Entry>, HostError> {
    host(|world| world.store_get(key))
}

pub(crate) fn store_set(key: &str, value: &[u8], ttl: Option<u64>) -> Result<u64, HostError> {
    host(|world| world.store_set(key, value, ttl))
}

pub(crate) fn store_delete(key: &str) -> Result<bool, HostError> {
    host(|world| world.store_delete(key))
}

pub(crate) fn store_increment(key: &str, by: i64) -> Result<i64, HostError> {
    host(|world| world.store_increment(key, by, None))
}

pub(crate) fn store_increment_for(key: &str, by: i64, ttl: u64) -> Result<i64, HostError> {
    host(|world| world.store_increment(key, by, Some(ttl)))
}

pub(crate) fn store_compare_and_swap(
    key: &str,
    expected: Option<u64>,
    value: &[u8],
    ttl: Option<u64>,
) -> Result<u64, HostError> {
    host(|world| world.store_compare_and_swap(key, expected, value, ttl))
}

pub(crate) fn store_list(
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<String>, HostError> {
    host(|world| world.store_list(prefix, after, limit))
}

pub(crate) fn take_from_user_limit(
    user: &str,
    name: &str,
    count: u32,
    per_ms: u64,
) -> Result<Option<u64>, HostError> {
    host(|world| world.take_from_user_limit(user, name, count, per_ms))
}

pub(crate) fn take_from_channel_limit(
    name: &str,
    count: u32,
    per_ms: u64,
) -> Result<Option<u64>, HostError> {
    host(|world| world.take_from_channel_limit(name, count, per_ms))
}

pub(crate) fn publish(channel: &str, room: &str, kind: Kind, data: &[u8]) -> Result<(), HostError> {
    host(|world| world.publish(channel, room, kind, data))
}

pub(crate) fn notify(to: &str, payload: &[u8]) -> Result<(), HostError> {
    host(|world| world.notify(to, payload))
}

pub(crate) fn notify_room(
    room: &str,
    payload: &[u8],
    skip: Option<&str>,
) -> Result<u32, HostError> {
    host(|world| world.notify_room(room, payload, skip))
}

pub(crate) fn notify_user(
    user: &str,
    payload: &[u8],
    skip: Option<&str>,
) -> Result<u32, HostError> {
    host(|world| world.notify_user(user, payload, skip))
}

pub(crate) fn post(room: &str, payload: &[u8]) -> Result<(), HostError> {
    host(|world| world.post(room, payload))
}

pub(crate) fn history(
    room: &str,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<HistoryEntry>, HostError> {
    host(|world| world.history(room, before, limit))
}

pub(crate) fn read_room(room: &str) -> Result<Option<Vec<u8>>, HostError> {
    host(|world| world.read_room(room))
}

pub(crate) fn room_timer_remaining(room: &str, name: &str) -> Result<Option<u64>, HostError> {
    host(|world| world.timer_remaining(Scope::Room(room.to_owned()), name))
}

pub(crate) fn channel_timer_remaining(name: &str) -> Result<Option<u64>, HostError> {
    host(|world| world.timer_remaining(Scope::Channel, name))
}

/// Returns the time of day, which tests move. Code that asks for it should be testable without a host.
pub(crate) fn now() -> SystemTime {
    let world = CURRENT.with_borrow(Clone::clone);
    let moved = world.map(|world| world.borrow().now).unwrap_or_default();
    SystemTime::now() + moved
}

pub(crate) fn set_reference(reference: &str) -> Result<(), HostError> {
    host(|world| world.set_reference(reference))
}

pub(crate) fn reference() -> Option<String> {
    host(|world| world.reference())
}

pub(crate) fn sender_user() -> Option<String> {
    host(|world| world.event.as_ref()?.cause.as_ref()?.user.clone())
}

pub(crate) fn set_room_timer(
    room: &str,
    name: &str,
    delay_ms: u64,
    repeat_ms: Option<u64>,
    payload: &[u8],
) -> Result<(), HostError> {
    let scope = Scope::Room(room.to_owned());
    host(|world| world.set_timer(scope, name, (delay_ms, repeat_ms), payload))
}

pub(crate) fn cancel_room_timer(room: &str, name: &str) -> Result<(), HostError> {
    host(|world| world.cancel_timer(Scope::Room(room.to_owned()), name))
}

pub(crate) fn set_channel_timer(
    name: &str,
    delay_ms: u64,
    repeat_ms: Option<u64>,
    payload: &[u8],
) -> Result<(), HostError> {
    host(|world| world.set_timer(Scope::Channel, name, (delay_ms, repeat_ms), payload))
}

pub(crate) fn cancel_channel_timer(name: &str) -> Result<(), HostError> {
    host(|world| world.cancel_timer(Scope::Channel, name))
}

pub(crate) fn sender() -> Option<String> {
    host(|world| Some(id(world.event.as_ref()?.cause.as_ref()?.number)))
}

pub(crate) fn http_send(request: &HttpRequest, target: &Target) -> Result<HttpResponse, HostError> {
    host(|world| world.http_send(request, target))
}

pub(crate) fn flush() -> Result<(), HostError> {
    host(World::flush)
}

pub(crate) fn discard() {
    host(World::discard);
}

pub(crate) fn report_error(detail: &str) {
    host(|world| world.failed(detail.to_owned()));
}

/// Does nothing: no poster in a test waits for its event.
pub(crate) fn report_invalid(_: &[u8]) {}

pub(crate) fn report_unreadable_session(detail: &str) {
    report_error(detail);
}

pub(crate) fn readers() -> Readers {
    host(|world| world.plugin.readers)
}

pub(crate) fn generation() -> u64 {
    host(|world| world.generation)
}

/// Returns the highest level: tests see every line.
pub(crate) fn max_level() -> LevelFilter {
    LevelFilter::Trace
}

/// Writes a line. Code that logs should be testable without a host, so none is needed here.
pub(crate) fn log(level: Level, message: &str, fields: Vec<(String, FieldValue)>) {
    let world = CURRENT.with_borrow(Clone::clone);
    let shown = |text: &str| match &world {
        Some(world) => world.borrow().shown(text),
        None => text.to_owned(),
    };
    let fields: Vec<(String, String)> =
        fields.iter().map(|(name, value)| (shown(name), shown(&value.to_string()))).collect();
    let message = shown(message);
    let fields_text: String =
        fields.iter().map(|(name, value)| format!(" {name}={value:?}")).collect();
    // The test runner shows it for tests that fail.
    eprintln!("{level:?}: {message}{fields_text}");
    if let Some(world) = &world {
        world.borrow_mut().log(LogLine { level, message, fields });
    }
}
