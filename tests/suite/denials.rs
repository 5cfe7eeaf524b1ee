//! Single system calls that the kernel refuses, as containers' profiles and security modules do: what works all the same, and what
//! is said where nothing can.

use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, Captured, Machine, RunningWorkload, Workload, machine_or_skip};

/// `flamekeeper WORDS` that gets EPERM from this call; behind a `=` is its first argument.
fn without(call: &str, capture: Capture) -> Result<Captured> {
    let denies = Workload::build("c_denies")?.args([call]);
    capture.under(denies.words()).run()
}

fn record(machine: &Machine, of: &RunningWorkload) -> Result<Capture> {
    Ok(Capture::record(machine)?.args(["-F", "499", "-d", "500ms"]).output("p.folded").of(of.pid()))
}

/// What is tried and done without: links and batches of BPF (28, 24, 26 of include/uapi/linux/bpf.h), the shut-in of readers,
/// priorities, limits, handles of processes.
const DONE_WITHOUT: [&str; 16] = [
    "bpf=24",
    "bpf=26",
    "bpf=28",
    "capset",
    "chroot",
    "geteuid",
    "getpriority",
    "madvise",
    "openat2",
    "pidfd_open",
    "prctl",
    "prlimit64",
    "process_vm_readv",
    "sched_getaffinity",
    "setpriority",
    "statx",
];

#[test]
fn a_capture_does_without_what_is_not_needed() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_frame_pointers")?.start()?;
    for call in DONE_WITHOUT {
        let captured = without(call, record(&machine, &burning)?)?.expect_code(0).context(call)?;
        let stacks = captured.folded("p.folded")?;
        stacks.ensure_share(&["main", "outer", "inner", "burn_seventy"], 0.7).context(call)?;
        ensure!(captured.lines_with("error").is_empty(), "{call}: {}", captured.stderr);
        ensure!(captured.lines_with("warning").len() <= 1, "{call}: {}", captured.stderr);
    }
    Ok(())
}

/// What nothing can be sampled without, and a word of what is said then.
const NEEDED: [(&str, &str); 4] = [
    ("bpf", "BPF program"),
    // BPF_PROG_LOAD, which SELinux has a permission of its own for.
    ("bpf=5", "BPF program"),
    ("bpf=2", "bpf_map_update_elem"),
    ("perf_event_open", "open the kernel's process events on CPU 0"),
];

#[test]
fn a_refusal_of_what_is_needed_says_so_and_where_to_look() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_frame_pointers")?.start()?;
    for (call, word) in NEEDED {
        let captured = without(call, record(&machine, &burning)?)?.expect_code(77).context(call)?;
        let captured =
            captured.expect_words(&[word, "Operation not permitted", "seccomp", "flamekeeper doctor"])?;
        ensure!(captured.stderr.lines().count() == 2, "{call}: {}", captured.stderr);
        ensure!(captured.files()?.is_empty(), "{call}: it wrote a profile");
    }
    Ok(())
}

#[test]
fn doctor_tells_a_refusal_from_a_missing_capability() -> Result<()> {
    let _machine = machine_or_skip!();
    for (call, name) in [("bpf", "forbids bpf()"), ("perf_event_open", "forbids perf_event_open()")] {
        let captured = without(call, Capture::plain(["doctor"])?)?.expect_code(2).context(call)?;
        let words: Vec<String> = captured.stdout_text().split_whitespace().map(str::to_owned).collect();
        let text = words.join(" ");
        ensure!(text.contains(&format!("a seccomp profile or a security module {name}")), "{text}");
        ensure!(!text.contains("our fault"), "{text}");
    }
    Ok(())
}
