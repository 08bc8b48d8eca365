//! The host that a test drives.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use crate::channel::Channel;
use crate::log::Level;
use crate::outside::OutsideRefusal;
use crate::session;

use super::connecting::Connecting;
use super::effects::{Limits, Published};
use super::host_calls::page;
use super::http::{HttpAnswer, HttpRequest};
use super::plugin::Plugin;
use super::posts::{advance, settle};
use super::run::{event, failed, panicked};
use super::world::{Phase, Shared, World};

/// A fake host with one channel mounted; see the [module](crate::testing).
pub struct TestHost {
    world: Shared,
}

/// One line that the channel logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// What belongs to it, by name.
    pub fields: Vec<(String, String)>,
}

impl TestHost {
    /// A host that serves the channel `C`, as its generation 1 and with the host's default limits.
    pub fn new<C: Channel>() -> Self {
        Self { world: Rc::new(RefCell::new(World::new(Plugin::of::<C>()))) }
    }

    /// Set other limits, from the next event on.
    pub fn set_limits(&self, limits: Limits) {
        self.world.borrow_mut().limits = limits;
    }

    /// Set what the plugin reads with [`setting`](crate::setting), be it a setting or a secret,
    /// from the next event on.
    pub fn set_setting(&self, name: &str, value: &str) {
        self.world.borrow_mut().settings.insert(name.to_owned(), value.to_owned());
    }

    /// Let the channel publish to the rooms of another, which is in service; see
    /// [`publish`](crate::publish).
    pub fn grant_publishing(&self, channel: &str) {
        self.world.borrow_mut().publish_to.insert(channel.to_owned(), true);
    }

    /// Take another channel out of service, so that publishing to it is refused with
    /// `unknown-channel` where it is granted.
    pub fn remove_channel(&self, channel: &str) {
        if let Some(is_in_service) = self.world.borrow_mut().publish_to.get_mut(channel) {
            *is_in_service = false;
        }
    }

    /// What the channel has published to the rooms of others since this was last called.
    pub fn published(&self) -> Vec<Published> {
        std::mem::take(&mut self.world.borrow_mut().published)
    }

    /// Let [`renew_token`](crate::Connection::renew_token) accept this token, with these claims.
    pub fn accept_token(&self, token: &str, claims: impl serde::Serialize) {
        let claims = serde_json::to_string(&claims);
        let claims = claims.expect("claims that can be written as JSON");
        self.world.borrow_mut().tokens.insert(token.to_owned(), claims);
    }

    /// Serve the channel `C` from now on, as the next generation. Connections stay open, with the
    /// sessions that the channel before wrote: the way to test that a struct may grow.
    pub fn reload<C: Channel>(&self) {
        let mut world = self.world.borrow_mut();
        world.plugin = Plugin::of::<C>();
        world.generation += 1;
    }

    /// Answer the channel's requests to this URL from now on; one that ends with `*` stands for all
    /// that begin so. What is scripted last goes first. Requests that nothing is scripted for
    /// fail, as those to a host that the operator has not granted.
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
    /// let host = TestHost::new::<Asks>();
    /// host.http_answer("https://api.example.com/users/*", HttpAnswer::new(404));
    /// host.http_answer("https://api.example.com/users/7", HttpAnswer::json(json!({ "name": "Ann" })));
    ///
    /// let ann = host.run(|| wharf::http::get("https://api.example.com/users/7").send());
    /// assert_eq!(ann.unwrap().text().unwrap(), r#"{"name":"Ann"}"#);
    /// assert_eq!(host.http_requests()[0].method, "GET");
    /// ```
    pub fn http_answer(&self, url: &str, answer: HttpAnswer) {
        self.world.borrow_mut().http.script(url, answer);
    }

    /// The requests that the channel has sent since this was last called.
    pub fn http_requests(&self) -> Vec<HttpRequest> {
        std::mem::take(&mut self.world.borrow_mut().http.requests)
    }

    /// A client that asks for a path, with a query or without: `"/chat/lobby?name=Ann"`. Nothing
    /// happens until one of the builder's last three methods is called.
    pub fn connect(&self, target: &str) -> Connecting {
        Connecting::to(self.world.clone(), target)
    }

    /// Run code of the plugin that is about no connection, such as a function that broadcasts, as
    /// an event of its own. Its effects happen when it returns; a panic is passed on.
    pub fn run<R>(&self, code: impl FnOnce() -> R) -> R {
        match event(&self.world, Phase::Detached, 0, code) {
            Ok(returned) => {
                self.world.borrow_mut().commit();
                settle(&self.world);
                returned
            }
            Err(panic) => {
                self.world.borrow_mut().abandon();
                std::panic::resume_unwind(panic)
            }
        }
    }

    /// A message comes from outside, as by the operator's API; see
    /// [`on_outside_message`](Channel::on_outside_message). The reply, or why there is none: a panic
    /// is one with status 500.
    pub fn outside_message(&self, message: Value) -> Result<Value, OutsideRefusal> {
        let plugin = self.world.borrow().plugin;
        if !plugin.exports.outside {
            let why = "the channel has no on_outside_message";
            return Err(OutsideRefusal::new(409, "no-handler", why));
        }
        let payload = message.to_string();
        let handler = || (plugin.on_outside_message)(payload.as_bytes());
        match event(&self.world, Phase::Detached, 0, handler) {
            Ok(Ok(reply)) => {
                self.world.borrow_mut().commit();
                settle(&self.world);
                Ok(serde_json::from_slice(&reply).expect("a reply was written as JSON"))
            }
            Ok(Err(refusal)) => {
                self.world.borrow_mut().abandon();
                Err(refusal)
            }
            Err(panic) => {
                failed(&self.world, "on_outside_message", &panicked(&*panic));
                Err(OutsideRefusal::new(500, "channel-failed", "the channel failed"))
            }
        }
    }

    /// Let time pass: each timer fires when it falls due, in order, and whatever it causes has
    /// happened before the next. What the host keeps for a while, such as a value of
    /// [`store::set_for`](crate::store::set_for), ends in between. Of itself the clock stands still.
    pub fn advance(&self, by: Duration) {
        advance(&self.world, by);
    }

    /// The state of a room as the host keeps it, decoded as the channel's; the default where nothing
    /// is kept. Panics if it does not decode.
    #[track_caller]
    pub fn room_state<C: Channel>(&self, room: &str) -> C::RoomState {
        match self.world.borrow().room_states.get(room) {
            Some(bytes) => {
                session::decode(bytes).unwrap_or_else(|error| panic!("the room's state: {error}"))
            }
            None => C::RoomState::default(),
        }
    }

    /// The keys that are present in a room, those that stay for their grace included.
    pub fn present(&self, room: &str) -> Vec<String> {
        let (_, entries) = self.world.borrow().presence_page(room, None, u32::MAX);
        entries.into_iter().map(|(key, _)| key).collect()
    }

    /// How many members a room has.
    pub fn room_count(&self, room: &str) -> u32 {
        self.world.borrow().members(room).len() as u32
    }

    /// The ids of a room's members, in ascending order.
    pub fn room_members(&self, room: &str) -> Vec<String> {
        page(self.world.borrow().members(room), None, u32::MAX)
    }

    /// Whether a user has a connection.
    pub fn is_online(&self, user: &str) -> bool {
        !self.world.borrow().connections_of(user).is_empty()
    }

    /// The ids of a user's connections, in ascending order.
    pub fn user_connections(&self, user: &str) -> Vec<String> {
        page(self.world.borrow().connections_of(user), None, u32::MAX)
    }

    /// What the channel logged since this was last called, at all levels, as well as what other
    /// crates logged during its events. Empty where a test has installed a logger of its own.
    pub fn log(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.world.borrow_mut().log)
    }

    /// What went wrong since this was last called, as the operator would read it: one sentence for
    /// each handler that returned `Err` or panicked. They are printed as well, so that a test that
    /// fails shows them.
    pub fn errors(&self) -> Vec<String> {
        std::mem::take(&mut self.world.borrow_mut().errors)
    }
}
