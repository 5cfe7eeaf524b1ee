//! An open ELF file + positions of code in it → function names, source lines, inlined functions.
//!
//! ```text
//!   FileOffset ─elf─▶ ElfVaddr ┬─symtab─▶ function, by .symtab of the debug file or the file, else .dynsym
//!                              ├─dwarf──▶ lines and inlined functions, by .debug_* of the debug file or the file
//!                              └─go─────▶ function, file and line, by Go's own table, where those two know nothing
//!                                             └─▶ demangle ─▶ NamedAddress
//! ```
//!
//! Symbol tables are read by our own pass in pieces, DWARF by blazesym in a process of its own (see [`super::dwarf`]).
//! Both tell with each answer how far it holds, which is kept ([`KnownFile`]): an address beside one that was asked for
//! before is named without opening the file. Why not blazesym for symbols too: it maps the file and sorts an index of the whole table. Naming
//! 1,000 addresses spread over the code raised the peak resident size (release build, x86_64, two cores) by
//!
//! | file | this | blazesym 0.2.7 in this process |
//! |---|---|---|
//! | Node.js 20, 110,000 symbols, some DWARF | 1.5 MB, 36 ms (reader: 19 MB) | 16.1 MB, 19 ms |
//! | libjvm.so of JDK 25, 70,000 symbols | 1.1 MB, 28 ms | 6.2 MB, 3 ms |
//! | librustc_driver.so 1.95, 165,000 symbols | 1.0 MB, 18 ms | 19.6 MB, 13 ms |
//! | libc.so.6 with Debian's debug file, 964 of 977 names with lines | 1.0 MB, 148 ms (reader: 31 MB) | 28.6 MB, 61 ms |
//!
//! The times of this side include demangling, those of blazesym do not; the reader's memory is gone when it ends.
//!
//! The name of the function that holds the code comes from the symbol table, as the linker knows it; DWARF adds
//! what was inlined into it. No name is better than a wrong one: outside every symbol's size an address stays unnamed.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use profiler_common::address::{ElfVaddr, FileOffset};

use self::assemble::assemble;
use self::known::DebugState;
pub use self::known::KnownFile;
use self::tables::Tables;
use super::NamedAddress;
use super::dwarf::{CodeAt, DebugReader, READER_CPU_MAX, SourceLine};
use super::error::SymbolizeError;
use super::reader_budget::ReaderBudget;
use super::spans::{alone, shared};
use super::symtab::{FoundSymbol, Symbol};
use crate::elf::ElfError;
use crate::process::debug_files::{DebugFiles, OpenElf};
use crate::process::namespace::ProcessRoot;
use crate::unwind::{Budget, GoNames};

mod assemble;
mod debug_code;
mod known;
mod tables;

/// Debug sections with more bytes are left unread; a browser's have some 2 GiB, the kernel's 400 MiB.
const DEBUG_BYTES_MAX: u64 = 512 << 20;

/// A mapped file, as far as naming needs it.
#[derive(Clone, Copy, Debug)]
pub struct NativeFile<'a> {
    /// Open for reading since it was first seen, so it may be deleted by now. `None`: it is not open any more, and gives
    /// the names that are known.
    pub file: Option<&'a File>,
    /// Where its process sees it; only to look for debug files beside it.
    pub path: &'a Path,
    /// The root of that process, to look for debug files in. `None`: it is gone; the host's are left.
    pub process: Option<&'a ProcessRoot>,
}

/// The names in one file.
#[derive(Debug, Default)]
pub struct NativeNames {
    /// In the order of the addresses; empty where no symbol covers one.
    pub addresses: Vec<Arc<NamedAddress>>,
    /// What was there but could not be used; names are from the rest.
    pub problems: Vec<SymbolizeError>,
    /// Addresses whose names will say more once there is time to read debug information.
    pub waiting: usize,
}

/// What debug information, or Go's own table, says of an address, and where this holds.
#[derive(Debug)]
struct FoundCode {
    code: Option<CodeAt>,
    span: Range<u64>,
    /// It was not asked yet.
    waits: bool,
}

/// Names addresses in ELF files.
#[derive(Debug)]
pub struct NativeNamer {
    debug_files: DebugFiles,
    debug_reader: DebugReader,
}

impl NativeNamer {
    /// Takes where debug files are looked for, and how debug information is read.
    pub fn new(debug_files: DebugFiles, debug_reader: DebugReader) -> Self {
        Self { debug_files, debug_reader }
    }

    /// Names positions in one file, of which `known` holds what was found out before. `wanted`: addresses to look up, one
    /// byte before return addresses.
    ///
    /// An error means that the file gives no new names at all: it is no ELF file, damaged, or not open any more.
    pub(super) fn name(
        &self,
        file: NativeFile<'_>,
        known: &mut KnownFile,
        wanted: &[FileOffset],
        budget: &mut ReaderBudget,
    ) -> Result<NativeNames, SymbolizeError> {
        let opened = if known.headers.is_none() { Some(open(file)?) } else { None };
        if let Some(elf) = &opened {
            known.headers = Some(elf.headers.clone());
        }
        let headers = known.headers.as_ref();
        let vaddrs: Vec<Option<ElfVaddr>> =
            wanted.iter().map(|at| headers.and_then(|headers| headers.code_vaddr(*at))).collect();
        let mut unknown: Vec<ElfVaddr> =
            vaddrs.iter().flatten().copied().filter(|at| known.name(*at).is_none()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let mut names = NativeNames::default();
        let mut for_now = Vec::new();
        if !unknown.is_empty() {
            let elf = opened.map_or_else(|| open(file), Ok)?;
            for_now = self.find_out(&elf, file, known, &unknown, budget, &mut names.problems);
        }
        names.waiting = for_now.len();
        let nothing = Arc::default();
        let name = |at: ElfVaddr| {
            let later = || {
                let index = for_now.binary_search_by_key(&at, |(at, _)| *at).ok()?;
                for_now.get(index).map(|(_, name)| name)
            };
            known.name(at).or_else(later)
        };
        names.addresses = vaddrs.iter().map(|at| Arc::clone(at.and_then(name).unwrap_or(&nothing))).collect();
        Ok(names)
    }

    /// Asks the file about addresses, which are sorted. Gives names that are not to be kept, since debug information will
    /// tell more.
    fn find_out(
        &self,
        elf: &OpenElf,
        file: NativeFile<'_>,
        known: &mut KnownFile,
        unknown: &[ElfVaddr],
        budget: &mut ReaderBudget,
        problems: &mut Vec<SymbolizeError>,
    ) -> Vec<(ElfVaddr, Arc<NamedAddress>)> {
        let mut sorted = unknown.to_vec();
        let entry = elf.headers.entry();
        if sorted.iter().any(|at| is_entry_code(entry, *at)) {
            sorted.push(entry); // if the function there has a name, its neighbours are not it
            sorted.sort_unstable();
            sorted.dedup();
        }
        let is_complete = elf.sections.symbols().is_some() && elf.sections.has_dwarf();
        let debug = if is_complete { None } else { self.debug_files.find(elf, file.path, file.process) };
        let tables = Tables { elf, debug: debug.as_ref() };
        let mut symbols = tables.code_symbols(&sorted, known, problems);
        let mut code = self.code_at(elf, debug.as_ref(), known, &sorted, budget, problems);
        fill_from_go(elf, known, &sorted, &symbols, &mut code, problems);
        fill_entry(entry, &sorted, &mut symbols, &code);
        let names = assemble(&symbols, &code, &mut known.texts);
        let mut for_now = Vec::new();
        for (((at, found), code), name) in sorted.iter().zip(&symbols).zip(&code).zip(names) {
            if code.waits {
                for_now.push((*at, name));
                continue;
            }
            // What has no name here may be a stub there.
            let span = if found.symbol.is_some() { shared(&found.span, &code.span) } else { alone(at.0) };
            known.keep_name(*at, span, &name);
        }
        for_now
    }

    /// What debug information says.
    fn code_at(
        &self,
        elf: &OpenElf,
        debug: Option<&OpenElf>,
        known: &mut KnownFile,
        sorted: &[ElfVaddr],
        budget: &mut ReaderBudget,
        problems: &mut Vec<SymbolizeError>,
    ) -> Vec<FoundCode> {
        let source = source_of_code(elf, debug).filter(|_| known.debug != DebugState::Absent);
        known.debug = if source.is_some() { DebugState::Present } else { DebugState::Absent };
        if let Some(source) = source
            && let Err(problem) = self.read_code(source, known, sorted, budget)
        {
            // It will not be better the next time.
            known.debug = DebugState::Absent;
            problems.push(problem);
        }
        let is_absent = known.debug == DebugState::Absent;
        let found = |at: &ElfVaddr| match known.code.get(at.0) {
            Some((span, code)) => FoundCode { code, span, waits: false },
            None if is_absent => FoundCode { code: None, span: 0..u64::MAX, waits: false },
            None => FoundCode { code: None, span: alone(at.0), waits: true },
        };
        sorted.iter().map(found).collect()
    }

    fn read_code(
        &self,
        source: &OpenElf,
        known: &mut KnownFile,
        sorted: &[ElfVaddr],
        budget: &mut ReaderBudget,
    ) -> Result<(), SymbolizeError> {
        let unknown: Vec<ElfVaddr> =
            sorted.iter().copied().filter(|at| known.code.get(at.0).is_none()).collect();
        if unknown.is_empty() || !budget.has_some() || budget.is_before(known.read_again_at) {
            return Ok(());
        }
        let (found, limit) = (source.sections.debug_bytes(), DEBUG_BYTES_MAX);
        if found > limit {
            return Err(ElfError::TooLarge { what: "bytes of debug information", found, limit }.into());
        }
        let room = known.code.room();
        let read = self.debug_reader.read(&source.file, &unknown, room);
        let again_at = budget.charge(read.as_ref().map_or(READER_CPU_MAX, |read| read.cpu));
        known.read_again_at = again_at.unwrap_or_default();
        // The reader may be in a stranger's hands.
        for (range, code) in read?.ranges.into_iter().take(unknown.len() + room) {
            known.code.keep(range.start, range, code.as_ref(), &mut known.texts);
        }
        // What it did not answer is not asked again.
        for at in unknown {
            known.code.keep(at.0, alone(at.0), None, &mut known.texts);
        }
        Ok(())
    }
}

fn open(file: NativeFile<'_>) -> Result<OpenElf, SymbolizeError> {
    let failed = |source| SymbolizeError::Open { path: file.path.to_owned(), source };
    let duplicate = match file.file {
        Some(file) => file.try_clone(),
        None => Err(std::io::ErrorKind::NotFound.into()),
    };
    Ok(OpenElf::read(duplicate.map_err(failed)?)?)
}

/// The file whose debug information tells of the code, if there is one.
fn source_of_code<'a>(elf: &'a OpenElf, debug: Option<&'a OpenElf>) -> Option<&'a OpenElf> {
    let has_symbols = [debug, Some(elf)].into_iter().flatten().any(|elf| elf.sections.symbols().is_some());
    debug.filter(|debug| debug.sections.has_dwarf()).or_else(|| {
        let has_mini = !has_symbols && elf.sections.has_mini_debug_info();
        (elf.sections.has_dwarf() || has_mini).then_some(elf)
    })
}

/// What symbols and debug information left open: names in programs that were stripped of both, as most Go programs
/// are, and lines in those that were stripped of the latter. Debug information goes first because it has what was
/// inlined.
fn fill_from_go(
    elf: &OpenElf,
    known: &mut KnownFile,
    sorted: &[ElfVaddr],
    symbols: &[FoundSymbol],
    code: &mut [FoundCode],
    problems: &mut Vec<SymbolizeError>,
) {
    let is_open = |found: &FoundSymbol, code: &FoundCode| match &code.code {
        None => true,
        Some(code) => found.symbol.is_none() && code.name.is_empty(),
    };
    if known.is_go == Some(false) || !symbols.iter().zip(&*code).any(|(symbol, code)| is_open(symbol, code)) {
        return;
    }
    let names = GoNames::read(&elf.file, &elf.headers, Budget::default());
    known.is_go = Some(matches!(names, Ok(Some(_))));
    let names = match names {
        Ok(Some(names)) => names,
        Ok(None) => return,
        Err(problem) => return problems.push(problem.into()),
    };
    for ((at, symbol), found) in sorted.iter().zip(symbols).zip(code) {
        if is_open(symbol, found)
            && let Some(place) = names.find(*at)
        {
            let file = place.file.unwrap_or_default().into();
            found.code = Some(CodeAt {
                name: place.name.into(),
                at: SourceLine { file, line: place.line.unwrap_or(0) },
                begin_line: place.start_line.unwrap_or(0),
                inlined: Vec::new(),
            });
            found.span = alone(at.0);
        }
    }
}

/// Start code is as short as this; what crtbegin adds behind it is aligned to 16 bytes.
const ENTRY_BYTES: u64 = 48;

fn is_entry_code(entry: ElfVaddr, at: ElfVaddr) -> bool {
    entry.0 != 0 && at.0.checked_sub(entry.0).is_some_and(|at| at < ENTRY_BYTES)
}

/// The header says where a file's first instruction is, which is `_start` also in programs that were stripped, and in
/// the dynamic linker, whose symbol for it has no size.
fn fill_entry(entry: ElfVaddr, sorted: &[ElfVaddr], symbols: &mut [FoundSymbol], code: &[FoundCode]) {
    let at_entry = sorted.binary_search(&entry).ok();
    let has_symbol = at_entry.and_then(|at| symbols.get(at)).is_some_and(|found| found.symbol.is_some());
    let has_line = at_entry.and_then(|at| code.get(at)).is_some_and(|found| found.code.is_some());
    if has_symbol || has_line {
        return;
    }
    for ((at, found), code) in sorted.iter().zip(symbols).zip(code) {
        if found.symbol.is_none() && code.code.is_none() && is_entry_code(entry, *at) {
            let symbol = Some(Symbol { name: "_start".into(), start: entry });
            *found = FoundSymbol { symbol, span: alone(at.0) };
        }
    }
}

#[cfg(test)]
mod tests;
