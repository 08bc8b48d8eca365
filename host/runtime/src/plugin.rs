//! A plugin's way from a file in the folder to a component that is fit to serve.

mod cache;
mod compiler;
mod component;
#[cfg(test)]
mod fuzz;
mod install;
mod interfaces;
mod machine;
pub mod watch;

use wharf_contract::text::escape;

pub use cache::Cache;
pub(crate) use cache::LastGood;
pub(crate) use compiler::{WorkError, on_thread};
pub use component::{Component, ComponentError, Engine, GuestExports};
pub use install::install;
pub use interfaces::Interfaces;
pub use machine::Machine;

/// Returns an error and its causes in one line.
fn one_line(error: &wasmtime::Error) -> String {
    let mut line = escape(&format!("{error:#}"));
    line.truncate(line.floor_char_boundary(1000));
    line
}
