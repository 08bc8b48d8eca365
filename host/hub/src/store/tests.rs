//! Tests that each implementation of a store passes. The crate of the one on an engine includes the same file.

use super::{Entry, Store};

pub(super) mod conformance;
