//! Atomics and locks that threads share on the path of each event. Tests replace them with others,
//! which run the threads in an order drawn from a seed.

#[cfg(not(test))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(test))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize};

#[cfg(test)]
pub(crate) use crate::interleaving::{AtomicBool, AtomicUsize, Mutex};
