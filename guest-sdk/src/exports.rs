//! The exports of a component: from the contract's types to [`dispatch`] and back.

use std::marker::PhantomData;

use crate::backend;
use crate::bindings::channel::exports::wharf::channel::lifecycle;
use crate::bindings::channel::wharf::channel::connection::Connection as LentConnection;
use crate::bindings::channel::wharf::channel::description::Description;
use crate::bindings::channel::wharf::channel::handshake::{
    CloseRefusal, Handshake as LentHandshake, HttpRefusal, Refusal,
};
use crate::bindings::channel::wharf::channel::presence::Entry;
use crate::bindings::channel::wharf::channel::types::{Message, Session};
use crate::bindings::channel_timer_events::exports::wharf::channel::channel_timer_events;
use crate::bindings::control_frames::exports::wharf::channel::control_frames;
use crate::bindings::faults::exports::wharf::channel::faults;
use crate::bindings::notice_events::exports::wharf::channel::notice_events;
use crate::bindings::outside_events::exports::wharf::channel::outside_events;
use crate::bindings::presence_events::exports::wharf::channel::presence_events;
use crate::bindings::room_events::exports::wharf::channel::room_events;
use crate::bindings::saved_checks::exports::wharf::channel::saved_checks;
use crate::bindings::starts::exports::wharf::channel::starts;
use crate::bindings::timer_events::exports::wharf::channel::timer_events;
use crate::channel::Channel;
use crate::connection::Connection;
use crate::dispatch;
use crate::fault::Fault;
use crate::incoming::Incoming;
use crate::log;
use crate::outgoing::Payload;
use crate::refusal::Answer;
use crate::timers::Timer;

/// The component of a channel.
pub struct Component<C>(PhantomData<C>);

/// Begins each export, since each may be the first that an instance is called for.
fn begin<C: Channel>() {
    log::install::<C>();
    backend::install::<C>();
}

/// Begins each export of an open connection.
fn open<C: Channel>(conn: &LentConnection) -> Connection {
    begin::<C>();
    Connection::new(backend::Connection::lent(conn), None)
}

impl<C: Channel> lifecycle::Guest for Component<C> {
    fn describe(into: &Description) {
        begin::<C>();
        for pattern in C::PATHS {
            into.path(pattern);
        }
        for name in C::SUBPROTOCOLS {
            into.subprotocol(name);
        }
        into.session_format(C::SESSION_FORMAT);
    }

    fn on_connect(conn: &LentConnection, shake: &LentHandshake) -> Result<Session, Refusal> {
        begin::<C>();
        let conn =
            Connection::new(backend::Connection::lent(conn), Some(backend::Handshake::lent(shake)));
        dispatch::on_connect::<C>(&conn).map_err(Refusal::from)
    }

    fn on_message(conn: &LentConnection, session: Session, message: Message) -> Option<Session> {
        let message = match message {
            Message::Text(text) => Incoming::Text(text),
            Message::Binary(data) => Incoming::Binary(data),
        };
        dispatch::on_message::<C>(&open::<C>(conn), &session, message)
    }

    fn on_close(conn: &LentConnection, session: Session, code: Option<u16>, reason: String) {
        dispatch::on_close::<C>(&open::<C>(conn), &session, code, &reason);
    }
}

impl<C: Channel> control_frames::Guest for Component<C> {
    fn on_ping(conn: &LentConnection, session: Session, data: Vec<u8>) -> Option<Session> {
        dispatch::on_ping::<C>(&open::<C>(conn), &session, data)
    }

    fn on_pong(conn: &LentConnection, session: Session, data: Vec<u8>) -> Option<Session> {
        dispatch::on_pong::<C>(&open::<C>(conn), &session, data)
    }
}

impl<C: Channel> notice_events::Guest for Component<C> {
    fn on_notify(
        conn: &LentConnection,
        session: Session,
        from: Option<String>,
        payload: Vec<u8>,
    ) -> Option<Session> {
        let _sender = backend::SenderGuard::set(from);
        dispatch::on_notify::<C>(&open::<C>(conn), &session, &payload)
    }
}

impl<C: Channel> timer_events::Guest for Component<C> {
    fn on_timer(
        conn: &LentConnection,
        session: Session,
        name: String,
        payload: Vec<u8>,
    ) -> Option<Session> {
        dispatch::on_timer::<C>(&open::<C>(conn), &session, Timer::new(name, payload))
    }
}

impl<C: Channel> room_events::Guest for Component<C> {
    fn on_room_event(
        room: String,
        state: Option<Vec<u8>>,
        from: Option<String>,
        payload: Vec<u8>,
    ) -> Option<Vec<u8>> {
        begin::<C>();
        let _sender = backend::SenderGuard::set(from);
        dispatch::on_room_event::<C>(room, state.as_deref(), &payload)
    }

    fn on_room_timer(
        room: String,
        state: Option<Vec<u8>>,
        name: String,
        payload: Vec<u8>,
    ) -> Option<Vec<u8>> {
        begin::<C>();
        dispatch::on_room_timer::<C>(room, state.as_deref(), Timer::new(name, payload))
    }
}

impl<C: Channel> presence_events::Guest for Component<C> {
    fn on_presence(room: String, sequence: u64, joins: Vec<Entry>, leaves: Vec<String>) {
        begin::<C>();
        let joins = joins.into_iter().map(|Entry { key, metas }| (key, metas)).collect();
        dispatch::on_presence::<C>(room, sequence, joins, leaves);
    }
}

impl<C: Channel> channel_timer_events::Guest for Component<C> {
    fn on_channel_timer(name: String, payload: Vec<u8>) {
        begin::<C>();
        dispatch::on_channel_timer::<C>(Timer::new(name, payload));
    }
}

impl<C: Channel> outside_events::Guest for Component<C> {
    fn on_outside_message(payload: Vec<u8>) -> Result<Vec<u8>, outside_events::OutsideRefusal> {
        begin::<C>();
        dispatch::on_outside_message::<C>(&payload).map_err(|refusal| {
            outside_events::OutsideRefusal {
                status: refusal.status,
                body: refusal.body.to_string().into_bytes(),
            }
        })
    }
}

impl<C: Channel> starts::Guest for Component<C> {
    fn on_start() -> Result<(), String> {
        begin::<C>();
        dispatch::on_start::<C>()
    }
}

impl<C: Channel> saved_checks::Guest for Component<C> {
    fn check_session(session: Vec<u8>) -> Result<(), String> {
        begin::<C>();
        dispatch::check_session::<C>(&session)
    }

    fn check_room_state(state: Vec<u8>) -> Result<(), String> {
        begin::<C>();
        dispatch::check_room_state::<C>(&state)
    }
}

impl<C: Channel> faults::Guest for Component<C> {
    fn on_fault(
        conn: &LentConnection,
        session: Session,
        code: String,
        detail: String,
    ) -> Option<Session> {
        dispatch::on_fault::<C>(&open::<C>(conn), &session, Fault { code, detail })
    }
}

impl From<Answer> for Refusal {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Http { status, headers, body } => {
                Refusal::Http(HttpRefusal { status, headers, body })
            }
            Answer::Close { code, reason, messages } => Refusal::Close(CloseRefusal {
                messages: messages.into_iter().map(Message::from).collect(),
                code,
                reason,
            }),
        }
    }
}

impl From<Payload<'_>> for Message {
    fn from(payload: Payload<'_>) -> Self {
        match payload {
            Payload::Text(text) => Message::Text(text.into_owned()),
            Payload::Binary(data) => Message::Binary(data.into_owned()),
        }
    }
}
