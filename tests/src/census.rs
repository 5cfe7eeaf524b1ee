//! What the kernel holds: BPF programs, processes of a group, children, the time of kernel threads.
//!
//! Asks the kernel at the moment of the call; never waits, except for programs to go away.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The BPF programs that are loaded, by id.
#[derive(Clone, Debug, Default)]
pub struct BpfCensus(BTreeMap<u32, String>);

impl BpfCensus {
    /// Those that are loaded now.
    pub fn take() -> Result<Self> {
        let mut programs = BTreeMap::new();
        for program in aya::programs::loaded_programs() {
            // One that went away between its listing and its look-up is not loaded.
            let Ok(program) = program else { continue };
            programs.insert(program.id(), program.name_as_str().unwrap_or_default().to_owned());
        }
        Ok(Self(programs))
    }

    /// Those that are here and were not in `before`.
    pub fn since(&self, before: &Self) -> Self {
        let new = self.0.iter().filter(|(id, _)| !before.0.contains_key(id));
        Self(new.map(|(id, name)| (*id, name.clone())).collect())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until none of these is loaded. The kernel frees a program some time after its last user is gone.
    pub fn are_gone(&self) -> Result<()> {
        const TRIES: u32 = 100;
        for _ in 0..TRIES {
            let now = Self::take()?;
            if !self.0.keys().any(|id| now.0.contains_key(id)) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("still loaded: {:?}", self.0)
    }
}

/// Whether no process is left in the process group.
pub fn process_group_is_empty(group: u32) -> Result<bool> {
    Ok(processes()?.iter().all(|process| process.group != group))
}

/// Children of a process, and theirs.
pub fn descendants(of: u32) -> Result<Vec<u32>> {
    let all = processes()?;
    let mut found = vec![of];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        found.extend(all.iter().filter(|process| process.parent == parent).map(|process| process.pid));
        at += 1;
    }
    found.remove(0);
    Ok(found)
}

/// CPU time of every kernel thread so far, in clock ticks, by its id.
pub fn cpu_ticks_of_kernel_threads() -> Result<BTreeMap<u32, u64>> {
    // kthreadd is 2, and the parent of all the others.
    Ok(processes()?
        .iter()
        .filter(|process| process.parent == 2)
        .map(|process| (process.pid, process.ticks))
        .collect())
}

struct Process {
    pid: u32,
    parent: u32,
    group: u32,
    ticks: u64,
}

fn processes() -> Result<Vec<Process>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").context("list /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that ended since the listing has no stat any more.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(process) = process(pid, &stat) {
            all.push(process);
        }
    }
    Ok(all)
}

/// Fields of `/proc/PID/stat`, counted from the state, the first one behind the name in brackets.
fn process(pid: u32, stat: &str) -> Option<Process> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if *fields.first()? == "Z" {
        return None; // Dead, and only not yet reaped by whoever inherited it.
    }
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        ticks: ticks(11)? + ticks(12)?,
    })
}
