//! The connection that an event belongs to.

mod memberships;

use std::cell::OnceCell;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend;
use crate::error::{Context, Error, HostError, Remedy, Result};
use crate::invalid::Invalid;
use crate::json;
use crate::limits;
use crate::outgoing::{Json, Outgoing, encoded};
use crate::presence;
use crate::reference::Ref;
use crate::reply::Reply;
use crate::timers::{self, NamesTimer, milliseconds};
use crate::urlencoded;

/// One open WebSocket or, in `on_connect`, one that is about to open.
///
/// It is lent to a handler for the length of one event. Data for a later event belongs in the
/// channel's struct: the [`id`](Connection::id) is the same in all events of a connection.
///
/// Everything that sends or changes something is an *effect*: it is recorded at the call and
/// happens when the handler returns `Ok`. `Ok` from the call means that it is recorded and within
/// all limits; see the [crate's documentation](crate#an-event-is-a-transaction).
pub struct Connection {
    raw: backend::Connection,
    /// The answer to the handshake, while there is one to change.
    handshake: Option<backend::Handshake>,
    // The request never changes, so each part is asked for at most once an event.
    id: OnceCell<String>,
    path: OnceCell<String>,
    query: OnceCell<String>,
    params: OnceCell<Vec<(String, String)>>,
    headers: OnceCell<Vec<(String, Vec<u8>)>>,
}

impl Connection {
    pub(crate) fn new(raw: backend::Connection, handshake: Option<backend::Handshake>) -> Self {
        Self {
            raw,
            handshake,
            id: OnceCell::new(),
            path: OnceCell::new(),
            query: OnceCell::new(),
            params: OnceCell::new(),
            headers: OnceCell::new(),
        }
    }
}

/// The client and its request.
impl Connection {
    /// Returns the connection's name: opaque ASCII of at most 32 bytes, the same in all its events,
    /// unique across nodes and never used again.
    pub fn id(&self) -> &str {
        self.id.get_or_init(|| self.raw.id())
    }

    /// Returns the path as the client requested it, still percent-encoded, without the query.
    pub fn path(&self) -> &str {
        self.path.get_or_init(|| self.raw.path())
    }

    /// Returns the query string as the client sent it, still percent-encoded, without the `?`;
    /// empty if there was none.
    pub fn query_string(&self) -> &str {
        self.query.get_or_init(|| self.raw.query())
    }

    /// Returns the first value of a query parameter, decoded: `?name=Ann+Lee` and `?name=Ann%20Lee`
    /// are both `Ann Lee`. A name without a value is empty: `?debug` is `Some("")`.
    pub fn query(&self, name: &str) -> Option<String> {
        urlencoded::pairs(self.query_string())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// Returns all query parameters, decoded, in the order sent.
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        urlencoded::pairs(self.query_string())
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect()
    }

    /// Returns the path parameters by name, percent-decoded, in the order of the pattern:
    /// `/chat/:room_id` makes `room_id`.
    pub fn params(&self) -> &[(String, String)] {
        self.params.get_or_init(|| self.raw.params())
    }

    /// Returns a path parameter, percent-decoded. Errors: the pattern that matched has no parameter
    /// of that name; a channel with several patterns asks [`params`](Connection::params).
    pub fn param(&self, name: &str) -> Result<String> {
        self.params()
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .with_context(|| {
                let known: Vec<_> = self.params().iter().map(|(key, _)| key.as_str()).collect();
                format!(
                    "the path has no parameter `{name}`: it has {known:?}; name it `:{name}` in PATHS"
                )
            })
    }

    /// Returns a path parameter as another type, such as a number. Errors: the text is no such
    /// value, which is an [`Invalid`]: `?` in `on_connect` refuses with status 400. And those of
    /// [`param`](Connection::param).
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # fn handler(conn: &Connection) -> Result<(), Refusal> {
    /// let game: u32 = conn.param_as("game")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn param_as<T>(&self, name: &str) -> Result<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        Ok(parsed(name, &self.param(name)?)?)
    }

    /// Returns the first value of a query parameter as another type, such as a number; `None` if
    /// there is none. Errors: the text is no such value, which is an [`Invalid`]: `?` in
    /// `on_connect` refuses with status 400.
    pub fn query_as<T>(&self, name: &str) -> Result<Option<T>>
    where
        T: FromStr<Err: fmt::Display>,
    {
        Ok(self.query(name).map(|value| parsed(name, &value)).transpose()?)
    }

    /// Returns the headers of the handshake request, in the order received: names in lower case,
    /// repeated headers kept, values as bytes (RFC 9110 does not promise UTF-8).
    pub fn headers(&self) -> &[(String, Vec<u8>)] {
        self.headers.get_or_init(|| self.raw.headers())
    }

    /// Returns the first header of that name, in any case, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| str::from_utf8(value).ok())
    }

    /// Returns the client's address and port, such as `192.0.2.7:52114` or `[2001:db8::7]:52114`; `unix`
    /// if it came through a Unix socket of the host.
    pub fn remote_address(&self) -> String {
        self.raw.remote_address()
    }

    /// Returns the subprotocol that was agreed upon, out of the channel's
    /// [`SUBPROTOCOLS`](crate::Channel::SUBPROTOCOLS).
    pub fn subprotocol(&self) -> Option<String> {
        self.raw.subprotocol()
    }

    /// Returns the reason for the end of the connection; `None` while it is open. It is one of the
    /// tokens `client-closed`, `channel-closed`, `network-lost`, `keep-alive-timeout`,
    /// `protocol-error`, `invalid-utf8`, `message-too-big`, `message-timeout`, `guest-failure`,
    /// `slow-consumer`, `overload`, `shutdown`, `removed`, `token-expired`. The set grows.
    pub fn ending(&self) -> Option<String> {
        self.raw.ending()
    }
}

/// Reads a value that a client has put into its address.
fn parsed<T>(name: &str, value: &str) -> Result<T, Invalid>
where
    T: FromStr<Err: fmt::Display>,
{
    value.parse().map_err(|error| Invalid::new("the address is wrong").field(name, error))
}

/// The token that the host has checked, if the operator requires one with the table
/// `[channels.NAME.token]` of the host's configuration. A client without a valid token does not
/// reach `on_connect` then.
///
/// ```
/// use wharf::prelude::*;
///
/// #[derive(Deserialize)]
/// struct Claims { sub: String, role: String }
///
/// #[derive(Serialize, Deserialize)]
/// struct Desk { user: String }
///
/// #[wharf::channel]
/// impl Channel for Desk {
///     const PATHS: &[&str] = &["/desk"];
///
///     fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
///         let claims: Claims = conn.claims()?.ok_or(Refusal::unauthorized("a token, please"))?;
///         if claims.role != "clerk" {
///             return Err(Refusal::forbidden("for clerks only"));
///         }
///         Ok(Desk { user: claims.sub })
///     }
///
///     // The client sends a new token before the old one expires.
///     fn on_message(&mut self, conn: &Connection, token: String) -> Result {
///         match conn.renew_token(&token) {
///             Ok(()) => conn.send("renewed"),
///             Err(_) => conn.send("refused"),
///         }
///     }
/// }
///
/// # use wharf::testing::TestHost;
/// let host = TestHost::new::<Desk>();
/// let clerk = json!({ "sub": "ann", "role": "clerk" });
/// host.accept_token("new", &clerk);
/// assert_eq!(host.connect("/desk").expect_refused().status(), Some(401));
/// let ann = host.connect("/desk").claims(&clerk).expect_open();
/// ann.send("new");
/// ann.assert_received("renewed");
/// ann.send("bad");
/// ann.assert_received("refused");
/// ```
impl Connection {
    /// Returns the claims of the client's token; `None` if it brought none, or the host checks none
    /// for this channel. Errors: the claims are not a `T`.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let Some(claims) = self.raw.claims() else {
            return Ok(None);
        };
        json::read(&claims).context("reading the token's claims").map(Some)
    }

    /// Replaces the connection's token by one that the client has sent in a message. It is checked
    /// by the same rules. [`claims`](Connection::claims) and the expiry are those of the new token
    /// from now on. The change happens at once and stays even if the event fails. A connection
    /// whose token expires is closed with code 1008.
    ///
    /// Errors: `token-invalid`, `token-subject-changed` (its `sub` or `iss` is not that of the token
    /// before, or it has no `sub`), `no-token-rules`, `connection-ended`.
    pub fn renew_token(&self, token: &str) -> Result {
        Ok(self.raw.renew_token(token)?)
    }
}

/// Messages to this client.
impl Connection {
    /// Sends a message to this client. Messages arrive in the order of the calls. [`Outgoing`]
    /// lists the types that can be sent.
    ///
    /// Errors: `message-too-big`, `too-many-effects`, `connection-ended`, and JSON that cannot be
    /// encoded.
    pub fn send(&self, message: impl Outgoing) -> Result {
        encoded(&message, |kind, data| self.raw.send(kind, data))
    }

    /// Answers a message that has a `ref`, with a value that serializes. Sends `{"type": "reply",
    /// "ref": …, "status": "ok", "payload": …}`. If the message has no `ref`, its client wants no
    /// answer, and nothing is sent. An answer may come in any later event.
    ///
    /// This is the SDK's convention and not the host's: see [`Request`](crate::Request).
    /// Errors: as for [`send`](Connection::send).
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # fn handler(conn: &Connection, request: Request<()>) -> Result {
    /// conn.reply(&request.reference, json!({ "saved": true }))
    /// # }
    /// ```
    pub fn reply<'r, T: Serialize>(
        &self,
        reference: impl Into<Option<&'r Ref>>,
        payload: T,
    ) -> Result {
        match reference.into() {
            Some(reference) => self.send(Json(Reply::to(reference, payload))),
            None => Ok(()),
        }
    }

    /// Tells the client that its request has failed, and goes on: the other effects of the handler
    /// still commit. Sends `{"type": "error", "ref": …, "status": "error", "code": …, "message":
    /// …}`; without `ref` and `status` if the message has no `ref`.
    ///
    /// A handler that wants its other effects undone returns the [`Invalid`] instead. Errors: as
    /// for [`send`](Connection::send).
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # fn handler(conn: &Connection, request: Request<()>) -> Result {
    /// conn.reply_error(&request.reference, Invalid::new("it is not your turn").code("NOT_YOUR_TURN"))
    /// # }
    /// ```
    pub fn reply_error<'r>(&self, reference: impl Into<Option<&'r Ref>>, error: Invalid) -> Result {
        self.send(Error::from(error).in_reply_to(reference).for_client())
    }

    /// Sends a ping frame with at most 125 bytes. The answer reaches
    /// [`on_pong`](crate::Channel::on_pong). The host keeps connections alive without it: this is
    /// for measuring.
    ///
    /// Errors: `control-frame-too-big`, `too-many-effects`, `connection-ended`,
    /// `refused-while-connecting`.
    pub fn ping(&self, data: &[u8]) -> Result {
        Ok(self.raw.ping(data)?)
    }

    /// Closes the connection. Messages sent before are delivered first. The code is 1000 or one of
    /// 3000 to 4999, the reason at most 123 bytes of UTF-8. A second close in one event is ignored.
    ///
    /// Errors: `close-code-invalid`, `close-reason-too-long`, `connection-ended`.
    pub fn close(&self, code: u16, reason: &str) -> Result {
        Ok(self.raw.close(code, reason)?)
    }

    /// Adds a header to the response that opens the WebSocket: in `on_connect` only, at most 32.
    ///
    /// Errors: `header-invalid` (not a field name or value of RFC 9110, or one that the handshake
    /// itself owns), `too-many-headers`, and outside `on_connect` `only-while-connecting`.
    pub fn set_response_header(&self, name: &str, value: impl AsRef<[u8]>) -> Result {
        let Some(handshake) = &self.handshake else {
            return Err(Error::from(HostError {
                remedy: Remedy::FixCall,
                code: "only-while-connecting".to_owned(),
                detail: format!("the response is sent: set `{name}` in on_connect"),
            }));
        };
        Ok(handshake.set_header(name, value.as_ref())?)
    }

    /// Sets a timer of this connection that fires once; [`on_timer`](crate::Channel::on_timer)
    /// handles it. Setting a timer of the same name again replaces it. See [`timers`](crate::timers).
    ///
    /// Errors: `timer-name-invalid` (1 to 64 bytes), `timer-interval-invalid` (more than 366
    /// days), `too-many-timers` (`max_timers_per_connection`), `payload-too-big`, `no-handler` (there
    /// is no `on_timer`), `connection-ended`.
    pub fn after<P: Serialize + ?Sized>(
        &self,
        delay: Duration,
        name: impl NamesTimer<P>,
        payload: &P,
    ) -> Result {
        let payload = timers::encode(payload)?;
        Ok(self.raw.set_timer(name.as_str(), milliseconds(delay), None, &payload)?)
    }

    /// Sets a timer of this connection that fires again and again, at intervals of at least 10 ms.
    /// The errors are those of [`after`](Connection::after).
    pub fn every<P: Serialize + ?Sized>(
        &self,
        interval: Duration,
        name: impl NamesTimer<P>,
        payload: &P,
    ) -> Result {
        let payload = timers::encode(payload)?;
        let interval = milliseconds(interval);
        Ok(self.raw.set_timer(name.as_str(), interval, Some(interval), &payload)?)
    }

    /// Cancels a timer of this connection, including a firing that waits. A timer that is not set
    /// is not an error.
    pub fn cancel_timer(&self, name: impl AsRef<str>) -> Result {
        Ok(self.raw.cancel_timer(name.as_ref())?)
    }

    /// Returns the time until a timer of this connection fires the next time, as this event's own
    /// changes make it; `None` if it is not set. Errors: `timer-name-invalid`.
    pub fn timer_remaining(&self, name: impl AsRef<str>) -> Result<Option<Duration>> {
        Ok(self.raw.timer_remaining(name.as_ref())?.map(Duration::from_millis))
    }

    /// Takes one from a rate limit of this connection: at most `count` at once, and `count` in each
    /// `per`. Otherwise `?` tells the client when it may try again. See [`limits`](crate::limits).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wharf::prelude::*;
    /// # fn handler(conn: &Connection) -> Result {
    /// conn.rate_limit("bids", 5, Duration::from_secs(10))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Errors: those of [`limits`](crate::limits), and `connection-ended`.
    pub fn rate_limit(&self, name: &str, count: u32, per: Duration) -> Result {
        limits::answer(self.raw.take_from_limit(name, count, milliseconds(per)))
    }

    /// Commits the effects recorded so far, for progress messages in a handler that takes its time.
    /// The changed session is not part of it, and the flushed effects stay even if the handler
    /// fails later. Errors: `refused-while-connecting` in `on_connect`.
    pub fn flush(&self) -> Result {
        Ok(backend::flush()?)
    }
}

/// [Presence](crate::presence): the list of a room.
impl Connection {
    /// Makes this connection present in a room that it is in, under a key and with metadata, which
    /// is sent as JSON. Tracking again replaces both.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # fn handler(conn: &Connection) -> Result {
    /// conn.join("lobby")?;
    /// conn.track("lobby", "ann", json!({ "status": "online" }))?;
    /// assert_eq!(presence_count("lobby"), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Errors: `not-a-member`, `presence-key-invalid` (1 to 255 bytes), `metadata-too-big`,
    /// `presence-full`, `room-name-invalid`, `too-many-effects`, `connection-ended`, and metadata
    /// that cannot be JSON.
    pub fn track(&self, room: &str, key: &str, metadata: impl Serialize) -> Result {
        Ok(self.raw.track(room, key, &presence::metadata(&metadata)?)?)
    }

    /// Replaces the metadata, under the same key. Errors: `not-tracked`, and those of
    /// [`track`](Connection::track).
    pub fn update_presence(&self, room: &str, metadata: impl Serialize) -> Result {
        Ok(self.raw.update_presence(room, &presence::metadata(&metadata)?)?)
    }

    /// Removes this connection from a room's list at once and without a grace. Leaving the room
    /// does it too. A connection that is not on the list is not an error.
    ///
    /// Errors: `room-name-invalid`, `too-many-effects`, `connection-ended`.
    pub fn untrack(&self, room: &str) -> Result {
        Ok(self.raw.untrack(room)?)
    }

    /// Makes the host send this client the list of a room that it is in, and from then on the
    /// changes of the list, until it leaves the room. [`presence`](crate::presence) describes the
    /// messages. Watching again sends the list again.
    ///
    /// Errors: `not-a-member`, `room-name-invalid`, `too-many-effects`, `connection-ended`.
    pub fn watch_presence(&self, room: &str) -> Result {
        Ok(self.raw.watch_presence(room)?)
    }

    /// Stops the messages about a room's list. A connection that does not watch is not an error.
    ///
    /// Errors: `room-name-invalid`, `too-many-effects`, `connection-ended`.
    pub fn unwatch_presence(&self, room: &str) -> Result {
        Ok(self.raw.unwatch_presence(room)?)
    }
}

/// Labels of this connection, for broadcasts to [a chosen audience](crate::audience).
impl Connection {
    /// Sets a label, in place of one of the same name. A name has 1 to 64 bytes, a value at most
    /// 255; a connection carries at most 16 labels, until it ends.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # fn handler(conn: &Connection) -> Result {
    /// conn.set_label("role", "moderator")?;
    /// to_room("lobby").where_label("role", "moderator").send("one more of us")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Errors: `label-invalid`, `too-many-labels`, `too-many-effects`, `connection-ended`.
    pub fn set_label(&self, name: &str, value: &str) -> Result {
        Ok(self.raw.set_label(name, value)?)
    }

    /// Removes a label; one that is not there is not an error.
    ///
    /// Errors: `label-invalid`, `too-many-effects`, `connection-ended`.
    pub fn clear_label(&self, name: &str) -> Result {
        Ok(self.raw.clear_label(name)?)
    }

    /// Returns the labels of this connection, each name once.
    pub fn labels(&self) -> Vec<(String, String)> {
        self.raw.labels()
    }

    /// Returns the value of a label of this connection, if it carries it.
    pub fn label(&self, name: &str) -> Option<String> {
        self.labels().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}
