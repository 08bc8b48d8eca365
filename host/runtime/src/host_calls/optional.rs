//! The optional exports of the contract, as generated from `wit/`: each is an interface in a world
//! of its own, and the host calls those that a component has.

/// One module for each world, sharing the types of the channel's.
macro_rules! optional_exports {
    ($($(#[$doc:meta])* $module:ident = $world:literal;)*) => {$(
        $(#[$doc])*
        #[allow(missing_docs)]
        pub mod $module {
            wasmtime::component::bindgen!({
                path: "../../wit",
                world: $world,
                exports: { default: async },
                ownership: Borrowing { duplicate_if_necessary: true },
                with: { "wharf:channel": crate::host_calls::bindings::wharf::channel },
            });
        }
    )*};
}

optional_exports! {
    /// Pings and pongs.
    control_frames = "with-control-frames";
    /// Failures.
    faults = "with-faults";
    /// What others post for a connection.
    notice_events = "with-notice-events";
    /// Timers of connections.
    timer_events = "with-timer-events";
    /// Events and timers of rooms.
    room_events = "with-room-events";
    /// Timers of the channel.
    channel_timer_events = "with-channel-timer-events";
    /// Messages from outside.
    outside_events = "with-outside-events";
}

/// Who has come to rooms, and who has gone.
#[allow(missing_docs)]
pub mod presence_events {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "with-presence-events",
        exports: { default: async },
        // What it is given is a type of the channel's world, which owns what is in it.
        ownership: Owning,
        with: { "wharf:channel": crate::host_calls::bindings::wharf::channel },
    });
}
