//! Answers of the API to questions: channels, connections, rooms, users.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::audit::Audit;
use super::kept;
use super::problem::{OperatorAnswer, Problem, bad_field};
use super::route::Query;
use wharf_contract::router::decode;
use wharf_contract::text::{cut, escape};
use wharf_hub::connection::ConnectionRecord;
use wharf_hub::connection_id::ConnectionId;
use wharf_hub::hub::RoomFacts;
use wharf_hub::recipients::Group;
use wharf_runtime::channel::Channel;
use wharf_runtime::registry::{Registry, hex};

/// Entries on a page by default, and at most.
pub(super) const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
/// Longest part of a name that a message repeats, in bytes.
const MAX_SHOWN_BYTES: usize = 255;

/// Returns all channels in service, the files that are not served, and the keys that cannot be read.
pub fn channels(registry: &Registry) -> Bytes {
    let channels: Vec<Value> = registry.in_service().iter().map(|c| overview(c)).collect();
    let refused = registry.refusals().into_iter().map(|refusal| {
        json!({
            "name": refusal.name,
            "reason": refusal.reason,
            "serving": refusal.serving,
            "is_tried_again": refusal.is_passing,
        })
    });
    let unusable_keys = registry.unusable_keys().into_iter().map(|keys| {
        json!({
            "tables": keys.tables,
            "place": keys.place,
            "reason": keys.reason,
            "earlier_keys_serve": keys.has_earlier,
        })
    });
    body(json!({
        "channels": channels,
        "refused": refused.collect::<Vec<_>>(),
        "unusable_keys": unusable_keys.collect::<Vec<_>>(),
    }))
}

/// Returns a page of the audit log, the newest record first.
pub(super) async fn acts(audit: &Arc<Audit>, query: Option<&str>) -> OperatorAnswer {
    #[derive(Serialize)]
    struct Page {
        acts: Vec<Box<RawValue>>,
        next: Option<u64>,
    }
    let (before, limit) = page_before(query)?;
    let mut found = audit.list(before.unwrap_or(u64::MAX), limit + 1).await.map_err(|error| {
        let message = format!("the file of the audit log cannot be read: {error}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "data-unavailable", message)
    })?;
    let next = cut_page(&mut found, limit).map(|(id, _)| *id);
    let page = Page { acts: found.into_iter().map(|(_, json)| json).collect(), next };
    let body = serde_json::to_string(&page).unwrap_or_default();
    Ok((StatusCode::OK, body.into()))
}

/// Answers a question about a channel.
pub async fn answer(channel: &Channel, about: &Query, query: Option<&str>) -> OperatorAnswer {
    let found = match about {
        Query::Audit
        | Query::Live
        | Query::Loads
        | Query::Logs
        | Query::Machine
        | Query::Metrics
        | Query::Slow
        | Query::Nodes
        | Query::Plugins
        | Query::Stats
        | Query::Channels
        | Query::Channel => {
            check_no_query(query)?;
            overview(channel)
        }
        Query::Connections => connections(channel, query)?,
        Query::Connection(id) => {
            check_no_query(query)?;
            let client = self::client(channel, id)?;
            connection(&client)
        }
        Query::Rooms => rooms(channel, query)?,
        Query::Room(name) => {
            let name: Arc<str> = Arc::from(&**name);
            let facts = channel.context.hub.room_facts(&name);
            if facts.is_empty() {
                let name = escape(cut(&name, MAX_SHOWN_BYTES));
                let message = format!(
                    "a room {name} has no members, no state, no timers and no waiting events"
                );
                return Err(Problem::not_found("unknown-room", message));
            }
            let (ids, next) = members(channel, Group::Room(&name), query)?;
            let mut shown = room(&name, facts);
            shown.insert("connections".to_owned(), ids.into());
            shown.insert("next".to_owned(), next.into());
            shown.into()
        }
        Query::History(name) => kept::history(channel, name, query).await?,
        Query::RoomState(name) => {
            check_no_query(query)?;
            kept::room_state(channel, name).await?
        }
        Query::Timers(of) => kept::timers(channel, of, query).await?,
        Query::Session(id) => {
            check_no_query(query)?;
            kept::session(channel, id).await?
        }
        Query::Store => kept::store(channel, query).await?,
        Query::StoreKey(key) => {
            check_no_query(query)?;
            kept::value(channel, key).await?
        }
        Query::Presence(name) => presence(channel, name, query)?,
        Query::User(name) => {
            let count = online(channel, name)?;
            let (ids, next) = members(channel, Group::User(name), query)?;
            json!({ "user": name, "online": count, "connections": ids, "next": next })
        }
    };
    Ok((StatusCode::OK, body(found)))
}

/// Returns the connection of an id.
pub fn client(channel: &Channel, id: &str) -> Result<Arc<ConnectionRecord>, Problem> {
    let known = ConnectionId::parse(id);
    known.and_then(|id| channel.context.hub.connection(id)).ok_or_else(|| {
        let id = escape(cut(id, MAX_SHOWN_BYTES));
        let message = format!("{id} is not an open connection of this channel");
        Problem::not_found("unknown-connection", message)
    })
}

/// Returns the number of connections of a user on this host, if there is one.
fn online(channel: &Channel, name: &str) -> Result<usize, Problem> {
    match channel.context.hub.count(Group::User(name)) {
        0 => Err(user_offline(name)),
        count => Ok(count),
    }
}

/// Returns the problem of a user without a connection.
pub(super) fn user_offline(name: &str) -> Problem {
    let name = escape(cut(name, MAX_SHOWN_BYTES));
    Problem::not_found("user-offline", format!("{name} has no connection"))
}

fn overview(channel: &Channel) -> Value {
    let (generation, hub) = (channel.current(), &channel.context.hub);
    json!({
        "name": channel.name(),
        "generation": generation.number,
        "sha256": hex(&generation.sha256),
        "paths": generation.description.paths,
        "connections": hub.connection_count(),
        "rooms": hub.room_count(),
        "kept_rooms": hub.kept_room_count(),
        "history_bytes": hub.history_bytes(),
        "timers": hub.timer_count(),
        "users": hub.user_count(),
    })
}

/// Describes a connection, without its query and its headers, which may contain tokens.
pub(super) fn connection(client: &ConnectionRecord) -> Value {
    let rooms = client.rooms();
    let labels = client.outbound.labels();
    let labels = labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
    json!({
        "id": client.id.to_string(),
        "user": client.user().as_deref(),
        "path": client.request.path,
        "remote_address": client.request.remote.to_string(),
        "rooms": rooms.iter().map(|room| &**room).collect::<Vec<_>>(),
        "labels": labels.collect::<serde_json::Map<_, _>>(),
        "queued_bytes": client.outbound.queued_bytes(),
    })
}

fn connections(channel: &Channel, query: Option<&str>) -> Result<Value, Problem> {
    let (after, limit) = page(query)?;
    let after = after.as_deref().map(after_connection).transpose()?;
    let mut clients = channel.context.hub.connections(after, limit + 1);
    let next = cut_page(&mut clients, limit).map(|client| client.id.to_string());
    let connections: Vec<Value> = clients.iter().map(|client| connection(client)).collect();
    Ok(json!({ "connections": connections, "next": next }))
}

fn rooms(channel: &Channel, query: Option<&str>) -> Result<Value, Problem> {
    let (after, limit) = page(query)?;
    let mut rooms = channel.context.hub.rooms(after.as_deref(), limit + 1);
    let next = cut_page(&mut rooms, limit).map(|name| name.to_string());
    let rooms = rooms.iter().map(|name| (name, channel.context.hub.room_facts(name)));
    // One without anything in it is about to be forgotten.
    let rooms = rooms.filter(|(_, facts)| !facts.is_empty());
    let rooms: Vec<Value> = rooms.map(|(name, facts)| room(name, facts).into()).collect();
    Ok(json!({ "rooms": rooms, "next": next }))
}

/// Describes a room.
fn room(name: &str, facts: RoomFacts) -> Map<String, Value> {
    let RoomFacts { members, state_bytes, waiting_events, timers, history } = facts;
    object([
        ("name", name.into()),
        ("members", members.into()),
        ("state_bytes", state_bytes.into()),
        ("waiting_events", waiting_events.into()),
        ("timers", timers.into()),
        ("history_messages", history.messages.into()),
        ("history_bytes", history.bytes.into()),
    ])
}

/// Returns an object with these fields.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Lists the entries present in a room, which may have been left by now: entries stay for their
/// grace.
fn presence(channel: &Channel, room: &str, query: Option<&str>) -> Result<Value, Problem> {
    let (after, limit) = page(query)?;
    let hub = &channel.context.hub;
    let (sequence, mut entries) = hub.presence_page(room, after.as_deref(), limit + 1, None);
    let next = cut_page(&mut entries, limit).map(|(key, _)| key.to_string());
    let present: Vec<Value> = entries
        .iter()
        .map(|(key, metas)| {
            // The text was checked to be JSON when it was tracked.
            let metas = metas.iter().map(|meta| serde_json::from_str(meta).unwrap_or(Value::Null));
            json!({ "key": **key, "metas": metas.collect::<Vec<_>>() })
        })
        .collect();
    let count = hub.presence_count(room, None);
    Ok(
        json!({ "room": room, "sequence": sequence, "count": count, "present": present, "next": next }),
    )
}

/// Returns a page of the ids of a room's members or a user's connections, and the start of the
/// next.
fn members(
    channel: &Channel,
    group: Group<'_>,
    query: Option<&str>,
) -> Result<(Vec<String>, Option<String>), Problem> {
    let (after, limit) = page(query)?;
    let after = after.as_deref().map(after_connection).transpose()?;
    let mut ids = channel.context.hub.members(group, after, limit + 1);
    let next = cut_page(&mut ids, limit).map(ConnectionId::to_string);
    Ok((ids.iter().map(ConnectionId::to_string).collect(), next))
}

/// Cuts a list that is one too long. Returns the last entry that stays if there are more.
pub(super) fn cut_page<T>(list: &mut Vec<T>, limit: usize) -> Option<&T> {
    let has_more = list.len() > limit;
    list.truncate(limit);
    list.last().filter(|_| has_more)
}

/// Reads the start of a page: the id of a connection of this node, whose connections are listed.
fn after_connection(id: &str) -> Result<ConnectionId, Problem> {
    let id = ConnectionId::parse(id).filter(|id| id.local_number().is_some());
    id.ok_or_else(|| bad_field("after", "`after` must be a connection's id"))
}

/// Returns the page that the query asks for: the name that it begins after, and its length.
pub(super) fn page(query: Option<&str>) -> Result<(Option<String>, usize), Problem> {
    let Parameters { after, limit, .. } = parameters(query, &["after", "limit"])?;
    Ok((after, limit.unwrap_or(PAGE)))
}

/// Returns the length of the list that the query asks for, which has no further pages.
pub(super) fn length(query: Option<&str>) -> Result<usize, Problem> {
    Ok(parameters(query, &["limit"])?.limit.unwrap_or(PAGE))
}

/// Returns the page that the query asks for, with the beginning of its names before it.
pub(super) fn prefixed_page(
    query: Option<&str>,
) -> Result<(String, Option<String>, usize), Problem> {
    let known = ["prefix", "after", "limit"];
    let Parameters { prefix, after, limit, .. } = parameters(query, &known)?;
    Ok((prefix.unwrap_or_default(), after, limit.unwrap_or(PAGE)))
}

/// Returns the page of numbered things that the query asks for: the number that it ends before, and its length.
pub(super) fn page_before(query: Option<&str>) -> Result<(Option<u64>, usize), Problem> {
    let Parameters { before, limit, .. } = parameters(query, &["before", "limit"])?;
    let before = before
        .map(|text| text.parse().map_err(|_| bad_field("before", "`before` must be a number")));
    Ok((before.transpose()?, limit.unwrap_or(PAGE)))
}

#[derive(Default)]
struct Parameters {
    prefix: Option<String>,
    after: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

/// Reads the parameters of a list, which has those of these names.
fn parameters(query: Option<&str>, known: &[&str]) -> Result<Parameters, Problem> {
    let mut found = Parameters::default();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = || {
            let value = value.replace('+', " ");
            decode(&value).map(|value| value.into_owned())
        };
        let wrong = |what: &str| bad_field(name, format!("`{name}` must be {what}"));
        let is_news = match name {
            _ if !known.contains(&name) => return Err(unknown_parameter(name)),
            "after" | "before" | "prefix" => {
                let value = decoded().ok_or_else(|| wrong("percent-encoded UTF-8"))?;
                let field = match name {
                    "after" => &mut found.after,
                    "before" => &mut found.before,
                    _ => &mut found.prefix,
                };
                field.replace(value).is_none()
            }
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=MAX_PAGE).contains(number));
                found.limit.replace(number.ok_or_else(|| wrong("1 to 1000"))?).is_none()
            }
            _ => return Err(unknown_parameter(name)),
        };
        if !is_news {
            return Err(wrong("there once"));
        }
    }
    Ok(found)
}

/// Returns true if a command's query asks to wait for the outcome.
pub(super) fn wait(query: Option<&str>) -> Result<bool, Problem> {
    match query.unwrap_or_default() {
        "" | "wait=false" => Ok(false),
        "wait=true" => Ok(true),
        query if query.starts_with("wait=") => {
            Err(bad_field("wait", "`wait` must be there once, and `true` or `false`"))
        }
        query => Err(unknown_parameter(query.split(['=', '&']).next().unwrap_or_default())),
    }
}

/// Checks that there is no query, for resources that have no parameters.
pub(crate) fn check_no_query(query: Option<&str>) -> Result<(), Problem> {
    match query.filter(|query| !query.is_empty()) {
        None => Ok(()),
        Some(query) => Err(unknown_parameter(query.split(['=', '&']).next().unwrap_or_default())),
    }
}

/// Returns the problem of a parameter that is not known.
pub(super) fn unknown_parameter(name: &str) -> Problem {
    let name = escape(cut(name, 64));
    bad_field(&name, format!("there is no parameter `{name}` here"))
}

fn body(value: Value) -> Bytes {
    value.to_string().into()
}
