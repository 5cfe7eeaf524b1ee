//! Which CPUs a measured program may use: it inherits them from the bench, which gets its own back.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Starts something on the first `count` of the CPUs that the bench may use.
pub(super) fn on_first_cpus<T>(count: usize, start: impl FnOnce() -> Result<T>) -> Result<T> {
    let all = sched_getaffinity(None).context("ask which CPUs may be used")?;
    sched_setaffinity(None, &first(&all, count)).context("choose the CPUs to keep busy")?;
    let started = start();
    sched_setaffinity(None, &all).context("use all CPUs again")?;
    started
}

fn first(all: &CpuSet, count: usize) -> CpuSet {
    let mut first = CpuSet::new();
    (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu)).take(count).for_each(|cpu| first.set(cpu));
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_those_that_may_be_used() {
        let mut all = CpuSet::new();
        [2, 5, 7].into_iter().for_each(|cpu| all.set(cpu));
        let chosen = first(&all, 2);
        assert_eq!((0..9).filter(|&cpu| chosen.is_set(cpu)).collect::<Vec<_>>(), [2, 5]);
    }
}
