//! `/proc/kallsyms` → a table of the kernel's functions by address.
//!
//! The list is some 6 MB of text, mostly but not wholly in order, and symbols have no size. What is kept is the sorted
//! list of addresses where something begins, with the name of the code there or that there is none:
//!
//! ```text
//!   starts   ffffffff81000100   ffffffff81000200   ffffffff81000300   …        12 bytes each
//!   names        │ do_one           │ other            │ (none: data, or another module's end)
//! ```
//!
//! An address is named only if the symbol before it is code and its end is known. For the kernel proper the
//! next symbol ends it, within `_stext.._etext` or `_sinittext.._einittext`. In modules and BPF programs, whose memory
//! is scattered, the next symbol counts only if it is code of the same module; behind the last one, only the
//! rest of its page is surely the module's. A BPF program that was unloaded between two others before the list
//! was read can still be taken for the one before it: the list does not say how long that one is.

use std::io::{self, BufRead};
use std::ops::Range;
use std::sync::Arc;

use profiler_common::address::KernelAddr;

use crate::symbolize::lines::{Line, next_line};
use crate::symbolize::rank::{Binding, familiarity};

/// A function of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KernelFunction {
    /// As in kallsyms: `do_syscall_64`, `bpf_prog_<tag>_<name>`.
    pub name: Arc<str>,
    /// Without brackets: `nf_tables`, `bpf`; `None` for the kernel proper.
    pub module: Option<Arc<str>>,
}

/// Symbol names have at most 512 bytes (`KSYM_NAME_LEN`), module names 56. Longer lines are skipped.
const LINE_BYTES_MAX: usize = 1024;
/// Memory is given to modules in pages; 4 KiB is the smallest size of any architecture.
const PAGE_BYTES: u64 = 4096;
/// Ten times what distributions' kernels have with all their modules loaded.
const SYMBOLS_MAX: usize = 4 << 20;

/// All functions of the kernel, by address.
#[derive(Debug, Default)]
pub struct KernelTable {
    /// Ascending.
    starts: Vec<u64>,
    /// For each start where its text begins among the names, [`NO_NAME`] if nothing that has one begins there.
    places: Vec<u32>,
    /// Names, each with its module behind a tab if it has one, and a line end.
    names: String,
    core: CoreText,
}

const NO_NAME: u32 = u32::MAX;

impl KernelTable {
    /// Reads a list. `None` if it hides all addresses.
    pub fn read(mut list: impl BufRead) -> io::Result<Option<Self>> {
        let (mut table, mut symbols, mut visible) = (Self::default(), Vec::new(), false);
        let mut line = Vec::new();
        while symbols.len() < SYMBOLS_MAX {
            match next_line(&mut list, &mut line, LINE_BYTES_MAX)? {
                Line::End => break,
                Line::TooLong => continue,
                Line::Whole => {}
            }
            let Some(symbol) = Symbol::parse(&line) else { continue };
            visible |= symbol.address != 0 && symbol.is_code();
            table.core.learn(&symbol);
            let name = if symbol.is_code() { table.add_name(&symbol) } else { NO_NAME };
            symbols.push(Begin { address: symbol.address, name, binding: symbol.binding() });
        }
        if !visible {
            return Ok(None);
        }
        table.arrange(symbols);
        Ok(Some(table))
    }

    fn add_name(&mut self, symbol: &Symbol<'_>) -> u32 {
        let place = u32::try_from(self.names.len()).unwrap_or(NO_NAME);
        if place != NO_NAME {
            self.names.push_str(symbol.name);
            if let Some(module) = symbol.module {
                self.names.push('\t');
                self.names.push_str(module);
            }
            self.names.push('\n');
        }
        place
    }

    /// Puts in order what begins where, and ends what ends before the next.
    fn arrange(&mut self, mut symbols: Vec<Begin>) {
        symbols.sort_by_key(|symbol| symbol.address);
        symbols.dedup_by(|later, earlier| {
            let same = later.address == earlier.address;
            if same && self.is_better(later, earlier) {
                *earlier = *later;
            }
            same
        });
        let (mut starts, mut places) = (Vec::with_capacity(symbols.len()), Vec::with_capacity(symbols.len()));
        let mut rest = symbols.iter().peekable();
        while let Some(symbol) = rest.next() {
            let next = rest.peek();
            let end = self.end(symbol, next.copied());
            starts.push(symbol.address);
            places.push(if end > symbol.address { symbol.name } else { NO_NAME });
            if end > symbol.address && next.is_none_or(|next| end < next.address) {
                starts.push(end);
                places.push(NO_NAME);
            }
        }
        (self.starts, self.places) = (starts, places);
        self.starts.shrink_to_fit();
        self.places.shrink_to_fit();
        self.names.shrink_to_fit();
    }

    /// Of two names of one address: code before data, then the familiar one.
    fn is_better(&self, one: &Begin, other: &Begin) -> bool {
        match (self.text(one.name), self.text(other.name)) {
            (Some((one_name, _)), Some((other_name, _))) => {
                familiarity(one_name, one.binding) > familiarity(other_name, other.binding)
            }
            (one, other) => one.is_some() && other.is_none(),
        }
    }

    /// Where a symbol's code surely ends; its own start if it has none.
    fn end(&self, symbol: &Begin, next: Option<&Begin>) -> u64 {
        let next_start = next.map_or(u64::MAX, |next| next.address);
        match self.text(symbol.name) {
            None => symbol.address,
            Some((_, None)) => {
                self.core.end_around(symbol.address).map_or(symbol.address, |end| end.min(next_start))
            }
            Some((_, module @ Some(_))) => {
                let next_module = next.and_then(|next| self.text(next.name)).and_then(|(_, module)| module);
                if next_module == module {
                    next_start
                } else {
                    (symbol.address / PAGE_BYTES + 1).saturating_mul(PAGE_BYTES).min(next_start)
                }
            }
        }
    }

    /// A name and its module.
    fn text(&self, place: u32) -> Option<(&str, Option<&str>)> {
        let text = self.names.get(usize::try_from(place).ok()?..)?.split('\n').next()?;
        Some(match text.split_once('\t') {
            Some((name, module)) => (name, Some(module)),
            None => (text, None),
        })
    }

    /// The function at an address, if there is one, and the range in which this holds.
    pub fn find(&self, at: KernelAddr) -> (Range<u64>, Option<KernelFunction>) {
        let behind = self.starts.partition_point(|start| *start <= at.0);
        let end = self.starts.get(behind).copied().unwrap_or(u64::MAX);
        let Some(around) = behind.checked_sub(1) else { return (0..end, None) };
        let start = self.starts.get(around).copied().unwrap_or(0);
        let found = self.places.get(around).and_then(|place| self.text(*place));
        let function =
            found.map(|(name, module)| KernelFunction { name: name.into(), module: module.map(Into::into) });
        (start..end, function)
    }

    /// Whether an address lies in the code of the kernel proper, which never changes.
    pub(super) fn is_core(&self, at: KernelAddr) -> bool {
        self.core.end_around(at.0).is_some()
    }
}

/// Where a symbol begins.
#[derive(Clone, Copy, Debug)]
struct Begin {
    address: u64,
    /// [`NO_NAME`] if it is not code.
    name: u32,
    binding: Binding,
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

    /// The end of the code that an address lies in.
    fn end_around(&self, at: u64) -> Option<u64> {
        [self.text, self.init_text].iter().find_map(|range| match range {
            (Some(start), Some(end)) => (*start..*end).contains(&at).then_some(*end),
            _ => None,
        })
    }
}
