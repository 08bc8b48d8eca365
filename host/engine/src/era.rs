//! Eras: the times between two losses of power that may have cost records.
//!
//! A log whose end is lost goes on with numbers that others have seen already, for other content. So a
//! folder that may have lost records begins a new era, and a number of an earlier one means nothing in
//! it. A folder says in its database who has it open: after an end that was not orderly, on a machine that
//! has started anew since then, nobody knows what is missing. A copy begins a new era as well.

use crate::disk::Durability;

/// The name of the value that says who has the folder open.
pub(crate) const HOLDER: &str = "holder";
/// The name of the value that has the number of the era.
pub(crate) const ERA: &str = "era";
/// The holder of a folder that was closed in order.
pub(crate) const NOBODY: &str = "nobody";

/// The holder of a copy, and of a folder that was changed by hand: it goes on from a moment that hosts and clients have
/// left behind.
pub(crate) const CHANGED: &str = "changed";

/// Returns the holder that a folder of this durability gets when it is opened.
pub(crate) fn holder(durability: Durability) -> String {
    match durability {
        Durability::EachGroup => "synced".to_owned(),
        Durability::Every(_) | Durability::Never => format!("boot {}", boot()),
    }
}

/// Returns true if records may have been lost since a folder had this holder.
pub(crate) fn may_have_lost(holder: &str) -> bool {
    !(holder == NOBODY || holder == "synced" || holder == format!("boot {}", boot()))
}

/// Returns the name that the system gives the time since it was started. Without one, every start counts
/// as one of the machine.
fn boot() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match name.trim() {
        "" => format!("unknown, process {}", std::process::id()),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_a_machine_that_was_started_anew_may_have_lost_something() {
        let every = holder(Durability::Every(Duration::from_millis(10)));
        assert!(!may_have_lost(&every), "the same machine, not started since");
        assert!(!may_have_lost(NOBODY) && !may_have_lost(&holder(Durability::EachGroup)));
        assert!(may_have_lost(CHANGED));
        assert!(may_have_lost("boot 00000000-0000-0000-0000-000000000000"));
    }
}
