//! The other nodes of a cluster, as the hub of one channel sees them.
//!
//! A hub has the connections of its own node. Everything that it does for others goes through this port, and what
//! other nodes do for its connections comes back by the functions whose names end in `here`. Without a cluster there
//! are no peers, and nothing of this happens.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wharf_contract::close::Close;

use crate::connection_id::{ConnectionId, NodeId};
use crate::frame::Frame;
use crate::inbox::Cause;
use crate::logs::{Logs, Once};
use crate::owners::Owners;
use crate::recipients::{Group, Recipients};
use crate::store::Store;

/// A wait for other nodes, which is bounded.
pub type Wait<T = ()> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The cluster that a node is in.
pub trait Cluster: Debug + Send + Sync {
    /// Returns the port by which the hub of a channel reaches the other nodes.
    fn peers(&self, channel: &str) -> Box<dyn Peers>;

    /// Returns the port by which the hub of a channel finds the owners of its rooms.
    fn owners(&self, channel: &str) -> Box<dyn Owners>;

    /// Has this node become the owner of rooms that have lost theirs. Called when the code of a channel is there.
    fn adopt_orphans(&self);

    /// Returns the logs of a channel's rooms, which are the same ones on all nodes. All of them keep what their rules say,
    /// and each at most `max_bytes`.
    fn logs(&self, channel: &str, max_bytes: usize) -> Arc<dyn Logs>;

    /// Returns the reason why other nodes are not reached; `None` while they are.
    fn failure(&self) -> Option<String>;

    /// Returns the nodes of the cluster, this one first.
    fn nodes(&self) -> Vec<NodeFacts>;

    /// Returns the engine and its version, without secrets.
    fn engine(&self) -> String;

    /// Returns the numbers of the link to the engine.
    fn link(&self) -> LinkFacts;

    /// Returns the store of a channel, of at most `max_bytes`, which is the same one on all nodes.
    fn store(&self, channel: &str, max_bytes: usize) -> Arc<dyn Store>;
}

/// A node of a cluster, as it has described itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node.
    pub id: NodeId,
    /// Name of the node, unique in its cluster.
    pub name: String,
    /// Version of the host.
    pub version: String,
    /// Time at which it has started, in milliseconds since 1970.
    pub started: u64,
    /// Number of its connections.
    pub connections: u64,
    /// Time since it was heard last; `None` for this node.
    pub silent_for: Option<Duration>,
}

/// The numbers of a node's link to the engine, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkFacts {
    /// Messages that were queued for sending.
    pub published: u64,
    /// Messages that were received.
    pub received: u64,
    /// Messages that were not sent.
    pub lost: u64,
    /// Messages that were received but not taken in time.
    pub overrun: u64,
    /// Bytes that wait to be sent now.
    pub waiting_bytes: usize,
    /// Topics that are subscribed to now.
    pub topics: usize,
    /// Number of times that the link was lost.
    pub interruptions: u64,
    /// Time of the last sign of life, if there was one.
    pub round_trip: Option<Duration>,
}

/// The other nodes of a cluster. An implementation must not block, and must not call the hub.
pub trait Peers: Debug + Send + Sync {
    /// Returns true if a message of so many bytes would be taken to other nodes now, as far as this node knows. What a
    /// handler says to others is refused without: nobody gets it then.
    fn has_room(&self, bytes: usize) -> bool;

    /// Takes a frame to the recipients on other nodes. It is called while the order of the broadcast is fixed, so
    /// that all nodes see one order.
    fn deliver(&self, to: &Recipients, frame: &Frame, except: Option<ConnectionId>);

    /// Takes a frame to the members of rooms on other nodes that have not got another message of the same name.
    fn deliver_once(
        &self,
        to: &Recipients,
        frame: &Frame,
        except: Option<ConnectionId>,
        once: Once,
    );

    /// Takes a frame to a connection of another node.
    fn send_to(&self, to: ConnectionId, frame: &Frame);

    /// Asks a connection of another node to close.
    fn disconnect(&self, id: ConnectionId, close: &Close);

    /// Asks the connections that a user has on other nodes to close.
    fn disconnect_user(&self, user: &str, close: &Close);

    /// Takes a notice to a connection of another node, or to those of a group on other nodes.
    fn notify(&self, to: NoticeFor, cause: Option<&Cause>, payload: &Bytes, hops: u8);

    /// Returns true if a node is there, as far as this one knows.
    fn has(&self, node: NodeId) -> bool;

    /// Returns the number of connections that other nodes have in a group, as far as this one knows.
    fn count(&self, group: Group<'_>) -> usize;

    /// Returns the number of connections that other nodes have in a group, if all that are there have told it a moment
    /// ago.
    fn complete_count(&self, group: Group<'_>) -> Option<usize>;

    /// Notes that the number of this node's connections in a group has changed.
    fn counted(&self, group: Group<'_>);

    /// Notes that the place of one of this node's connections in a presence list has changed. `has_ended` says that
    /// the connection has ended, so that its key stays for a while.
    fn listed(&self, room: &str, connection: u64, has_ended: bool);

    /// Returns a wait until the messages of other nodes for a group are received, of which this node has just got a
    /// connection; `None` if they are already, or if there is nothing to wait for.
    fn opening(&self, group: Group<'_>) -> Option<Wait>;

    /// Returns a wait for the connections that other nodes have in a group, in ascending order, beginning after `after`,
    /// at most `limit` of each node; `None` if there is nobody to ask.
    fn members(
        &self,
        group: Group<'_>,
        after: Option<ConnectionId>,
        limit: usize,
    ) -> Option<Wait<Vec<ConnectionId>>>;

    /// Returns a wait until [`count`](Peers::count) knows a group; `None` if it does, or cannot know more.
    fn asking(&self, group: Group<'_>) -> Option<Wait>;
}

/// The receivers of a notice on other nodes.
#[derive(Clone, Debug)]
pub enum NoticeFor {
    /// One connection.
    Connection(ConnectionId),
    /// The members of a room, without these connections.
    Room(Arc<str>, Vec<ConnectionId>),
    /// The connections of a user, without these.
    User(Arc<str>, Vec<ConnectionId>),
}

/// The place of another node's connection in the presence list of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Present under this key, with this metadata.
    Present(Arc<str>, Arc<str>),
    /// Absent.
    Absent,
    /// Absent, and its key stays for the grace of the list.
    Ended,
    /// Not known any more: this node has nobody in the room. That is no change to tell of.
    Unknown,
}
