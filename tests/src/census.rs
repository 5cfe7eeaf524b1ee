//! What the kernel holds: BPF programs, maps and links, processes of a group, children, the time of kernel threads.
//!
//! Asks the kernel at the moment of the call; never waits, except for programs to go away.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Something that BPF leaves in the kernel as long as anybody holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BpfKind {
    /// A loaded program.
    Program,
    /// A map, also one that only a program holds.
    Map,
    /// What attaches a program to something.
    Link,
}

/// The BPF programs, maps and links that there are, by id.
#[derive(Clone, Debug, Default)]
pub struct BpfCensus(BTreeMap<(BpfKind, u32), String>);

impl BpfCensus {
    /// Those that are there now.
    pub fn take() -> Result<Self> {
        let mut all = BTreeMap::new();
        // What went away between its listing and its look-up is not there: such errors are left out.
        for program in aya::programs::loaded_programs().filter_map(Result::ok) {
            let name = program.name_as_str().unwrap_or_default().to_owned();
            all.insert((BpfKind::Program, program.id()), name);
        }
        for map in aya::maps::loaded_maps().filter_map(Result::ok) {
            all.insert((BpfKind::Map, map.id()), map.name_as_str().unwrap_or_default().to_owned());
        }
        for link in aya::programs::loaded_links().filter_map(Result::ok) {
            all.insert((BpfKind::Link, link.id()), format!("to program {}", link.program_id()));
        }
        Ok(Self(all))
    }

    /// How many there are of a kind.
    pub fn count(&self, kind: BpfKind) -> usize {
        self.0.keys().filter(|(other, _)| *other == kind).count()
    }

    /// Those that are here and were not in `before`.
    pub fn since(&self, before: &Self) -> Self {
        let new = self.0.iter().filter(|(id, _)| !before.0.contains_key(id));
        Self(new.map(|(key, name)| (*key, name.clone())).collect())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until none of these is there. The kernel frees them some time after their last user is gone.
    pub fn are_gone(&self) -> Result<()> {
        if comes_true(|| Ok(Self::take()?.0.keys().all(|key| !self.0.contains_key(key))))? {
            return Ok(());
        }
        bail!("still there: {:?}", self.0)
    }
}

/// Asks until the answer is yes, for five seconds at most.
fn comes_true(mut ask: impl FnMut() -> Result<bool>) -> Result<bool> {
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        if ask()? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(false)
}

/// Waits until no process is left in the process group: what dies with its parent dies a moment later.
pub fn process_group_becomes_empty(group: u32) -> Result<bool> {
    comes_true(|| process_group_is_empty(group))
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
