//! A client of the fake host.

use serde_json::Value;

use crate::channel::{Channel, Fault};
use crate::incoming::Incoming;
use crate::outgoing::{Outgoing, Payload};
use crate::session;

use super::run::{Ending, Happening, end, handle};
use super::world::{Record, Shared};

/// What a client received.
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
    /// The JSON of a text message. Panics if it is not JSON.
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
    world: Shared,
    number: u64,
}

impl Client {
    pub(crate) fn new(world: Shared, number: u64) -> Self {
        Self { world, number }
    }

    fn record<R>(&self, read: impl FnOnce(&mut Record) -> R) -> R {
        let mut world = self.world.borrow_mut();
        let record = world.connections.get_mut(&self.number);
        read(record.expect("a client's record is never removed"))
    }

    #[track_caller]
    fn assert_open(&self) {
        let ending = self.record(|record| record.ending);
        if let Some(ending) = ending {
            panic!("{} can do no more: its connection has ended ({ending})", self.id());
        }
    }

    /// The connection's id, as the channel sees it.
    pub fn id(&self) -> String {
        self.record(|record| record.request.id())
    }
}

/// What the client does. Each of these panics if the connection has ended.
impl Client {
    /// Send a message: what [`Connection::send`](crate::Connection::send) takes, in the other
    /// direction. Text and JSON are text messages, bytes are binary ones.
    #[track_caller]
    pub fn send(&self, message: impl Outgoing) {
        self.assert_open();
        let message = match message.payload().expect("the message cannot be encoded") {
            Payload::Text(text) => Incoming::Text(text.into_owned()),
            Payload::Binary(data) => Incoming::Binary(data.into_owned()),
        };
        let limit = self.world.borrow().limits.max_message_bytes;
        match &message {
            Incoming::Text(text) if text.len() > limit => self.violate("message-too-big"),
            Incoming::Binary(data) if data.len() > limit => self.violate("message-too-big"),
            _ => handle(&self.world, self.number, Happening::Message(message)),
        }
    }

    /// Send a ping frame. The host answers it by itself; the channel hears of it in `on_ping`.
    #[track_caller]
    pub fn ping(&self, data: &[u8]) {
        self.control(Happening::Ping(data.to_vec()));
    }

    /// Send a pong frame, which the channel hears of in `on_pong`.
    #[track_caller]
    pub fn pong(&self, data: &[u8]) {
        self.control(Happening::Pong(data.to_vec()));
    }

    #[track_caller]
    fn control(&self, frame: Happening) {
        self.assert_open();
        let exports = self.world.borrow().plugin.exports;
        if exports.control_frames {
            handle(&self.world, self.number, frame);
        }
    }

    /// Close the connection with a close frame of the client's.
    #[track_caller]
    pub fn disconnect(&self, code: u16, reason: &str) {
        self.assert_open();
        let frame = Some((code, reason.to_owned()));
        let ending = Ending { token: "client-closed", frame, is_sent: false, fault: None };
        end(&self.world, self.number, ending);
    }

    /// Be gone without a close frame, as when the network is lost: `on_close` gets no code.
    #[track_caller]
    pub fn vanish(&self) {
        self.assert_open();
        let ending = Ending { token: "network-lost", frame: None, is_sent: false, fault: None };
        end(&self.world, self.number, ending);
    }

    /// Do what the host closes a connection for: `protocol-error` (code 1002), `invalid-utf8`
    /// (1007) or `message-too-big` (1009). The channel hears of it in `on_fault`.
    #[track_caller]
    pub fn violate(&self, rule: &str) {
        self.assert_open();
        let (token, code) = match rule {
            "protocol-error" => ("protocol-error", 1002),
            "invalid-utf8" => ("invalid-utf8", 1007),
            "message-too-big" => ("message-too-big", 1009),
            _ => panic!("{rule:?} is none of protocol-error, invalid-utf8, message-too-big"),
        };
        let fault = Fault { code: token.to_owned(), detail: format!("a test's {token}") };
        end(&self.world, self.number, Ending::of_host(token, code, Some(fault)));
    }
}

/// What the client sees.
impl Client {
    /// Everything received since this was last asked.
    pub fn received(&self) -> Vec<Received> {
        self.record(|record| record.inbox.drain(..).collect())
    }

    /// The next message received, if there is one.
    pub fn next(&self) -> Option<Received> {
        self.record(|record| record.inbox.pop_front())
    }

    /// The next message received, as JSON. Panics if there is none, or if it is not JSON.
    #[track_caller]
    pub fn next_json(&self) -> Value {
        match self.next() {
            Some(message) => message.json(),
            None => panic!("{} has received nothing more", self.id()),
        }
    }

    /// The next message received must be this one: what [`Connection::send`](crate::Connection::send)
    /// takes. JSON is compared by value, so that the order of fields does not matter.
    #[track_caller]
    pub fn assert_received(&self, expected: impl Outgoing) {
        let expected = Received::from(expected.payload().expect("the message cannot be encoded"));
        let Some(received) = self.next() else {
            panic!("{} has received nothing more; expected {expected:?}", self.id());
        };
        let json = |message: &Received| match message {
            Received::Text(text) => serde_json::from_str::<Value>(text).ok(),
            _ => None,
        };
        match (json(&received), json(&expected)) {
            (Some(received), Some(expected)) => assert_eq!(received, expected),
            _ => assert_eq!(received, expected),
        }
    }

    /// Nothing more must have been received.
    #[track_caller]
    pub fn assert_received_nothing(&self) {
        assert_eq!(self.received(), [], "{} has received what it should not have", self.id());
    }

    /// Code and reason of the close frame that the client got, if the channel or the host closed the
    /// connection.
    pub fn closed(&self) -> Option<(u16, String)> {
        self.record(|record| record.closed.clone())
    }

    /// Whether the connection is open.
    pub fn is_open(&self) -> bool {
        self.record(|record| record.is_open)
    }

    /// A header that the channel added to the response that opened the connection.
    pub fn response_header(&self, name: &str) -> Option<String> {
        self.record(|record| {
            let mut headers = record.response_headers.iter();
            let (_, value) = headers.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            Some(String::from_utf8_lossy(value).into_owned())
        })
    }

    /// The subprotocol that was agreed upon.
    pub fn subprotocol(&self) -> Option<String> {
        self.record(|record| record.request.subprotocol.clone())
    }
}

/// What the host keeps.
impl Client {
    /// The committed session, decoded as `C`. Panics if it does not decode.
    #[track_caller]
    pub fn session<C: Channel>(&self) -> C {
        let bytes = self.session_bytes();
        session::decode(&bytes).unwrap_or_else(|error| panic!("the session: {error}"))
    }

    /// The committed session as the host keeps it.
    pub fn session_bytes(&self) -> Vec<u8> {
        self.record(|record| record.session.clone())
    }

    /// The rooms the connection is in, in the order joined; once it has ended, those it was in last.
    pub fn joined(&self) -> Vec<String> {
        self.record(|record| record.joined.clone())
    }

    /// The labels that the connection carries.
    pub fn labels(&self) -> Vec<(String, String)> {
        self.record(|record| record.labels.clone())
    }

    /// The user that the channel has identified; once the connection has ended, whose it was last.
    pub fn user(&self) -> Option<String> {
        self.record(|record| record.user.clone())
    }
}
