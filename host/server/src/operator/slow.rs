//! The connections of this host for which the most bytes wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};
use wharf_hub::connection::ConnectionRecord;
use wharf_hub::connection_id::ConnectionId;
use wharf_runtime::channel::Channel;
use wharf_runtime::registry::Registry;

use super::problem::OperatorAnswer;
use super::queries::{connection, length};

/// Connections that are looked at before other tasks get their turn.
const LOOKS_PER_TURN: usize = 256;

/// A connection, by the bytes that wait for it.
type Waiting = (usize, Reverse<ConnectionId>);

/// Returns the connections of all channels with bytes that wait to be written, the most first.
pub(super) async fn most(registry: &Registry, query: Option<&str>) -> OperatorAnswer {
    let limit = length(query)?;
    let channels = registry.in_service();
    // The one with the least is on top, and makes room for others.
    let mut most: BinaryHeap<Reverse<(Waiting, usize)>> = BinaryHeap::new();
    for (at, channel) in channels.iter().enumerate() {
        let mut after = None;
        loop {
            let page = channel.context.hub.connections(after, LOOKS_PER_TURN);
            for client in &page {
                let bytes = client.outbound.queued_bytes();
                if bytes > 0 {
                    most.push(Reverse(((bytes, Reverse(client.id)), at)));
                    if most.len() > limit {
                        most.pop();
                    }
                }
            }
            after = page.last().map(|client| client.id);
            if after.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let found = most.into_sorted_vec().into_iter().filter_map(|Reverse(((bytes, id), at))| {
        let channel = channels.get(at)?;
        // It may have ended meanwhile.
        let client = channel.context.hub.connection(id.0)?;
        Some(shown(channel, &client, bytes))
    });
    let found: Vec<Value> = found.collect();
    Ok((StatusCode::OK, json!({ "connections": found }).to_string().into()))
}

fn shown(channel: &Channel, client: &Arc<ConnectionRecord>, bytes: usize) -> Value {
    let mut shown = connection(client);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("channel".to_owned(), channel.name().into());
        fields.insert("queued_bytes".to_owned(), bytes.into());
    }
    shown
}
