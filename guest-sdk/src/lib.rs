//! Write WebSocket channels in Rust.

extern crate self as wharf;

mod channel;
mod connection;
mod dispatch;
mod error;
pub mod event;
mod incoming;
pub mod log;
mod outgoing;
pub mod prelude;
mod refusal;
pub mod rooms;
mod session;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod urlencoded;

mod backend;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;
#[cfg(target_family = "wasm")]
mod exports;

pub use channel::{Channel, Fault};
pub use connection::Connection;
pub use error::{Context, Error, HostError, Remedy, Result};
pub use incoming::InvalidMessage;
pub use outgoing::{Json, Outgoing, Payload};
pub use refusal::Refusal;
pub use wharf_macros::channel;

pub use serde;
pub use serde_json;

/// For the code that [`channel`](macro@channel) writes.
#[doc(hidden)]
pub mod __private {
    pub use crate::channel::{Exports, check_paths};

    #[cfg(target_family = "wasm")]
    pub use crate::{bindings, exports::Component};
}
