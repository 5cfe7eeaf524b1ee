//! What this host lets us do: one line a check, with the cost and the cure.
//!
//! ```text
//!   evidence.rs ─ tries the real calls, reads the settings ─▶ Evidence
//!   judge/      ─ one pure function a check ─▶ Finding (ok, limited or missing; found, cost, cure)
//!   report.rs   ─ all findings ─▶ verdict, exit code, JSON        text.rs ─▶ what a person reads
//! ```
//!
//! `limited` means that profiling works and something is lost; `missing` that nothing can be sampled.
//! Changes nothing on the host: what it makes to try is gone before it answers.

mod evidence;
mod finding;
mod judge;
mod report;
#[cfg(test)]
mod tests;
mod text;

pub use finding::{Finding, State};
pub use report::{CheckResult, Report};

use std::collections::BTreeSet;

use crate::attribute::kubernetes::Reach;
use crate::host::{ProcFs, SysFs};
use crate::sample::abilities::Ability;
use crate::sample::capabilities::Capability;
use evidence::Evidence;
use judge::{containers, kernel, limits, pods, processes, rights};

/// One line of the report.
struct Check {
    /// Stable name, for programs that read the JSON.
    id: &'static str,
    /// For people; 22 characters at most, which is the column's width.
    title: &'static str,
    judge: fn(&Evidence) -> Finding,
}

/// Every check, in the order of the report: what everything else needs comes first.
const CHECKS: &[Check] = &[
    Check { id: "kernel", title: "kernel", judge: kernel::version },
    Check { id: "cap_bpf", title: "CAP_BPF", judge: |e| rights::capability(e, Capability::Bpf) },
    Check { id: "cap_perfmon", title: "CAP_PERFMON", judge: |e| rights::capability(e, Capability::Perfmon) },
    Check {
        id: "cap_sys_ptrace",
        title: "CAP_SYS_PTRACE",
        judge: |e| rights::capability(e, Capability::SysPtrace),
    },
    Check {
        id: "cap_dac_read_search",
        title: "CAP_DAC_READ_SEARCH",
        judge: |e| rights::capability(e, Capability::DacReadSearch),
    },
    Check { id: "cap_syslog", title: "CAP_SYSLOG", judge: |e| rights::capability(e, Capability::Syslog) },
    Check {
        id: "cap_checkpoint_restore",
        title: "CAP_CHECKPOINT_RESTORE",
        judge: |e| rights::capability(e, Capability::CheckpointRestore),
    },
    Check { id: "user_namespace", title: "user namespace", judge: rights::user_namespace },
    Check { id: "lockdown", title: "lockdown", judge: rights::lockdown },
    Check { id: "perf_event_paranoid", title: "perf_event_paranoid", judge: rights::paranoid },
    Check { id: "bpf_program", title: "BPF program", judge: kernel::program },
    Check { id: "bpf_ring", title: "BPF ring buffer", judge: kernel::ring },
    Check { id: "cpu_clock", title: "CPU clock", judge: kernel::clock },
    Check { id: "attach", title: "attaching", judge: kernel::attach },
    Check { id: "sampler", title: "sampling program", judge: kernel::sampler },
    Check { id: "stack_walker", title: "in-kernel walker", judge: kernel::walker },
    Check { id: "bpf_jit", title: "BPF JIT", judge: kernel::jit },
    Check { id: "btf", title: "kernel types (BTF)", judge: kernel::types },
    Check { id: "hardware_counters", title: "hardware counters", judge: kernel::hardware_counters },
    Check { id: "perf_rings", title: "perf event rings", judge: limits::perf_rings },
    Check { id: "memory_lock", title: "memory lock limit", judge: limits::memory_lock },
    Check { id: "max_stack", title: "perf_event_max_stack", judge: limits::max_stack },
    Check { id: "max_sample_rate", title: "sample rate limit", judge: limits::max_sample_rate },
    Check { id: "tracefs", title: "tracefs", judge: kernel::tracefs },
    Check { id: "kernel_symbols", title: "kernel symbols", judge: kernel::symbols },
    Check { id: "pid_namespace", title: "PID namespace", judge: processes::pid_namespace },
    Check { id: "hidepid", title: "hidden processes", judge: processes::hidden },
    Check { id: "other_processes", title: "other processes", judge: processes::others },
    Check { id: "map_files", title: "deleted programs", judge: processes::map_files },
    Check { id: "containers", title: "container names", judge: containers::names },
    Check { id: "kubernetes", title: "pods of this node", judge: pods::pods },
];

/// Tries everything on this host. Whether pods can be watched is found out by
/// [`probe`](crate::attribute::kubernetes::probe), which has to wait for the network.
pub fn run(proc: &ProcFs, sys: &SysFs, pods: Reach, without: &BTreeSet<Ability>) -> Report {
    judge_all(&Evidence::gather(proc, sys, pods, without))
}

fn judge_all(evidence: &Evidence) -> Report {
    let results = CHECKS.iter().map(|check| CheckResult {
        id: check.id,
        title: check.title,
        finding: (check.judge)(evidence),
    });
    Report {
        kernel: evidence.release.clone(),
        architecture: evidence.architecture,
        checks: results.collect(),
    }
}
