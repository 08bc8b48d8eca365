//! Deployed plugins: the list, deployments, rollbacks and withdrawals.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::{Method, Request, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use wharf_contract::names::{MAX_CHANNEL_NAME_BYTES, is_channel};
use wharf_contract::router::decode;
use wharf_contract::text::{cut, escape};
use wharf_hub::remote::Remote;
use wharf_node::deploy::Version;
use wharf_node::deploy::table::Unchanged;
use wharf_runtime::registry::hex;

use super::audit::{Act, rfc_3339};
use super::problem::{OperatorAnswer, Problem, bad, bad_field};
use super::queries::{check_no_query, object, unknown_parameter};
use super::route::Plugin;
use super::{Api, commands};
use crate::deploys::{Change, Deployment, Deploys, Failed, NodeOutcome, Wish};

/// Largest plugin, in bytes, as in the plugin folder.
const MAX_PLUGIN_BYTES: usize = 64 << 20;

/// Longest name of the person who deploys, in bytes.
const MAX_BY_BYTES: usize = 200;

/// Returns the plugins that are deployed.
pub(super) async fn list(deploys: &Deploys, query: Option<&str>) -> OperatorAnswer {
    check_no_query(query)?;
    let table = deploys.table().await.map_err(unavailable)?;
    let plugins = table.channels.iter().map(|(channel, deployed)| {
        let mut shown = version(&deployed.current);
        let previous = deployed.previous.as_ref().map(|previous| version(previous).into());
        shown.insert("channel".to_owned(), channel.as_str().into());
        shown.insert("previous".to_owned(), previous.unwrap_or(Value::Null));
        Value::from(shown)
    });
    let plugins: Vec<Value> = plugins.collect();
    let found = json!({ "number": table.number, "kept_in": deploys.place(), "plugins": plugins });
    Ok((StatusCode::OK, Bytes::from(found.to_string())))
}

fn version(version: &Version) -> Map<String, Value> {
    object([
        ("sha256", version.sha256.as_str().into()),
        ("bytes", version.bytes.into()),
        ("time_ms", version.at_ms.into()),
        ("time", rfc_3339(Duration::from_millis(version.at_ms)).into()),
        ("by", version.by.as_str().into()),
        ("node", version.node.as_str().into()),
    ])
}

/// Deploys a file, rolls back or withdraws; or refuses it. Either is recorded before it is answered.
pub(super) async fn act(
    api: &Arc<Api>,
    remote: Remote,
    request: Request<Incoming>,
    name: &str,
    about: Plugin,
) -> OperatorAnswer {
    let mut act = Act::begin(&api.audit, remote, &request);
    let api = api.clone();
    let wish = match wish(&api, request, name, about, &mut act).await {
        Ok(wish) => wish,
        Err(problem) => {
            let refused = Err(problem);
            act.end(&refused).await;
            return refused;
        }
    };
    commands::to_its_end(async move {
        let answered = deployed(&api, &wish, &mut act).await;
        act.end(&answered).await;
        answered
    })
    .await
}

async fn deployed(api: &Api, wish: &Wish, act: &mut Act) -> OperatorAnswer {
    let is_dry_run = wish.is_dry_run;
    let done = api.deploys.deploy(wish.clone()).await.map_err(problem)?;
    let Deployment { number, version, nodes } = done;
    if let (Change::Rollback, Some(version)) = (&wish.change, &version) {
        act.has_subject(&subject(&version.sha256, is_dry_run));
    }
    let answer = json!({
        "channel": wish.channel,
        "number": number,
        "sha256": version.as_ref().map(|version| version.sha256.as_str()),
        "bytes": version.as_ref().map(|version| version.bytes),
        "is_dry_run": is_dry_run,
        "kept_in": api.deploys.place(),
        "nodes": nodes.iter().map(node).collect::<Vec<_>>(),
    });
    Ok((StatusCode::OK, Bytes::from(answer.to_string())))
}

fn node(node: &NodeOutcome) -> Value {
    json!({
        "id": node.id.to_string(),
        "name": node.name,
        "state": node.state,
        "generation": node.generation,
        "reason": node.reason,
    })
}

/// Returns what an act is about, for its record.
fn subject(sha256: &str, is_dry_run: bool) -> String {
    format!("{} {sha256}", if is_dry_run { "dry run of plugin" } else { "plugin" })
}

/// Reads a request.
async fn wish(
    api: &Api,
    request: Request<Incoming>,
    name: &str,
    about: Plugin,
    act: &mut Act,
) -> Result<Wish, Problem> {
    let method = request.method();
    let (action, change) = match about {
        Plugin::Code if method == Method::PUT => ("deploy", None),
        Plugin::Code if method == Method::DELETE => ("withdraw", Some(Change::Withdraw)),
        Plugin::Code => return Err(Problem::method("PUT, DELETE")),
        Plugin::Rollback if method == Method::POST => ("rollback", Some(Change::Rollback)),
        Plugin::Rollback => return Err(Problem::method("POST")),
    };
    act.is_about(name, action);
    if !is_channel(name) {
        let message = format!(
            "a channel's name has 1 to {MAX_CHANNEL_NAME_BYTES} of a-z, 0-9, _ and -, and {} is none",
            escape(cut(name, MAX_BY_BYTES))
        );
        return Err(bad_field("channel", message));
    }
    let (is_dry_run, by) = parameters(request.uri().query())?;
    if is_dry_run && matches!(change, Some(Change::Withdraw)) {
        return Err(bad_field("dry_run", "a withdrawal cannot be tried"));
    }
    let change = match change {
        Some(change) => {
            act.has_body(0);
            change
        }
        None => {
            let Ok(_turn) = api.uploading.try_acquire() else {
                let message = "another plugin is being sent to this host; try again".to_owned();
                return Err(Problem::new(StatusCode::CONFLICT, "deploy-under-way", message));
            };
            let file = file(request, api.config.handshake_timeout).await?;
            act.has_body(file.len());
            act.has_subject(&subject(&hex(&Sha256::digest(&file)), is_dry_run));
            Change::Code(file)
        }
    };
    Ok(Wish { channel: name.to_owned(), change, by, is_dry_run })
}

/// Reads the query: if it is a dry run, and who deploys.
fn parameters(query: Option<&str>) -> Result<(bool, String), Problem> {
    let (mut is_dry_run, mut by) = (None, None);
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_news = match name {
            "dry_run" => {
                let value = match value {
                    "true" => true,
                    "false" => false,
                    _ => return Err(bad_field(name, "`dry_run` must be `true` or `false`")),
                };
                is_dry_run.replace(value).is_none()
            }
            "by" => {
                let value = value.replace('+', " ");
                let value = decode(&value).filter(|value| value.len() <= MAX_BY_BYTES);
                let value = value.ok_or_else(|| {
                    bad_field(name, "`by` must be percent-encoded UTF-8 of at most 200 bytes")
                })?;
                by.replace(escape(&value)).is_none()
            }
            _ => return Err(unknown_parameter(name)),
        };
        if !is_news {
            return Err(bad_field(name, format!("`{name}` must be there once")));
        }
    }
    Ok((is_dry_run.unwrap_or(false), by.unwrap_or_default()))
}

/// Reads the file. Each part of it must come within `limit`.
async fn file(request: Request<Incoming>, limit: Duration) -> Result<Bytes, Problem> {
    let too_big = || {
        let message = format!("a plugin has at most {MAX_PLUGIN_BYTES} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-big", message)
    };
    let mut body = request.into_body();
    if body.size_hint().lower() > MAX_PLUGIN_BYTES as u64 {
        return Err(too_big());
    }
    let mut file = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(limit, body.frame()).await.map_err(|_| {
            let message = "the file has stopped coming for handshake_timeout_ms".to_owned();
            Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", message)
        })?;
        let Some(frame) = frame else { break };
        let incomplete = |_| bad("body-incomplete", "the body has not come to its end");
        if let Ok(data) = frame.map_err(incomplete)?.into_data() {
            if file.len() + data.len() > MAX_PLUGIN_BYTES {
                return Err(too_big());
            }
            file.extend_from_slice(&data);
        }
    }
    if file.is_empty() {
        return Err(bad("body-missing", "send the plugin's file as the body"));
    }
    Ok(file.freeze())
}

fn unavailable(why: String) -> Problem {
    let message = format!("deployed plugins cannot be read or kept: {why}");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "data-unavailable", message)
}

fn problem(failed: Failed) -> Problem {
    let conflict = |code, message| Problem::new(StatusCode::CONFLICT, code, message);
    match failed {
        Failed::Busy(name) => {
            let message = format!("{name} deploys at this moment; try again");
            conflict("deploy-under-way", message)
        }
        Failed::Overtaken => {
            let message =
                "another deployment was faster; look at the list, and try again".to_owned();
            conflict("deploy-overtaken", message)
        }
        Failed::Unchanged(why @ Unchanged::NotDeployed(_)) => {
            Problem::not_found("not-deployed", why.to_string())
        }
        Failed::Unchanged(why @ Unchanged::NoPrevious(_)) => {
            conflict("no-previous", why.to_string())
        }
        Failed::Unchanged(why @ Unchanged::Full) => conflict("too-many-deployed", why.to_string()),
        Failed::Refused(nodes) => {
            let reasons = nodes.iter().filter_map(|node| {
                let reason = node.reason.as_ref()?;
                Some(format!("{}: {reason}", escape(&node.name)))
            });
            let reasons: Vec<String> = reasons.collect();
            let message = format!(
                "{} of {} hosts have not taken it, and nothing has changed: {}",
                reasons.len(),
                nodes.len(),
                reasons.join("; ")
            );
            let nodes: Vec<Value> = nodes.iter().map(node).collect();
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Problem::new(status, "plugin-refused", message).with_field("nodes", nodes.into())
        }
        Failed::Unavailable(why) => unavailable(why),
        Failed::Unknown(why) => {
            let message = format!(
                "the engine has not answered, so that it is not known if it is deployed; look at the list: {why}"
            );
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "deploy-unknown", message)
        }
    }
}
