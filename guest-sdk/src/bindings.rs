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

/// A world with one optional export, sharing the types of the channel's that it uses.
macro_rules! optional_export {
    (
        $(#[$doc:meta])*
        $module:ident, $world:literal, $export:literal, $here:literal $(, $name:literal: $type:ident)*
    ) => {
        $(#[$doc])*
        pub mod $module {
            wit_bindgen::generate!({
                world: $world,
                path: "wit",
                pub_export_macro: true,
                export_macro_name: $export,
                default_bindings_module: $here,
                with: { $($name: crate::bindings::channel::wharf::channel::$type,)* },
            });
        }
    };
}

optional_export! {
    /// The optional export `control-frames`.
    control_frames, "with-control-frames", "export_control_frames",
    "::wharf::__private::bindings::control_frames",
    "wharf:channel/types@0.1.1": types, "wharf:channel/connection@0.1.1": connection
}

optional_export! {
    /// The optional export `faults`.
    faults, "with-faults", "export_faults", "::wharf::__private::bindings::faults",
    "wharf:channel/types@0.1.1": types, "wharf:channel/connection@0.1.1": connection
}

optional_export! {
    /// The optional export `notice-events`.
    notice_events, "with-notice-events", "export_notice_events",
    "::wharf::__private::bindings::notice_events",
    "wharf:channel/types@0.1.1": types, "wharf:channel/connection@0.1.1": connection
}

optional_export! {
    /// The optional export `timer-events`.
    timer_events, "with-timer-events", "export_timer_events",
    "::wharf::__private::bindings::timer_events",
    "wharf:channel/types@0.1.1": types, "wharf:channel/connection@0.1.1": connection
}

optional_export! {
    /// The optional export `room-events`.
    room_events, "with-room-events", "export_room_events",
    "::wharf::__private::bindings::room_events"
}

optional_export! {
    /// The optional export `presence-events`.
    presence_events, "with-presence-events", "export_presence_events",
    "::wharf::__private::bindings::presence_events",
    "wharf:channel/types@0.1.1": types, "wharf:channel/connection@0.1.1": connection,
    "wharf:channel/presence@0.1.1": presence
}

optional_export! {
    /// The optional export `channel-timer-events`.
    channel_timer_events, "with-channel-timer-events", "export_channel_timer_events",
    "::wharf::__private::bindings::channel_timer_events"
}

optional_export! {
    /// The optional export `outside-events`.
    outside_events, "with-outside-events", "export_outside_events",
    "::wharf::__private::bindings::outside_events"
}
