//! The surroundings of a server: its runtime, its open files, its listener.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;
use wharf_config::{Config, Source, Sources};
use wharf_runtime::plugin::Machine;
use wharf_server::listener::Listener;
use wharf_server::log_tail::LogTail;
use wharf_server::operator::MAX_CONNECTIONS;
use wharf_server::server::{CLIENTS, MAX_PENDING};

use crate::log::Log;
use crate::machine;
use crate::signals::{Shutdown, shutdown};

/// Open files that are not connections: the log, plugins being read, the runtime's own.
const FILES_BESIDE_CONNECTIONS: u64 = 100;

/// Mappings of memory that an instance has: its memory, its tables and its stack, each with a guard.
const MAPPINGS_PER_INSTANCE: usize = 8;

/// Time limit for the runtime to end the tasks that are left after the shutdown.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// Runs `server` until it ends, with the sockets that this process has inherited or else with those
/// of the configuration, and with the last lines of its log, if an operator may read them.
pub fn serve<S, F>(
    mut config: Config,
    sources: &Sources,
    inherited: Option<Vec<OwnedFd>>,
    server: S,
) -> anyhow::Result<()>
where
    S: FnOnce(Config, Machine, Listener, Shutdown, Option<Arc<LogTail>>) -> F,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let examined = machine::examine();
    let log = Log::open(&config)?;
    let tail = log.tail();
    if let Some(ignored) = sources.ignored() {
        tracing::warn!("{ignored}");
    }
    raise_open_files(&config);
    compare_mappings(&config);
    let machine = examined.machine()?;
    let runtime = runtime(&config)?;
    let served = runtime.block_on(async {
        let shutdown = shutdown()?;
        let listener = match inherited {
            Some(sockets) => Listener::inherit(sockets, CLIENTS)?,
            None => Listener::bind(&config.listen, CLIENTS)
                .context("no address for clients; choose another with --listen")?,
        };
        config.listen_at(listener.bound().to_vec(), sources);
        if !config.page && *sources.of("page") == Source::Default {
            tracing::info!(
                "the demo page is off, since other machines can reach this one; `page = true` turns \
                 it on"
            );
        }
        // The server runs on a worker, like all tasks that it starts: accepting a connection should
        // not have to wake another thread for it.
        tokio::spawn(server(config, machine, listener, shutdown, tail)).await?
    });
    end(runtime);
    drop(log);
    served
}

/// Builds the runtime of a server.
pub fn runtime(config: &Config) -> anyhow::Result<Runtime> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if config.workers > 0 {
        runtime.worker_threads(config.workers);
    }
    Ok(runtime.enable_all().thread_name("worker").build()?)
}

/// Ends a runtime. Does not wait for a plugin that is still being compiled.
pub fn end(runtime: Runtime) {
    runtime.shutdown_timeout(LAST_MOMENT);
}

/// Warns if the system lets a process have fewer mappings of memory than the instances need.
fn compare_mappings(config: &Config) {
    // Other systems than Linux have no such limit.
    let Ok(text) = std::fs::read_to_string("/proc/sys/vm/max_map_count") else { return };
    let Ok(limit) = text.trim().parse::<usize>() else { return };
    let needed = config.max_instances.saturating_mul(MAPPINGS_PER_INSTANCE);
    if limit < needed {
        tracing::warn!(
            limit,
            max_instances = config.max_instances,
            "the system allows fewer mappings of memory than max_instances needs; raise it \
             (sysctl vm.max_map_count={needed}) or lower max_instances"
        );
    }
}

/// Raises the limit of open files to the one that the system allows, since every connection is an
/// open file. Warns if that is too little.
fn raise_open_files(config: &Config) {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => {
            let sockets = config.max_connections + MAX_PENDING + MAX_CONNECTIONS;
            let needed = sockets as u64 + FILES_BESIDE_CONNECTIONS;
            if limit < needed {
                tracing::warn!(
                    limit,
                    max_connections = config.max_connections,
                    "the system allows fewer open files than max_connections needs; raise it \
                     (ulimit -n {needed}, or LimitNOFILE) or lower max_connections"
                );
            }
        }
        Err(error) => {
            tracing::warn!(error = error.to_string(), "the limit of open files cannot be raised");
        }
    }
}
