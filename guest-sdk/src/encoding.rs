//! The author's values as bytes that the host keeps: sessions, room states, payloads, store values.
//!
//! The rule: what is written can be read. A value that its own type would not read back is refused
//! where it is written, by the name of its type and its field.

mod kind;
pub(crate) mod payload;
mod readback;
pub(crate) mod session;
mod strict;
mod tree;

#[cfg(test)]
mod tests;
