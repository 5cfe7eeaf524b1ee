//! Facts about the daemon → whether it is alive, and whether it does its work, each with its reasons.
//!
//! *Alive* is what a restart would mend: a loop that turns no more. *Ready* is what an operator should see: sampling on
//! every CPU, and a place to put what was sampled. A database that is down is neither: that is what the spool is for.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::deliver::serve::Verdict;
use crate::host::MonotonicNanos;

/// A loop that is to turn all the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    /// For people.
    pub name: &'static str,
    /// When it last turned, or now if it waits for work.
    pub turned_at: MonotonicNanos,
    /// One that has not turned for so long hangs.
    pub hangs_after: Duration,
}

/// What is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// All loops.
    pub loops: Vec<Loop>,
    /// CPUs that are online.
    pub cpus_online: BTreeSet<u32>,
    /// CPUs that tick.
    pub cpus_sampled: BTreeSet<u32>,
    /// Why the last write into the spool failed, if it did.
    pub spool_failure: Option<String>,
    /// Set once the daemon has been told to stop.
    pub is_stopping: bool,
}

impl Facts {
    /// `/healthz`.
    pub fn health(&self, now: MonotonicNanos) -> Verdict {
        let mut lines = Vec::new();
        for Loop { name, turned_at, hangs_after } in &self.loops {
            let since = Duration::from_nanos(now.0.saturating_sub(turned_at.0));
            if since >= *hangs_after {
                lines.push(format!("the {name} loop has not turned for {} s", since.as_secs()));
            }
        }
        verdict(lines, "alive")
    }

    /// `/readyz`. Not well either if it is not alive.
    pub fn readiness(&self, now: MonotonicNanos) -> Verdict {
        let health = self.health(now);
        let mut lines = if health.is_well { Vec::new() } else { health.lines };
        if self.is_stopping {
            lines.push("the daemon is stopping".to_owned());
        }
        let missing: Vec<String> =
            self.cpus_online.difference(&self.cpus_sampled).map(ToString::to_string).collect();
        if self.cpus_sampled.is_empty() {
            lines.push("sampling has not begun".to_owned());
        } else if !missing.is_empty() {
            lines.push(format!("not sampled, though online: CPU {}", missing.join(", ")));
        }
        if let Some(why) = &self.spool_failure {
            lines.push(format!("the spool cannot be written: {why}"));
        }
        verdict(lines, "ready")
    }
}

fn verdict(reasons: Vec<String>, well: &str) -> Verdict {
    if reasons.is_empty() {
        Verdict { is_well: true, lines: vec![well.to_owned()] }
    } else {
        Verdict { is_well: false, lines: reasons }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: MonotonicNanos = MonotonicNanos(100_000_000_000);

    fn turned(name: &'static str, at: u64) -> Loop {
        Loop { name, turned_at: MonotonicNanos(at), hangs_after: Duration::from_secs(30) }
    }

    fn well() -> Facts {
        Facts {
            loops: vec![turned("sampling", 70_000_000_001)],
            cpus_online: [0, 1, 2].into(),
            cpus_sampled: [0, 1, 2].into(),
            ..Facts::default()
        }
    }

    fn told(verdict: &Verdict) -> (bool, String) {
        (verdict.is_well, verdict.lines.join("; "))
    }

    #[test]
    fn all_is_well() {
        assert_eq!(told(&well().health(NOW)), (true, "alive".to_owned()));
        assert_eq!(told(&well().readiness(NOW)), (true, "ready".to_owned()));
    }

    #[test]
    fn a_loop_that_hangs_is_neither_alive_nor_ready() {
        let mut hanging = well();
        hanging.loops.push(turned("naming", 10));
        let told_so = (false, "the naming loop has not turned for 99 s".to_owned());
        assert_eq!(told(&hanging.health(NOW)), told_so);
        assert_eq!(told(&hanging.readiness(NOW)), told_so);
    }

    #[test]
    fn every_reason_is_told() {
        let unready = Facts {
            cpus_sampled: [1].into(),
            spool_failure: Some("no space left on device".to_owned()),
            is_stopping: true,
            ..well()
        };
        let words = "the daemon is stopping; not sampled, though online: CPU 0, 2; \
                     the spool cannot be written: no space left on device";
        assert_eq!(told(&unready.readiness(NOW)), (false, words.to_owned()));
        assert_eq!(told(&unready.health(NOW)), (true, "alive".to_owned()));
        let new = Facts { cpus_sampled: BTreeSet::new(), ..well() };
        assert_eq!(told(&new.readiness(NOW)), (false, "sampling has not begun".to_owned()));
    }

    #[test]
    fn a_cpu_that_went_offline_is_not_missed() {
        let fewer = Facts { cpus_online: [0].into(), ..well() };
        assert!(fewer.readiness(NOW).is_well);
    }
}
