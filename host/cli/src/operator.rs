//! The commands for a running host: `wharf status`, `top`, `logs` and `deploy`. They ask the operator's API.
//!
//! - [`status`]: the hosts of a cluster, in words.
//! - [`top`]: the figures of a host, again and again. [`figures`]: figures for people.
//! - [`logs`]: the log of a channel.
//! - [`deploy`]: deployments, in words.
//! - [`table`]: columns of equal width.

mod deploy;
mod figures;
mod logs;
mod status;
mod table;
mod top;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use wharf_config::Config;
use wharf_contract::names::is_channel;
use wharf_contract::text::escape;
use wharf_server::operator_client::{Answer, OperatorClient, Place, Verb, encoded};

use crate::arguments::{OperatorAction, OperatorCommand};
use crate::output::print;
use crate::serve::{end, runtime};

/// Longest wait for the answer to a question, and for that to an act: all hosts compile a plugin within it.
const QUESTION: Duration = Duration::from_secs(30);
const ACT: Duration = Duration::from_secs(15 * 60);

/// Largest plugin, in bytes, as in the plugin folder.
const MAX_PLUGIN_BYTES: u64 = 64 << 20;

/// Runs a command for a running host.
pub fn run(command: &OperatorCommand, config: &Config) -> anyhow::Result<()> {
    let place = match &command.url {
        Some(url) => Place::parse(url)?,
        None => Place::of(config),
    };
    let configured = config.operator_token.as_ref().map(|token| token.expose());
    let Some(token) = command.token.as_deref().or(configured) else {
        bail!(
            "the operator's token is missing: set WHARF_OPERATOR_TOKEN to the `operator_token` of the host at {place}, or \
             name the host's configuration with --config"
        );
    };
    let client = OperatorClient::new(config, place.clone(), token)?;
    // The answer of one question needs no more.
    let runtime = runtime(&Config { workers: 1, ..Config::default() })?;
    let answered = match &command.action {
        OperatorAction::Top { once } => runtime.block_on(top::run(&client, *once, command.json)),
        OperatorAction::Logs { follows: true, .. } => {
            runtime.block_on(logs::follow(&client, &command.action, command.json))
        }
        action => runtime.block_on(asked(&client, action)).map(Some),
    };
    end(runtime);
    let answer = answered.with_context(|| {
        "is the host running, with an `operator_token`? The log of a host has its address in the line \"listening for the \
         operator\""
    })?;
    // It has shown everything already.
    let Some(answer) = answer else { return Ok(()) };
    let body = read(&place, &answer)?;
    if command.json {
        print(&format!("{body:#}\n"))?;
    }
    match (&command.action, answer.status) {
        (_, 200) if command.json => Ok(()),
        (OperatorAction::Status, 200) => print(&status::shown(&body)),
        (OperatorAction::Logs { .. }, 200) => print(&logs::shown(&body)),
        (OperatorAction::List, 200) => print(&deploy::list(&body)),
        (action, 200) => print(&deploy::done(action, &body)),
        (_, 401) => bail!(
            "the host at {place} does not accept this token: it must be its `operator_token`, from WHARF_OPERATOR_TOKEN, \
             the configuration, or --token"
        ),
        (_, 404) if is_unknown(&body) => bail!(
            "the host at {place} does not know this: it may be older than this program, or the address that of something else"
        ),
        (_, status) => bail!("{}", deploy::refused(status, &body)),
    }
}

/// Sends the request of an action.
async fn asked(client: &OperatorClient, action: &OperatorAction) -> anyhow::Result<Answer> {
    let nothing = Vec::new();
    let dry_run = |is_dry_run: bool| format!("dry_run={is_dry_run}&by={}", encoded(&person()));
    let (verb, path, body, limit) = match action {
        OperatorAction::Status => (Verb::Get, "/api/nodes".to_owned(), nothing, QUESTION),
        OperatorAction::List => (Verb::Get, "/api/plugins".to_owned(), nothing, QUESTION),
        OperatorAction::Logs { .. } => (Verb::Get, logs::path(action, false), nothing, QUESTION),
        OperatorAction::Top { .. } => (Verb::Get, top::PATH.to_owned(), nothing, QUESTION),
        OperatorAction::Deploy { file, channel, is_dry_run } => {
            let (channel, bytes) = plugin(file, channel.as_deref())?;
            let path = format!("/api/plugins/{channel}?{}", dry_run(*is_dry_run));
            (Verb::Put, path, bytes, ACT)
        }
        OperatorAction::Rollback { channel, is_dry_run } => {
            let channel = encoded(channel);
            let path = format!("/api/plugins/{channel}/rollback?{}", dry_run(*is_dry_run));
            (Verb::Post, path, nothing, ACT)
        }
        OperatorAction::Withdraw { channel } => {
            let path = format!("/api/plugins/{}?{}", encoded(channel), dry_run(false));
            (Verb::Delete, path, nothing, ACT)
        }
    };
    client.send(verb, &path, body.into(), limit).await
}

/// Reads a plugin's file, and returns the name of its channel.
fn plugin(file: &Path, channel: Option<&str>) -> anyhow::Result<(String, Vec<u8>)> {
    let shown = file.display();
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = channel.unwrap_or(&stem);
    if !is_channel(name) {
        bail!(
            "{} cannot be a channel's name, which has a-z, 0-9, _ and - only; give one with --name",
            escape(name)
        );
    }
    let size = std::fs::metadata(file).with_context(|| format!("{shown} cannot be read"))?.len();
    if size > MAX_PLUGIN_BYTES {
        bail!("{shown} has {size} bytes, and a plugin at most {MAX_PLUGIN_BYTES}");
    }
    let bytes = std::fs::read(file).with_context(|| format!("{shown} cannot be read"))?;
    if bytes.is_empty() {
        bail!("{shown} is empty");
    }
    Ok((name.to_owned(), bytes))
}

/// Returns the name of the person at this machine.
fn person() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let (user, machine) = (user.unwrap_or_default(), machine.trim());
    match (&*user, machine) {
        ("", machine) => machine.to_owned(),
        (user, "") => user.to_owned(),
        (user, machine) => format!("{user}@{machine}"),
    }
}

fn read(place: &Place, answer: &Answer) -> anyhow::Result<Value> {
    serde_json::from_slice(&answer.body).with_context(|| {
        format!(
            "{place} answers with status {} and no JSON: it is not the operator's API of a host",
            answer.status
        )
    })
}

/// Returns true if a host does not have the path that was asked for.
fn is_unknown(answer: &Value) -> bool {
    answer.pointer("/error/code").is_some_and(|code| code == "unknown-path")
}

/// Returns a text of an answer, or a dash where there is none.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => escape(text),
        value => escape(&value.to_string()),
    }
}

/// Returns the beginning of a hash.
fn short(hash: &Value) -> String {
    let hash = text(hash);
    hash.get(..12).map_or(hash.clone(), str::to_owned)
}

/// Returns the entries of a list.
fn entries(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}
