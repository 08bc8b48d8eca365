//! Answers for all hosts of a cluster: each host is asked for its own part, and the parts are put together.
//!
//! A request about one connection is answered by the host that has it. What the engine has, as the store, is the same from
//! every host, and nobody else is asked for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use wharf_hub::connection_id::{ConnectionId, NodeId};
use wharf_node::Node;
use wharf_node::wire::{OperatorRequest, Reply, Request};
use wharf_runtime::registry::Registry;

use super::merge::{self, Kind, Part};
use super::nodes::PATIENCE;
use super::problem::{OperatorAnswer, Problem};
use super::route::{Command, Query, TimersOf};
use super::{here, queries};
use crate::deploys::Deploys;

/// A question, as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    /// The channel that it is about, if it is about one.
    pub(super) channel: Option<&'a str>,
    pub(super) about: &'a Query,
}

/// Answers a question for all hosts.
pub(super) async fn answer(
    registry: &Registry,
    deploys: &Deploys,
    asked: Question<'_>,
    longest: Duration,
) -> OperatorAnswer {
    let Question { path, query, channel, about } = asked;
    let own = || here::answer(registry, channel, about, query);
    let Some(node) = deploys.node() else { return own().await };
    let of_connection = match about {
        Query::Connection(id) | Query::Timers(TimersOf::Connection(id)) => Some((id, PATIENCE)),
        Query::Session(id) => Some((id, longest + PATIENCE)),
        _ => None,
    };
    if let Some((id, limit)) = of_connection {
        return match host_of(deploys, id) {
            Some((to, name)) => forward(node, to, &name, request(path, query, None), limit).await,
            None => own().await,
        };
    }
    let Some(kind) = Kind::of(about) else { return own().await };
    let page = match kind.has_pages() {
        true => Some(queries::page(query)?),
        false => None,
    };
    let limit = page.as_ref().map_or(queries::PAGE, |(_, limit)| *limit);
    let pages = Pages::new(query, page.filter(|_| kind.lists_connections()));
    let local = here::answer(registry, channel, about, pages.of(NodeId::local()).as_deref()).await;
    if let Err(problem) = &local
        && problem.status() != StatusCode::NOT_FOUND
    {
        return local;
    }
    let others: Vec<(NodeId, String)> =
        deploys.nodes().into_iter().skip(1).map(|node| (node.id, node.name)).collect();
    let asked = others
        .iter()
        .map(|(to, _)| (*to, Request::Operator(request(path, pages.of(*to).as_deref(), None))));
    let asked: Vec<(NodeId, Request)> = asked.collect();
    let asked = asked.into_iter().map(|(to, request)| {
        let node = node.clone();
        async move { node.ask([to].into(), &request, PATIENCE).await.remove(&to) }
    });
    let replies = futures_util::future::join_all(asked).await;
    let mut parts = Vec::new();
    let mut unanswered = Vec::new();
    let own = local.as_ref().ok().and_then(|(_, body)| serde_json::from_slice(body).ok());
    parts.extend(own.map(|body| Part { body, is_listed: pages.lists(NodeId::local()) }));
    for ((id, name), reply) in others.into_iter().zip(replies) {
        match reply {
            // It has no such channel, room or user.
            Some(Reply::Operator { status: 404, .. }) => {}
            Some(Reply::Operator { status: 200, body }) => match serde_json::from_slice(&body) {
                Ok(body) => parts.push(Part { body, is_listed: pages.lists(id) }),
                Err(_) => unanswered.push(name),
            },
            _ => unanswered.push(name),
        }
    }
    let Some(mut merged) = merge::merged(kind, parts, limit) else {
        return local;
    };
    merged.insert("unanswered".to_owned(), unanswered.into());
    Ok((StatusCode::OK, Bytes::from(Value::Object(merged).to_string())))
}

/// Returns the other host that has the connection of a command, and its name.
pub(super) fn elsewhere(deploys: &Deploys, command: &Command) -> Option<(NodeId, String)> {
    host_of(deploys, command.connection()?)
}

/// Has another host run a command.
pub(super) async fn run(
    node: Arc<Node>,
    (to, name): (NodeId, String),
    path: String,
    body: Bytes,
) -> OperatorAnswer {
    forward(&node, to, &name, request(&path, None, Some(body)), PATIENCE).await
}

/// Has all other hosts run a command that closes connections, and adds theirs to an answer, with the names of the hosts
/// that have not answered.
pub(super) async fn run_on_others(
    node: &Node,
    deploys: &Deploys,
    (path, body): (String, Bytes),
    (status, own): (StatusCode, Bytes),
) -> (StatusCode, Bytes) {
    let others: Vec<(NodeId, String)> =
        deploys.nodes().into_iter().skip(1).map(|node| (node.id, node.name)).collect();
    let to = others.iter().map(|(id, _)| *id).collect();
    let asked = Request::Operator(request(&path, None, Some(body)));
    let mut replies = node.ask(to, &asked, PATIENCE).await;
    let count = |body: &Bytes| {
        let body: Option<Value> = serde_json::from_slice(body).ok();
        body.and_then(|body| body.get("disconnected")?.as_u64()).unwrap_or_default()
    };
    let mut disconnected = count(&own);
    let mut unanswered = Vec::new();
    for (id, name) in others {
        match replies.remove(&id) {
            Some(Reply::Operator { status: 200, body }) => disconnected += count(&body),
            // It has no such channel.
            Some(Reply::Operator { status: 404, .. }) => {}
            _ => unanswered.push(name),
        }
    }
    let answer = json!({ "disconnected": disconnected, "unanswered": unanswered });
    (status, answer.to_string().into())
}

/// Returns the other host that has a connection, if it is there.
fn host_of(deploys: &Deploys, id: &str) -> Option<(NodeId, String)> {
    let id = ConnectionId::parse(id).filter(|id| id.local_number().is_none())?;
    let host = deploys.nodes().into_iter().find(|node| node.id == id.node)?;
    Some((host.id, host.name))
}

async fn forward(
    node: &Node,
    to: NodeId,
    name: &str,
    request: OperatorRequest,
    limit: Duration,
) -> OperatorAnswer {
    let mut replies = node.ask([to].into(), &Request::Operator(request), limit).await;
    let Some(Reply::Operator { status, body }) = replies.remove(&to) else {
        let message = format!(
            "the connection's host {} has not answered within {limit:?}; it is not known if it has done anything",
            wharf_contract::text::escape(name)
        );
        let problem = Problem::new(StatusCode::GATEWAY_TIMEOUT, "host-unanswered", message);
        return Err(problem.with_field("unanswered", json!([name])));
    };
    match StatusCode::from_u16(status) {
        Ok(status) if status.is_success() => Ok((status, body)),
        Ok(status) => Err(Problem::forwarded(status, body)),
        Err(_) => Err(Problem::forwarded(StatusCode::BAD_GATEWAY, body)),
    }
}

fn request(path: &str, query: Option<&str>, body: Option<Bytes>) -> OperatorRequest {
    OperatorRequest { path: path.to_owned(), query: query.map(str::to_owned), body }
}

/// The page of a list, as each host is asked for it. Lists of connections are in the order of hosts.
struct Pages<'a> {
    query: Option<&'a str>,
    /// The connection after which the page begins.
    after: Option<ConnectionId>,
    limit: usize,
}

impl<'a> Pages<'a> {
    fn new(query: Option<&'a str>, page: Option<(Option<String>, usize)>) -> Pages<'a> {
        let (after, limit) = page.unwrap_or((None, queries::PAGE));
        let after = after.as_deref().and_then(ConnectionId::parse);
        Pages { query, after, limit }
    }

    /// Returns true if connections of a host may be on the page.
    fn lists(&self, node: NodeId) -> bool {
        self.after.is_none_or(|after| after.node <= node)
    }

    /// Returns the query for a host.
    fn of(&self, node: NodeId) -> Option<String> {
        let limit = self.limit;
        match self.after {
            None => self.query.map(str::to_owned),
            Some(after) if after.node == node => {
                let after = after.to_string();
                let after = utf8_percent_encode(&after, NON_ALPHANUMERIC);
                Some(format!("limit={limit}&after={after}"))
            }
            Some(after) if after.node < node => Some(format!("limit={limit}")),
            // It is asked for its counts.
            Some(_) => Some("limit=1".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_is_asked_for_the_connections_after_those_of_earlier_hosts() {
        let node = |number| NodeId::numbered(number).expect("a node");
        let after = ConnectionId { node: node(2), number: 7 };
        let page = Some((Some(after.to_string()), 10));
        let pages = Pages::new(Some("as it came"), page);
        assert_eq!(pages.of(node(1)).as_deref(), Some("limit=1"));
        assert_eq!(pages.of(node(2)).as_deref(), Some("limit=10&after=000000000002%2D7"));
        assert_eq!(pages.of(node(3)).as_deref(), Some("limit=10"));
        assert_eq!([1, 2, 3].map(|number| pages.lists(node(number))), [false, true, true]);
        // A list of rooms begins with a name, and a first page with nothing.
        let pages = Pages::new(Some("after=lobby"), Some((Some("lobby".to_owned()), 10)));
        assert_eq!(pages.of(node(1)).as_deref(), Some("after=lobby"));
    }
}
