//! The port by which the hub of one channel reaches the other nodes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wharf_cluster::LinkState;
use wharf_contract::close::Close;
use wharf_hub::connection_id::{ConnectionId, NodeId};
use wharf_hub::frame::{Frame, FrameKind};
use wharf_hub::inbox::Cause;
use wharf_hub::logs::Once;
use wharf_hub::peers::{NoticeFor, Peers, Wait};
use wharf_hub::recipients::{Group as HubGroup, Recipients};

use crate::addressees::{ids, topic};
use crate::latch::Latch;
use crate::node::Shared;
use crate::topics::{Group, Topic};
use crate::wire::{Content, DisconnectOf, FrameFor, NoticeTo, To};

/// Longest wait for the engine or other nodes, after which a handler goes on without them.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest wait for the connections of other nodes, after which a list has those that were told.
const PATIENCE_FOR_LISTS: Duration = Duration::from_millis(500);

/// An open question. Dropping it ends it.
struct Asked {
    shared: Arc<Shared>,
    question: u64,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.shared.listings.lock().close(self.question);
    }
}

/// The port of one channel.
#[derive(Debug)]
pub(crate) struct ChannelPeers {
    shared: Arc<Shared>,
    channel: Arc<str>,
}

impl ChannelPeers {
    pub(crate) fn new(shared: Arc<Shared>, channel: Arc<str>) -> ChannelPeers {
        ChannelPeers { shared, channel }
    }

    fn group(&self, group: HubGroup<'_>) -> Group {
        match group {
            HubGroup::Room(name) => Group::room(&self.channel, &Arc::from(name)),
            HubGroup::User(name) => Group::user(&self.channel, &Arc::from(name)),
        }
    }

    fn frame<'a>(&'a self, to: To<'a>, frame: &'a Frame) -> Content<'a> {
        Content::Frame(FrameFor {
            channel: Cow::Borrowed(&self.channel),
            to,
            is_binary: frame.kind() == FrameKind::Binary,
            once: None,
            payload: frame.payload(),
        })
    }

    fn close<'a>(&'a self, to: To<'a>, close: &'a Close) -> Content<'a> {
        Content::Disconnect(DisconnectOf {
            channel: Cow::Borrowed(&self.channel),
            to,
            code: close.code,
            reason: Cow::Borrowed(&close.reason),
        })
    }
}

impl Drop for ChannelPeers {
    fn drop(&mut self) {
        self.shared.end_service(&self.channel);
    }
}

/// Returns the wait for a latch.
fn wait(latch: Latch) -> Wait {
    Box::pin(async move {
        let _ = tokio::time::timeout(PATIENCE, latch.opened()).await;
    })
}

impl Peers for ChannelPeers {
    fn has_room(&self, bytes: usize) -> bool {
        self.shared.engine.has_room(bytes)
    }

    fn deliver(&self, to: &Recipients, frame: &Frame, except: Option<ConnectionId>) {
        let content = self.frame(To::recipients(to, except), frame);
        self.shared.publish(&topic(&self.channel, to), content);
    }

    fn deliver_once(
        &self,
        to: &Recipients,
        frame: &Frame,
        except: Option<ConnectionId>,
        once: Once,
    ) {
        let mut content = self.frame(To::recipients(to, except), frame);
        if let Content::Frame(frame) = &mut content {
            frame.once = Some(once);
        }
        self.shared.publish(&topic(&self.channel, to), content);
    }

    fn send_to(&self, to: ConnectionId, frame: &Frame) {
        let one = To { connection: Some(to.number), ..To::default() };
        self.shared.publish(&Topic::Node(to.node), self.frame(one, frame));
    }

    fn disconnect(&self, id: ConnectionId, close: &Close) {
        let one = To { connection: Some(id.number), ..To::default() };
        self.shared.publish(&Topic::Node(id.node), self.close(one, close));
    }

    fn disconnect_user(&self, user: &str, close: &Close) {
        let to = To { users: vec![Cow::Borrowed(user)], ..To::default() };
        let group = self.group(HubGroup::User(user));
        self.shared.publish(&Topic::Group(group), self.close(to, close));
    }

    fn notify(&self, to: NoticeFor, cause: Option<&Cause>, payload: &Bytes, hops: u8) {
        let (topic, to) = match &to {
            NoticeFor::Connection(id) => {
                (Topic::Node(id.node), To { connection: Some(id.number), ..To::default() })
            }
            NoticeFor::Room(name, except) => {
                let rooms = vec![Cow::Borrowed(&**name)];
                let to = To { rooms, except: ids(except.iter().copied()), ..To::default() };
                (Topic::Group(Group::room(&self.channel, name)), to)
            }
            NoticeFor::User(name, except) => {
                let users = vec![Cow::Borrowed(&**name)];
                let to = To { users, except: ids(except.iter().copied()), ..To::default() };
                (Topic::Group(Group::user(&self.channel, name)), to)
            }
        };
        let notice = NoticeTo {
            channel: Cow::Borrowed(&self.channel),
            to,
            cause: cause.map(|cause| (cause.connection.node.number(), cause.connection.number)),
            user: cause.and_then(|cause| cause.user.as_deref()).map(Cow::Borrowed),
            reference: cause.and_then(|cause| cause.reference.as_deref()).map(Cow::Borrowed),
            hops,
            payload,
        };
        self.shared.publish(&topic, Content::Notice(notice));
    }

    fn has(&self, node: NodeId) -> bool {
        self.shared.has(node)
    }

    fn count(&self, group: HubGroup<'_>) -> usize {
        self.shared.count_of_others(&self.group(group))
    }

    fn complete_count(&self, group: HubGroup<'_>) -> Option<usize> {
        // Without a link those who are there are not heard.
        let is_up = self.shared.engine.status().link == LinkState::Up;
        is_up.then(|| self.shared.complete_count_of_others(&self.group(group))).flatten()
    }

    fn counted(&self, group: HubGroup<'_>) {
        self.shared.touch(self.group(group), None);
    }

    fn listed(&self, room: &str, connection: u64, has_ended: bool) {
        self.shared.touch(self.group(HubGroup::Room(room)), Some((connection, has_ended)));
    }

    fn opening(&self, group: HubGroup<'_>) -> Option<Wait> {
        let group = self.group(group);
        let waiting = self.shared.opening(&group)?;
        // Without a link it would be a wait for nothing.
        (self.shared.engine.status().link == LinkState::Up).then(|| wait(waiting))
    }

    fn members(
        &self,
        group: HubGroup<'_>,
        after: Option<ConnectionId>,
        limit: usize,
    ) -> Option<Wait<Vec<ConnectionId>>> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let (question, complete) = self.shared.list(&self.group(group), after, limit)?;
        let asked = Asked { shared: self.shared.clone(), question };
        Some(Box::pin(async move {
            let _ = tokio::time::timeout(PATIENCE_FOR_LISTS, complete.opened()).await;
            asked.shared.listings.lock().close(asked.question)
        }))
    }

    fn asking(&self, group: HubGroup<'_>) -> Option<Wait> {
        // Without a link nobody would answer.
        let is_up = self.shared.engine.status().link == LinkState::Up;
        is_up.then(|| self.shared.asking(&self.group(group))).flatten().map(wait)
    }
}
