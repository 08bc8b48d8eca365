//! `wharf health`: a check of a running host, for machines without another client, such as containers.

use std::time::Duration;

use anyhow::{Context, bail};
use wharf_config::{Config, Listen};
use wharf_contract::text::{cut, escape};
use wharf_server::operator_client::{OperatorClient, Place, Verb};

use crate::arguments::HealthCommand;
use crate::output::print;
use crate::serve::{end, runtime};

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Longest part of an answer that is repeated, in bytes.
const MAX_SHOWN_BYTES: usize = 200;

/// Asks the host. An error is the answer that it is not alive or not ready.
pub fn run(command: &HealthCommand, config: &Config) -> anyhow::Result<()> {
    let place = match &command.url {
        Some(url) => Place::parse(url)?,
        None => own(config)?,
    };
    let path = match (place.has_path(), command.is_ready) {
        (true, _) => "",
        (_, true) => "/readyz",
        (_, false) => "/healthz",
    };
    let client = OperatorClient::without_token(config, place.clone())?;
    let runtime = runtime(&Config { workers: 1, ..Config::default() })?;
    let asked = runtime.block_on(client.send(Verb::Get, path, Vec::new().into(), LIMIT));
    end(runtime);
    let answer = asked.with_context(|| format!("{place} is not alive"))?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let line = escape(cut(text.lines().next().unwrap_or_default(), MAX_SHOWN_BYTES));
    match answer.status {
        200..=299 => print(&format!("{line}\n")),
        status => bail!("{place}{path} answers with status {status}: {line}"),
    }
}

/// Returns the address on which a host with this configuration serves clients, as this machine reaches it.
fn own(config: &Config) -> anyhow::Result<Place> {
    match config.listen.first() {
        Some(Listen::Address(address)) if address.port() == 0 => {
            bail!(
                "`listen` has any free port, so that the host's address must be given: wharf health http://127.0.0.1:PORT"
            )
        }
        Some(listen) => Ok(Place::at(listen)),
        None => bail!("`listen` is empty"),
    }
}
