//! Parts of answers, one of each host, as one answer.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use wharf_hub::connection_id::ConnectionId;

use super::route::Query;

/// The part of a host.
#[derive(Debug)]
pub(super) struct Part {
    /// Its answer.
    pub(super) body: Map<String, Value>,
    /// True if connections of it may be on the page that is asked for.
    pub(super) is_listed: bool,
}

/// A kind of answer that consists of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All channels.
    Channels,
    /// One channel.
    Channel,
    /// Its connections.
    Connections,
    /// Its rooms.
    Rooms,
    /// One room, with its members.
    Room,
    /// The presence list of a room. Each host with members has all of it.
    Presence,
    /// A user, with the user's connections.
    User,
}

/// Numbers of a channel, of a room and of a user that are added up.
const OF_CHANNEL: [&str; 6] =
    ["connections", "rooms", "kept_rooms", "history_bytes", "timers", "users"];
const OF_ROOM: [&str; 3] = ["members", "waiting_events", "timers"];
const OF_USER: [&str; 1] = ["online"];

/// Numbers of a room of which the largest counts: hosts keep the same messages.
const LARGEST_OF_ROOM: [&str; 2] = ["history_messages", "history_bytes"];

impl Kind {
    /// Returns the kind of an answer; `None` for one that is the same from each host, or only this host's.
    pub(super) fn of(about: &Query) -> Option<Kind> {
        match about {
            Query::Channels => Some(Kind::Channels),
            Query::Channel => Some(Kind::Channel),
            Query::Connections => Some(Kind::Connections),
            Query::Rooms => Some(Kind::Rooms),
            Query::Room(_) => Some(Kind::Room),
            Query::Presence(_) => Some(Kind::Presence),
            Query::User(_) => Some(Kind::User),
            Query::Audit
            | Query::Live
            | Query::Loads
            | Query::Logs
            | Query::Machine
            | Query::Metrics
            | Query::Slow
            | Query::Stats
            | Query::Nodes
            | Query::Plugins
            | Query::Connection(_)
            | Query::RoomState(_)
            | Query::History(_)
            | Query::Timers(_)
            | Query::Session(_)
            | Query::Store
            | Query::StoreKey(_) => None,
        }
    }

    /// Returns true if it comes in pages.
    pub(super) fn has_pages(self) -> bool {
        !matches!(self, Kind::Channels | Kind::Channel)
    }

    /// Returns true if its pages are of connections, which are in the order of hosts.
    pub(super) fn lists_connections(self) -> bool {
        matches!(self, Kind::Connections | Kind::Room | Kind::User)
    }
}

/// Puts parts together, this host's first; `None` if there are none.
pub(super) fn merged(kind: Kind, parts: Vec<Part>, limit: usize) -> Option<Map<String, Value>> {
    if kind == Kind::Presence {
        let count = |part: &Part| part.body.get("count").and_then(Value::as_u64);
        // The first one of several with as many.
        let fullest = parts.into_iter().rev().max_by_key(count);
        return fullest.map(|part| part.body);
    }
    let mut pages = Vec::new();
    let mut all: Option<Map<String, Value>> = None;
    for Part { mut body, is_listed } in parts {
        let next = body.remove("next");
        let list = list_of(kind).and_then(|name| body.remove(name));
        if let Some(Value::Array(entries)) = list
            && is_listed
        {
            let next = next.and_then(|next| next.as_str().map(str::to_owned));
            pages.push((entries, next));
        }
        match &mut all {
            None => all = Some(body),
            Some(all) => add(kind, all, &body),
        }
    }
    let mut all = all?;
    match kind {
        Kind::Channels => {
            let channels = pages.into_iter().flat_map(|(entries, _)| entries);
            let channels = by_name(channels, |all, part| add(Kind::Channel, all, part));
            all.insert("channels".to_owned(), channels.into());
        }
        Kind::Rooms => {
            let bound = first(pages.iter().filter_map(|(_, next)| next.clone()), |name| {
                Some(name.to_owned())
            });
            let rooms = pages.into_iter().flat_map(|(entries, _)| entries);
            let rooms = by_name(rooms, |all, part| add(Kind::Room, all, part));
            page(&mut all, "rooms", rooms, bound, limit, name_of);
        }
        Kind::Connections | Kind::Room | Kind::User => {
            let bound =
                first(pages.iter().filter_map(|(_, next)| next.clone()), ConnectionId::parse);
            let mut ids: Vec<Value> = pages.into_iter().flat_map(|(entries, _)| entries).collect();
            ids.sort_by_key(connection_of);
            page(&mut all, "connections", ids, bound, limit, connection_of);
        }
        Kind::Channel | Kind::Presence => {}
    }
    Some(all)
}

/// Returns the field with the list of a kind of answer.
fn list_of(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Channels => Some("channels"),
        Kind::Rooms => Some("rooms"),
        Kind::Connections | Kind::Room | Kind::User => Some("connections"),
        Kind::Channel | Kind::Presence => None,
    }
}

/// Adds the numbers of a part.
fn add(kind: Kind, all: &mut Map<String, Value>, part: &Map<String, Value>) {
    let (sums, largest): (&[&str], &[&str]) = match kind {
        Kind::Channel => (&OF_CHANNEL, &[]),
        Kind::Room => (&OF_ROOM, &LARGEST_OF_ROOM),
        Kind::User => (&OF_USER, &[]),
        Kind::Channels | Kind::Connections | Kind::Rooms | Kind::Presence => (&[], &[]),
    };
    let number = |of: &Map<String, Value>, name: &str| of.get(name).and_then(Value::as_u64);
    for name in sums {
        if let (Some(one), Some(other)) = (number(all, name), number(part, name)) {
            all.insert((*name).to_owned(), one.saturating_add(other).into());
        }
    }
    for name in largest {
        if let (Some(one), Some(other)) = (number(all, name), number(part, name)) {
            all.insert((*name).to_owned(), one.max(other).into());
        }
    }
    if kind == Kind::Room
        && all.get("state_bytes").is_none_or(Value::is_null)
        && let Some(bytes) = part.get("state_bytes")
    {
        all.insert("state_bytes".to_owned(), bytes.clone());
    }
}

/// Puts the entries of one name together, in the order of names.
fn by_name(
    entries: impl Iterator<Item = Value>,
    add: impl Fn(&mut Map<String, Value>, &Map<String, Value>),
) -> Vec<Value> {
    let mut all: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for entry in entries {
        let (Some(name), Value::Object(entry)) = (name_of(&entry), entry) else { continue };
        match all.get_mut(&name) {
            Some(known) => add(known, &entry),
            None => drop(all.insert(name, entry)),
        }
    }
    all.into_values().map(Value::Object).collect()
}

/// Returns the earliest end of the pages that do not have all.
fn first<K: Ord>(
    ends: impl Iterator<Item = String>,
    key: impl Fn(&str) -> Option<K>,
) -> Option<(K, String)> {
    ends.filter_map(|end| Some((key(&end)?, end))).min_by(|(one, _), (other, _)| one.cmp(other))
}

/// Adds a page of entries, which are in order. What is behind the end of a host's page waits for the next one.
fn page<K: Ord>(
    all: &mut Map<String, Value>,
    name: &str,
    mut entries: Vec<Value>,
    bound: Option<(K, String)>,
    limit: usize,
    key: impl Fn(&Value) -> Option<K>,
) {
    if let Some((bound, _)) = &bound {
        entries.retain(|entry| key(entry).is_some_and(|key| key <= *bound));
    }
    let next = match entries.len() > limit {
        true => {
            entries.truncate(limit);
            entries.last().and_then(text_of).map(str::to_owned)
        }
        false => bound.map(|(_, end)| end),
    };
    all.insert(name.to_owned(), entries.into());
    all.insert("next".to_owned(), next.into());
}

/// Returns the id of a connection, which is the entry or a field of it.
fn connection_of(entry: &Value) -> Option<ConnectionId> {
    ConnectionId::parse(text_of(entry)?)
}

fn name_of(entry: &Value) -> Option<String> {
    text_of(entry).map(str::to_owned)
}

fn text_of(entry: &Value) -> Option<&str> {
    let field = |name: &str| entry.get(name).and_then(Value::as_str);
    entry.as_str().or_else(|| field("id")).or_else(|| field("name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn part(body: Value) -> Part {
        let Value::Object(body) = body else { panic!("{body} is no object") };
        Part { body, is_listed: true }
    }

    fn merged_json(kind: Kind, parts: Vec<Value>, limit: usize) -> Value {
        let parts = parts.into_iter().map(part).collect();
        merged(kind, parts, limit).map_or(Value::Null, Value::Object)
    }

    #[test]
    fn counts_of_channels_are_added_and_one_that_only_another_host_has_is_there() {
        let channel = |name: &str, connections: u64| json!({ "name": name, "generation": 2, "connections": connections, "timers": 1 });
        let one = json!({ "channels": [channel("chat", 3)], "refused": ["mine"] });
        let two = json!({ "channels": [channel("chat", 4), channel("echo", 1)], "refused": [] });
        let expected = json!({
            "channels": [
                { "name": "chat", "generation": 2, "connections": 7, "timers": 2 }, channel("echo", 1)
            ],
            "refused": ["mine"]
        });
        assert_eq!(merged_json(Kind::Channels, vec![one, two], 100), expected);
    }

    #[test]
    fn a_room_has_the_members_of_all_hosts_and_the_state_of_the_one_that_has_it() {
        let room = |members: u64, state: Value, ids: &[&str]| {
            json!({
                "name": "lobby", "members": members, "state_bytes": state, "waiting_events": 0,
                "history_messages": members, "connections": ids, "next": null
            })
        };
        let one = room(1, Value::Null, &["000000000002-1"]);
        let two = room(2, json!(5), &["000000000001-a", "000000000001-1f"]);
        let mut expected =
            room(3, json!(5), &["000000000001-a", "000000000001-1f", "000000000002-1"]);
        expected["history_messages"] = json!(2);
        assert_eq!(merged_json(Kind::Room, vec![one, two], 100), expected);
    }

    #[test]
    fn a_host_whose_connections_come_before_the_page_adds_its_count_only() {
        let user =
            |id: &str| json!({ "user": "ann", "online": 1, "connections": [id], "next": null });
        let mut parts = vec![part(user("000000000002-1")), part(user("000000000001-1"))];
        parts[1].is_listed = false;
        let merged = merged(Kind::User, parts, 100).map(Value::Object).expect("parts");
        assert_eq!(
            (&merged["online"], &merged["connections"]),
            (&json!(2), &json!(["000000000002-1"]))
        );
    }

    #[test]
    fn the_fullest_presence_list_is_the_answer() {
        let list = |count: u64, by: &str| json!({ "count": count, "by": by, "next": "a" });
        let parts = vec![list(0, "one"), list(2, "two"), list(2, "three")];
        assert_eq!(merged_json(Kind::Presence, parts, 100), list(2, "two"));
        assert_eq!(merged_json(Kind::Presence, Vec::new(), 100), Value::Null);
    }

    proptest! {
        #[test]
        fn pages_of_several_hosts_have_each_room_once_and_in_order(
            hosts in prop::collection::vec(prop::collection::btree_set("[a-f]{1,2}", 0..20), 1..4),
            limit in 1_usize..6,
        ) {
            let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
            for room in hosts.iter().flatten() {
                *expected.entry(room.as_str()).or_default() += 1;
            }
            let (mut found, mut after) = (Vec::new(), String::new());
            loop {
                let parts = hosts.iter().map(|rooms| {
                    let mut rest = rooms.iter().filter(|room| **room > after);
                    let page: Vec<Value> = rest
                        .by_ref()
                        .take(limit)
                        .map(|room| json!({ "name": room, "members": 1 }))
                        .collect();
                    let last = page.last().map(|room| room["name"].clone());
                    let next = rest.next().and(last);
                    json!({ "rooms": page, "next": next })
                });
                let answer = merged_json(Kind::Rooms, parts.collect(), limit);
                let rooms = answer["rooms"].as_array().expect("a list").clone();
                prop_assert!(rooms.len() <= limit);
                found.extend(rooms);
                match answer["next"].as_str() {
                    Some(next) => {
                        prop_assert!(next > after.as_str(), "it goes on");
                        after = next.to_owned();
                    }
                    None => break,
                }
            }
            let expected: Vec<Value> = expected
                .into_iter()
                .map(|(name, members)| json!({ "name": name, "members": members }))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
