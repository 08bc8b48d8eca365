//! The nodes of the cluster, with the plugins that each of them runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use wharf_hub::connection_id::NodeId;
use wharf_node::wire::{OperatorRequest, Reply, Request};
use wharf_runtime::registry::{Registry, hex};

use super::problem::OperatorAnswer;
use super::queries::check_no_query;
use crate::deploys::Deploys;

/// Longest wait for the answers of other nodes.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// The path of this resource.
const PATH: &str = "/api/nodes";

/// Returns the nodes, the one that answers first.
pub(super) async fn all(
    registry: &Registry,
    deploys: &Deploys,
    query: Option<&str>,
) -> OperatorAnswer {
    check_no_query(query)?;
    let facts = deploys.nodes();
    let asked: BTreeSet<NodeId> = facts.iter().skip(1).map(|node| node.id).collect();
    let mut parts = asked_parts(deploys, asked).await;
    parts.insert(NodeId::local(), own_part(registry, Some(deploys)));
    let mut unanswered = Vec::new();
    let nodes = facts.into_iter().map(|node| {
        let mut shown = Map::new();
        shown.insert("id".to_owned(), node.id.to_string().into());
        shown.insert("name".to_owned(), node.name.clone().into());
        shown.insert("version".to_owned(), node.version.into());
        shown.insert("started_at".to_owned(), node.started.into());
        shown.insert("connections".to_owned(), node.connections.into());
        let silent_for = node.silent_for.map(|time| time.as_millis() as u64);
        shown.insert("silent_for_ms".to_owned(), silent_for.into());
        let part = parts.remove(&node.id);
        if part.is_none() {
            unanswered.push(node.name);
        }
        for field in ["engine", "failure", "plugins"] {
            let value = part.as_ref().and_then(|part| part.get(field)).cloned();
            shown.insert(field.to_owned(), value.unwrap_or(Value::Null));
        }
        Value::Object(shown)
    });
    let nodes: Vec<Value> = nodes.collect();
    let cluster = registry.cluster();
    let found = json!({
        "engine": cluster.map(|cluster| cluster.engine()),
        "failure": cluster.and_then(|cluster| cluster.failure()),
        "nodes": nodes,
        "unanswered": unanswered,
    });
    Ok((StatusCode::OK, Bytes::from(found.to_string())))
}

/// Returns this node's part of the list, for another node.
pub(super) fn own(registry: &Registry, deploys: Option<&Deploys>) -> OperatorAnswer {
    let part = Value::Object(own_part(registry, deploys));
    Ok((StatusCode::OK, Bytes::from(part.to_string())))
}

async fn asked_parts(
    deploys: &Deploys,
    nodes: BTreeSet<NodeId>,
) -> BTreeMap<NodeId, Map<String, Value>> {
    let Some(node) = deploys.node() else { return BTreeMap::new() };
    let request = OperatorRequest { path: PATH.to_owned(), query: None, body: None };
    let replies = node.ask(nodes, &Request::Operator(request), PATIENCE).await;
    let parts = replies.into_iter().filter_map(|(node, reply)| match reply {
        Reply::Operator { status: 200, body } => Some((node, serde_json::from_slice(&body).ok()?)),
        _ => None,
    });
    parts.collect()
}

fn own_part(registry: &Registry, deploys: Option<&Deploys>) -> Map<String, Value> {
    let cluster = registry.cluster();
    let mut part = Map::new();
    part.insert("engine".to_owned(), cluster.map(|cluster| cluster.engine()).into());
    let failure = cluster.and_then(|cluster| cluster.failure());
    part.insert("failure".to_owned(), failure.into());
    part.insert("plugins".to_owned(), plugins(registry, deploys).into());
    part
}

/// Returns the plugins of this node, by the channel.
fn plugins(registry: &Registry, deploys: Option<&Deploys>) -> Vec<Value> {
    let table = deploys.map(Deploys::seen).unwrap_or_default();
    let mut reasons = deploys.map(Deploys::reasons).unwrap_or_default();
    for refusal in registry.refusals() {
        reasons.insert(refusal.name, refusal.reason);
    }
    let plugin = |name: &str, serving: Option<(u64, String)>, reason: Option<String>| {
        let state = match (&serving, &reason) {
            (Some(_), None) => "serving",
            // An earlier generation, if there is one.
            _ => "refused",
        };
        let (generation, sha256) = serving.unzip();
        json!({
            "channel": name,
            "generation": generation,
            "sha256": sha256,
            "source": if table.code(name).is_some() { "deployed" } else { "folder" },
            "state": state,
            "reason": reason,
        })
    };
    let mut plugins = BTreeMap::new();
    for channel in registry.in_service() {
        let current = channel.current();
        let serving = Some((current.number, hex(&current.sha256)));
        let reason = reasons.remove(channel.name());
        plugins.insert(channel.name().to_owned(), plugin(channel.name(), serving, reason));
    }
    for (name, reason) in reasons {
        plugins.insert(name.clone(), plugin(&name, None, Some(reason)));
    }
    plugins.into_values().collect()
}
