//! Metrics of the Wharf host: counters that each thread writes for itself, and the text that a scrape gets.
//!
//! A message on its way writes to memory of its own thread only. Sums are made when somebody asks.
//!
//! # Layout
//!
//! - [`table`]: every metric, with its name, its labels and its sentence.
//! - [`counter`]: a number that only grows.
//! - [`blocks`]: counters of each thread, made when the thread first counts something.
//! - [`histogram`]: times that things took, and quantiles of them.
//! - [`fan_out`]: the numbers of receivers of broadcasts.
//! - [`limits`]: the limits of the host, and a counter of each.
//! - [`text`]: the two formats of a scrape.

#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]
#![deny(clippy::todo, clippy::unimplemented, clippy::unreachable, clippy::unwrap_used)]
#![deny(missing_docs)]

pub mod table;

pub mod blocks;
pub mod counter;
pub mod fan_out;
pub mod histogram;
pub mod limits;

pub mod text;
