//! A client of the host, at either level.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use serde_json::Value;
use wharf_contract::close::{MAX_CONTROL_BYTES, MAX_REASON_BYTES, Reason, is_client_code};
use wharf_contract::kit::{Act, Violation};

use crate::channel::Channel;
use crate::encoding::session;
use crate::fault::Fault;
use crate::incoming::Incoming;
use crate::outgoing::{Outgoing, Payload};

use super::component::ComponentHost;
use super::run::{Ending, Happening, end, handle};
use super::world::{Record, Shared};

/// A message that a client has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping frame.
    Ping(Vec<u8>),
}

impl Received {
    /// Returns the size of the payload.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Received::Text(text) => text.len(),
            Received::Binary(data) | Received::Ping(data) => data.len(),
        }
    }

    /// Returns the JSON of a text message. Panics if it is not JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match self {
            Received::Text(text) => serde_json::from_str(text)
                .unwrap_or_else(|error| panic!("expected JSON, received {text:?}: {error}")),
            other => panic!("expected JSON, received {other:?}"),
        }
    }
}

/// A client whose connection was opened. Dropping it changes nothing: the connection stays open until
/// something ends it.
pub struct Client {
    side: Side,
}

/// The level of the client, and its number.
enum Side {
    Native { world: Shared, number: u64 },
    Component { host: Rc<ComponentHost>, number: usize },
}

use Side::{Component, Native};

impl Client {
    pub(crate) fn of_native(world: Shared, number: u64) -> Self {
        Self { side: Native { world, number } }
    }

    pub(crate) fn of_component(host: Rc<ComponentHost>, number: usize) -> Self {
        Self { side: Component { host, number } }
    }

    #[track_caller]
    fn assert_open(&self) {
        let ending = match &self.side {
            Native { world, number } => {
                record(world, *number, |record| record.ending.map(Reason::token))
            }
            Component { .. } if self.is_open() => None,
            Component { .. } => Some("see `closed`"),
        };
        if let Some(ending) = ending {
            panic!("{} can do no more: its connection has ended ({ending})", self.id());
        }
    }

    /// Returns the connection's id, as the channel sees it.
    pub fn id(&self) -> String {
        match &self.side {
            Native { world, number } => record(world, *number, |record| record.request.id()),
            Component { host, number } => host.mailbox(*number, |mailbox| mailbox.id.clone()),
        }
    }
}

fn record<R>(world: &Shared, number: u64, read: impl FnOnce(&mut Record) -> R) -> R {
    let mut world = world.borrow_mut();
    let record = world.connections.get_mut(&number);
    read(record.expect("a client's record is never removed"))
}

/// Actions of the client. Each of these panics if the connection has ended.
impl Client {
    /// Sends a message of a type that [`Connection::send`](crate::Connection::send) accepts, in the
    /// other direction. Text and JSON are text messages, bytes are binary ones.
    #[track_caller]
    pub fn send(&self, message: impl Outgoing) {
        self.assert_open();
        let message = message.payload().expect("the message cannot be encoded");
        let (world, number) = match &self.side {
            Native { world, number } => (world, *number),
            Component { host, number } => {
                let act = match message {
                    Payload::Text(text) => Act::Text(text.into_owned()),
                    Payload::Binary(data) => Act::Binary((&*data).into()),
                };
                return host.client_acts(*number, act);
            }
        };
        let message = match message {
            Payload::Text(text) => Incoming::Text(text.into_owned()),
            Payload::Binary(data) => Incoming::Binary(data.into_owned()),
        };
        let limit = world.borrow().limits.max_message_bytes;
        match &message {
            Incoming::Text(text) if text.len() > limit => self.violate("message-too-big"),
            Incoming::Binary(data) if data.len() > limit => self.violate("message-too-big"),
            _ => handle(world, number, Happening::Message(message)),
        }
    }

    /// Sends a ping frame. The host answers it; the channel handles it in `on_ping`. Panics if the
    /// data has more than 125 bytes, which do not fit into a ping.
    #[track_caller]
    pub fn ping(&self, data: &[u8]) {
        self.control(Act::Ping(data.into()), data, Happening::Ping);
    }

    /// Sends a pong frame, which the channel handles in `on_pong`. The client sends no other pongs,
    /// except to the host's own pings, which tests do not see. Panics like [`ping`](Client::ping).
    #[track_caller]
    pub fn pong(&self, data: &[u8]) {
        self.control(Act::Pong(data.into()), data, Happening::Pong);
    }

    #[track_caller]
    fn control(&self, act: Act, data: &[u8], frame: impl FnOnce(Vec<u8>) -> Happening) {
        self.assert_open();
        assert!(
            data.len() <= MAX_CONTROL_BYTES,
            "no client sends {} bytes in a ping or pong: it has room for {MAX_CONTROL_BYTES} (write \
             `violate` for what clients must not do)",
            data.len()
        );
        match &self.side {
            Native { world, number } => {
                let exports = world.borrow().plugin.exports;
                if exports.control_frames {
                    handle(world, *number, frame(data.to_vec()));
                }
            }
            Component { host, number } => host.client_acts(*number, act),
        }
    }

    /// Closes the connection with a close frame of the client. Panics for a code that no client may
    /// send, such as 1006, and for a reason of more than 123 bytes.
    #[track_caller]
    pub fn disconnect(&self, code: u16, reason: &str) {
        self.assert_open();
        assert!(
            is_client_code(code) && reason.len() <= MAX_REASON_BYTES,
            "no client closes with code {code} and {} bytes of reason (RFC 6455, 7.4): write \
             `vanish` for a lost network, where `on_close` gets no code",
            reason.len()
        );
        match &self.side {
            Native { world, number } => {
                let frame = Some((code, reason.to_owned()));
                end(world, *number, Ending::closed_by_client(frame));
            }
            Component { host, number } => {
                host.client_ends(*number, Act::Close(code, reason.to_owned()));
            }
        }
    }

    /// Vanishes without a close frame, as when the network is lost: `on_close` gets no code.
    #[track_caller]
    pub fn vanish(&self) {
        self.assert_open();
        match &self.side {
            Native { world, number } => end(world, *number, Ending::closed_by_client(None)),
            Component { host, number } => host.client_ends(*number, Act::Vanish),
        }
    }

    /// Breaks a rule for which the host closes the connection: `protocol-error` (code 1002),
    /// `invalid-utf8` (1007) or `message-too-big` (1009). The channel handles it in `on_fault`.
    #[track_caller]
    pub fn violate(&self, rule: &str) {
        self.assert_open();
        let (violation, reason) = match rule {
            "protocol-error" => (Violation::ProtocolError, Reason::ProtocolError),
            "invalid-utf8" => (Violation::InvalidUtf8, Reason::InvalidUtf8),
            "message-too-big" => (Violation::MessageTooBig, Reason::MessageTooBig),
            _ => panic!("{rule:?} is none of protocol-error, invalid-utf8, message-too-big"),
        };
        match &self.side {
            Native { world, number } => {
                let (code, detail) = (rule.to_owned(), format!("a test's {rule}"));
                let fault = Some(Fault { code, detail });
                end(world, *number, Ending { fault, ..Ending::of_host(reason) });
            }
            Component { host, number } => host.client_acts(*number, Act::Violate(violation)),
        }
    }
}

/// The client's view.
impl Client {
    /// Returns all messages received since the last call.
    pub fn received(&self) -> Vec<Received> {
        self.inbox(|inbox| inbox.drain(..).collect())
    }

    /// Returns the next message received, if there is one.
    pub fn next(&self) -> Option<Received> {
        self.inbox(VecDeque::pop_front)
    }

    fn inbox<R>(&self, read: impl FnOnce(&mut VecDeque<Received>) -> R) -> R {
        match &self.side {
            Native { world, number } => record(world, *number, |record| read(&mut record.inbox)),
            Component { host, number } => host.mailbox(*number, |mailbox| read(&mut mailbox.inbox)),
        }
    }

    /// Returns the next message received, as JSON. Panics if there is none, or if it is not JSON.
    #[track_caller]
    pub fn next_json(&self) -> Value {
        match self.next() {
            Some(message) => message.json(),
            None => panic!("{} has received nothing more", self.id()),
        }
    }

    /// Returns the next message received whose JSON has this `type`. Those before it are discarded.
    /// Panics if there is none, and says which there were.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # use wharf::testing::TestHost;
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Chat;
    /// # #[wharf::channel]
    /// # impl Channel for Chat {
    /// #   const PATHS: &[&str] = &["/chat"];
    /// #   fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
    /// #       conn.send(json!({ "type": "welcome" }))?;
    /// #       conn.send(json!({ "type": "said", "text": "hi" }))?;
    /// #       Ok(Chat)
    /// #   }
    /// # }
    /// let ann = TestHost::new::<Chat>().connect("/chat").expect_open();
    /// assert_eq!(ann.skip_to("said")["text"], "hi");
    /// ```
    #[track_caller]
    pub fn skip_to(&self, kind: &str) -> Value {
        let mut skipped = Vec::new();
        while let Some(message) = self.next() {
            match json_of(&message) {
                Some(json) if json.get("type").and_then(Value::as_str) == Some(kind) => {
                    return json;
                }
                _ => skipped.push(message),
            }
        }
        panic!("{} has received no message of the type {kind:?}, but {skipped:?}", self.id())
    }

    /// Checks that the next message received is this one, of a type that
    /// [`Connection::send`](crate::Connection::send) accepts. `json!({…})` and `Json(&value)` are
    /// compared by value, so that the order of fields does not matter. A text that is given as a
    /// string must have come as it is.
    #[track_caller]
    pub fn assert_received(&self, expected: impl Outgoing) {
        let expected = Expected::of(expected);
        match self.next() {
            Some(received) if expected.is(&received) => {}
            // JSON is shown in the form that was compared.
            Some(received) => match (json_of(&received), expected.json) {
                (Some(received), Some(expected)) => assert_eq!(received, expected),
                _ => assert_eq!(received, expected.message),
            },
            None => {
                let expected = expected.message;
                panic!("{} has received nothing more; expected {expected:?}", self.id())
            }
        }
    }

    /// Checks that nothing more has been received.
    #[track_caller]
    pub fn assert_received_nothing(&self) {
        assert_eq!(self.received(), [], "{} has received what it should not have", self.id());
    }

    /// Returns code and reason of the close frame that the client got, if the channel or the host
    /// closed the connection.
    pub fn closed(&self) -> Option<(u16, String)> {
        match &self.side {
            Native { world, number } => record(world, *number, |record| record.closed.clone()),
            Component { host, number } => host.mailbox(*number, |mailbox| mailbox.closed.clone()),
        }
    }

    /// Checks that the channel or the host has closed the connection with this code.
    #[track_caller]
    pub fn assert_closed(&self, code: u16) {
        match self.closed() {
            Some((closed, _)) if closed == code => {}
            Some((closed, reason)) => panic!(
                "{} was closed with code {closed} ({reason:?}), and not with {code}",
                self.id()
            ),
            None if self.is_open() => {
                panic!("{} is open, and not closed with code {code}", self.id())
            }
            None => {
                panic!("{} has ended of itself, and was not closed with code {code}", self.id())
            }
        }
    }

    /// Returns true if the connection is open.
    pub fn is_open(&self) -> bool {
        match &self.side {
            Native { world, number } => record(world, *number, |record| record.is_open),
            Component { host, number } => host.mailbox(*number, |mailbox| !mailbox.has_ended),
        }
    }

    /// Returns a header that the channel added to the response that opened the connection.
    pub fn response_header(&self, name: &str) -> Option<String> {
        let find = |headers: &[(String, Vec<u8>)]| {
            let (_, value) = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        match &self.side {
            Native { world, number } => {
                record(world, *number, |record| find(&record.response_headers))
            }
            Component { host, number } => host.mailbox(*number, |mailbox| find(&mailbox.headers)),
        }
    }

    /// Returns the subprotocol that was agreed upon.
    pub fn subprotocol(&self) -> Option<String> {
        match &self.side {
            Native { world, number } => {
                record(world, *number, |record| record.request.subprotocol.clone())
            }
            Component { .. } => self.response_header("sec-websocket-protocol"),
        }
    }
}

/// The data that the host keeps.
impl Client {
    /// Returns the committed session, decoded as `C`. Panics if it does not decode.
    #[track_caller]
    pub fn session<C: Channel>(&self) -> C {
        let bytes = self.session_bytes();
        session::decode(&bytes).unwrap_or_else(|error| panic!("the session: {error}"))
    }

    /// Returns the committed session as the host keeps it.
    #[track_caller]
    pub fn session_bytes(&self) -> Vec<u8> {
        match &self.side {
            Native { world, number } => record(world, *number, |record| record.session.clone()),
            Component { host, number } => host.connection(*number).session,
        }
    }

    /// Returns the rooms of the connection, in the order joined; once it has ended, its last ones.
    #[track_caller]
    pub fn joined(&self) -> Vec<String> {
        match &self.side {
            Native { world, number } => record(world, *number, |record| record.joined.clone()),
            Component { host, number } => host.connection(*number).joined,
        }
    }

    /// Returns the labels that the connection carries.
    #[track_caller]
    pub fn labels(&self) -> Vec<(String, String)> {
        match &self.side {
            Native { world, number } => record(world, *number, |record| record.labels.clone()),
            Component { host, number } => host.connection(*number).labels,
        }
    }

    /// Returns the user that the channel has identified; once the connection has ended, its last
    /// one.
    #[track_caller]
    pub fn user(&self) -> Option<String> {
        match &self.side {
            Native { world, number } => record(world, *number, |record| record.user.clone()),
            Component { host, number } => host.connection(*number).user,
        }
    }
}

/// A message that a client must have received.
pub(crate) struct Expected {
    pub(crate) message: Received,
    /// Its value, if it was given as JSON and not as text.
    json: Option<Value>,
}

impl Expected {
    #[track_caller]
    pub(crate) fn of(message: impl Outgoing) -> Self {
        let payload = message.payload().expect("the message cannot be encoded");
        // JSON was made of a value for this message, and text is the author's own.
        let is_text = matches!(payload, Payload::Text(Cow::Borrowed(_)));
        let message = Received::from(payload);
        let json = if is_text { None } else { json_of(&message) };
        Self { message, json }
    }

    /// Returns true if it is this one.
    pub(crate) fn is(&self, received: &Received) -> bool {
        match &self.json {
            Some(json) => json_of(received).as_ref() == Some(json),
            None => *received == self.message,
        }
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

fn json_of(message: &Received) -> Option<Value> {
    match message {
        Received::Text(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}
