//! Looks at a process and its children → the most memory that was resident at once.
//!
//! Children are found by their parent's pid among all processes, each looked at once: not every kernel lists them.

use procfs::process::Process;
use std::collections::HashMap;

/// The most that was seen so far.
#[derive(Default)]
pub(super) struct Resident {
    own_bytes: u64,
    family_bytes: u64,
    /// Whether a process is a child of ours.
    seen: HashMap<i32, bool>,
}

impl Resident {
    /// The process' own peak, as the kernel keeps it.
    pub(super) fn own_bytes(&self) -> u64 {
        self.own_bytes
    }

    /// The most of the process and its children at one time; pages that both have mapped count twice.
    pub(super) fn family_bytes(&self) -> u64 {
        self.family_bytes.max(self.own_bytes)
    }

    /// Looks now.
    pub(super) fn look_at(&mut self, process: &Process) {
        // It may be gone, or be a zombie that has no memory any more.
        let Ok(own) = process.status() else { return };
        self.own_bytes = self.own_bytes.max(bytes(own.vmhwm));
        let children: u64 = self.children(process).iter().map(|child| peak_of_child(process, child)).sum();
        self.family_bytes = self.family_bytes.max(bytes(own.vmrss) + children);
    }

    /// Each process is asked once for its parent: a child of somebody else does not become one of ours.
    fn children(&mut self, parent: &Process) -> Vec<Process> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let mut children = Vec::new();
        for pid in pids.filter(|&pid| pid != parent.pid) {
            let is_new = !self.seen.contains_key(&pid);
            let process = if is_new || self.seen[&pid] { Process::new(pid).ok() } else { None };
            let Some(process) = process else { continue };
            if is_new {
                self.seen.insert(pid, process.stat().is_ok_and(|stat| stat.ppid == parent.pid));
            }
            if self.seen[&pid] {
                children.push(process);
            }
        }
        children
    }
}

/// Between fork and exec a child shows its parent's memory as its own, and its arguments too.
fn peak_of_child(parent: &Process, child: &Process) -> u64 {
    let is_itself = match (parent.cmdline(), child.cmdline()) {
        (Ok(parent), Ok(child)) => parent != child,
        _ => false,
    };
    if is_itself { child.status().map_or(0, |status| bytes(status.vmhwm)) } else { 0 }
}

fn bytes(kibibytes: Option<u64>) -> u64 {
    kibibytes.unwrap_or(0) * 1024
}
