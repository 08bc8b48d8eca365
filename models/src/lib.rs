//! The lock-free parts of `wharf-runtime`, compiled with the atomics and locks of `loom`.
//!
//! Each model tries every order of the steps of two or three threads, and every value that the
//! memory orderings allow a load to return. The tests beside the code draw orders of more threads at
//! random.

// The models use a part of each file.
#![allow(dead_code, unreachable_pub)]

pub mod models;
mod sync;

/// The files of the runtime.
#[path = "../../host/runtime/src"]
mod runtime {
    pub(crate) mod epoch;
    pub(crate) mod idle;
    pub(crate) mod per_worker;
    pub(crate) mod slots;
}

pub(crate) use runtime::{epoch, idle, per_worker, slots};
