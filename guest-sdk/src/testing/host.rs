//! The host that a test drives, at either level.

use std::any::type_name;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use wharf_contract::history::HistoryRule;
use wharf_contract::limits::Limits;
use wharf_contract::outside_messages::OutsideProblem;

use crate::channel::Channel;
use crate::encoding::{payload, session};
use crate::log::Level;
use crate::outgoing::Outgoing;
use crate::outside_messages::OutsideRefusal;
use crate::store;

use super::client::{Expected, Received};
use super::component::{self, ComponentHost};
use super::connecting::Connecting;
use super::effects::Published;
use super::host_calls::page;
use super::http::{HttpAnswer, HttpRequest};
use super::plugin::Plugin;
use super::posts::{advance, settle};
use super::run::{event, failed, panicked};
use super::world::{Phase, Shared, World};

/// A host with one channel mounted and fake clients; see the [module](crate::testing).
pub struct TestHost {
    level: TestLevel,
}

/// The place where the channel runs.
#[derive(Clone)]
pub(crate) enum TestLevel {
    /// In the test itself, on an imitated host.
    Native(Shared),
    /// As a component, in the host.
    Component(Rc<ComponentHost>),
}

use TestLevel::{Component, Native};

/// One line that the channel logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Level.
    pub level: Level,
    /// Text.
    pub message: String,
    /// Fields, by name.
    pub fields: Vec<(String, String)>,
}

impl TestHost {
    /// Makes a host that serves the channel `C`, as its generation 1 and with the host's default
    /// limits: natively, or the component that `wharf test` has built.
    ///
    /// The latter panics, when it is first needed, if the component is another channel than `C`:
    /// one with other paths.
    pub fn new<C: Channel>() -> Self {
        match component::from_environment() {
            Some(path) => {
                let wanted = Some((type_name::<C>(), C::PATHS));
                Self { level: Component(ComponentHost::new(&path, wanted)) }
            }
            None => Self::native::<C>(),
        }
    }

    /// Makes a host that serves the channel `C` natively, also under `wharf test`: for the
    /// functions of this level only, [`run`](TestHost::run) and [`reload`](TestHost::reload), and
    /// for a channel that is not the crate's own.
    pub fn native<C: Channel>() -> Self {
        let world = World::new(Plugin::of::<C>());
        Self { level: Native(Rc::new(RefCell::new(world))) }
    }

    /// Makes a host that serves a component, also under `cargo test`. The host is the binary that
    /// the variable `WHARF_TEST_HOST` names, as `wharf test` sets it, or `wharf` on the `PATH`.
    pub fn component(path: impl AsRef<Path>) -> Self {
        Self { level: Component(ComponentHost::new(path.as_ref(), None)) }
    }

    /// Sets other limits, from the next event on; with a component, before the first client
    /// connects.
    #[track_caller]
    pub fn set_limits(&self, limits: Limits) {
        match &self.level {
            Native(world) => world.borrow_mut().limits = limits.raised(),
            Component(host) => host.set_limits(limits),
        }
    }

    /// Sets the rules by which rooms keep messages, as the operator does with `history`: the first whose pattern a
    /// room's name fits counts. With a component, before the first client connects.
    ///
    /// A client of a test says nothing of where it was, so that it gets the messages for newcomers. The host's
    /// own bound of all rooms together is not tested.
    #[track_caller]
    pub fn set_history(&self, rules: Vec<HistoryRule>) {
        match &self.level {
            Native(world) => world.borrow_mut().histories.rules = rules,
            Component(host) => host.set_history(rules),
        }
    }

    /// Sets a setting that the plugin reads with [`setting`](crate::setting), from the next event
    /// on; with a component, before the first client connects.
    #[track_caller]
    pub fn set_setting(&self, name: &str, value: &str) {
        match &self.level {
            Native(world) => world.borrow_mut().set_setting(name, value, false),
            Component(host) => host.set_setting(name, value),
        }
    }

    /// Sets a secret, which the plugin reads like a setting. As in the host, `***` replaces it in
    /// what [`log`](TestHost::log) and [`errors`](TestHost::errors) return, if it has at least 4
    /// bytes.
    #[track_caller]
    pub fn set_secret(&self, name: &str, value: &str) {
        match &self.level {
            Native(world) => world.borrow_mut().set_setting(name, value, true),
            Component(host) => host.set_secret(name, value),
        }
    }

    /// Lets the channel publish to the rooms of another, which is in service; see
    /// [`publish`](crate::publish). With a component, before the first client connects.
    #[track_caller]
    pub fn grant_publishing(&self, channel: &str) {
        match &self.level {
            Native(world) => {
                world.borrow_mut().publish_to.insert(channel.to_owned(), true);
            }
            Component(host) => host.grant_publishing(channel),
        }
    }

    /// Takes another channel out of service, so that publishing to it is refused with
    /// `unknown-channel` even if it is granted.
    #[track_caller]
    pub fn remove_channel(&self, channel: &str) {
        match &self.level {
            Native(world) => {
                if let Some(is_in_service) = world.borrow_mut().publish_to.get_mut(channel) {
                    *is_in_service = false;
                }
            }
            Component(host) => host.remove_channel(channel),
        }
    }

    /// Returns the messages that the channel has published to the rooms of others since the last
    /// call.
    pub fn published(&self) -> Vec<Published> {
        match &self.level {
            Native(world) => std::mem::take(&mut world.borrow_mut().published),
            Component(host) => host.take_published(),
        }
    }

    /// Lets [`renew_token`](crate::Connection::renew_token) accept this token, with these claims.
    #[track_caller]
    pub fn accept_token(&self, token: &str, claims: impl Serialize) {
        let claims = serde_json::to_string(&claims);
        let claims = claims.expect("claims that can be written as JSON");
        match &self.level {
            Native(world) => {
                world.borrow_mut().tokens.insert(token.to_owned(), claims);
            }
            Component(host) => host.accept_token(token, &claims),
        }
    }

    /// Sets the value of a key of the channel's [`store`](mod@store), for good.
    #[track_caller]
    pub fn store<T: Serialize + ?Sized>(&self, key: &str, value: &T) {
        match &self.level {
            Native(_) => {
                let stored = self.run(|| store::set(key, value));
                stored.unwrap_or_else(|error| panic!("{error}"));
            }
            Component(host) => {
                let value = payload::to_json("the value", value);
                host.store(key, &value.unwrap_or_else(|error| panic!("{error}")));
            }
        }
    }

    /// Returns the value of a key of the channel's [`store`](mod@store), if it has one. Panics if
    /// it is not a `T`.
    #[track_caller]
    pub fn stored<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        match &self.level {
            Native(_) => self.run(|| store::get(key)).unwrap_or_else(|error| panic!("{error}")),
            Component(host) => {
                let value = payload::from_json(&host.stored(key)?);
                Some(value.unwrap_or_else(|error| panic!("the store's value of {key:?}: {error}")))
            }
        }
    }

    /// Serves the channel `C` from now on, as the next generation. Connections stay open, with the
    /// sessions of the channel before, which shows whether a struct may grow.
    ///
    /// Natively only: see [`native`](TestHost::native), and for components
    /// [`reload_component`](TestHost::reload_component).
    #[track_caller]
    pub fn reload<C: Channel>(&self) {
        match &self.level {
            Native(world) => {
                world.borrow_mut().reload(Plugin::of::<C>());
            }
            Component(_) => panic!(
                "reload::<{name}>() is there natively only: the component has no other channel in \
                 it; make the host of this test with `TestHost::native`, or compile the other \
                 channel and write `reload_component(path)`",
                name = type_name::<C>()
            ),
        }
    }

    /// Serves another component from now on, as the next generation. Panics if the host would
    /// refuse it.
    ///
    /// With components only: see [`component`](TestHost::component), and natively
    /// [`reload`](TestHost::reload).
    #[track_caller]
    pub fn reload_component(&self, path: impl AsRef<Path>) {
        match &self.level {
            Native(_) => panic!(
                "reload_component is there with components only: write `reload::<C>()`, or make \
                 the host of this test with `TestHost::component(path)`"
            ),
            Component(host) => host.reload(path.as_ref()),
        }
    }

    /// Sets the answer to the channel's requests to this URL from now on. One that ends with `*`
    /// stands for all that begin like it. The last matching script holds. A request without a
    /// script fails like one to a host that the operator has not granted.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # use wharf::testing::{HttpAnswer, TestHost};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Asks;
    /// # #[wharf::channel]
    /// # impl Channel for Asks {
    /// #     const PATHS: &[&str] = &["/asks"];
    /// #     fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Asks) }
    /// # }
    /// let host = TestHost::native::<Asks>();
    /// host.http_answer("https://api.example.com/users/*", HttpAnswer::new(404));
    /// host.http_answer("https://api.example.com/users/7", HttpAnswer::json(json!({ "name": "Ann" })));
    ///
    /// let ann = host.run(|| wharf::http::get("https://api.example.com/users/7").send());
    /// assert_eq!(ann.unwrap().text().unwrap(), r#"{"name":"Ann"}"#);
    /// assert_eq!(host.http_requests()[0].method, "GET");
    /// ```
    #[track_caller]
    pub fn http_answer(&self, url: &str, answer: HttpAnswer) {
        match &self.level {
            Native(world) => world.borrow_mut().http.script(url, answer),
            Component(host) => host.http_answer(url, &answer),
        }
    }

    /// Returns the requests that the channel has sent since the last call.
    pub fn http_requests(&self) -> Vec<HttpRequest> {
        match &self.level {
            Native(world) => std::mem::take(&mut world.borrow_mut().http.requests),
            Component(host) => host.take_requests(),
        }
    }

    /// Makes a client for a path, with a query or without: `"/chat/lobby?name=Ann"`. Nothing
    /// happens until one of the builder's last three methods is called.
    pub fn connect(&self, target: &str) -> Connecting {
        Connecting::to(self.level.clone(), target)
    }

    /// Runs code of the plugin that needs no connection, such as a function that broadcasts, as an
    /// event of its own. Its effects happen when it returns; a panic is passed on.
    ///
    /// Natively only: a test's code is not in the component. See [`native`](TestHost::native); for
    /// the store there are [`store`](TestHost::store) and [`stored`](TestHost::stored).
    #[track_caller]
    pub fn run<R>(&self, code: impl FnOnce() -> R) -> R {
        let Native(world) = &self.level else {
            panic!(
                "run(…) is there natively only: the test's code is not in the component; make the \
                 host of this test with `TestHost::native` (for the store there are \
                 `host.store(key, value)` and `host.stored(key)`)"
            )
        };
        match event(world, Phase::Detached, 0, code) {
            Ok(returned) => {
                world.borrow_mut().commit();
                settle(world);
                returned
            }
            Err(panic) => {
                world.borrow_mut().abandon();
                std::panic::resume_unwind(panic)
            }
        }
    }

    /// Sends the channel a message from outside, as the operator's API does; see
    /// [`on_outside_message`](Channel::on_outside_message). Returns the reply, or its refusal: a
    /// panic is one with status 500.
    #[track_caller]
    pub fn outside_message(&self, message: Value) -> Result<Value, OutsideRefusal> {
        match &self.level {
            Native(world) => outside_message(world, &message),
            Component(host) => host.outside_message(&message),
        }
    }

    /// Advances the clock: each timer fires when it falls due, in order, and all of its effects
    /// have happened before the next. Data that the host keeps for a while, such as a value of
    /// [`store::set_for`](crate::store::set_for), ends in between. By itself the clock stands
    /// still.
    #[track_caller]
    pub fn advance(&self, by: Duration) {
        match &self.level {
            Native(world) => advance(world, by),
            Component(host) => host.advance(by),
        }
    }

    /// Returns the state of a room as the host keeps it, decoded as the channel's; the default if
    /// there is none. Panics if it does not decode.
    #[track_caller]
    pub fn room_state<C: Channel>(&self, room: &str) -> C::RoomState {
        let bytes = match &self.level {
            Native(world) => world.borrow().room_states.get(room).cloned(),
            Component(host) => host.room_state(room),
        };
        match bytes {
            Some(bytes) => {
                session::decode(&bytes).unwrap_or_else(|error| panic!("the room's state: {error}"))
            }
            None => C::RoomState::default(),
        }
    }

    /// Returns the keys that are present in a room, including those that stay for their grace.
    #[track_caller]
    pub fn present(&self, room: &str) -> Vec<String> {
        match &self.level {
            Native(world) => {
                let (_, entries) = world.borrow().presence_page(room, None, u32::MAX);
                entries.into_iter().map(|(key, _)| key).collect()
            }
            Component(host) => host.present(room),
        }
    }

    /// Returns the number of a room's members.
    #[track_caller]
    pub fn room_count(&self, room: &str) -> u32 {
        self.room_members(room).len() as u32
    }

    /// Returns the ids of a room's members, in ascending order.
    #[track_caller]
    pub fn room_members(&self, room: &str) -> Vec<String> {
        match &self.level {
            Native(world) => page(world.borrow().members(room), None, u32::MAX),
            Component(host) => host.members(room),
        }
    }

    /// Returns true if a user has a connection.
    #[track_caller]
    pub fn is_online(&self, user: &str) -> bool {
        !self.user_connections(user).is_empty()
    }

    /// Returns the ids of a user's connections, in ascending order.
    #[track_caller]
    pub fn user_connections(&self, user: &str) -> Vec<String> {
        match &self.level {
            Native(world) => page(world.borrow().connections_of(user), None, u32::MAX),
            Component(host) => host.connections_of(user),
        }
    }

    /// Checks that the next message of every member of a room is this one, of a type that
    /// [`Connection::send`](crate::Connection::send) accepts, and takes it from each of them.
    /// Panics if the room has no members.
    #[track_caller]
    pub fn assert_broadcast(&self, room: &str, message: impl Outgoing) {
        let expected = Expected::of(message);
        let members = self.room_members(room);
        assert!(!members.is_empty(), "nobody is in the room {room:?} to receive {expected:?}");
        for member in members {
            match self.next_of(&member) {
                Some(received) if expected.is(&received) => {}
                Some(received) => panic!(
                    "{member}, a member of {room:?}, has received {received:?} next, and not \
                     {expected:?}"
                ),
                None => panic!(
                    "{member}, a member of {room:?}, has received nothing more; expected \
                     {expected:?}"
                ),
            }
        }
    }

    /// Checks that no client has a message that the test has not looked at.
    #[track_caller]
    pub fn assert_no_more(&self) {
        let unread = match &self.level {
            Native(world) => {
                let world = world.borrow();
                let records = world.connections.values();
                let unread = records.filter(|record| !record.inbox.is_empty());
                unread
                    .map(|record| (record.request.id(), record.inbox.iter().cloned().collect()))
                    .collect()
            }
            Component(host) => host.unread(),
        };
        let unread: Vec<String> = (unread.into_iter())
            .map(|(id, messages): (String, Vec<Received>)| format!("{id}: {messages:?}"))
            .collect();
        assert!(unread.is_empty(), "there is more to read:\n  {}", unread.join("\n  "));
    }

    /// Returns the next message of the client with this id.
    fn next_of(&self, id: &str) -> Option<Received> {
        match &self.level {
            Native(world) => {
                let mut world = world.borrow_mut();
                let mut records = world.connections.values_mut();
                records.find(|record| record.request.id() == id)?.inbox.pop_front()
            }
            Component(host) => host.next_of(id),
        }
    }

    /// Returns the lines that the channel logged since the last call, at all levels, and those of
    /// other crates during its events. Empty if a test has installed a logger of its own. With a
    /// component, it has the printed lines as well.
    pub fn log(&self) -> Vec<LogLine> {
        match &self.level {
            Native(world) => std::mem::take(&mut world.borrow_mut().log),
            Component(host) => host.take_log(),
        }
    }

    /// Returns the errors since the last call, as the operator would read them: one sentence for
    /// each handler that returned `Err` or panicked. They are printed as well, so that a test that
    /// fails shows them. With a component, it has all other warnings of the host as well.
    pub fn errors(&self) -> Vec<String> {
        match &self.level {
            Native(world) => std::mem::take(&mut world.borrow_mut().errors),
            Component(host) => host.take_errors(),
        }
    }
}

fn outside_message(world: &Shared, message: &Value) -> Result<Value, OutsideRefusal> {
    let plugin = world.borrow().plugin;
    if !plugin.exports.outside_events {
        return Err(OutsideRefusal::from(OutsideProblem::NO_MESSAGES));
    }
    let payload = message.to_string();
    let handler = || (plugin.on_outside_message)(payload.as_bytes());
    match event(world, Phase::Detached, 0, handler) {
        Ok(Ok(reply)) => {
            world.borrow_mut().commit();
            settle(world);
            Ok(serde_json::from_slice(&reply).expect("a reply was written as JSON"))
        }
        Ok(Err(refusal)) => {
            world.borrow_mut().abandon();
            Err(refusal)
        }
        Err(panic) => {
            failed(world, "on_outside_message", &panicked(&*panic));
            Err(OutsideRefusal::from(OutsideProblem::ChannelFailed))
        }
    }
}
