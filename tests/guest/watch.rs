//! A running `flamekeeper` → what its BPF programs have cost so far, as the kernel tells by the open descriptors.
//!
//! Looks again and again until told to stop, for at the end the programs are gone. The kernel counts run time only while
//! `kernel.bpf_stats_enabled` is 1; it tells what was verified since 5.16.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(200);

/// Of all programs of a process together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// `None`: this kernel does not tell.
    pub(crate) verified: Option<u64>,
    pub(crate) run_nanos: u64,
}

/// Looks at a process until [`Watch::end`].
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Cost>,
}

impl Watch {
    /// Begins to look.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        fs::write("/proc/sys/kernel/bpf_stats_enabled", "1").context("have the kernel count run time")?;
        let stop = Arc::<AtomicBool>::default();
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut last = Cost::default();
            while !told.load(Ordering::Relaxed) {
                last = cost(pid).unwrap_or(last);
                std::thread::sleep(EVERY);
            }
            last
        });
        Ok(Self { stop, thread })
    }

    /// The last that was seen.
    pub(crate) fn end(self) -> Result<Cost> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the watcher ended early"))
    }
}

/// `None`: the process has ended, or holds no program.
fn cost(pid: u32) -> Option<Cost> {
    let mut programs = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
        let is_program =
            fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().contains("bpf-prog"));
        if is_program {
            let number = entry.file_name();
            let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", number.to_string_lossy())).ok()?;
            programs.insert(field(&text, "prog_id:")?, text);
        }
    }
    let sum = |key: &str| programs.values().map(|text| field(text, key)).sum::<Option<u64>>();
    (!programs.is_empty())
        .then(|| Cost { verified: sum("verified_insns:"), run_nanos: sum("run_time_ns:").unwrap_or(0) })
}

fn field(fdinfo: &str, key: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix(key))?.trim().parse().ok()
}
