//! The author's part: one implementation of [`Channel`].

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(doc)]
use crate::Invalid;
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::fault::Fault;
use crate::incoming::InvalidMessage;
use crate::presence::PresenceDiff;
use crate::refusal::Refusal;
use crate::room::Room;
use crate::timers::Timer;

/// The behaviour of a channel: a trait on the struct that is kept for each connection.
///
/// Implement it under [`#[wharf::channel]`](macro@crate::channel), which makes the implementation
/// the plugin's exports. Only [`PATHS`](Channel::PATHS) and [`on_connect`](Channel::on_connect) have
/// to be written; every other callback has a default.
///
/// # The session
///
/// The struct is the *session* of one connection. `on_connect` makes it, each callback gets it as
/// `&mut self`, and the host keeps it in between, as MessagePack with the names of the fields. A
/// new version of the plugin reads the sessions of an older one: fields that it no longer has are
/// ignored, and fields that are new need a default. A field must not change its type; use a new
/// name.
///
/// ```
/// # use wharf::prelude::*;
/// #[derive(Serialize, Deserialize)]
/// struct Player {
///     name: String,
///     // Added later: connections that were open at the time have no score.
///     #[serde(default)]
///     score: u32,
/// }
/// ```
///
/// A session that is written can be read: one that its own type would not read back is refused where it
/// is made, in `on_connect` or in the handler that changed it, by the name of the field. A type must
/// read what it writes. In tagged, untagged and flattened types serde reads no 128-bit numbers.
/// `Some(None)` is written as `None` is, and refused.
///
/// A session of an older version that cannot be read is reported and ends its connection. To find
/// out before your users do, reload in a test, with [`TestHost::reload`](crate::testing::TestHost::reload).
///
/// A channel without a memory is a struct without fields, whose session costs nothing. A `HashMap`
/// or a `HashSet` is in another order each time, so that a session with one is written back after
/// each event; a `BTreeMap` is not. The operator
/// bounds the size of a session (`max_session_bytes`).
///
/// # Messages
///
/// A text message goes to [`on_message`](Channel::on_message), a binary one to
/// [`on_binary`](Channel::on_binary). Text is decoded into [`Message`](Channel::Message): any type
/// that implements `Deserialize` is read from JSON, and `String` is the text as it came. Text that
/// does not decode goes to [`on_invalid_message`](Channel::on_invalid_message). A client that wants
/// its messages answered one by one gives them a `ref`: the type is then a
/// [`Request`](crate::Request) of the author's own.
///
/// ```
/// # use wharf::prelude::*;
/// # #[derive(Serialize, Deserialize)]
/// # struct Chat { room: String }
/// #[derive(Deserialize)]
/// #[serde(tag = "type", rename_all = "snake_case")]
/// enum Incoming {
///     ChatMessage { message: String },
///     Ping,
/// }
///
/// #[wharf::channel]
/// impl Channel for Chat {
///     const PATHS: &[&str] = &["/chat/:room_id"];
///
/// #   fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
/// #       Ok(Chat { room: conn.param("room_id")? })
/// #   }
///     fn on_message(&mut self, conn: &Connection, message: Incoming) -> Result {
///         match message {
///             Incoming::ChatMessage { message } => conn.broadcast_to_room(&self.room, message),
///             Incoming::Ping => conn.send(json!({ "type": "pong" })),
///         }
///     }
/// }
/// ```
///
/// # When a handler fails
///
/// A handler that returns `Err` has done nothing: its effects and its changes of the session are dropped.
/// The error is reported, and [`on_error`](Channel::on_error) runs on the session as it was before.
///
/// A handler that panics, or misses its deadline, has done nothing either; but its connection is
/// closed with code 1011, after [`on_fault`](Channel::on_fault) and before
/// [`on_close`](Channel::on_close). Other connections do not notice.
pub trait Channel: Serialize + DeserializeOwned + Sized + 'static {
    /// Paths of the channel: literal segments, `:name` for one segment, and `*name` as the last for
    /// the rest. There must be 1 to 64 patterns, of at most 255 bytes each. [`Connection::params`]
    /// has the values of the named segments.
    ///
    /// ```
    /// # trait Paths { const PATHS: &'static [&'static str]; }
    /// # struct Chat;
    /// # impl Paths for Chat {
    /// const PATHS: &[&str] = &["/chat", "/chat/:room_id"];
    /// # }
    /// ```
    const PATHS: &'static [&'static str];

    /// Subprotocols that the channel speaks (RFC 6455, 1.9), best first; at most 16. The first one
    /// here that a client asks for is agreed upon; see [`Connection::subprotocol`].
    const SUBPROTOCOLS: &'static [&'static str] = &[];

    /// Version of the session's format, which the host's log names when the plugin is loaded.
    /// Nothing depends on it as long as the struct only grows. Count it up for a change after which
    /// old sessions cannot be read.
    const SESSION_FORMAT: u32 = 0;

    #[doc(hidden)]
    const __WRITE_WHARF_CHANNEL_ABOVE_THIS_IMPL: Exports;

    /// Type that text messages are decoded into: `String` for the text as it came, any other type
    /// is read from JSON. May be left out: it is then the type of `on_message`'s argument.
    type Message: DeserializeOwned + 'static;

    /// Type of notices, which handlers post with [`notify`](crate::ChannelCalls::notify). May be left
    /// out: it is then the type of `on_notify`'s argument.
    type Notice: DeserializeOwned + 'static;

    /// State that the host keeps for a room between its events, like the session for a connection,
    /// and encoded in the same way. A room begins with the default. May be left out: it is then the
    /// type that `on_room_event` works on.
    type RoomState: Serialize + DeserializeOwned + Default + 'static;

    /// Type of the events of rooms, which handlers post with [`post`](crate::ChannelCalls::post). May
    /// be left out: it is then the type of `on_room_event`'s argument.
    type RoomEvent: DeserializeOwned + 'static;

    /// Type of messages from outside. May be left out: it is then the type of
    /// `on_outside_message`'s argument.
    type OutsideMessage: DeserializeOwned + 'static;

    /// Type of the replies to messages from outside. May be left out: it is then the type that
    /// `on_outside_message` returns.
    type OutsideReply: Serialize + 'static;

    /// Does the work that is done once, such as a table: called once for each instance, before its
    /// first event. It may take `start_budget_ms`, which events may not. There is no event:
    /// [settings](crate::setting) and the log can be used, and nothing else of the host.
    ///
    /// An `Err` or a panic keeps the instance from serving. New code that cannot start is refused,
    /// and the code before goes on. Default: nothing happens, and the host does not even call the
    /// plugin.
    ///
    /// In tests it is called before the first event; natively once for each
    /// [`TestHost`](crate::testing::TestHost).
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # use std::collections::BTreeSet;
    /// # use std::sync::LazyLock;
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Chat;
    /// static WORDS: LazyLock<BTreeSet<String>> =
    ///     LazyLock::new(|| (0..10_000).map(|number| format!("word {number}")).collect());
    ///
    /// # #[wharf::channel]
    /// # impl Channel for Chat {
    /// #   const PATHS: &[&str] = &["/chat"];
    /// #   fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Chat) }
    /// fn on_start() -> Result {
    ///     LazyLock::force(&WORDS);
    ///     Ok(())
    /// }
    /// # }
    /// ```
    fn on_start() -> Result {
        Ok(())
    }

    /// Handles a client's request to connect; its handshake waits for the answer. Return the
    /// session, or a [`Refusal`] with the reason.
    ///
    /// Effects are allowed, and happen if the connection is accepted: it can join rooms, be sent a
    /// welcome, be announced to others. Headers can be added to the response with
    /// [`Connection::set_response_header`]. A refusal drops all of it, and there is no `on_close`.
    ///
    /// `?` on any error refuses with status 500; the error is reported to the operator and no part
    /// of it is sent. So does a panic. A stranger's mistake is not reported: `?` on an [`Invalid`]
    /// refuses with status 400, and with its content as JSON. So does a name that the host does not
    /// take, such as that of a room with more than 255 bytes. A user or a connection that is not
    /// there is status 404.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Chat { name: String }
    /// # #[wharf::channel]
    /// # impl Channel for Chat {
    /// #   const PATHS: &[&str] = &["/chat/:room_id"];
    /// fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
    ///     let name = conn.query("name").ok_or(Refusal::unauthorized("name is required"))?;
    ///     let room = conn.param("room_id")?;
    ///     conn.join(&room)?;
    ///     let joined = json!({ "type": "user_joined", "user": name, "count": room_count(&room) });
    ///     conn.others().broadcast_to_room(&room, joined)?;
    ///     Ok(Chat { name })
    /// }
    /// # }
    /// ```
    fn on_connect(conn: &Connection) -> Result<Self, Refusal>;

    /// Handles a text message. Default: nothing happens.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Echo;
    /// # #[wharf::channel]
    /// # impl Channel for Echo {
    /// #   const PATHS: &[&str] = &["/echo"];
    /// #   fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Echo) }
    /// fn on_message(&mut self, conn: &Connection, message: String) -> Result {
    ///     conn.send(message)
    /// }
    /// # }
    /// ```
    fn on_message(&mut self, conn: &Connection, message: Self::Message) -> Result {
        let _ = (conn, message);
        Ok(())
    }

    /// Handles a binary message. Default: nothing happens.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Upload { bytes: u64 }
    /// # #[wharf::channel]
    /// # impl Channel for Upload {
    /// #   const PATHS: &[&str] = &["/upload"];
    /// #   fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Upload { bytes: 0 }) }
    /// fn on_binary(&mut self, conn: &Connection, data: Vec<u8>) -> Result {
    ///     self.bytes += data.len() as u64;
    ///     conn.send(json!({ "type": "progress", "bytes": self.bytes }))
    /// }
    /// # }
    /// ```
    fn on_binary(&mut self, conn: &Connection, data: Vec<u8>) -> Result {
        let _ = (conn, data);
        Ok(())
    }

    /// Handles a text message that is not a [`Message`](Channel::Message): it is not JSON, or does
    /// not fit. Never called if `Message` is `String`.
    ///
    /// Default: the client is sent `{"type": "error", "code": "INVALID_JSON", "message": …}`, which
    /// [`for_client`](InvalidMessage::for_client) makes of it.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # #[derive(Deserialize)]
    /// # struct Incoming {}
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Strict;
    /// # #[wharf::channel]
    /// # impl Channel for Strict {
    /// #   const PATHS: &[&str] = &["/strict"];
    /// #   type Message = Incoming;
    /// #   fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Strict) }
    /// fn on_invalid_message(&mut self, conn: &Connection, invalid: InvalidMessage) -> Result {
    ///     match invalid.is_json() {
    ///         // A newer client, perhaps.
    ///         true => Ok(debug!(error:% = invalid.error(); "message ignored")),
    ///         false => conn.close(4000, "this channel speaks JSON"),
    ///     }
    /// }
    /// # }
    /// ```
    fn on_invalid_message(&mut self, conn: &Connection, invalid: InvalidMessage) -> Result {
        conn.send(invalid.for_client())
    }

    /// Handles a ping frame of the client, with at most 125 bytes. The host has answered it
    /// already. Default: nothing happens, and the host does not even call the plugin.
    fn on_ping(&mut self, conn: &Connection, data: Vec<u8>) -> Result {
        let _ = (conn, data);
        Ok(())
    }

    /// Handles a pong frame of the client, with at most 125 bytes, that is not the answer to a
    /// keep-alive ping of the host; mostly it is the answer to [`Connection::ping`]. Default:
    /// nothing happens, and the host does not even call the plugin.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Probe { answers: u32 }
    /// # #[wharf::channel]
    /// # impl Channel for Probe {
    /// #   const PATHS: &[&str] = &["/probe"];
    /// #   fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Probe { answers: 0 }) }
    /// fn on_message(&mut self, conn: &Connection, _: String) -> Result {
    ///     conn.ping(b"are you there?")
    /// }
    ///
    /// fn on_pong(&mut self, _: &Connection, data: Vec<u8>) -> Result {
    ///     if data == b"are you there?" {
    ///         self.answers += 1;
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// ```
    fn on_pong(&mut self, conn: &Connection, data: Vec<u8>) -> Result {
        let _ = (conn, data);
        Ok(())
    }

    /// Handles a notice that another handler has posted for this connection, with
    /// [`notify`](crate::ChannelCalls::notify) or a similar function; see [`notices`](crate::notices)
    /// for an example. It has its turn among the connection's own events. A panic in it ends this
    /// connection, not the one that posted. Default: nothing can be posted.
    fn on_notify(&mut self, conn: &Connection, notice: Self::Notice) -> Result {
        let _ = (conn, notice);
        Ok(())
    }

    /// Handles a timer of this connection; see [`timers`](crate::timers) for an example. Default:
    /// none can be set.
    fn on_timer(&mut self, conn: &Connection, timer: Timer) -> Result {
        let _ = (conn, timer);
        Ok(())
    }

    /// Handles an event of a room, posted with [`post`](crate::ChannelCalls::post): one at a time for
    /// each room, in the order posted, so that its state needs no lock and no retry. The changed state
    /// and the effects commit together. There is no connection: [`event::sender`](crate::event::sender)
    /// and [`event::user`](crate::event::user) name the one that posted,
    /// [`event::send`](crate::event::send) sends to it, [`event::reply`](crate::event::reply) answers
    /// its request, and a broadcast reaches the room.
    ///
    /// An `Err`, a panic or a missed deadline undoes the event; the next one goes on. An [`Invalid`] is
    /// sent to the client whose message has led here, with its `ref`. Other errors are reported to the
    /// operator, and a client that waits for an answer gets `INTERNAL_ERROR`. The state is dropped when
    /// the room has had no members, no events and no timers for a while (`room_state_grace_ms`).
    /// Default: nothing can be posted.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # use wharf::testing::TestHost;
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Auction { room: String }
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Lot { highest: u64 }
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Bid { amount: u64 }
    ///
    /// #[wharf::channel]
    /// impl Channel for Auction {
    /// #   const PATHS: &[&str] = &["/auction/:lot"];
    /// #   fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
    /// #       let room = conn.param("lot")?;
    /// #       conn.join(&room)?;
    /// #       Ok(Auction { room })
    /// #   }
    ///     fn on_message(&mut self, _: &Connection, amount: String) -> Result {
    ///         Self::post(&self.room, &Bid { amount: amount.parse()? })
    ///     }
    ///
    ///     fn on_room_event(lot: &mut Lot, room: &Room, bid: Bid) -> Result {
    ///         if bid.amount > lot.highest {
    ///             lot.highest = bid.amount;
    ///             room.broadcast(format!("{} is offered", bid.amount))?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # let host = TestHost::new::<Auction>();
    /// # let (ann, ben) = (host.connect("/auction/7").expect_open(), host.connect("/auction/7").expect_open());
    /// # ann.send("100");
    /// # ben.send("90");
    /// # ben.assert_received("100 is offered");
    /// # ben.assert_received_nothing();
    /// ```
    fn on_room_event(state: &mut Self::RoomState, room: &Room, event: Self::RoomEvent) -> Result {
        let _ = (state, room, event);
        Ok(())
    }

    /// Handles a timer of a room, set with [`Room::after`] or [`Room::every`]; otherwise like
    /// [`on_room_event`](Channel::on_room_event). Default: none can be set, unless there is an
    /// `on_room_event`.
    fn on_room_timer(state: &mut Self::RoomState, room: &Room, timer: Timer) -> Result {
        let _ = (state, room, timer);
        Ok(())
    }

    /// Handles changes of a room's presence list, on which connections
    /// [track](crate::Connection::track) themselves. Called at most once in `presence_interval_ms`
    /// for a room, one call at a time, with all changes since the last. An `Err`, a panic or a
    /// missed deadline undoes the event, and is reported to the operator. Default: nothing happens,
    /// and the host does not even call the plugin.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # use wharf::{Room, presence::PresenceDiff};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Chat;
    /// # #[wharf::channel]
    /// # impl Channel for Chat {
    /// #   const PATHS: &[&str] = &["/chat"];
    /// #   fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Chat) }
    /// fn on_presence(room: &Room, diff: PresenceDiff) -> Result {
    ///     for user in &diff.leaves {
    ///         info!(room = room.name(), user; "gone");
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// ```
    fn on_presence(room: &Room, diff: PresenceDiff) -> Result {
        let _ = (room, diff);
        Ok(())
    }

    /// Handles a timer of the channel, set with [`timers::after`](crate::timers::after) or
    /// [`timers::every`](crate::timers::every). One of them is handled at a time. An `Err`, a panic
    /// or a missed deadline undoes the event, and is reported to the operator. Default: none can be
    /// set.
    fn on_channel_timer(timer: Timer) -> Result {
        let _ = timer;
        Ok(())
    }

    /// Handles a message from outside, sent by the operator's API (`POST
    /// /api/channels/NAME/messages`) from another program of the operator, without a connection.
    /// The message is JSON, and so is its reply.
    ///
    /// An [`Invalid`] answers with status 422 and its content, and so does a message that does not
    /// decode. Any other `Err` is reported to the operator and answered with status 500, without
    /// any part of it. Both drop the effects. Default: such messages are answered with status 409.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # use wharf::testing::TestHost;
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Orders;
    /// #[derive(Deserialize)]
    /// struct Shipped { to: String, order: u32 }
    ///
    /// #[derive(Serialize)]
    /// struct Told { devices: usize }
    ///
    /// #[wharf::channel]
    /// impl Channel for Orders {
    /// #   const PATHS: &[&str] = &["/orders"];
    /// #   fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
    /// #       conn.identify(&conn.query("user").context("user is required")?)?;
    /// #       Ok(Orders)
    /// #   }
    ///     fn on_outside_message(Shipped { to, order }: Shipped) -> Result<Told> {
    ///         match send_to_user(&to, json!({ "type": "shipped", "order": order })) {
    ///             Ok(()) => Ok(Told { devices: user_connections(&to).count() }),
    ///             Err(error) if error.is_gone() => {
    ///                 Err(Invalid::new("no device is online").code("OFFLINE").into())
    ///             }
    ///             Err(error) => Err(error),
    ///         }
    ///     }
    /// }
    ///
    /// let host = TestHost::new::<Orders>();
    /// let ann = host.connect("/orders?user=ann").expect_open();
    /// let reply = host.outside_message(json!({ "to": "ann", "order": 7 }));
    /// assert_eq!(reply, Ok(json!({ "devices": 1 })));
    /// ann.assert_received(json!({ "type": "shipped", "order": 7 }));
    /// let refusal = host.outside_message(json!({ "to": "bob", "order": 8 })).unwrap_err();
    /// assert_eq!((refusal.status, &refusal.body["error"]["code"]), (422, &json!("OFFLINE")));
    /// ```
    fn on_outside_message(message: Self::OutsideMessage) -> Result<Self::OutsideReply> {
        let _ = message;
        Err(Error::msg("the channel has no on_outside_message"))
    }

    /// Handles the `Err` of a handler: one of `on_message`, `on_binary`, `on_invalid_message`,
    /// `on_ping`, `on_pong`, `on_notify` and `on_timer`. The effects of that handler are undone.
    /// The error is reported to the operator, unless it is an [`Invalid`], the client's own
    /// mistake. `self` is the session as it was before. The effects of this callback commit, unless
    /// it fails as well: then that is reported too, and the event ends without effects.
    ///
    /// Default: the client is sent the public part of the error, [`for_client`](Error::for_client):
    /// the content of an [`Invalid`], and for every other error `{"type": "error", "code":
    /// "INTERNAL_ERROR"}`.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Fragile;
    /// # #[wharf::channel]
    /// # impl Channel for Fragile {
    /// #   const PATHS: &[&str] = &["/fragile"];
    /// #   fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Fragile) }
    /// fn on_error(&mut self, conn: &Connection, error: Error) -> Result {
    ///     if error.downcast_ref::<std::num::ParseIntError>().is_some() {
    ///         return conn.send(json!({ "type": "error", "code": "NOT_A_NUMBER" }));
    ///     }
    ///     conn.close(4500, "something went wrong")
    /// }
    /// # }
    /// ```
    fn on_error(&mut self, conn: &Connection, error: Error) -> Result {
        conn.send(error.for_client())
    }

    /// Handles a fault that ends the connection: the client broke the protocol, or a handler
    /// panicked, missed its deadline or ran out of memory. Effects still commit: the client can be
    /// sent a last message. A failure of this callback is only reported.
    ///
    /// Default: nothing happens, and the host does not even call the plugin.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Game { id: String }
    /// # #[wharf::channel]
    /// # impl Channel for Game {
    /// #   const PATHS: &[&str] = &["/game/:id"];
    /// #   fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
    /// #       Ok(Game { id: conn.param("id")? })
    /// #   }
    /// fn on_fault(&mut self, conn: &Connection, fault: Fault) -> Result {
    ///     warn!(code = fault.code, game = self.id; "{}", fault.detail);
    ///     conn.send(json!({ "type": "error", "code": "COME_BACK" }))
    /// }
    /// # }
    /// ```
    fn on_fault(&mut self, conn: &Connection, fault: Fault) -> Result {
        let _ = (conn, fault);
        Ok(())
    }

    /// Handles the end of the connection, of any kind. Called once for each that `on_connect`
    /// accepted, with the last committed session. Others can still be sent messages; this client
    /// cannot.
    ///
    /// The connection has left its rooms: it is counted nowhere, and [`joined`](Connection::joined)
    /// lists its last ones. `code` and `reason` are those of the first close frame, sent or
    /// received; there may have been none. [`ending`](Connection::ending) has the reason of the
    /// end. An `Err` is reported and drops the effects; there is no `on_error`, because no client
    /// is left to answer.
    ///
    /// ```
    /// # use wharf::prelude::*;
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Chat { name: String }
    /// # #[wharf::channel]
    /// # impl Channel for Chat {
    /// #   const PATHS: &[&str] = &["/chat"];
    /// #   fn on_connect(_: &Connection) -> Result<Self, Refusal> { Ok(Chat { name: "".into() }) }
    /// fn on_close(&mut self, conn: &Connection, _code: Option<u16>, _reason: &str) -> Result {
    ///     for room in conn.joined() {
    ///         let left =
    ///             json!({ "type": "user_left", "user": self.name, "count": room_count(&room) });
    ///         conn.broadcast_to_room(&room, left)?;
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// ```
    fn on_close(&mut self, conn: &Connection, code: Option<u16>, reason: &str) -> Result {
        let _ = (conn, code, reason);
        Ok(())
    }
}

/// The optional exports that the attribute makes: those with a callback that the author wrote.
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
pub use wharf_contract::exports::Exports;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use crate::bindings::Exports;
