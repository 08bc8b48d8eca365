//! The bindings of the contract: one module a world, sharing their types.
//!
//! `wit-bindgen` makes their files, which are part of the repository: a plugin's build would have to
//! compile the generator first, which costs more time than all else that the SDK depends on.
//! `bindings/` in the repository writes them, and a test compares them with the contract.
//!
//! Only a world whose export macro is used becomes part of a component, so a channel without
//! `on_ping` does not export `control-frames`.
#![allow(
    missing_docs,
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    unused,
    clippy::all,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::todo,
    clippy::undocumented_unsafe_blocks,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "it is not written by people"
)]

#[rustfmt::skip]
pub mod channel;

/// Declares the modules of the optional exports, which are the contract's `OPTIONAL_EXPORTS`: the
/// attribute names all of them.
macro_rules! optional_exports {
    ($($module:ident,)*) => {
        $(pub mod $module;)*

        /// The optional exports that the attribute makes: those with a callback that the author
        /// wrote.
        #[derive(Debug, Clone, Copy)]
        pub struct Exports {
            $(pub $module: bool,)*
        }
    };
}
optional_exports! {
    channel_timer_events,
    control_frames,
    faults,
    notice_events,
    outside_events,
    presence_events,
    room_events,
    saved_checks,
    starts,
    timer_events,
}
