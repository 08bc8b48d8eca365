//! The names of topics, logs, keys and leases.

use crate::error::{Reason, Unavailable};

/// Longest name of a topic, log, key or lease, in bytes.
pub const MAX_NAME_BYTES: usize = 1_024;

/// Refuses a name that is empty or too long.
pub(crate) fn check_name(name: &str) -> Result<(), Unavailable> {
    match name.len() {
        1..=MAX_NAME_BYTES => Ok(()),
        length => Err(Unavailable::new(
            Reason::TooLarge,
            &format!("a name has {length} bytes, and 1 to {MAX_NAME_BYTES} are possible"),
        )),
    }
}
