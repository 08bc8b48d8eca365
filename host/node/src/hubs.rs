//! The connections of this node in its groups.

use std::sync::Arc;

use wharf_hub::connection_id::ConnectionId;
use wharf_hub::hub::Channels;
use wharf_hub::recipients::Group as HubGroup;

use crate::parts::Connections;
use crate::topics::Group;

/// The connections of this node, by the hubs of its channels.
pub(crate) struct Hubs<'a>(pub(crate) &'a Channels);

impl Hubs<'_> {
    pub(crate) fn count(&self, group: &Group) -> usize {
        let hub = self.0.find(&group.channel);
        hub.map_or(0, |hub| match group.is_user {
            true => hub.count(HubGroup::User(&group.name)),
            false => hub.count(HubGroup::Room(&group.name)),
        })
    }
}

impl Connections for Hubs<'_> {
    fn count(&self, group: &Group) -> usize {
        Hubs::count(self, group)
    }

    fn members(&self, group: &Group, after: Option<u64>, limit: usize) -> Vec<u64> {
        let Some(hub) = self.0.find(&group.channel) else { return Vec::new() };
        let of = match group.is_user {
            true => HubGroup::User(&group.name),
            false => HubGroup::Room(&group.name),
        };
        let ids = hub.members(of, after.map(ConnectionId::local), limit);
        ids.into_iter().map(|id| id.number).collect()
    }

    fn entry(&self, group: &Group, connection: u64) -> Option<(Arc<str>, Arc<str>)> {
        self.0.find(&group.channel)?.listed_here(&group.name, connection)
    }

    fn entries(&self, group: &Group) -> Vec<(u64, Arc<str>, Arc<str>)> {
        if group.is_user {
            return Vec::new();
        }
        let hub = self.0.find(&group.channel);
        hub.map(|hub| hub.all_listed_here(&group.name)).unwrap_or_default()
    }
}
