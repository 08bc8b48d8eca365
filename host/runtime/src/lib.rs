//! WebAssembly components of the Wharf host: from a file in the plugin folder to a guest call.
//!
//! This is the only crate that names wasmtime. It knows no sockets of clients and no HTTP server.
//!
//! # Layout
//!
//! - [`registry`]: the mounted channels; files in the plugin folder become generations and routes.
//! - [`outside_messages`]: messages from outside that channels answer.
//! - `room_events`: events of rooms, and of channels themselves: run, commit. `owned_rooms`: the same in a cluster.
//! - `presence_events`: tells channels the changes of their rooms' presence lists.
//! - [`working`]: a counter of the work that a host which stops waits for.
//! - [`guest_call`]: a guest call from the wait for a slot to its failure.
//! - [`channel`]: a channel and its current generation; the swap.
//! - [`channel_context`]: the part of a channel that outlives its generations.
//! - [`channel_counters`]: the counters of a channel. [`event_kind`]: the kinds of its events.
//! - [`channel_memory`]: the memory of a channel's instances, and the events that wait for some.
//! - [`long_calls`]: the turns of calls that compute for long.
//! - [`saved_samples`]: samples of sessions and states, which new code is asked to read.
//! - [`plugin`]: a file in the folder → settled bytes → a checked component.
//! - [`slots`]: the right to use an instance, of one channel and of all together.
//! - [`pool`]: warm instances of one generation, kept for the workers that used them (`idle`).
//! - [`instance`]: a wasmtime store, its limits, a guest call, its deadline, a trap.
//! - [`live_instances`], [`log_budget`]: counters that channels share, and that each has.
//! - `epoch`: the clock that preempts guests, which stands still while none runs.
//! - [`host_calls`]: one small file for each interface of the contract.
//! - [`ports`]: the clock, the HTTP client, token verifiers, the log of guests, observers.
//! - [`file_stamp`]: the state of a file that is watched, and looks at small ones.
//!
//! `plugin::component`, `instance` and `host_calls` use one another: a component is linked to the
//! host calls, which are methods of the state in an instance's store, and an instance is made from
//! a component.

#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]
#![deny(clippy::todo, clippy::unimplemented, clippy::unreachable, clippy::unwrap_used)]
#![deny(missing_docs)]

pub mod registry;

pub mod outside_messages;

mod owned_rooms;
mod room_events;

mod presence_events;

pub mod working;

pub mod event_kind;
pub mod guest_call;

pub mod channel;
pub mod channel_context;
pub mod channel_counters;
pub mod channel_memory;

pub mod plugin;

pub mod saved_samples;
pub mod slots;

pub mod pool;

mod idle;

mod epoch;

mod per_worker;

mod sync;

#[cfg(test)]
mod interleaving;

pub mod instance;
pub mod live_instances;
pub mod long_calls;

pub mod log_budget;

pub mod host_calls;

pub mod ports;

pub mod file_stamp;
