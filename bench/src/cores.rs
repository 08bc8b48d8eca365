//! The cores that the server and the generator run on.

use std::sync::OnceLock;

use anyhow::{Context, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The cores of the two sides of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The server's core.
    pub server: usize,
    /// The generator's core.
    pub generator: usize,
}

impl Cores {
    /// Returns the cores asked for, or the first two that this process may use. If there is only
    /// one, both sides share it.
    ///
    /// # Errors
    ///
    /// The kernel does not list this process's cores.
    pub fn choose(server: Option<usize>, generator: Option<usize>) -> anyhow::Result<Cores> {
        let allowed = allowed();
        ensure!(!allowed.is_empty(), "cannot tell which cores there are");
        choose(allowed, server, generator).context("this process may not use any core")
    }

    /// Returns true if both sides have to take turns on one core. Neither latency nor throughput
    /// say much then.
    pub fn are_shared(&self) -> bool {
        self.server == self.generator
    }
}

fn choose(allowed: &[usize], server: Option<usize>, generator: Option<usize>) -> Option<Cores> {
    let first_other = |taken: Option<usize>| {
        let other = allowed.iter().find(|core| Some(**core) != taken);
        other.or(allowed.first()).copied()
    };
    let server = server.or_else(|| first_other(generator))?;
    let generator = generator.or_else(|| first_other(Some(server)))?;
    Some(Cores { server, generator })
}

/// Returns the cores that this process was allowed to use at the first call, before it pinned
/// itself to one of them.
pub fn allowed() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        cores.into_iter().map(|core| core.id).collect()
    })
}

/// Pins this thread, and the threads that it starts from now on, to these cores.
///
/// # Errors
///
/// There are no such cores, or this process may not use them.
pub fn stay_on(cores: &[usize]) -> anyhow::Result<()> {
    // The list of allowed cores must be read before this thread narrows it.
    allowed();
    let mut set = CpuSet::new();
    for core in cores {
        ensure!(*core < CpuSet::MAX_CPU, "there is no core {core}");
        set.set(*core);
    }
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on the cores {cores:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(
        allowed: &[usize],
        server: Option<usize>,
        generator: Option<usize>,
    ) -> (usize, usize) {
        let cores = choose(allowed, server, generator).expect("a choice");
        (cores.server, cores.generator)
    }

    #[test]
    fn the_first_two_cores_are_taken_unless_others_are_asked_for() {
        assert_eq!(chosen(&[0, 1, 2], None, None), (0, 1));
        assert_eq!(chosen(&[2, 3], None, None), (2, 3));
        assert_eq!(chosen(&[0, 1, 2], Some(1), None), (1, 0));
        assert_eq!(chosen(&[0, 1, 2], None, Some(0)), (1, 0));
        assert_eq!(chosen(&[0, 1, 2], Some(2), Some(2)), (2, 2));
    }

    #[test]
    fn a_single_core_is_shared() {
        assert_eq!(chosen(&[5], None, None), (5, 5));
        assert_eq!(choose(&[], None, None), None);
    }
}
