//! The messages between nodes.
//!
//! A message is the number of the format, one byte, and a [`Message`] in MessagePack with the names of its fields. A
//! node ignores fields that it does not know, and a missing field has its default. So fields can be added without
//! another format. A node counts messages that it cannot read, and ignores them.

mod request;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wharf_hub::connection_id::NodeId;
use wharf_hub::inbox::Outcome;
use wharf_hub::owners::KeptTimer;

pub use request::{OperatorRequest, Reply, Report, Request, Step, Try};

/// The format that this version writes, and the only one that it reads.
pub const FORMAT: u8 = 1;

/// A message of one node to others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message<'a> {
    /// Number of the node that has sent it.
    pub from: u64,
    /// The content.
    #[serde(borrow)]
    pub content: Content<'a>,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content<'a> {
    /// A sign of life.
    #[serde(borrow)]
    Beat(Beat<'a>),
    /// The node leaves.
    Bye,
    /// The link of the node was lost and is there again, so that others may have missed what it has told.
    Restored,
    /// The changes of a node's part in a group.
    #[serde(borrow)]
    News(News<'a>),
    /// A node's whole part in a group.
    #[serde(borrow)]
    State(News<'a>),
    /// A question for the whole parts of others in groups.
    #[serde(borrow)]
    Ask(Vec<GroupName<'a>>),
    /// A question for the number of connections in a group.
    Count {
        /// Number of the question.
        question: u64,
        /// The group.
        #[serde(borrow)]
        group: GroupName<'a>,
    },
    /// The answer to such a question.
    Counted {
        /// Number of the question.
        question: u64,
        /// Number of the connections.
        count: u64,
    },
    /// A question for the connections of a node in a group, in ascending order of their numbers.
    List {
        /// Number of the question.
        question: u64,
        /// The group.
        #[serde(borrow)]
        group: GroupName<'a>,
        /// The connection after which the list begins: its node and its number.
        #[serde(default)]
        after: Option<(u64, u64)>,
        /// Number of connections at most.
        limit: u32,
    },
    /// The answer to such a question.
    Listed {
        /// Number of the question.
        question: u64,
        /// Numbers of the connections.
        connections: Vec<u64>,
    },
    /// A message for connections.
    #[serde(borrow)]
    Frame(FrameFor<'a>),
    /// A wish to close connections.
    #[serde(borrow)]
    Disconnect(DisconnectOf<'a>),
    /// A notice for connections.
    #[serde(borrow)]
    Notice(NoticeTo<'a>),
    /// An event of a room, for the room's owner.
    #[serde(borrow)]
    RoomEvent(RoomEventFor<'a>),
    /// The outcome of such an event, for the node that has asked for it.
    RoomOutcome {
        /// Number of the question.
        question: u64,
        /// The outcome.
        #[serde(borrow)]
        outcome: RoomOutcome<'a>,
    },
    /// A change of a room's timer, for the room's owner.
    #[serde(borrow)]
    RoomTimer(RoomTimerFor<'a>),
    /// The news for the owner of a room that its record was changed.
    RoomReset {
        /// The channel.
        #[serde(borrow)]
        channel: Cow<'a, str>,
        /// The room.
        #[serde(borrow)]
        room: Cow<'a, str>,
    },
    /// The news that a node has left rooms of a channel to the others.
    RoomsGivenUp {
        /// The channel.
        #[serde(borrow)]
        channel: Cow<'a, str>,
    },
    /// A request, which the receiver answers.
    Request {
        /// Number of the question.
        question: u64,
        /// The request.
        request: Request,
    },
    /// The answer to a request.
    Reply {
        /// Number of the question.
        question: u64,
        /// The answer.
        reply: Reply,
    },
}

/// A sign of life of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat<'a> {
    /// Name of the node, unique in its cluster.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Version of the host.
    #[serde(borrow, default)]
    pub version: Cow<'a, str>,
    /// Time at which it has started, in milliseconds since 1970. Of two nodes of one name the older one is gone.
    #[serde(default)]
    pub started: u64,
    /// Number of its connections.
    #[serde(default)]
    pub connections: u64,
}

/// The name of a group: a room of a channel, or a user of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupName<'a> {
    /// The channel.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// True for a user.
    #[serde(default)]
    pub is_user: bool,
    /// The room, or the user.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
}

/// A node's part in a group, or its changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct News<'a> {
    /// The group.
    #[serde(borrow)]
    pub group: GroupName<'a>,
    /// Number of the node's part: a later part of the same group has a higher one.
    pub part: u64,
    /// Number of the change within the part. The first one is 1.
    pub number: u64,
    /// Number of the node's connections in the group.
    pub count: u64,
    /// True if the node has no part any more.
    #[serde(default)]
    pub is_over: bool,
    /// Entries of the presence list: those that have changed, or all of them.
    #[serde(borrow, default)]
    pub entries: Vec<Entry<'a>>,
}

/// One connection in the presence list of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// Number of the connection on its node.
    pub connection: u64,
    /// Its place in the list.
    #[serde(borrow)]
    pub place: Place<'a>,
}

/// The place of a connection in a presence list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place<'a> {
    /// It is present under this key, with this metadata.
    Present {
        /// The key.
        #[serde(borrow)]
        key: Cow<'a, str>,
        /// The metadata: JSON.
        #[serde(borrow)]
        meta: Cow<'a, str>,
    },
    /// It is absent.
    Absent,
    /// It has ended, so that its key stays for the grace of the presence list.
    Ended,
}

/// A message for connections of a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameFor<'a> {
    /// The channel.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// The connections.
    #[serde(borrow)]
    pub to: To<'a>,
    /// True if it is binary; otherwise it is text.
    #[serde(default)]
    pub is_binary: bool,
    /// Name of a broadcast to several rooms, of which each connection gets one message: its node and its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<(u64, u64)>,
    /// The payload.
    #[serde(borrow, with = "bytes_of")]
    pub payload: &'a [u8],
}

/// A wish to close connections of a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DisconnectOf<'a> {
    /// The channel.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// The connections.
    #[serde(borrow)]
    pub to: To<'a>,
    /// The code of the close (RFC 6455, 7.4).
    pub code: u16,
    /// The reason.
    #[serde(borrow, default)]
    pub reason: Cow<'a, str>,
}

/// A notice for connections of a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoticeTo<'a> {
    /// The channel.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// The connections.
    #[serde(borrow)]
    pub to: To<'a>,
    /// The connection whose event has caused it: its node and its number.
    #[serde(default)]
    pub cause: Option<(u64, u64)>,
    /// The user of that connection.
    #[serde(borrow, default)]
    pub user: Option<Cow<'a, str>>,
    /// The `ref` of the message that was handled, as JSON.
    #[serde(borrow, default)]
    pub reference: Option<Cow<'a, str>>,
    /// Number of notices that have led to it.
    pub hops: u8,
    /// The payload.
    #[serde(borrow, with = "bytes_of")]
    pub payload: &'a [u8],
}

/// An event of a room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomEventFor<'a> {
    /// The channel.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// The room.
    #[serde(borrow)]
    pub room: Cow<'a, str>,
    /// The connection whose event has caused it: its node and its number.
    #[serde(default)]
    pub cause: Option<(u64, u64)>,
    /// The user of that connection.
    #[serde(borrow, default)]
    pub user: Option<Cow<'a, str>>,
    /// The `ref` of the message that was handled, as JSON.
    #[serde(borrow, default)]
    pub reference: Option<Cow<'a, str>>,
    /// Number of posts that have led to it.
    pub hops: u8,
    /// Number of the question, if its outcome is waited for.
    #[serde(default)]
    pub question: Option<u64>,
    /// Number of the times that it came back, since a node had no plugin for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub returned: u8,
    /// The payload.
    #[serde(borrow, with = "bytes_of")]
    pub payload: &'a [u8],
}

/// The outcome of an event of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomOutcome<'a> {
    /// It was handled.
    Handled {
        /// Number of the generation that has handled it.
        generation: u64,
        /// True if the room's state has changed.
        is_state_changed: bool,
    },
    /// Its handler has refused it: JSON with the reason.
    Invalid(#[serde(borrow)] Cow<'a, str>),
    /// Its handler has undone it.
    Undone,
    /// It has failed, for this reason.
    Failed(#[serde(borrow)] Cow<'a, str>),
    /// It was late, for this reason.
    Late(#[serde(borrow)] Cow<'a, str>),
    /// It could not be recorded, for this reason.
    DataUnavailable(#[serde(borrow)] Cow<'a, str>),
}

impl<'a> RoomOutcome<'a> {
    /// Returns an outcome as it is written.
    pub fn of(outcome: &'a Outcome) -> RoomOutcome<'a> {
        match outcome {
            Outcome::Handled { generation, is_state_changed } => RoomOutcome::Handled {
                generation: *generation,
                is_state_changed: *is_state_changed,
            },
            Outcome::Invalid(reason) => RoomOutcome::Invalid(String::from_utf8_lossy(reason)),
            Outcome::Undone => RoomOutcome::Undone,
            Outcome::Failed(why) => RoomOutcome::Failed(Cow::Borrowed(why)),
            Outcome::Late(why) => RoomOutcome::Late(Cow::Borrowed(why)),
            Outcome::DataUnavailable(why) => RoomOutcome::DataUnavailable(Cow::Borrowed(why)),
        }
    }

    /// Returns the outcome.
    pub fn read(self) -> Outcome {
        match self {
            RoomOutcome::Handled { generation, is_state_changed } => {
                Outcome::Handled { generation, is_state_changed }
            }
            RoomOutcome::Invalid(reason) => Outcome::Invalid(reason.into_owned().into_bytes()),
            RoomOutcome::Undone => Outcome::Undone,
            RoomOutcome::Failed(why) => Outcome::Failed(why.into_owned()),
            RoomOutcome::Late(why) => Outcome::Late(why.into_owned()),
            RoomOutcome::DataUnavailable(why) => Outcome::DataUnavailable(why.into_owned()),
        }
    }
}

/// A change of a room's timer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomTimerFor<'a> {
    /// The channel.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// The room; empty for the channel itself.
    #[serde(borrow)]
    pub room: Cow<'a, str>,
    /// Name of the timer.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// The timer that is set; `None` cancels it.
    #[serde(borrow, default)]
    pub timer: Option<RoomTimer<'a>>,
    /// Number of the times that it came back, since a node had no plugin for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub returned: u8,
}

/// A timer of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomTimer<'a> {
    /// Time of the next firing, in milliseconds since 1970.
    pub due_at: u64,
    /// Time between firings in milliseconds; 0 for a timer that fires once.
    #[serde(default)]
    pub interval_ms: u64,
    /// Payload.
    #[serde(borrow, with = "bytes_of")]
    pub payload: &'a [u8],
}

impl<'a> RoomTimer<'a> {
    /// Returns a timer as it is written.
    pub fn of(timer: &'a KeptTimer) -> RoomTimer<'a> {
        let interval = timer.interval.map_or(0, |time| time.as_millis());
        RoomTimer {
            due_at: timer.due_at,
            interval_ms: u64::try_from(interval).unwrap_or(u64::MAX),
            payload: &timer.payload,
        }
    }

    /// Returns the timer.
    pub fn read(&self, name: Arc<str>) -> KeptTimer {
        KeptTimer {
            name,
            due_at: self.due_at,
            interval: (self.interval_ms > 0).then(|| Duration::from_millis(self.interval_ms)),
            payload: Bytes::copy_from_slice(self.payload),
        }
    }
}

/// Connections of a channel, by what they have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct To<'a> {
    /// True for every connection.
    #[serde(default, skip_serializing_if = "is_false")]
    pub everyone: bool,
    /// The connection of the receiving node with this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
    /// The members of these rooms.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub rooms: Vec<Cow<'a, str>>,
    /// The connections of these users.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<Cow<'a, str>>,
    /// Connections that are left out: their nodes and numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<(u64, u64)>,
    /// Users whose connections are left out.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub except_users: Vec<Cow<'a, str>>,
    /// Labels that a connection must have, all of them.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u8) -> bool {
    *value == 0
}

/// Bytes as MessagePack has them, and not as a list of numbers.
pub(crate) mod bytes_of {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<&'de [u8], D::Error> {
        <&[u8]>::deserialize(from)
    }
}

/// The reason why a message cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It has another format.
    #[error(
        "a message of another node has format {0}, and this version of wharf reads format {FORMAT}"
    )]
    Format(u8),
    /// It is damaged, or of a kind that this version does not know.
    #[error(
        "a message of another node has a content that this version of wharf does not know: {0}"
    )]
    Content(String),
}

impl<'a> Message<'a> {
    /// Makes a message of a node.
    pub fn new(from: NodeId, content: Content<'a>) -> Message<'a> {
        Message { from: from.number(), content }
    }

    /// Returns the bytes of the message.
    pub fn encode(&self) -> Bytes {
        let mut bytes = vec![FORMAT];
        let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
        // A message has nothing that MessagePack cannot express, and memory takes all of it.
        let _ = self.serialize(&mut serializer);
        bytes.into()
    }

    /// Reads a message, and the node that has sent it.
    ///
    /// # Errors
    ///
    /// It has another format, or an unknown content.
    pub fn read(bytes: &'a [u8]) -> Result<(NodeId, Content<'a>), Unreadable> {
        let unknown = |why: &dyn std::fmt::Display| Unreadable::Content(why.to_string());
        let (format, rest) = bytes.split_first().ok_or_else(|| unknown(&"it is empty"))?;
        if *format != FORMAT {
            return Err(Unreadable::Format(*format));
        }
        let message: Message<'a> = rmp_serde::from_slice(rest).map_err(|why| unknown(&why))?;
        let from =
            NodeId::numbered(message.from).ok_or_else(|| unknown(&"no node has its number"))?;
        Ok((from, message.content))
    }
}
