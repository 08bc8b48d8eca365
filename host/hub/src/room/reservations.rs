//! The connections for which events have reserved places in a room.

use std::collections::BTreeMap;

use super::member_list::MemberList;

/// Connections with reserved places and the number of each one's, by the number of the connection.
#[derive(Debug, Default)]
pub(super) struct Reservations(BTreeMap<u64, u32>);

impl Reservations {
    /// Reserves a place for a connection; it may have several, and counts once.
    pub(super) fn add(&mut self, number: u64) {
        *self.0.entry(number).or_default() += 1;
    }

    /// Ends one of a connection's reservations.
    pub(super) fn remove(&mut self, number: u64) {
        if let Some(places) = self.0.get_mut(&number) {
            *places -= 1;
            if *places == 0 {
                self.0.remove(&number);
            }
        }
    }

    /// Returns true if no place is reserved.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of connections other than `own` that are members or have a place.
    pub(super) fn others(&self, members: &MemberList, own: u64) -> usize {
        let inside = members.len() - usize::from(members.get(own).is_some());
        // No more than events run at a time.
        let coming =
            self.0.keys().filter(|number| **number != own && members.get(**number).is_none());
        inside + coming.count()
    }
}
