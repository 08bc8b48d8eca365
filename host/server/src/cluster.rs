//! The cluster that a host is in.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use wharf_cluster::{Configuration, Deliveries, Engine, OpenError};
use wharf_config::{Config, StartWithoutEngine};
use wharf_hub::hub::Channels;
use wharf_hub::inbox::InboxLimits;
use wharf_node::{Node, Settings};

use crate::deploys::Host;

/// Time between two tries to reach the engine at the start.
const PAUSE: Duration = Duration::from_secs(1);

/// Returns the name of a host, and the time of its start. `address` is one of those that it listens on.
pub(crate) fn host(config: &Config, address: &str) -> Host {
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let name = match &*config.node_name {
        "" => default_name(address),
        name => name.to_owned(),
    };
    Host { name, started: u64::try_from(started.as_millis()).unwrap_or(u64::MAX) }
}

/// Joins the cluster of a configuration, if it names one.
///
/// # Errors
///
/// The address of the engine is not valid, or the engine cannot be used and the host is not to wait for it.
pub(crate) async fn join(
    config: &Config,
    hubs: &Arc<Channels>,
    host: &Host,
) -> anyhow::Result<Option<Arc<Node>>> {
    let Some(engine) = &config.cluster else { return Ok(None) };
    let configuration = Configuration::parse(engine.expose())
        .and_then(|configuration| configuration.with_prefix(&config.cluster_prefix))
        .context("`cluster` cannot be used")?;
    let (engine, deliveries) = open(&configuration, config.start_without_engine).await?;
    let settings = Settings {
        name: host.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: host.started,
        timeout: config.node_timeout,
        inbox: InboxLimits {
            events: config.inbox_events,
            bytes: config.inbox_bytes,
            channel_bytes: usize::MAX,
        },
        room_inbox: InboxLimits {
            events: config.room_inbox_events,
            bytes: config.room_inbox_bytes,
            channel_bytes: config.max_channel_inbox_bytes,
        },
        max_rooms: config.max_room_states,
    };
    let name = settings.name.clone();
    let server = engine.status().server;
    let node = Node::start(engine, deliveries, hubs.clone(), settings);
    tracing::info!(
        node = wharf_hub::connection_id::NodeId::local().to_string(),
        name,
        server,
        "in a cluster"
    );
    Ok(Some(node))
}

async fn open(
    configuration: &Configuration,
    without: StartWithoutEngine,
) -> anyhow::Result<(Arc<dyn Engine>, Deliveries)> {
    let mut last = None;
    loop {
        let why = match wharf_cluster::open(configuration).await {
            Ok(opened) => return Ok(opened),
            Err(OpenError::Unavailable { server, why }) => format!("{server}: {why}"),
            Err(why) => return Err(why).context("`cluster` cannot be used"),
        };
        if without == StartWithoutEngine::Fail {
            anyhow::bail!("the engine of the cluster cannot be used: {why}");
        }
        if last.as_ref() != Some(&why) {
            tracing::warn!(reason = why, "waiting for the engine of the cluster");
            last = Some(why);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns the name of the machine and the port of an address, or the number of the process for one without a port.
fn default_name(address: &str) -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = match machine.trim() {
        "" => "host",
        name => name,
    };
    let port = address.split(',').next().and_then(|address| address.rsplit_once(':'));
    match port {
        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{machine}:{port}")
        }
        _ => format!("{machine}:{}", std::process::id()),
    }
}
