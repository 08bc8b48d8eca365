//! Which cores the server and the generator run on.

use anyhow::{Context, ensure};
use core_affinity::CoreId;

/// Where the two sides of a measurement run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The server's core.
    pub server: usize,
    /// The generator's core.
    pub generator: usize,
}

impl Cores {
    /// The cores asked for, or the first two that this process may use. Where there is only one,
    /// both sides share it.
    ///
    /// # Errors
    ///
    /// The kernel does not say which there are.
    pub fn choose(server: Option<usize>, generator: Option<usize>) -> anyhow::Result<Cores> {
        let allowed = core_affinity::get_core_ids().context("cannot tell which cores there are")?;
        let allowed: Vec<usize> = allowed.into_iter().map(|core| core.id).collect();
        choose(&allowed, server, generator).context("this process may not use any core")
    }

    /// Whether both sides have to take turns, so that neither latency nor throughput say much.
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

/// How many cores this process may use.
pub fn count() -> usize {
    core_affinity::get_core_ids().map_or(0, |cores| cores.len())
}

/// Makes this thread, and those that it starts from now on, stay on one core.
///
/// # Errors
///
/// There is no such core, or this process may not use it.
pub fn stay_on(core: usize) -> anyhow::Result<()> {
    let done = core_affinity::set_for_current(CoreId { id: core });
    ensure!(done, "cannot run on core {core}");
    Ok(())
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
