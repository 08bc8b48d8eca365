//! The attribute `#[wharf::channel]`; its documentation for authors is in the crate `wharf`.
//!
//! `checks` reads the author's code and reports errors at their place. `dependency` finds the name
//! that the author gives the SDK. `expand` adds the code that the compiler and the host need.
//! `hints` finds mistakes within callbacks, and `names` the name that was meant. `exports` has the names
//! of the SDK's bindings for the contract's optional exports.

#![deny(missing_docs)]

mod checks;
mod dependency;
mod expand;
mod exports;
mod hints;
mod names;

use proc_macro::TokenStream;

/// Makes an implementation of `Channel` the channel of this plugin; see `wharf::channel`.
#[proc_macro_attribute]
pub fn channel(arguments: TokenStream, item: TokenStream) -> TokenStream {
    checks::check(arguments.into(), item.into())
        .map(expand::expand)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
