//! The optional exports of the contract: the one list of them.
//!
//! Each is an interface in a world of its own, `with-…`, which a component exports if its author wrote one
//! of the callbacks. [`optional_exports!`](crate::optional_exports) hands the list to a macro.

use crate::refusal::CallRefusal;

/// The version of the contract, as `wit/` has it.
pub const CONTRACT_VERSION: (u64, u64, u64) = (0, 1, 2);

/// Calls a macro with the list of the optional exports.
///
/// For each the macro gets `/// Documentation` and
/// `module = "interface", "world", uses ["interface", …], callbacks ["on_…", …];`, where `uses` names
/// the interfaces of the channel's world whose types the export shares.
#[macro_export]
macro_rules! optional_exports {
    ($each:ident) => {
        $each! {
            /// Pings and pongs.
            control_frames = "control-frames", "with-control-frames",
                uses ["types", "connection"], callbacks ["on_ping", "on_pong"];
            /// Failures.
            faults = "faults", "with-faults",
                uses ["types", "connection"], callbacks ["on_fault"];
            /// Notices for connections.
            notice_events = "notice-events", "with-notice-events",
                uses ["types", "connection"], callbacks ["on_notify"];
            /// Timers of connections.
            timer_events = "timer-events", "with-timer-events",
                uses ["types", "connection"], callbacks ["on_timer"];
            /// Events and timers of rooms.
            room_events = "room-events", "with-room-events",
                uses [], callbacks ["on_room_event", "on_room_timer"];
            /// Changes of who is present in rooms.
            presence_events = "presence-events", "with-presence-events",
                uses ["types", "connection", "presence"], callbacks ["on_presence"];
            /// Timers of the channel.
            channel_timer_events = "channel-timer-events", "with-channel-timer-events",
                uses [], callbacks ["on_channel_timer"];
            /// Messages from outside.
            outside_events = "outside-events", "with-outside-events",
                uses [], callbacks ["on_outside_message"];
            /// The start of an instance.
            starts = "starts", "with-starts",
                uses [], callbacks ["on_start"];
            /// Checks of what earlier code has saved. Every channel can have them.
            saved_checks = "saved-checks", "with-saved-checks",
                uses [], callbacks ["on_connect"];
        }
    };
}

/// One optional export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionalExport {
    /// The name of its bindings' module and of its field in [`Exports`].
    pub module: &'static str,
    /// The interface, in kebab-case.
    pub interface: &'static str,
    /// The world that exports the interface.
    pub world: &'static str,
    /// Interfaces of the channel's world whose types it shares.
    pub uses: &'static [&'static str],
    /// The callbacks that it is for.
    pub callbacks: &'static [&'static str],
}

macro_rules! table {
    ($(
        $(#[$doc:meta])*
        $module:ident = $interface:literal, $world:literal,
            uses [$($uses:literal),*], callbacks [$($callback:literal),*];
    )*) => {
        /// All optional exports.
        pub const OPTIONAL_EXPORTS: &[OptionalExport] = &[$(OptionalExport {
            module: stringify!($module),
            interface: $interface,
            world: $world,
            uses: &[$($uses),*],
            callbacks: &[$($callback),*],
        },)*];

        /// The optional exports that a plugin has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Exports {
            $($(#[$doc])* pub $module: bool,)*
        }

        impl Exports {
            /// Those of a plugin without optional exports.
            #[cfg(test)]
            const NONE: Exports = Exports { $($module: false,)* };

            /// Returns the interfaces of those that there are.
            pub fn interfaces(&self) -> impl Iterator<Item = &'static str> {
                let all = [$(($interface, self.$module),)*];
                all.into_iter().filter(|(_, is_there)| *is_there).map(|(interface, _)| interface)
            }

            /// Checks that the plugin handles what is posted: without a handler it would vanish.
            ///
            /// # Errors
            ///
            /// `no-handler`, where the export of this callback is missing.
            pub fn check(&self, callback: &'static str) -> Result<(), CallRefusal> {
                match self.missing(callback) {
                    None => Ok(()),
                    Some(interface) => {
                        Err(CallRefusal::NoHandler { handler: callback, interface })
                    }
                }
            }

            /// Returns the interface that the plugin would have to export for this callback, if it
            /// does not.
            pub fn missing(&self, callback: &str) -> Option<&'static str> {
                let (is_there, interface) = match callback {
                    $($($callback => (self.$module, $interface),)*)*
                    _ => (true, ""),
                };
                (!is_there).then_some(interface)
            }
        }
    };
}
optional_exports!(table);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_interface_and_world_are_one_name() {
        for export in OPTIONAL_EXPORTS {
            assert_eq!(export.interface.replace('-', "_"), export.module);
            assert_eq!(export.world, format!("with-{}", export.interface));
            assert!(!export.callbacks.is_empty());
        }
    }

    #[test]
    fn a_plugin_has_some_of_them() {
        let exports = Exports { faults: true, room_events: true, ..Exports::NONE };
        assert_eq!(exports.interfaces().collect::<Vec<_>>(), ["faults", "room-events"]);
        assert_eq!(exports.check("on_room_timer"), Ok(()));
        let (handler, interface) = ("on_timer", "timer-events");
        assert_eq!(exports.check(handler), Err(CallRefusal::NoHandler { handler, interface }));
        assert_eq!(exports.missing("on_message"), None);
    }
}
