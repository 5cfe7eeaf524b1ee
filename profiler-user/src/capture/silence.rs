//! What each CPU has worked, and how often it ticked → CPUs that work and do not tick.
//!
//! When a CPU goes offline the kernel takes its perf events off it, and does not put them back when it returns. One that
//! has returned before anybody looked is online as before; only its silence tells. An idle CPU is silent too, as its ticks
//! are not counted, so silence alone says nothing: `/proc/stat` tells whether there was work.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Of `/proc/stat`: hundredths of a second on every architecture.
const UNIT_NANOS: u64 = 10_000_000;
/// A CPU that has worked for so many periods should have ticked as often.
const PERIODS: u64 = 20;

/// What was seen of each CPU when it last was looked at.
#[derive(Debug, Default)]
pub(super) struct Silence {
    cpus: BTreeMap<u32, Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    ticks: u64,
    /// Work so far when it was first found silent, in [`UNIT_NANOS`].
    work_then: Option<u64>,
}

impl Silence {
    /// CPUs that have worked for long enough without a tick. Wants the ticks of each CPU by number, and `/proc/stat`, which is
    /// read only if a CPU is silent. To be called every few seconds.
    pub(super) fn look(
        &mut self,
        ticks: &[u64],
        period_nanos: u64,
        stat: impl FnOnce() -> io::Result<String>,
    ) -> BTreeSet<u32> {
        let mut has_silent = false;
        for (cpu, &ticks) in (0..).zip(ticks) {
            let seen = self.cpus.entry(cpu).or_insert(Seen { ticks, work_then: None });
            if seen.ticks == ticks {
                has_silent = true;
            } else {
                *seen = Seen { ticks, work_then: None };
            }
        }
        let Some(stat) = has_silent.then(stat).and_then(Result::ok) else { return BTreeSet::new() };
        let enough = PERIODS.saturating_mul(period_nanos) / UNIT_NANOS;
        let work = work(&stat);
        let mut silent = BTreeSet::new();
        for (&cpu, seen) in &mut self.cpus {
            // One that is offline works no more; its account begins anew when it returns.
            let now = work.get(&cpu).copied();
            let is_silent = ticks.get(cpu as usize) == Some(&seen.ticks);
            let since = seen.work_then.zip(now).map_or(0, |(then, now)| now.saturating_sub(then));
            if is_silent && since > enough {
                silent.insert(cpu);
                seen.work_then = now;
            } else if seen.work_then.is_none() || now.is_none() {
                seen.work_then = now;
            }
        }
        silent
    }
}

/// User, nice and system time of each online CPU.
fn work(stat: &str) -> BTreeMap<u32, u64> {
    let of_line = |line: &str| {
        let mut fields = line.strip_prefix("cpu")?.split(' ');
        let cpu = fields.next()?.parse().ok()?;
        let work = fields.take(3).filter_map(|field| field.parse::<u64>().ok());
        Some((cpu, work.fold(0, u64::saturating_add)))
    };
    stat.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: u64 = 50_000_000;

    fn stat(work: &[(u32, u64)]) -> io::Result<String> {
        let lines = work.iter().map(|(cpu, work)| format!("cpu{cpu} {work} 0 1 900 2 3 4 0 0 0\n"));
        Ok(format!("cpu  5000 0 1 9 0 0 0 0 0 0\n{}intr 7 0 0\n", lines.collect::<String>()))
    }

    #[test]
    fn one_that_works_and_does_not_tick_is_silent() {
        let mut silence = Silence::default();
        let none = BTreeSet::new();
        assert_eq!(silence.look(&[5, 5], PERIOD, || stat(&[(0, 100), (1, 100)])), none, "the first look");
        assert_eq!(
            silence.look(&[9, 5], PERIOD, || stat(&[(0, 200), (1, 200)])),
            none,
            "a second is not enough"
        );
        assert_eq!(silence.look(&[19, 5], PERIOD, || stat(&[(0, 300), (1, 201)])), [1].into());
        assert_eq!(silence.look(&[29, 5], PERIOD, || stat(&[(0, 400), (1, 202)])), none, "not told twice");
        assert_eq!(silence.look(&[39, 6], PERIOD, || stat(&[(0, 500), (1, 900)])), none, "it ticks again");
    }

    #[test]
    fn one_that_is_idle_or_offline_is_not() {
        let mut silence = Silence::default();
        for _ in 0..10 {
            assert_eq!(silence.look(&[5, 5, 0], PERIOD, || stat(&[(0, 100), (1, 70)])), BTreeSet::new());
        }
        // Its work of before it went is not held against it.
        assert_eq!(silence.look(&[6, 5, 0], PERIOD, || stat(&[(0, 999)])), BTreeSet::new());
        assert_eq!(silence.look(&[7, 5, 0], PERIOD, || stat(&[(0, 999), (1, 999)])), BTreeSet::new());
        assert_eq!(silence.look(&[8, 5, 0], PERIOD, || stat(&[(0, 999), (1, 9999)])), [1].into());
    }

    #[test]
    fn nothing_is_read_while_all_tick_and_anything_may_be_read() {
        let mut silence = Silence::default();
        silence.look(&[1, 1], PERIOD, || stat(&[]));
        let unread = || unreachable!("all have ticked");
        assert_eq!(silence.look(&[2, 2], PERIOD, unread), BTreeSet::new());
        for text in ["", "cpu", "cpu0", "cpu0 x y z", "cpu99999999999 1 1 1", "cpu0 18446744073709551615 1 1"]
        {
            assert_eq!(silence.look(&[2, 2], PERIOD, || Ok(text.to_owned())), BTreeSet::new());
        }
        assert_eq!(silence.look(&[2, 2], PERIOD, || Err(io::ErrorKind::NotFound.into())), BTreeSet::new());
        assert_eq!(silence.look(&[], PERIOD, || stat(&[(0, 1)])), BTreeSet::new());
    }
}
