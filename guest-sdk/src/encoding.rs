//! The author's values as bytes that the host keeps: sessions, room states, payloads, store values.
//!
//! The rule: what is written can be read. A value that its own type would not read back is refused
//! where it is written, by the name of its type and its field.

#![allow(
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "places in a text or in bytes that were found there before"
)]

mod kind;
pub(crate) mod payload;
mod readback;
pub(crate) mod session;
mod strict;
mod tree;

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests;
