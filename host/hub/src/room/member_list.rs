//! A room's members by their numbers, in ascending order.
//!
//! Most rooms are small and many. Up to [`FEW`] members are in a vector of about their size; a node
//! of a tree would take as much for one member as for eleven. More are in a tree, so that joining
//! or leaving does not move thousands of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reservations::Reservations;
use crate::outbound::Outbound;

/// The most members that are kept in a vector.
const FEW: usize = 32;

/// The members of a room.
#[derive(Debug)]
pub(super) enum MemberList {
    /// Members in a vector, in ascending order of the numbers.
    Few(Vec<(u64, Arc<Outbound>)>),
    /// Members in a tree; boxed, so that a list is no larger than a vector.
    #[expect(
        clippy::box_collection,
        reason = "the tag fits into a vector, beside a tree it does not"
    )]
    Many(Box<BTreeMap<u64, Arc<Outbound>>>),
    /// Members of a room in which places are reserved, which few rooms are at a time.
    WithPlaces(Box<(MemberList, Reservations)>),
}

impl Default for MemberList {
    fn default() -> MemberList {
        MemberList::Few(Vec::new())
    }
}

impl MemberList {
    /// Returns the number of members.
    pub(super) fn len(&self) -> usize {
        match self {
            MemberList::Few(members) => members.len(),
            MemberList::Many(members) => members.len(),
            MemberList::WithPlaces(inner) => inner.0.len(),
        }
    }

    /// Adds a member, or replaces its outbound.
    pub(super) fn insert(&mut self, number: u64, outbound: Arc<Outbound>) {
        match self {
            MemberList::Few(members) => match find(members, number) {
                Ok(at) => {
                    if let Some((_, known)) = members.get_mut(at) {
                        *known = outbound;
                    }
                }
                Err(_) if members.len() == FEW => {
                    let mut many: BTreeMap<_, _> = std::mem::take(members).into_iter().collect();
                    many.insert(number, outbound);
                    *self = MemberList::Many(Box::new(many));
                }
                Err(at) => {
                    if members.len() == members.capacity() {
                        // The capacity doubles, but starts at one: a vector by itself begins with
                        // four.
                        members.reserve_exact(members.len().max(1));
                    }
                    members.insert(at, (number, outbound));
                }
            },
            MemberList::Many(members) => {
                members.insert(number, outbound);
            }
            MemberList::WithPlaces(inner) => inner.0.insert(number, outbound),
        }
    }

    /// Removes a member, if it is one.
    pub(super) fn remove(&mut self, number: u64) {
        match self {
            MemberList::Few(members) => {
                if let Ok(at) = find(members, number) {
                    members.remove(at);
                    if members.len() * 4 <= members.capacity() {
                        members.shrink_to(members.len() * 2);
                    }
                }
            }
            MemberList::Many(members) => {
                members.remove(&number);
                // The threshold is half of the one above, so that a member who comes and goes does
                // not rebuild the tree every time.
                if members.len() <= FEW / 2 {
                    *self = MemberList::Few(std::mem::take(&mut **members).into_iter().collect());
                }
            }
            MemberList::WithPlaces(inner) => inner.0.remove(number),
        }
    }

    /// Returns a member's outbound.
    pub(super) fn get(&self, number: u64) -> Option<&Arc<Outbound>> {
        match self {
            MemberList::Few(members) => {
                let (_, outbound) = members.get(find(members, number).ok()?)?;
                Some(outbound)
            }
            MemberList::Many(members) => members.get(&number),
            MemberList::WithPlaces(inner) => inner.0.get(number),
        }
    }

    /// Returns the members in ascending order, from `start` on.
    pub(super) fn range(&self, start: u64) -> Range<'_> {
        match self {
            MemberList::Few(members) => {
                let (Ok(from) | Err(from)) = find(members, start);
                Range::Few(members.get(from..).unwrap_or_default().iter())
            }
            MemberList::Many(members) => Range::Many(members.range(start..)),
            MemberList::WithPlaces(inner) => inner.0.range(start),
        }
    }

    /// Calls a function with every member, in ascending order.
    pub(super) fn for_each<'a>(&'a self, mut act: impl FnMut(u64, &'a Arc<Outbound>)) {
        match self {
            MemberList::Few(members) => {
                members.iter().for_each(|(number, outbound)| act(*number, outbound))
            }
            MemberList::Many(members) => {
                members.iter().for_each(|(number, outbound)| act(*number, outbound))
            }
            MemberList::WithPlaces(inner) => inner.0.for_each(act),
        }
    }

    /// Reserves a place for a connection, if fewer than `limit` others are members or have one. A
    /// connection may have several places, and counts once.
    pub(super) fn reserve(&mut self, number: u64, limit: usize) -> bool {
        let others = match &*self {
            MemberList::WithPlaces(inner) => inner.1.others(&inner.0, number),
            list => Reservations::default().others(list, number),
        };
        let has_place = others < limit;
        if has_place {
            self.change_places(|places| places.add(number));
        }
        has_place
    }

    /// Ends one of a connection's reservations.
    pub(super) fn release(&mut self, number: u64) {
        self.change_places(|places| places.remove(number));
    }

    /// Returns true if places are reserved.
    pub(super) fn has_places(&self) -> bool {
        matches!(self, MemberList::WithPlaces(_))
    }

    fn change_places(&mut self, change: impl FnOnce(&mut Reservations)) {
        let mut inner = match std::mem::take(self) {
            MemberList::WithPlaces(inner) => inner,
            list => Box::new((list, Reservations::default())),
        };
        change(&mut inner.1);
        *self = if inner.1.is_empty() { inner.0 } else { MemberList::WithPlaces(inner) };
    }
}

/// Members in ascending order.
pub(super) enum Range<'a> {
    Few(std::slice::Iter<'a, (u64, Arc<Outbound>)>),
    Many(std::collections::btree_map::Range<'a, u64, Arc<Outbound>>),
}

impl<'a> Iterator for Range<'a> {
    type Item = (u64, &'a Arc<Outbound>);

    fn next(&mut self) -> Option<(u64, &'a Arc<Outbound>)> {
        match self {
            Range::Few(members) => members.next().map(|(number, outbound)| (*number, outbound)),
            Range::Many(members) => members.next().map(|(number, outbound)| (*number, outbound)),
        }
    }
}

/// Returns the place of a number, or the place where it belongs.
fn find(members: &[(u64, Arc<Outbound>)], number: u64) -> Result<usize, usize> {
    // A new member is mostly newer than all others.
    match members.last() {
        Some((last, _)) if *last < number => Err(members.len()),
        _ => members.binary_search_by_key(&number, |(number, _)| *number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_is_an_ordered_map_however_many_are_in_it(
            steps in proptest::collection::vec((0..4u8, 0..80u64), 0..400),
            start in 0..90u64,
            limit in 0..90usize,
        ) {
            let mut list = MemberList::default();
            let mut model: BTreeMap<u64, Arc<Outbound>> = BTreeMap::new();
            let mut largest = 0;
            for (index, (kind, number)) in steps.into_iter().enumerate() {
                // More come in the first half, and more go in the second, so that it grows and
                // shrinks.
                if (kind == 0) == (index < 200) {
                    list.remove(number);
                    model.remove(&number);
                } else {
                    let outbound = Outbound::new(10, Default::default());
                    list.insert(number, outbound.clone());
                    model.insert(number, outbound);
                }
                largest = largest.max(model.len());
                prop_assert_eq!(list.len(), model.len());
                prop_assert!(matches!(list, MemberList::Few(_)) || largest > FEW);
            }
            let mut all = Vec::new();
            list.for_each(|number, outbound| all.push((number, Arc::as_ptr(outbound))));
            let expected: Vec<_> =
                model.iter().map(|(number, outbound)| (*number, Arc::as_ptr(outbound))).collect();
            prop_assert_eq!(all, expected);
            let page: Vec<u64> = model.range(start..).take(limit).map(|(n, _)| *n).collect();
            let range = list.range(start).take(limit).map(|(number, _)| number);
            prop_assert_eq!(range.collect::<Vec<_>>(), page);
            for number in 0..80 {
                let found = list.get(number).map(Arc::as_ptr);
                prop_assert_eq!(found, model.get(&number).map(Arc::as_ptr));
            }
        }
    }

    #[test]
    fn a_room_that_was_large_becomes_small_again() {
        let mut list = MemberList::default();
        for number in 0..1000 {
            list.insert(number, Outbound::new(10, Default::default()));
        }
        assert!(matches!(list, MemberList::Many(_)));
        for number in 2..1000 {
            list.remove(number);
        }
        let MemberList::Few(members) = &list else { panic!("two are few") };
        assert!(members.len() == 2 && members.capacity() <= 8, "{}", members.capacity());
    }
}
