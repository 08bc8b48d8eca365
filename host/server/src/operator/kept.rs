//! Answers of the API to questions about what a channel keeps: states of rooms, timers, sessions and the
//! store.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::problem::{Problem, data_unavailable};
use super::queries::{client, cut_page, object, page, page_before, prefixed_page};
use super::route::TimersOf;
use super::shown::{add_saved, add_written};
use wharf_contract::CallRefusal;
use wharf_contract::text::{cut, escape};
use wharf_hub::inbox::Scope;
use wharf_hub::store::ListedEntry;
use wharf_hub::timer::TimerFacts;
use wharf_runtime::channel::Channel;

/// Longest part of a name that a message repeats, in bytes.
const MAX_SHOWN_BYTES: usize = 512;

/// Returns a room's state.
pub(super) async fn room_state(channel: &Channel, room: &str) -> Result<Value, Problem> {
    let state = channel.context.hub.room_state_everywhere(room).await;
    let Some(state) = state.map_err(|why| data_unavailable(&why))? else {
        let room = escape(cut(room, MAX_SHOWN_BYTES));
        let message = format!("a room {room} has no state; its next event begins without one");
        return Err(Problem::not_found("no-state", message));
    };
    let mut shown = object([("room", room.into()), ("bytes", state.len().into())]);
    add_saved(&mut shown, &state, &channel.context.own.secrets);
    Ok(shown.into())
}

/// Returns a page of the messages that a room keeps: the last ones before an offset.
pub(super) async fn history(
    channel: &Channel,
    room: &str,
    query: Option<&str>,
) -> Result<Value, Problem> {
    let (before, limit) = page_before(query)?;
    let page = channel.context.hub.history_everywhere(room, before, limit).await;
    let page =
        page.map_err(|why| Problem::store(&CallRefusal::DataUnavailable { why: why.to_string() }))?;
    let messages = page.messages.iter().map(|message| {
        let mut shown = object([
            ("offset", message.offset.into()),
            ("sent_at_ms", message.at_ms.into()),
            ("is_text", message.is_text.into()),
        ]);
        add_written(&mut shown, &message.data, &channel.context.own.secrets);
        Value::from(shown)
    });
    let messages: Vec<Value> = messages.collect();
    Ok(json!({ "room": room, "epoch": page.epoch, "top": page.top, "messages": messages }))
}

/// Returns a page of the timers of a room, of a connection, or of the channel itself.
pub(super) async fn timers(
    channel: &Channel,
    of: &TimersOf,
    query: Option<&str>,
) -> Result<Value, Problem> {
    let (after, limit) = page(query)?;
    let scope = match of {
        TimersOf::Channel => Scope::Channel,
        TimersOf::Connection(id) => Scope::Connection(client(channel, id)?.id),
        TimersOf::Room(name) => Scope::Room(Arc::from(&**name)),
    };
    let timers = channel.context.hub.timers_everywhere(&scope, after.as_deref(), limit + 1).await;
    let mut timers = timers.map_err(|why| data_unavailable(&why))?;
    let next = cut_page(&mut timers, limit).map(|timer| timer.name.to_string());
    let timers: Vec<Value> = timers.iter().map(|timer| shown_timer(channel, timer)).collect();
    Ok(json!({ "timers": timers, "next": next }))
}

fn shown_timer(channel: &Channel, timer: &TimerFacts) -> Value {
    let mut shown = object([
        ("name", (*timer.name).into()),
        ("due_in_ms", milliseconds(timer.due_in)),
        ("repeat_ms", timer.interval.map_or(Value::Null, milliseconds)),
        ("is_waiting", timer.is_waiting.into()),
    ]);
    add_written(&mut shown, &timer.payload, &channel.context.own.secrets);
    shown.into()
}

/// Returns the session of a connection, as its last event has left it.
pub(super) async fn session(channel: &Channel, id: &str) -> Result<Value, Problem> {
    let client = client(channel, id)?;
    let ended = || {
        let message = format!("{} has just ended", client.id);
        Problem::not_found("unknown-connection", message)
    };
    let answered = channel.context.hub.session(client.id).ok_or_else(ended)?;
    let limit = super::patience(&channel.context.config);
    let session = match tokio::time::timeout(limit, answered).await {
        Ok(answered) => answered.map_err(|_| ended())?,
        Err(_) => {
            let what = "the connection's handler is still running, or its client reads nothing";
            return Err(Problem::late("session-busy", what, limit));
        }
    };
    let mut shown =
        object([("connection", client.id.to_string().into()), ("bytes", session.len().into())]);
    add_saved(&mut shown, &session, &channel.context.own.secrets);
    Ok(shown.into())
}

/// Returns a page of the store's keys, without their values.
pub(super) async fn store(channel: &Channel, query: Option<&str>) -> Result<Value, Problem> {
    let (prefix, after, limit) = prefixed_page(query)?;
    let store = &channel.context.store;
    let listed = store.entries(&prefix, after.as_deref(), limit + 1).await;
    let mut entries = listed.map_err(|refusal| Problem::store(&refusal))?;
    let next = cut_page(&mut entries, limit).map(|entry| entry.key.clone());
    let entries: Vec<Value> = entries.iter().map(|entry| shown_entry(entry).into()).collect();
    Ok(json!({ "bytes": store.stored_bytes(), "entries": entries, "next": next }))
}

/// Returns the value of one of the store's keys.
pub(super) async fn value(channel: &Channel, key: &str) -> Result<Value, Problem> {
    // A key comes before all others that begin with it.
    let listed = channel.context.store.entries(key, None, 1).await;
    let entries = listed.map_err(|refusal| Problem::store(&refusal))?;
    let Some(entry) = entries.first().filter(|entry| entry.key == key) else {
        let key = escape(cut(key, MAX_SHOWN_BYTES));
        return Err(Problem::not_found("unknown-key", format!("the key {key} has no value")));
    };
    let mut shown = shown_entry(entry);
    add_written(&mut shown, &entry.value, &channel.context.own.secrets);
    Ok(shown.into())
}

fn shown_entry(entry: &ListedEntry) -> Map<String, Value> {
    object([
        ("key", entry.key.as_str().into()),
        ("bytes", entry.value.len().into()),
        ("version", entry.version.into()),
        ("expires_in_ms", entry.expires_in.map_or(Value::Null, milliseconds)),
    ])
}

fn milliseconds(time: Duration) -> Value {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}
