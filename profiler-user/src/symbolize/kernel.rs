//! Kernel addresses → function names, window after window.
//!
//! ```text
//!   address ─▶ names that were asked for ─▶ table.rs ◀─ /proc/kallsyms, or where it can be seen
//! ```
//!
//! The list costs the kernel some 20 ms to write, so it is read when the first address comes, and again only for what
//! lies outside the kernel proper: when modules came or went, when nothing is known of an address, and every ten minutes
//! for BPF programs, of whose coming and going nothing tells. Never twice in a minute.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;

use profiler_common::address::KernelAddr;

use self::table::KernelTable;
use super::NamedAddress;
use super::error::SymbolizeError;
use super::plain::plain_names;
use super::spans::Spans;
use crate::host::{MonotonicNanos, ProcFs};

pub mod table;

const SECOND: u64 = 1_000_000_000;
/// Between two readings at least.
const PAUSE_NANOS_MIN: u64 = 60 * SECOND;
/// The longest that a name outside the kernel proper is trusted, and that a hidden list is taken to stay so.
const TRUSTED_NANOS: u64 = 600 * SECOND;
/// Bytes of `/proc/modules` that are looked at: some 1,000 modules.
const MODULES_BYTES_MAX: u64 = 128 << 10;
/// Names that are kept beside the table: all functions that a busy host is ever seen in.
const NAMES_MAX: usize = 16 << 10;

/// What the kernel tells of its functions.
#[derive(Debug)]
enum Read {
    /// Nothing was asked yet.
    NotYet,
    Known(KernelTable),
    /// The list hides all addresses from us: `kernel.kptr_restrict`, or CAP_SYSLOG is missing.
    Hidden,
}

/// Names kernel addresses.
#[derive(Debug)]
pub(super) struct KernelNamer {
    /// The kernel's list of its functions.
    list: PathBuf,
    read: Read,
    read_at: MonotonicNanos,
    /// Of the list of modules, when the table was read.
    modules: u64,
    /// Between two readings for addresses of which nothing is known: twice as long after each that brought nothing.
    pause_nanos: u64,
    names: Spans<Arc<NamedAddress>>,
}

impl KernelNamer {
    /// By this list, `/proc/kallsyms` or what looks like it.
    pub(super) fn new(list: PathBuf) -> Self {
        Self {
            list,
            read: Read::NotYet,
            read_at: MonotonicNanos(0),
            modules: 0,
            pause_nanos: 0,
            names: Spans::default(),
        }
    }

    /// For each address its name, empty where there is none. `None`: the kernel hides them all.
    pub(super) fn names(
        &mut self,
        proc: &ProcFs,
        wanted: &[KernelAddr],
        now: MonotonicNanos,
    ) -> Result<Option<Vec<Arc<NamedAddress>>>, SymbolizeError> {
        if self.must_read(proc, wanted, now) {
            self.read(proc, now)?;
        }
        let Read::Known(table) = &self.read else { return Ok(None) };
        let unknown: Vec<KernelAddr> =
            wanted.iter().copied().filter(|at| self.names.get(at.0).is_none()).collect();
        let found: Vec<_> = unknown.iter().map(|at| table.find(*at)).collect();
        let system_names: Vec<Option<Arc<str>>> = found
            .iter()
            .map(|(_, function)| function.as_ref().map(|function| Arc::clone(&function.name)))
            .collect();
        if self.names.len() + unknown.len() > NAMES_MAX {
            self.names = Spans::default();
        }
        let names = plain_names(&system_names);
        for ((at, (span, _)), name) in unknown.iter().zip(found).zip(names) {
            self.names.insert(at.0, span, name);
        }
        let name = |at: &KernelAddr| self.names.get(at.0).map(|(_, name)| Arc::clone(name));
        Ok(Some(wanted.iter().map(|at| name(at).unwrap_or_default()).collect()))
    }

    fn must_read(&mut self, proc: &ProcFs, wanted: &[KernelAddr], now: MonotonicNanos) -> bool {
        let age = now.0.saturating_sub(self.read_at.0);
        let table = match &self.read {
            Read::NotYet => return true,
            Read::Hidden => return age >= TRUSTED_NANOS,
            Read::Known(table) => table,
        };
        let mut outside = wanted.iter().filter(|at| !table.is_core(**at)).peekable();
        if age < PAUSE_NANOS_MIN || outside.peek().is_none() {
            return false;
        }
        if age >= TRUSTED_NANOS || modules(proc) != self.modules {
            return true;
        }
        let is_unknown = outside.any(|at| table.find(*at).1.is_none());
        let is_due = is_unknown && age >= self.pause_nanos;
        if is_due {
            self.pause_nanos = self.pause_nanos.saturating_mul(2).min(TRUSTED_NANOS);
        }
        is_due
    }

    fn read(&mut self, proc: &ProcFs, now: MonotonicNanos) -> Result<(), SymbolizeError> {
        let failed = |source| SymbolizeError::Open { path: self.list.clone(), source };
        // Before the list: what comes in between is then seen the next time.
        let modules = modules(proc);
        if modules != self.modules {
            self.pause_nanos = PAUSE_NANOS_MIN;
        }
        (self.read_at, self.modules) = (now, modules);
        let file = File::open(&self.list).map_err(failed)?;
        let read = KernelTable::read(BufReader::with_capacity(64 << 10, file)).map_err(failed)?;
        self.read = read.map_or(Read::Hidden, Read::Known);
        self.names = Spans::default();
        Ok(())
    }
}

/// Changes when modules come and go. A kernel without modules has no list of them.
fn modules(proc: &ProcFs) -> u64 {
    let list = proc.head("modules", MODULES_BYTES_MAX).unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    // Name and place; how often each is used changes all the time.
    for line in list.split(|byte| *byte == b'\n') {
        let mut words = line.split(|byte| *byte == b' ');
        (words.next(), words.nth(4)).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
