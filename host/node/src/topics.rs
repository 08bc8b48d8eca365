//! The topics on which nodes hear of each other.

use std::borrow::Cow;
use std::sync::Arc;

use wharf_hub::connection_id::NodeId;

use crate::wire::GroupName;

/// A room of a channel, or a user of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// The channel.
    pub channel: Arc<str>,
    /// True for a user.
    pub is_user: bool,
    /// The room, or the user.
    pub name: Arc<str>,
}

impl Group {
    /// Makes the group of a room.
    pub fn room(channel: &Arc<str>, name: &Arc<str>) -> Group {
        Group { channel: channel.clone(), is_user: false, name: name.clone() }
    }

    /// Makes the group of a user.
    pub fn user(channel: &Arc<str>, name: &Arc<str>) -> Group {
        Group { channel: channel.clone(), is_user: true, name: name.clone() }
    }

    /// Returns the name as it is written.
    pub fn wire(&self) -> GroupName<'_> {
        GroupName {
            channel: Cow::Borrowed(&self.channel),
            is_user: self.is_user,
            name: Cow::Borrowed(&self.name),
        }
    }

    /// Returns the name as it is written, without a borrow.
    pub fn wire_owned(&self) -> GroupName<'static> {
        GroupName {
            channel: Cow::Owned(self.channel.to_string()),
            is_user: self.is_user,
            name: Cow::Owned(self.name.to_string()),
        }
    }
}

impl From<&GroupName<'_>> for Group {
    fn from(name: &GroupName<'_>) -> Group {
        Group {
            channel: name.channel.as_ref().into(),
            is_user: name.is_user,
            name: name.name.as_ref().into(),
        }
    }
}

/// A topic of the engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// All nodes.
    Nodes,
    /// One node.
    Node(NodeId),
    /// The nodes that serve a channel.
    Channel(Arc<str>),
    /// The nodes with a part in a group.
    Group(Group),
    /// The nodes that follow the log of a room. The log has the same name.
    Log(Group),
}

impl Topic {
    /// Returns the name of the topic for the engine. Names of channels have no colon.
    pub fn name(&self) -> String {
        match self {
            Topic::Nodes => "nodes".to_owned(),
            Topic::Node(id) => format!("node:{id}"),
            Topic::Channel(channel) => format!("channel:{channel}"),
            Topic::Group(Group { channel, is_user: false, name }) => {
                format!("room:{channel}:{name}")
            }
            Topic::Group(Group { channel, is_user: true, name }) => {
                format!("user:{channel}:{name}")
            }
            Topic::Log(Group { channel, name, .. }) => format!("log:{channel}:{name}"),
        }
    }
}
