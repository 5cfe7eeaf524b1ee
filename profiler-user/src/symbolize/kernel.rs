//! `/proc/kallsyms` + sorted kernel addresses → function names and modules.
//!
//! The list is some 6 MB of text, mostly but not wholly in order, and symbols have no size. One pass keeps for
//! each gap between two wanted addresses the last symbol and the first one, of any kind:
//!
//! ```text
//!      wanted[0]              wanted[1]                wanted[2]
//!          │   first … last       │  (nothing in here)     │
//! ─────────┴──────┬─────┬─────────┴────────────────────────┴──▶ address
//!                 │     └ around wanted[1], and wanted[2] too
//!                 └ ends what is around wanted[0]
//! ```
//!
//! So memory is for the wanted addresses only: 0.5 MB and 40 ms for 1,000 addresses among 122,117 symbols, nearly
//! all of it the kernel's own formatting. blazesym 0.2.7 keeps the list: 8.2 MB and 32 ms on the same kernel.
//!
//! An address is named only if the symbol before it is code and its end is known. For the kernel proper the
//! next symbol ends it, within `_stext.._etext` or `_sinittext.._einittext`. In modules and BPF programs, whose memory
//! is scattered, the next symbol counts only if it is code of the same module; behind the last one, only the
//! rest of its page is surely the module's. A BPF program that was unloaded between two others before the list
//! was read can still be taken for the one before it: the list does not say how long that one is.

use std::io::{self, BufRead, BufReader};
use std::sync::Arc;

use profiler_common::address::KernelAddr;

use super::error::SymbolizeError;
use super::lines::{Line, next_line};
use super::rank::{Binding, familiarity};
use crate::host::ProcFs;

/// A function of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KernelFunction {
    /// As in kallsyms: `do_syscall_64`, `bpf_prog_<tag>_<name>`.
    pub name: Arc<str>,
    /// Without brackets: `nf_tables`, `bpf`; `None` for the kernel proper.
    pub module: Option<Arc<str>>,
}

/// What the kernel tells about its functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelNames {
    /// For each address the function there, in the order of the addresses.
    Named(Vec<Option<KernelFunction>>),
    /// The list hides all addresses from us: `kernel.kptr_restrict`, or CAP_SYSLOG is missing.
    Hidden,
}

/// Symbol names have at most 512 bytes (`KSYM_NAME_LEN`), module names 56. Longer lines are skipped.
const LINE_BYTES_MAX: usize = 1024;
/// Memory is given to modules in pages; 4 KiB is the smallest size of any architecture.
const PAGE_BYTES: u64 = 4096;

/// Names kernel addresses by one reading of the list. `wanted` must be sorted.
pub fn read_kernel_names(procfs: &ProcFs, wanted: &[KernelAddr]) -> Result<KernelNames, SymbolizeError> {
    let failed = |source| SymbolizeError::Open { path: procfs.path("kallsyms"), source };
    let file = procfs.open_entry("kallsyms").map_err(failed)?;
    names_in(BufReader::with_capacity(64 << 10, file), wanted).map_err(failed)
}

/// The same for a list from anywhere.
pub fn names_in(mut list: impl BufRead, wanted: &[KernelAddr]) -> io::Result<KernelNames> {
    let mut gaps = vec![Gap::default(); wanted.len() + 1];
    let (mut core, mut visible) = (CoreText::default(), false);
    let mut line = Vec::new();
    loop {
        match next_line(&mut list, &mut line, LINE_BYTES_MAX)? {
            Line::End => break,
            Line::TooLong => continue,
            Line::Whole => {}
        }
        let Some(symbol) = Symbol::parse(&line) else { continue };
        visible |= symbol.address != 0 && symbol.is_code();
        core.learn(&symbol);
        let gap = wanted.partition_point(|at| at.0 < symbol.address);
        if let Some(gap) = gaps.get_mut(gap) {
            gap.take_in(&symbol);
        }
    }
    if visible { Ok(KernelNames::Named(resolve(wanted, &gaps, core))) } else { Ok(KernelNames::Hidden) }
}

/// A line of the list: `ffffffff81000000 T _stext` or `ffffffffc0201000 t nft_do_chain [nf_tables]`.
struct Symbol<'a> {
    address: u64,
    kind: u8,
    name: &'a str,
    module: Option<&'a str>,
}

impl<'a> Symbol<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let kind = words.next()?.bytes().next()?;
        let name = words.next()?;
        let module = words.next().and_then(|module| module.strip_prefix('[')?.strip_suffix(']'));
        Some(Self { address, kind, name, module })
    }

    fn is_code(&self) -> bool {
        matches!(self.kind, b't' | b'T' | b'w' | b'W')
    }

    fn binding(&self) -> Binding {
        match self.kind {
            b'T' => Binding::Global,
            b'w' | b'W' => Binding::Weak,
            _ => Binding::Local,
        }
    }
}

/// The symbol that is kept of a gap.
#[derive(Clone, Debug, Default)]
struct Kept {
    address: u64,
    is_code: bool,
    binding: Option<Binding>,
    name: String,
    module: String,
}

impl Kept {
    /// Uses the buffers again: in an ordered list nearly every line is the last of its gap so far.
    fn set(&mut self, symbol: &Symbol<'_>) {
        self.address = symbol.address;
        self.is_code = symbol.is_code();
        self.binding = Some(symbol.binding());
        self.name.clear();
        self.name.push_str(symbol.name);
        self.module.clear();
        self.module.push_str(symbol.module.unwrap_or_default());
    }

    /// Whether `symbol` is the better of two names of one address: code before data, then the familiar one.
    fn yields_to(&self, symbol: &Symbol<'_>) -> bool {
        let own = (self.is_code, self.binding.map(|binding| familiarity(&self.name, binding)));
        own < (symbol.is_code(), Some(familiarity(symbol.name, symbol.binding())))
    }
}

/// Symbols behind one wanted address and up to the next: the first and the last of them.
#[derive(Clone, Debug, Default)]
struct Gap {
    first: Option<Kept>,
    last: Option<Kept>,
}

impl Gap {
    fn take_in(&mut self, symbol: &Symbol<'_>) {
        let earlier = |kept: &Kept| symbol.address < kept.address;
        let later = |kept: &Kept| symbol.address > kept.address;
        let better = |kept: &Kept| symbol.address == kept.address && kept.yields_to(symbol);
        if self.first.as_ref().is_none_or(|kept| earlier(kept) || better(kept)) {
            self.first.get_or_insert_default().set(symbol);
        }
        if self.last.as_ref().is_none_or(|kept| later(kept) || better(kept)) {
            self.last.get_or_insert_default().set(symbol);
        }
    }
}

/// Where the kernel proper has its code.
#[derive(Clone, Copy, Debug, Default)]
struct CoreText {
    text: (Option<u64>, Option<u64>),
    init_text: (Option<u64>, Option<u64>),
}

impl CoreText {
    fn learn(&mut self, symbol: &Symbol<'_>) {
        let bound = match symbol.name {
            "_stext" => &mut self.text.0,
            "_etext" => &mut self.text.1,
            "_sinittext" => &mut self.init_text.0,
            "_einittext" => &mut self.init_text.1,
            _ => return,
        };
        if symbol.module.is_none() {
            *bound = Some(symbol.address);
        }
    }

    fn contains(&self, at: u64) -> bool {
        [self.text, self.init_text].iter().any(|range| match range {
            (Some(start), Some(end)) => (*start..*end).contains(&at),
            _ => false,
        })
    }
}

fn resolve(wanted: &[KernelAddr], gaps: &[Gap], core: CoreText) -> Vec<Option<KernelFunction>> {
    // What begins next, seen from each wanted address: the first symbol of the nearest gap behind it that has one.
    let mut next = None;
    let mut following: Vec<Option<&Kept>> = Vec::with_capacity(wanted.len());
    for gap in gaps.iter().skip(1).rev() {
        next = gap.first.as_ref().or(next);
        following.push(next);
    }
    following.reverse();

    let mut around = None;
    let mut named = Vec::with_capacity(wanted.len());
    for ((at, gap), next) in wanted.iter().zip(gaps).zip(following) {
        around = gap.last.as_ref().or(around);
        let function = around.filter(|kept| covers(kept, next, at.0, core));
        named.push(function.map(|kept| KernelFunction {
            name: kept.name.as_str().into(),
            module: (!kept.module.is_empty()).then(|| kept.module.as_str().into()),
        }));
    }
    named
}

/// Whether a symbol's code surely reaches to an address at or behind its start.
fn covers(symbol: &Kept, next: Option<&Kept>, at: u64, core: CoreText) -> bool {
    if !symbol.is_code {
        return false;
    }
    if symbol.module.is_empty() {
        return core.contains(at) && core.contains(symbol.address);
    }
    let same_module_goes_on = next.is_some_and(|next| next.is_code && next.module == symbol.module);
    same_module_goes_on || at / PAGE_BYTES == symbol.address / PAGE_BYTES
}

#[cfg(test)]
mod tests;
