//! Random numbers of the system.

use crate::error::{Reason, Unavailable};

/// Returns a random number that is not 0.
pub(crate) fn random() -> Result<u64, Unavailable> {
    match getrandom::u64() {
        Ok(number) => Ok(number.max(1)),
        Err(error) => {
            Err(Unavailable::new(Reason::Other, &format!("there are no random numbers: {error}")))
        }
    }
}
