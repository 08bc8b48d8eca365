//! Commands of the operator: messages, closes, posted events, and questions to a channel's code.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::fields::{Fields, check_json};

use super::problem::{OperatorAnswer, Problem, bad, bad_field, data_unavailable, refused};
use super::queries::{client, user_offline};
use super::route::{Command, To};
use wharf_config::Config;
use wharf_contract::CallRefusal;
use wharf_contract::audience::{MAX_CONDITIONS, MAX_NAMES};
use wharf_contract::close::{Close, MAX_REASON_BYTES, is_channel_code};
use wharf_contract::fault::Fault;
use wharf_contract::names::{check_room, check_user};
use wharf_contract::outside_messages::{OutsideProblem, is_refusal_status};
use wharf_hub::connection_id::ConnectionId;
use wharf_hub::hub::{Hub, Posting};
use wharf_hub::inbox::{NoPlace, Outcome, Place};
use wharf_hub::outbound::PendingWrites;
use wharf_hub::peers::NoticeFor;
use wharf_hub::recipients::{Audience, Group, Recipients};
use wharf_runtime::channel::Channel;
use wharf_runtime::guest_call::CallError;
use wharf_runtime::instance::OutsideRefusal;
use wharf_runtime::outside_messages;

/// Hops of an event that is posted from outside, which is the first of a chain.
const HOPS: u8 = 1;

/// Connections that are closed before other tasks get their turn.
const CLOSES_PER_TURN: usize = 100;

/// Begins a command. `is_awaited` if an event's outcome is wanted. From now on the host waits for it when it
/// stops.
pub fn begin(
    channel: Arc<Channel>,
    command: Command,
    body: Bytes,
    is_awaited: bool,
) -> impl Future<Output = OperatorAnswer> + Send + 'static {
    let work = channel.context.working.begin();
    async move {
        let _work = work;
        let (mut writes, context) = (PendingWrites::default(), channel.context.clone());
        let answer = run(channel, command, body, is_awaited, &mut writes).await;
        context.hub.note_sent(&mut writes);
        writes.write().await;
        answer
    }
}

/// Runs a command to its end, even if the client no longer waits for the answer.
pub async fn to_its_end(
    command: impl Future<Output = OperatorAnswer> + Send + 'static,
) -> OperatorAnswer {
    tokio::spawn(command).await.unwrap_or_else(|_| {
        tracing::error!("the host panicked while serving the operator; please report it");
        Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "host-failed",
            "the host failed; its log says how".to_owned(),
        ))
    })
}

async fn run(
    channel: Arc<Channel>,
    command: Command,
    body: Bytes,
    is_awaited: bool,
    writes: &mut PendingWrites,
) -> OperatorAnswer {
    let (config, hub) = (&*channel.context.config, &*channel.context.hub);
    match command {
        Command::Messages => {
            check_json(&body)?;
            ask(channel, body).await
        }
        Command::Broadcast => {
            let mut fields = Fields::read(&body)?;
            let frame = fields.message(config)?;
            let (to, except) = audience(&mut fields)?.simplest();
            fields.end()?;
            let sent = hub.broadcast_kept(to, frame, except, writes).await;
            let receivers = sent.map_err(|why| {
                Problem::store(&CallRefusal::DataUnavailable { why: why.to_string() })
            })?;
            done(StatusCode::OK, "receivers", receivers)
        }
        Command::Send(to) => {
            let mut fields = Fields::read(&body)?;
            let frame = fields.message(config)?;
            fields.end()?;
            let receivers = match &to {
                To::Connection(id) => {
                    let id = client(&channel, id)?.id;
                    usize::from(hub.send_to(id, &frame, writes))
                }
                To::User(name) => {
                    online(&channel, name).await?;
                    let others = hub.count_of_others(Group::User(name));
                    let to = Recipients::User(Arc::from(&**name));
                    hub.deliver(None, &to, &frame, None, writes).await + others
                }
            };
            done(StatusCode::OK, "receivers", receivers)
        }
        Command::Disconnect(to) => {
            let mut fields = Fields::read(&body)?;
            let close = close(&mut fields)?;
            fields.end()?;
            let disconnected = match &to {
                To::Connection(id) => {
                    hub.disconnect(client(&channel, id)?.id, &close);
                    1
                }
                To::User(name) => {
                    online(&channel, name).await?;
                    let others = hub.count_of_others(Group::User(name));
                    hub.disconnect_user(name, &close).await + others
                }
            };
            done(StatusCode::OK, "disconnected", disconnected)
        }
        Command::DisconnectAll => {
            let mut fields = Fields::read(&body)?;
            let close = close(&mut fields)?;
            let everyone = fields.take("all", "`true`")?.unwrap_or(false);
            fields.end()?;
            // A path in which a browser or a proxy has folded `users/..` away must not mean everybody.
            if !everyone {
                let message = "say that all connections of the channel are meant: `\"all\": true`";
                return Err(bad("audience-empty", message));
            }
            done(StatusCode::OK, "disconnected", disconnect_all(hub, &close).await)
        }
        Command::Notify(to) => {
            let payload = event(&body, config)?;
            check_handled(&channel, "on_notify")?;
            let limits = channel.context.inbox_limits();
            let mut others = 0;
            let posting = match &to {
                To::Connection(id) => {
                    let id = client(&channel, id)?.id;
                    match hub.notice_place(id, payload.len(), limits) {
                        Ok(place) => Posting { places: vec![place], full: Vec::new() },
                        // The connection has just ended.
                        Err(NoPlace::Closed) => Posting::default(),
                        Err(NoPlace::Full | NoPlace::ChannelFull) => {
                            return Err(full("inbox_events, inbox_bytes"));
                        }
                    }
                }
                To::User(name) => {
                    online(&channel, name).await?;
                    others = hub.count_of_others(Group::User(name));
                    let to = NoticeFor::User(Arc::from(&**name), Vec::new());
                    hub.post_elsewhere(to, None, &payload, HOPS);
                    hub.notice_places(Group::User(name), &[], payload.len(), limits).await
                }
            };
            let count = hub.post_to_several(posting, None, &payload, HOPS).await;
            done(StatusCode::ACCEPTED, "posted", count + others)
        }
        Command::Post(room) => {
            let room = room_name(room, "room")?;
            let payload = event(&body, config)?;
            check_handled(&channel, "on_room_event")?;
            let limit = config.max_room_states;
            let room = hub.room_inbox(&room, limit).map_err(|_| {
                let status = StatusCode::TOO_MANY_REQUESTS;
                refused(status, &CallRefusal::TooManyRoomStates { limit })
            })?;
            let limits = channel.context.room_inbox_limits();
            let place = Place::take(room, payload.len(), limits).map_err(|why| match why {
                NoPlace::ChannelFull => full("max_channel_inbox_bytes"),
                _ => full("room_inbox_events, room_inbox_bytes"),
            })?;
            if is_awaited {
                return outcome(&channel, hub.post_awaited(place, payload, HOPS)).await;
            }
            hub.post(place, None, payload, HOPS);
            done(StatusCode::ACCEPTED, "posted", 1)
        }
        Command::Reset(room) => {
            Fields::read(&body)?.end()?;
            let reset = hub.reset_room(&room_name(room, "room")?).await;
            let is_forgotten = reset.map_err(|why| data_unavailable(&why))?;
            done(StatusCode::OK, "reset", usize::from(is_forgotten))
        }
    }
}

/// Closes all connections of this host that are there now. Other tasks get their turn in between. Returns their number.
async fn disconnect_all(hub: &Hub, close: &Close) -> usize {
    let was_there = ConnectionId::all_until_now();
    let (mut after, mut disconnected) = (None, 0);
    loop {
        let page = hub.connections(after, CLOSES_PER_TURN);
        for client in page.iter().filter(|client| was_there(client.id)) {
            disconnected += usize::from(hub.disconnect(client.id, close));
        }
        after = page.last().map(|client| client.id).filter(|last| was_there(*last));
        if after.is_none() {
            return disconnected;
        }
        tokio::task::yield_now().await;
    }
}

/// Checks that a user has a connection, here or on another host.
async fn online(channel: &Channel, name: &str) -> Result<(), Problem> {
    let hub = &channel.context.hub;
    hub.ask(Group::User(name)).await;
    match hub.count_everywhere(Group::User(name)) {
        0 => Err(user_offline(name)),
        _ => Ok(()),
    }
}

fn done(status: StatusCode, what: &str, count: usize) -> OperatorAnswer {
    Ok((status, json!({ what: count }).to_string().into()))
}

/// Waits for the outcome of a room's event.
async fn outcome(channel: &Channel, outcome: oneshot::Receiver<Outcome>) -> OperatorAnswer {
    let limit = super::patience(&channel.context.config);
    let waited = tokio::time::timeout(limit, outcome).await;
    let outcome = waited.map_err(|_| {
        let what = "the event waits or runs, and will still be handled";
        Problem::late("event-waits", what, limit)
    })?;
    let failed = |status, code, message: String| Err(Problem::new(status, code, message));
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    match outcome {
        Ok(Outcome::Handled { generation, is_state_changed }) => {
            let handled = json!({
                "posted": 1, "generation": generation, "is_state_changed": is_state_changed,
            });
            Ok((StatusCode::OK, handled.to_string().into()))
        }
        Ok(Outcome::Invalid(body)) if check_json(&body).is_ok() => {
            Err(Problem::of_channel(unprocessable, body))
        }
        Ok(Outcome::Invalid(_) | Outcome::Undone) => {
            let message = "the plugin has undone the event, and gives no reason";
            failed(unprocessable, "event-refused", message.to_owned())
        }
        Ok(Outcome::Failed(why)) => {
            failed(StatusCode::INTERNAL_SERVER_ERROR, "channel-failed", why)
        }
        Ok(Outcome::DataUnavailable(why)) => {
            failed(StatusCode::SERVICE_UNAVAILABLE, "data-unavailable", why)
        }
        Ok(Outcome::Late(why)) => failed(StatusCode::SERVICE_UNAVAILABLE, "channel-busy", why),
        Err(_) => {
            let message = "the event was dropped: the channel is gone, or the host failed";
            failed(StatusCode::SERVICE_UNAVAILABLE, "event-dropped", message.to_owned())
        }
    }
}

/// Asks the channel's code.
async fn ask(channel: Arc<Channel>, payload: Bytes) -> OperatorAnswer {
    match outside_messages::ask(channel.clone(), payload).await {
        Ok(Some(Ok(reply))) => Ok((StatusCode::OK, reply.into())),
        Ok(Some(Err(OutsideRefusal { status, body }))) => match StatusCode::from_u16(status) {
            Ok(code) if is_refusal_status(status) => Err(Problem::of_channel(code, body)),
            _ => {
                if channel.context.failure_budget.take() {
                    tracing::warn!(
                        channel = channel.name(),
                        status,
                        "a refusal of a message from outside needs a status from 400 to 599; \
                             500 sent"
                    );
                }
                Err(Problem::outside(&OutsideProblem::ChannelFailed))
            }
        },
        Ok(None) => Err(Problem::outside(&OutsideProblem::NO_MESSAGES)),
        Err(CallError::Failed { failure, .. }) if failure.kind != Fault::Deadline => {
            Err(Problem::outside(&OutsideProblem::ChannelFailed))
        }
        Err(_) => Err(Problem::outside(&OutsideProblem::ChannelBusy)),
    }
}

/// Returns the audience of a broadcast.
fn audience(fields: &mut Fields) -> Result<Audience, Problem> {
    let everyone = fields.take("all", "`true` or `false`")?.unwrap_or(false);
    let rooms = fields.names("rooms")?;
    let users = fields.names("users")?;
    let except = fields.names("except_connections")?;
    let except_users = fields.names("except_users")?;
    let labels: BTreeMap<String, String> =
        fields.take("where", "an object of labels, whose values are texts")?.unwrap_or_default();
    for (name, length, most) in [
        ("rooms", rooms.len() + users.len(), MAX_NAMES),
        ("except_connections", except.len() + except_users.len(), MAX_NAMES),
        ("where", labels.len(), MAX_CONDITIONS),
    ] {
        if length > most {
            let message = format!(
                "a broadcast names at most {MAX_NAMES} rooms and users, {MAX_NAMES} exceptions \
                 and {MAX_CONDITIONS} labels"
            );
            return Err(bad_field(name, message));
        }
    }
    if !everyone && rooms.is_empty() && users.is_empty() {
        let message = "name the audience: `\"rooms\": […]`, `\"users\": […]` or `\"all\": true`";
        return Err(bad("audience-empty", message));
    }
    let users_of = |names: Vec<String>, field: &str| {
        names.into_iter().map(|name| user_name(name, field)).collect::<Result<Vec<_>, _>>()
    };
    let rooms = rooms.into_iter().map(|name| room_name(name, "rooms"));
    // Text that is not an id excepts no connection.
    let except = except.iter().filter_map(|id| ConnectionId::parse(id));
    Ok(Audience {
        everyone,
        rooms: rooms.collect::<Result<_, _>>()?,
        users: users_of(users, "users")?,
        except: except.collect(),
        except_users: users_of(except_users, "except_users")?,
        labels: labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
    })
}

fn room_name(name: String, field: &str) -> Result<Arc<str>, Problem> {
    check_room(&name).map_err(|refusal| bad_field(field, refusal.to_string()))?;
    Ok(Arc::from(name))
}

fn user_name(name: String, field: &str) -> Result<Arc<str>, Problem> {
    check_user(&name).map_err(|refusal| bad_field(field, refusal.to_string()))?;
    Ok(Arc::from(name))
}

/// Returns the code and reason to close with; 1000 and no reason by default.
fn close(fields: &mut Fields) -> Result<Close, Problem> {
    let code = fields.take("code", "a number")?.unwrap_or(1000);
    if !is_channel_code(code) {
        return Err(bad_field("code", "`code` must be 1000 or 3000 to 4999"));
    }
    let reason: String = fields.take("reason", "text")?.unwrap_or_default();
    if reason.len() > MAX_REASON_BYTES {
        let message = format!("a close frame has room for {MAX_REASON_BYTES} bytes of reason");
        return Err(bad_field("reason", message));
    }
    Ok(Close { code, reason })
}

/// Returns the JSON of the field `event`, as it was written.
fn event(body: &[u8], config: &Config) -> Result<Bytes, Problem> {
    let mut fields = Fields::read(body)?;
    let event: Box<RawValue> =
        fields.raw("event").ok_or_else(|| bad_field("event", "`event` is missing"))?;
    fields.end()?;
    let limit = config.max_payload_bytes;
    let bytes = event.get().len();
    if bytes > limit {
        let refusal = CallRefusal::PayloadTooBig { bytes, limit };
        return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, &refusal));
    }
    Ok(Bytes::copy_from_slice(event.get().as_bytes()))
}

/// Checks that the event has a handler, without which it would vanish.
fn check_handled(channel: &Channel, handler: &'static str) -> Result<(), Problem> {
    match channel.current().pool.component().exports().missing(handler) {
        None => Ok(()),
        Some(interface) => Err(Problem::outside(&OutsideProblem::NoHandler { handler, interface })),
    }
}

fn full(settings: &str) -> Problem {
    let message = format!("as much waits to be handled there as may ({settings})");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "inbox-full", message)
}
