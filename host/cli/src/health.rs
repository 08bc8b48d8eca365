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

/// Returns an address of a host with this configuration that answers this machine in plain HTTP: a Unix socket, an
/// address of clients, or the operator's.
fn own(config: &Config) -> anyhow::Result<Place> {
    let is_unix = |listen: &&Listen| matches!(listen, Listen::Unix(_));
    let of_clients = match config.tls.is_empty() && !config.proxy_protocol {
        true => config.listen.first(),
        // Those are of the TCP addresses only.
        false => config.listen.iter().find(is_unix),
    };
    let of_operator = config.operator_listen.iter().find(|listen| {
        config.operator_token.is_some() && (config.operator_tls.is_empty() || is_unix(listen))
    });
    let Some(listen) = of_clients.or(of_operator) else {
        bail!(
            "the host's addresses speak TLS or expect a proxy, so that this machine cannot ask there: set \
             `operator_token`, add a Unix socket to `listen`, or name an address: wharf health https://NAME"
        );
    };
    match Place::at(listen) {
        place if place.has_port() => Ok(place),
        _ => bail!(
            "the host's port is any free one, so that its address must be given: wharf health http://127.0.0.1:PORT"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_config::{Secret, SecretOrigin};

    fn listening(listen: &[&str], change: impl FnOnce(&mut Config)) -> Option<String> {
        let listen = listen.iter().map(|address| match address.strip_prefix("unix:") {
            Some(path) => Listen::Unix(path.into()),
            None => Listen::Address(address.parse().expect("an address")),
        });
        let mut config = Config { listen: listen.collect(), ..Config::default() };
        change(&mut config);
        own(&config).ok().map(|place| place.to_string())
    }

    #[test]
    fn the_address_is_one_that_answers_in_plain_http() {
        let place = |text: &str| Some(text.to_owned());
        let secret = Secret::new("t", SecretOrigin::Plain);
        let token = |config: &mut Config| config.operator_token = Some(secret.clone());
        assert_eq!(listening(&["0.0.0.0:4000"], |_| {}), place("http://127.0.0.1:4000"));
        assert_eq!(listening(&["127.0.0.1:0"], |_| {}), None);
        let proxied = |config: &mut Config| config.proxy_protocol = true;
        assert_eq!(listening(&["0.0.0.0:4000"], proxied), None);
        assert_eq!(listening(&["0.0.0.0:4000", "unix:w"], proxied), place("unix:w"));
        let both = |config: &mut Config| {
            proxied(config);
            token(config);
        };
        assert_eq!(listening(&["0.0.0.0:4000"], both), place("http://127.0.0.1:4001"));
        assert_eq!(listening(&["0.0.0.0:4000"], token), place("http://127.0.0.1:4000"));
    }
}
