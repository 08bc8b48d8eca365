//! The tests that need a browser. `cargo xtask test` tells them by the name of this module from those that need a
//! server of Redis or NATS.

mod auction;
mod browser;
mod dashboard;
mod page;
mod page_rules;
mod page_swaps;
mod several_hosts;
