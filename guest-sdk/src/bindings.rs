//! The bindings that `wit-bindgen` makes of the contract: one module a world, sharing their types.
//!
//! Only a world whose export macro is used becomes part of a component, so a channel without
//! `on_ping` does not export `control-frames`.
#![allow(missing_docs)]

/// The bindings of every channel.
pub mod channel {
    wit_bindgen::generate!({
        world: "channel",
        path: "wit",
        pub_export_macro: true,
        export_macro_name: "export_channel",
        default_bindings_module: "::wharf::__private::bindings::channel",
    });
}

/// Makes a module for each world with an optional export, sharing the types of the channel's that it
/// uses.
macro_rules! bindings {
    ($(
        $module:ident = $world:literal, $export:literal, $here:literal,
            uses [$($name:literal: $type:ident),*];
    )*) => {$(
        #[doc = concat!("The bindings of `", $world, "`.")]
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
    )*};
}
wharf_macros::optional_exports!(bindings);
