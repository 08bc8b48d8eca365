//! This host's own part of the answers: for the operator of a single host, and for the other nodes of a cluster.

use std::sync::{Arc, Weak};

use hyper::StatusCode;
use wharf_contract::text::{cut, escape};
use wharf_node::requests::{Answering, MAX_REPLY_BYTES, Responder};
use wharf_node::wire::{OperatorRequest, Reply, Report, Request};
use wharf_runtime::channel::Channel;
use wharf_runtime::registry::Registry;

use super::problem::{OperatorAnswer, Problem};
use super::route::{Command, Query, Resource, Route};
use super::{MAX_SHOWN_BYTES, commands, nodes, queries};
use crate::deploys::Deploys;

/// Answers a question about all channels or one of them.
pub(super) async fn answer(
    registry: &Registry,
    name: Option<&str>,
    about: &Query,
    query: Option<&str>,
) -> OperatorAnswer {
    match name {
        None => {
            queries::check_no_query(query)?;
            Ok((StatusCode::OK, queries::channels(registry)))
        }
        Some(name) => queries::answer(&*channel(registry, name)?, about, query).await,
    }
}

/// Returns the channel in service of this name.
pub(super) fn channel(registry: &Registry, name: &str) -> Result<Arc<Channel>, Problem> {
    registry.find(name).ok_or_else(|| {
        let name = escape(cut(name, MAX_SHOWN_BYTES));
        Problem::not_found("unknown-channel", format!("no channel {name} is in service"))
    })
}

/// Returns the port that answers the requests of other nodes.
pub(crate) fn responder(registry: Arc<Registry>, deploys: &Arc<Deploys>) -> Arc<dyn Responder> {
    Arc::new(Here { registry, deploys: Arc::downgrade(deploys) })
}

struct Here {
    registry: Arc<Registry>,
    /// It has the node, which has this.
    deploys: Weak<Deploys>,
}

impl Responder for Here {
    fn answer(&self, request: Request) -> Answering {
        let (registry, deploys) = (self.registry.clone(), self.deploys.upgrade());
        Box::pin(async move {
            match (request, deploys) {
                (Request::Deploy(step), Some(deploys)) => Reply::Deploy(deploys.step(step).await),
                // The host is stopping.
                (Request::Deploy(_), None) => Reply::Deploy(Report::Busy),
                (Request::Operator(request), deploys) => {
                    replied(asked(&registry, deploys, request).await)
                }
            }
        })
    }
}

/// Answers a request of another node's operator.
async fn asked(
    registry: &Registry,
    deploys: Option<Arc<Deploys>>,
    request: OperatorRequest,
) -> OperatorAnswer {
    let OperatorRequest { path, query, body } = request;
    let query = query.as_deref();
    let Route { channel: name, resource } = Route::of(&path)?;
    match (resource, name, body) {
        (Resource::Query(Query::Nodes), ..) => nodes::own(registry, deploys.as_deref()),
        (
            Resource::Query(
                Query::Audit
                | Query::Live
                | Query::Loads
                | Query::Logs
                | Query::Machine
                | Query::Metrics
                | Query::Plugins
                | Query::Slow
                | Query::Stats,
            )
            | Resource::Plugin(_),
            ..,
        ) => Err(not_for_others()),
        (Resource::Query(about), name, None) => {
            answer(registry, name.as_deref(), &about, query).await
        }
        // Others reach all hosts in another way.
        (Resource::Command(command), Some(name), Some(body))
            if command.connection().is_some() || command == Command::DisconnectAll =>
        {
            let channel = channel(registry, &name)?;
            commands::to_its_end(commands::begin(channel, command, body, false)).await
        }
        _ => Err(not_for_others()),
    }
}

fn not_for_others() -> Problem {
    let message = "another host has asked for what only the operator asks for".to_owned();
    Problem::not_found("unknown-path", message)
}

fn replied(answered: OperatorAnswer) -> Reply {
    let (status, body) = match answered {
        Ok(answer) => answer,
        Err(problem) => problem.into_parts(),
    };
    if body.len() > MAX_REPLY_BYTES {
        let message = format!(
            "the answer has {} bytes, and hosts tell each other at most {MAX_REPLY_BYTES}: ask that host itself, or for \
             less",
            body.len()
        );
        let problem = Problem::new(StatusCode::BAD_GATEWAY, "answer-too-big", message);
        let (status, body) = problem.into_parts();
        return Reply::Operator { status: status.as_u16(), body };
    }
    Reply::Operator { status: status.as_u16(), body }
}
