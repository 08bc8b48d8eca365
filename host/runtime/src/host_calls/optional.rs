//! The optional exports of the contract, as generated from `wit/`: each is an interface in a world
//! of its own, and the host calls those that a component has.

/// Makes one module for each world, sharing the types of the channel's.
macro_rules! bindings {
    ($(
        $(#[$doc:meta])*
        $module:ident = $interface:literal, $world:literal,
            uses [$($uses:literal),*], callbacks [$($callback:literal),*];
    )*) => {$(
        $(#[$doc])*
        #[allow(missing_docs)]
        pub mod $module {
            bindings!(@ $module $world);
        }
    )*};
    // It takes a type of the channel's world, which owns its content.
    (@ presence_events $world:literal) => {
        wasmtime::component::bindgen!({
            path: "../../wit",
            world: $world,
            exports: { default: async },
            ownership: Owning,
            with: { "wharf:channel": crate::host_calls::bindings::wharf::channel },
        });
    };
    (@ $module:ident $world:literal) => {
        wasmtime::component::bindgen!({
            path: "../../wit",
            world: $world,
            exports: { default: async },
            ownership: Borrowing { duplicate_if_necessary: true },
            with: { "wharf:channel": crate::host_calls::bindings::wharf::channel },
        });
    };
}

wharf_contract::optional_exports!(bindings);
