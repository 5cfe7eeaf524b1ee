//! How much the kernel gives: locked memory, depth of stacks, samples a second.

use std::io;

use super::after_the_clock;
use super::kernel::version_of;
use crate::doctor::evidence::Evidence;
use crate::doctor::finding::Finding;

/// From here on BPF maps are charged to the memory cgroup, no longer to RLIMIT_MEMLOCK.
const MAPS_NOT_LOCKED_SINCE: (u32, u32) = (5, 11);
/// What `record` takes if not told otherwise, samples a second.
const DEFAULT_RATE: u32 = 99;
/// The most that `record` takes, samples a second.
const MAX_RATE: u32 = 999;
/// The kernel's default of `kernel.perf_event_max_stack`, frames.
const DEFAULT_MAX_STACK: u32 = 127;

pub(in crate::doctor) fn memory_lock(evidence: &Evidence) -> Finding {
    let limit = match evidence.memory_lock {
        None => "no limit".to_owned(),
        Some(bytes) if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        Some(bytes) => format!("{} KiB", bytes >> 10),
    };
    match (&evidence.sample_ring, &evidence.small_ring) {
        (Err(refusal), Ok(())) if refusal.kind == io::ErrorKind::PermissionDenied => {
            Finding::limited(format!("{limit}, too low for a ring of 8 MiB"), "samples may be lost in bursts")
                .cure("raise it: LimitMEMLOCK=infinity in a systemd unit, or in the shell before:")
                .command("ulimit -l unlimited")
        }
        (Err(refusal), Ok(())) => Finding::limited(
            format!("{limit}; a ring of 8 MiB: {}", refusal.reason),
            "samples may be lost in bursts",
        )
        .cure("give the container or unit more memory"),
        _ if version_of(&evidence.release).is_some_and(|version| version >= MAPS_NOT_LOCKED_SINCE) => {
            Finding::ok(format!("{limit}, by which this kernel does not count BPF"))
        }
        _ => Finding::ok(limit),
    }
}

pub(in crate::doctor) fn perf_rings(evidence: &Evidence) -> Finding {
    match (&evidence.event_ring, &evidence.clock) {
        (Ok(()), _) => Finding::ok("512 KiB can be mapped"),
        (Err(_), Err(_)) => after_the_clock(),
        (Err(refusal), Ok(())) => Finding::limited(
            format!("512 KiB cannot be mapped: {}", refusal.reason),
            "smaller rings: when many processes start at once, some get no names",
        )
        .cure("end other profilers, which share the allowance, or raise it:")
        .command("sudo sysctl kernel.perf_event_mlock_kb=2064"),
    }
}

pub(in crate::doctor) fn max_stack(evidence: &Evidence) -> Finding {
    match evidence.max_stack {
        None => Finding::ok("no such setting"),
        Some(frames) if frames >= DEFAULT_MAX_STACK => Finding::ok(format!("{frames} frames")),
        Some(frames) => {
            Finding::limited(format!("{frames} frames"), "deeper stacks lose their outermost functions")
                .cure("raise it while nothing uses perf events:")
                .command("sudo sysctl kernel.perf_event_max_stack=127")
        }
    }
}

pub(in crate::doctor) fn max_sample_rate(evidence: &Evidence) -> Finding {
    match evidence.max_sample_rate {
        None => Finding::ok("no such setting"),
        Some(rate) if rate >= MAX_RATE => Finding::ok(format!("{rate} a second on each CPU")),
        Some(rate) if rate >= DEFAULT_RATE => {
            Finding::ok(format!("{rate} a second, enough for the default of 99"))
        }
        Some(rate) => {
            Finding::limited(format!("{rate} a second"), "the default of 99 a second is refused or throttled")
                .cure("sample at a lower rate (-F), or raise it:")
                .command("sudo sysctl kernel.perf_event_max_sample_rate=100000")
        }
    }
}
