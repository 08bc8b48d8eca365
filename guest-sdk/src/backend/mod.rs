//! The host, as the handles reach it.
//!
//! Two backends have the same functions: in a component they are the imports of the contract,
//! elsewhere the fake host of the test kit. No module above this one knows which.

#[cfg(target_family = "wasm")]
mod imports;
#[cfg(target_family = "wasm")]
pub(crate) use imports::*;
#[cfg(target_family = "wasm")]
mod outgoing;
#[cfg(target_family = "wasm")]
pub(crate) use outgoing::*;

#[cfg(not(target_family = "wasm"))]
mod fake;
#[cfg(not(target_family = "wasm"))]
pub(crate) use fake::*;
