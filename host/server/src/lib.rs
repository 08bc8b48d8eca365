//! Sockets of the Wharf host: from `accept` to the end of a connection, and the operator's API.
//!
//! This crate knows no wasmtime.
//!
//! # Layout
//!
//! - [`server`]: accept → seat → spawn; drain. Its [`run`] is the way in.
//! - [`listener`]: bind and accept.
//! - `admission`: the shares of the connections that clients may have.
//! - `pending`: the seats of sockets before their upgrade.
//! - `tally`: events of which one line a second tells.
//! - `http`: HTTP/1.1 on one socket, within limits.
//! - `data`: the folder of the data that outlives the process.
//! - `deploys`: plugins that are deployed, tried by all nodes, and run by all or by none.
//! - `metrics`: the numbers of the host, for a scrape and for the dashboard.
//! - [`operator`]: the operator's API. [`operator_client`]: a client of it.
//! - [`handshake`]: an HTTP request → route, origin, limits, `on-connect` → `101` or a status.
//! - `dashboard`: the files of the operator's page. `asset`: files that are compiled into the host.
//! - [`log_tail`]: the last lines of each channel's log, for the operator.
//! - `health`: the checks of balancers and orchestrators.
//! - `page`: the demo page.
//! - `demo`: prepared versions of plugins, which visitors of the page may swap.
//! - `tls`: certificates, read again when their files change.
//! - `readiness`: the host's readiness for clients.
//! - `reply`: responses over plain HTTP.
//! - [`connection`]: the one task that runs a connection: read, call, commit, end.
//! - [`token`]: checks a client's token.

#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]
#![deny(clippy::todo, clippy::unimplemented, clippy::unreachable, clippy::unwrap_used)]
#![deny(missing_docs)]

pub mod server;

mod admission;
mod cluster;
mod data;
mod deploys;
mod http;
pub mod listener;
mod metrics;
mod pending;
mod tally;
mod tls;

pub mod operator;
pub mod operator_client;

mod asset;
mod dashboard;
mod demo;
pub mod handshake;
mod health;
pub mod log_tail;
mod page;
mod readiness;
mod reply;

pub mod connection;

pub mod token;

pub use server::{Observers, run};
pub use tls::check_certificates;
