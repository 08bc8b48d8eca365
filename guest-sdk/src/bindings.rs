//! What `wit-bindgen` makes of the contract: one module a world, sharing their types.
//!
//! Only a world whose export macro is used becomes part of a component, so a channel without
//! `on_ping` does not export `control-frames`.
#![allow(missing_docs)]

/// What every channel is.
pub mod channel {
    wit_bindgen::generate!({
        world: "channel",
        path: "wit",
        pub_export_macro: true,
        export_macro_name: "export_channel",
        default_bindings_module: "::wharf::__private::bindings::channel",
    });
}

/// The optional export `control-frames`.
pub mod control_frames {
    wit_bindgen::generate!({
        world: "with-control-frames",
        path: "wit",
        pub_export_macro: true,
        export_macro_name: "export_control_frames",
        default_bindings_module: "::wharf::__private::bindings::control_frames",
        with: {
            "wharf:channel/types@0.1.1": crate::bindings::channel::wharf::channel::types,
            "wharf:channel/connection@0.1.1": crate::bindings::channel::wharf::channel::connection,
        },
    });
}

/// The optional export `faults`.
pub mod faults {
    wit_bindgen::generate!({
        world: "with-faults",
        path: "wit",
        pub_export_macro: true,
        export_macro_name: "export_faults",
        default_bindings_module: "::wharf::__private::bindings::faults",
        with: {
            "wharf:channel/types@0.1.1": crate::bindings::channel::wharf::channel::types,
            "wharf:channel/connection@0.1.1": crate::bindings::channel::wharf::channel::connection,
        },
    });
}
