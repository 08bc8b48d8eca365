//! Tests of Wharf through its front door: the real `wharf` process, real sockets, real clients.
//!
//! - [`Wharf`]: a server process in a folder of its own, and its plugin folder;
//! - [`Dev`]: `wharf dev`, with the plugin that it builds;
//! - [`Log`]: the lines that a process has logged so far, and waiting for later ones;
//! - [`Client`]: a well-behaved WebSocket client;
//! - [`Reader`]: a client that keeps its position in a room;
//! - [`script`]: clients that send steps to the fixture `scripted`;
//! - [`Raw`]: a TCP connection that may send anything, or nothing;
//! - [`Backend`]: an HTTP server that plugins call;
//! - [`ForeignClient`]: WebSocket clients of other ecosystems;
//! - [`Hosts`]: one server, or several of a cluster, which a test says that its clients connect to;
//! - [`Cluster`]: several servers, and the Redis or NATS between them;
//! - [`config_map`]: a folder as orchestrators mount it;
//! - [`chaos`]: faults of clusters, and what clients see of them;
//! - [`balancer`]: nginx, Caddy and HAProxy with the samples of `deploy/`;
//! - [`proxy`]: a link that can be cut and slowed;
//! - [`tokens`]: JSON Web Tokens, good and bad;
//! - [`Operated`]: a server with its operator's API, and a client of that;
//! - [`Browser`]: a headless Chromium;
//! - [`FaultyDisk`]: a disk that is slow, full or broken, or loses its power;
//! - [`system_calls`]: kernels that answer the host otherwise;
//! - [`kit`]: the SDK's test kit, with components of this repository;
//! - [`artefacts`]: the places of the compiled plugins, fixtures and binary.
//!
//! `cargo xtask test` builds the artefacts and runs the tests. Every wait has a generous limit
//! ([`PATIENCE`]) and fails with its subject. No test sleeps to give the server time for something.

pub mod artefacts;
mod backend;
pub mod balancer;
mod browser;
pub mod chaos;
mod client;
pub mod cluster;
pub mod config_map;
mod dev;
mod disk;
mod folder;
mod foreign;
mod hosts;
pub mod kit;
mod log;
pub mod operator;
pub mod proxy;
pub mod raw;
mod reader;
mod readiness;
pub mod script;
mod server;
pub mod system_calls;
pub mod tokens;
pub mod tunnel;

use std::future::Future;
use std::time::Duration;

pub use backend::{Backend, authority};
pub use browser::Browser;
pub use client::{Client, Ended, Rejected};
pub use cluster::Cluster;
pub use dev::Dev;
pub use disk::FaultyDisk;
pub use folder::{configured, folder};
pub use foreign::ForeignClient;
pub use hosts::{Hosts, Setup};
pub use log::{Line, Log};
pub use operator::{Operated, Stream};
pub use raw::{Frame, HttpAnswer, Raw};
pub use reader::Reader;
pub use server::{Stopped, Wharf, mounts, run, run_in};

pub use serde_json::{Value, json};

/// Longest wait for an expected event. It is far longer than necessary, since tests share two
/// cores.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for an expected event, and fails with its name if it does not come.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Calls `check` until it returns a value. For facts that can only be polled, such as a process's
/// memory.
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}
