//! A plugin's way from a file in the folder to a component that is fit to serve.

mod cache;
mod component;
mod interfaces;
mod machine;
pub mod watch;

pub use cache::Cache;
pub use component::{Component, ComponentError, Engine, GuestExports};
pub use interfaces::Interfaces;
pub use machine::Machine;
