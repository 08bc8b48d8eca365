//! The connection of a client to the host, at either level, or its refusal.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use wharf_contract::close::{FALLBACK_CODE, MAX_REASON_BYTES, is_channel_code};
use wharf_contract::fault::TooBig;
use wharf_contract::handshake::{
    MAX_REFUSAL_BYTES, MAX_REFUSAL_HEADERS, MAX_REFUSAL_MESSAGES, MAX_TARGET_BYTES, TurnedAway,
    agree_on_subprotocol, is_refusal_status,
};
use wharf_contract::header::is_channel_header;
use wharf_contract::kit::encoded_target;
use wharf_contract::router::Match;
use wharf_contract::text::cut;

use crate::backend;
use crate::connection::Connection;
use crate::outgoing::Payload;
use crate::refusal::Answer;

use super::client::{Client, Received};
use super::component::Ask;
use super::host::TestLevel;
use super::posts::settle;
use super::run::{Ending, end, event, failed, failure, panicked};
use super::world::{Phase, Record, Request, Shared};

/// A client about to connect; made by [`TestHost::connect`](super::TestHost::connect).
#[must_use = "nothing happens until `open`, `expect_open` or `expect_refused`"]
pub struct Connecting {
    level: TestLevel,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    remote_address: String,
    claims: Option<String>,
}

impl Connecting {
    pub(crate) fn to(level: TestLevel, target: &str) -> Self {
        Self {
            level,
            target: target.to_owned(),
            headers: Vec::new(),
            remote_address: "192.0.2.1:50000".to_owned(),
            claims: None,
        }
    }

    /// Adds a header to the request.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.as_ref().to_vec()));
        self
    }

    /// Asks for a subprotocol.
    pub fn subprotocol(self, name: &str) -> Self {
        self.header("sec-websocket-protocol", name)
    }

    /// Sets the client's address and port, instead of `192.0.2.1:50000`.
    pub fn remote_address(mut self, address: &str) -> Self {
        address.clone_into(&mut self.remote_address);
        self
    }

    /// Adds the claims of a token that the host has checked, for
    /// [`Connection::claims`](crate::Connection::claims).
    pub fn claims(mut self, claims: impl serde::Serialize) -> Self {
        let claims = serde_json::to_string(&claims);
        self.claims = Some(claims.expect("claims that can be written as JSON"));
        self
    }

    /// Connects. Refused with status 404 if no path of the channel fits, and otherwise as
    /// `on_connect` decides; a panic in it is a 500.
    #[track_caller]
    pub fn open(self) -> Result<Client, Refused> {
        let Self { level, target, headers, remote_address, claims } = self;
        let ask = Ask { target, headers, remote_address, claims };
        match level {
            TestLevel::Native(world) => Self::open_natively(world, ask),
            TestLevel::Component(host) => host.connect(ask),
        }
    }

    fn open_natively(shared: Shared, ask: Ask) -> Result<Client, Refused> {
        let Ask { target, headers, remote_address, claims } = ask;
        let target = encoded_target(&target);
        if target.len() > MAX_TARGET_BYTES {
            return Err(Refused::of_host(&TurnedAway::TargetTooLong));
        }
        let (path, query) = target.split_once('?').unwrap_or((target.as_str(), ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let mut world = shared.borrow_mut();
        world.has_claims |= claims.is_some();
        let plugin = world.plugin;
        let params = match world.router.at(&path) {
            Match::Found { params, .. } => params,
            Match::NotFound => return Err(Refused::of_host(&TurnedAway::NotFound)),
            Match::BadEncoding => return Err(Refused::of_host(&TurnedAway::BadEncoding)),
        };
        let asked = headers.iter().filter(|(name, _)| name == "sec-websocket-protocol");
        let asked: Vec<&[u8]> = asked.map(|(_, value)| value.as_slice()).collect();
        let subprotocol = agree_on_subprotocol(plugin.subprotocols, &asked);
        let subprotocol = subprotocol.map(|name| (*name).to_owned());
        let number = world.next_number();
        drop(world);
        let request = Rc::new(Request {
            number,
            path,
            query,
            params,
            headers,
            remote_address,
            subprotocol,
            claims: RefCell::new(claims),
        });
        let raw = backend::Connection::of(request.clone());
        let conn = Connection::new(raw, Some(backend::Handshake));
        let outcome = event(&shared, Phase::Connecting, number, || (plugin.on_connect)(&conn));
        let limits = shared.borrow().limits;
        let outcome = match outcome {
            Ok(Ok(session)) => {
                let checked = TooBig::check_session(session.len(), limits.max_session_bytes);
                checked.map(|()| session).map_err(|too_big| failure(&too_big))
            }
            Ok(Err(answer)) => {
                shared.borrow_mut().abandon();
                return Err(Refused::of_channel(answer, limits.max_outbound_message_bytes));
            }
            Err(panic) => Err(panicked(&*panic)),
        };
        let session = outcome.map_err(|detail| {
            failed(&shared, "on_connect", &detail);
            Refused::of_host(&TurnedAway::ChannelFailed)
        })?;
        let record = Record {
            request,
            session,
            joined: Vec::new(),
            user: None,
            labels: Vec::new(),
            is_open: true,
            ending: None,
            inbox: VecDeque::new(),
            closed: None,
            response_headers: Vec::new(),
        };
        shared.borrow_mut().connections.insert(number, record);
        let committed = shared.borrow_mut().commit();
        if let Some(close) = committed.close {
            end(&shared, number, Ending::closed_by_channel(close));
        }
        settle(&shared);
        Ok(Client::of_native(shared, number))
    }

    /// Connects, and panics if that is refused.
    #[track_caller]
    pub fn expect_open(self) -> Client {
        match self.open() {
            Ok(client) => client,
            Err(refused) => panic!("expected an open connection, but it was refused: {refused:?}"),
        }
    }

    /// Connects, and panics if that is not refused.
    #[track_caller]
    pub fn expect_refused(self) -> Refused {
        match self.open() {
            Ok(client) => panic!("expected a refusal, but {} is open", client.id()),
            Err(refused) => refused,
        }
    }
}

/// The refusal of a connection, as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// By HTTP status, before the upgrade.
    Http {
        /// Status.
        status: u16,
        /// Headers of the response; names in lower case.
        headers: Vec<(String, Vec<u8>)>,
        /// Body.
        body: Vec<u8>,
    },
    /// By close code, after the upgrade.
    Close {
        /// Messages before the close frame.
        messages: Vec<Received>,
        /// Code.
        code: u16,
        /// Reason.
        reason: String,
    },
}

impl Refused {
    /// Returns the HTTP status, if it was refused by one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Refused::Http { status, .. } => Some(*status),
            Refused::Close { .. } => None,
        }
    }

    /// Returns the body of the HTTP response as text; empty if it was refused by close code.
    pub fn body(&self) -> String {
        match self {
            Refused::Http { body, .. } => String::from_utf8_lossy(body).into_owned(),
            Refused::Close { .. } => String::new(),
        }
    }

    /// Makes a refusal of the host: its body is one line.
    fn of_host(why: &TurnedAway) -> Self {
        let plain = ("content-type".to_owned(), b"text/plain; charset=utf-8".to_vec());
        let body = format!("{why}\n").into();
        Refused::Http { status: why.status(), headers: vec![plain], body }
    }

    /// Makes a channel's own refusal, as the host sends it, without the parts that it may not send.
    fn of_channel(answer: Answer, max_message_bytes: usize) -> Self {
        match answer {
            Answer::Http { status, headers, mut body } => {
                let status = if is_refusal_status(status) { status } else { 500 };
                let mut headers: Vec<_> = (headers.into_iter())
                    .filter(|(name, value)| is_channel_header(name, value))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value))
                    .take(MAX_REFUSAL_HEADERS)
                    .collect();
                if !headers.iter().any(|(name, _)| name == "content-type") {
                    let plain = b"text/plain; charset=utf-8".to_vec();
                    headers.push(("content-type".to_owned(), plain));
                }
                body.truncate(MAX_REFUSAL_BYTES);
                Refused::Http { status, headers, body }
            }
            Answer::Close { code, reason, messages } => {
                let messages = messages.into_iter().take(MAX_REFUSAL_MESSAGES).map(Received::from);
                Refused::Close {
                    messages: messages.filter(|m| m.bytes() <= max_message_bytes).collect(),
                    code: if is_channel_code(code) { code } else { FALLBACK_CODE },
                    reason: cut(&reason, MAX_REASON_BYTES).to_owned(),
                }
            }
        }
    }
}

impl From<Payload<'_>> for Received {
    fn from(payload: Payload<'_>) -> Self {
        match payload {
            Payload::Text(text) => Received::Text(text.into_owned()),
            Payload::Binary(data) => Received::Binary(data.into_owned()),
        }
    }
}
