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
//! One file is open at a time and nothing is kept between files: each address is asked for once, so a cache would
//! only grow. Why not blazesym for symbols too: it maps the file and sorts an index of the whole table. Naming
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

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use profiler_common::address::{ElfVaddr, FileOffset};

use super::demangle::demangle_all;
use super::dwarf::{CodeAt, DebugReader, SourceLine};
use super::error::SymbolizeError;
use super::plt::{NamedStub, StubName, find_stubs, stub_name};
use super::symtab::{Kinds, Symbol, find_symbols_of};
use super::{NamedAddress, NamedFunction, NamedLine};
use crate::elf::ElfError;
use crate::process::debug_files::{DebugFiles, OpenElf};
use crate::process::namespace::ProcessRoot;
use crate::unwind::{Budget, GoNames};

/// Debug sections with more bytes are left unread; a browser's have some 2 GiB, the kernel's 400 MiB.
const DEBUG_BYTES_MAX: u64 = 512 << 20;

/// A mapped file, as far as naming needs it.
#[derive(Clone, Copy, Debug)]
pub struct NativeFile<'a> {
    /// Open for reading since it was first seen, so it may be deleted by now.
    pub file: &'a File,
    /// Where its process sees it; only to look for debug files beside it.
    pub path: &'a Path,
    /// The root of that process, to look for debug files in. `None`: it is gone; the host's are left.
    pub process: Option<&'a ProcessRoot>,
}

/// The names in one file.
#[derive(Debug, Default)]
pub struct NativeNames {
    /// In the order of the addresses; empty where no symbol covers one.
    pub addresses: Vec<NamedAddress>,
    /// What was there but could not be used; names are from the rest.
    pub problems: Vec<SymbolizeError>,
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

    /// Names positions in one file. `wanted`: addresses to look up, one byte before return addresses.
    ///
    /// An error means that the file gives no names at all: it is no ELF file, or damaged.
    pub fn name(&self, file: NativeFile<'_>, wanted: &[FileOffset]) -> Result<NativeNames, SymbolizeError> {
        let duplicate = |source| SymbolizeError::Open { path: file.path.to_owned(), source };
        let elf = OpenElf::read(file.file.try_clone().map_err(duplicate)?)?;
        let vaddrs: Vec<Option<ElfVaddr>> = wanted.iter().map(|at| elf.headers.code_vaddr(*at)).collect();
        let mut sorted: Vec<ElfVaddr> = vaddrs.iter().flatten().copied().collect();
        let entry = elf.headers.entry();
        if sorted.iter().any(|at| is_entry_code(entry, *at)) {
            sorted.push(entry); // if the function there has a name, its neighbours are not it
        }
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.is_empty() {
            return Ok(NativeNames {
                addresses: vec![NamedAddress::new(); wanted.len()],
                problems: Vec::new(),
            });
        }
        let is_complete = elf.sections.symbols().is_some() && elf.sections.has_dwarf();
        let debug = if is_complete { None } else { self.debug_files.find(&elf, file.path, file.process) };

        let mut problems = Vec::new();
        let tables = Tables { elf: &elf, debug: debug.as_ref() };
        let mut symbols = tables.symbols(Kinds::Code, &sorted, &mut problems);
        tables.fill_from_plt(&sorted, &mut symbols, &mut problems);
        let mut code = self.code_at(&elf, debug.as_ref(), &sorted, &mut problems);
        fill_from_go(&elf, &sorted, &symbols, &mut code, &mut problems);
        fill_entry(entry, &sorted, &mut symbols, &code);
        let named = assemble(&symbols, &code);
        let of = |at: &ElfVaddr| named.get(sorted.binary_search(at).ok()?).cloned();
        let addresses = vaddrs.iter().map(|at| at.as_ref().and_then(of).unwrap_or_default()).collect();
        Ok(NativeNames { addresses, problems })
    }

    fn code_at(
        &self,
        elf: &OpenElf,
        debug: Option<&OpenElf>,
        sorted: &[ElfVaddr],
        problems: &mut Vec<SymbolizeError>,
    ) -> Vec<Option<CodeAt>> {
        let has_symbols =
            [debug, Some(elf)].into_iter().flatten().any(|elf| elf.sections.symbols().is_some());
        let source = debug.filter(|debug| debug.sections.has_dwarf()).or_else(|| {
            let has_mini = !has_symbols && elf.sections.has_mini_debug_info();
            (elf.sections.has_dwarf() || has_mini).then_some(elf)
        });
        let answer = source.map(|source| match source.sections.debug_bytes() {
            found if found > DEBUG_BYTES_MAX => {
                Err(ElfError::TooLarge { what: "bytes of debug information", found, limit: DEBUG_BYTES_MAX }
                    .into())
            }
            _ => self.debug_reader.read(&source.file, sorted),
        });
        match answer {
            Some(Ok(code)) => code,
            Some(Err(problem)) => {
                problems.push(problem);
                vec![None; sorted.len()]
            }
            None => vec![None; sorted.len()],
        }
    }
}

/// A file and its debug file, for their symbols.
#[derive(Clone, Copy)]
struct Tables<'a> {
    elf: &'a OpenElf,
    debug: Option<&'a OpenElf>,
}

impl Tables<'_> {
    /// Asks one table after the other about what is still unnamed.
    fn symbols(
        self,
        kinds: Kinds,
        sorted: &[ElfVaddr],
        problems: &mut Vec<SymbolizeError>,
    ) -> Vec<Option<Symbol>> {
        let tables = [
            self.debug.and_then(|debug| Some((debug, debug.sections.symbols()?))),
            self.elf.sections.symbols().map(|table| (self.elf, table)),
            self.elf.sections.dynamic_symbols().map(|table| (self.elf, table)),
        ];
        let mut symbols: Vec<Option<Symbol>> = vec![None; sorted.len()];
        for (elf, table) in tables.into_iter().flatten() {
            let missing = unnamed(&symbols, sorted);
            if missing.is_empty() {
                break;
            }
            match find_symbols_of(kinds, &elf.file, &elf.headers, table, &missing) {
                Ok(found) => {
                    let open = symbols.iter_mut().filter(|symbol| symbol.is_none());
                    open.zip(found).for_each(|(symbol, found)| *symbol = found);
                }
                Err(problem) => problems.push(problem.into()),
            }
        }
        symbols
    }

    /// Names stubs, which have no symbols.
    fn fill_from_plt(
        self,
        sorted: &[ElfVaddr],
        symbols: &mut [Option<Symbol>],
        problems: &mut Vec<SymbolizeError>,
    ) {
        let missing = unnamed(symbols, sorted);
        let stubs = find_stubs(&self.elf.file, &self.elf.headers, &self.elf.sections, &missing);
        let stubs = match stubs {
            Ok(stubs) => stubs,
            Err(problem) => return problems.push(problem.into()),
        };
        let indirect = |stub: &NamedStub| match stub.name {
            StubName::Indirect(resolver) => Some(resolver),
            StubName::Known(_) => None,
        };
        let mut resolvers: Vec<ElfVaddr> = stubs.iter().flatten().filter_map(indirect).collect();
        resolvers.sort_unstable();
        resolvers.dedup();
        let functions = self.symbols(Kinds::Indirect, &resolvers, problems);
        let name = |stub: NamedStub| match stub.name {
            StubName::Known(name) => Some(Symbol { name, start: stub.start }),
            StubName::Indirect(resolver) => {
                let function = functions.get(resolvers.binary_search(&resolver).ok()?)?.as_ref();
                let function = function.filter(|function| function.start == resolver)?;
                Some(Symbol { name: stub_name(&function.name), start: stub.start })
            }
        };
        let open = symbols.iter_mut().filter(|symbol| symbol.is_none());
        open.zip(stubs).for_each(|(symbol, stub)| *symbol = stub.and_then(name));
    }
}

fn unnamed(symbols: &[Option<Symbol>], sorted: &[ElfVaddr]) -> Vec<ElfVaddr> {
    let unnamed = symbols.iter().zip(sorted).filter(|(symbol, _)| symbol.is_none());
    unnamed.map(|(_, at)| *at).collect()
}

/// What symbols and debug information left open: names in programs that were stripped of both, as most Go programs
/// are, and lines in those that were stripped of the latter. Debug information goes first because it has what was
/// inlined.
fn fill_from_go(
    elf: &OpenElf,
    sorted: &[ElfVaddr],
    symbols: &[Option<Symbol>],
    code: &mut [Option<CodeAt>],
    problems: &mut Vec<SymbolizeError>,
) {
    let is_open = |symbol: &Option<Symbol>, code: &Option<CodeAt>| match code {
        None => true,
        Some(code) => symbol.is_none() && code.name.is_empty(),
    };
    if !symbols.iter().zip(&*code).any(|(symbol, code)| is_open(symbol, code)) {
        return;
    }
    let names = match GoNames::read(&elf.file, &elf.headers, Budget::default()) {
        Ok(Some(names)) => names,
        Ok(None) => return,
        Err(problem) => return problems.push(problem.into()),
    };
    for ((at, symbol), code) in sorted.iter().zip(symbols).zip(code) {
        if is_open(symbol, code)
            && let Some(place) = names.find(*at)
        {
            let file = place.file.unwrap_or_default();
            *code = Some(CodeAt {
                name: place.name,
                start: Some(place.start.0),
                at: SourceLine { file, line: place.line.unwrap_or(0) },
                begin_line: place.start_line.unwrap_or(0),
                inlined: Vec::new(),
            });
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
fn fill_entry(entry: ElfVaddr, sorted: &[ElfVaddr], symbols: &mut [Option<Symbol>], code: &[Option<CodeAt>]) {
    let at_entry = sorted.binary_search(&entry).ok();
    let has_symbol = at_entry.and_then(|at| symbols.get(at)).is_some_and(Option::is_some);
    let has_line = at_entry.and_then(|at| code.get(at)).is_some_and(Option::is_some);
    if has_symbol || has_line {
        return;
    }
    for ((at, symbol), code) in sorted.iter().zip(symbols).zip(code) {
        if symbol.is_none() && code.is_none() && is_entry_code(entry, *at) {
            *symbol = Some(Symbol { name: "_start".into(), start: entry });
        }
    }
}

/// Joins both sources and makes all names readable.
fn assemble(symbols: &[Option<Symbol>], code: &[Option<CodeAt>]) -> Vec<NamedAddress> {
    let mut texts = Texts::default();
    let mut lines: Vec<Vec<RawLine>> = Vec::with_capacity(symbols.len());
    for (symbol, code) in symbols.iter().zip(code) {
        lines.push(raw_lines(symbol.as_ref(), code.as_ref(), &mut texts));
    }
    let mut system_names: Vec<Arc<str>> =
        lines.iter().flatten().map(|line| Arc::clone(&line.system_name)).collect();
    system_names.sort_unstable();
    system_names.dedup();
    let names = demangle_all(&system_names);
    let readable = |name: &Arc<str>| {
        let index = system_names.binary_search(name).ok();
        index.and_then(|index| names.get(index)).unwrap_or(name).clone()
    };
    let named = |line: RawLine| NamedLine {
        function: NamedFunction {
            name: readable(&line.system_name),
            system_name: line.system_name,
            file: line.file,
            start_line: line.begin_line,
        },
        line: line.line,
    };
    lines.into_iter().map(|lines| lines.into_iter().map(named).collect()).collect()
}

/// A [`NamedLine`] before its name is made readable.
struct RawLine {
    system_name: Arc<str>,
    file: Arc<str>,
    begin_line: u32,
    line: u32,
}

/// Innermost inlined function first, the one that holds the code last; nothing if that one has no name.
fn raw_lines(symbol: Option<&Symbol>, code: Option<&CodeAt>, texts: &mut Texts) -> Vec<RawLine> {
    let dwarf_name = code.map(|code| code.name.as_str()).filter(|name| !name.is_empty());
    let holder =
        symbol.map(|symbol| Arc::clone(&symbol.name)).or_else(|| dwarf_name.map(|name| texts.shared(name)));
    let Some(holder) = holder else { return Vec::new() };
    let Some(code) = code else {
        return vec![RawLine { system_name: holder, file: texts.shared(""), begin_line: 0, line: 0 }];
    };
    let mut lines = Vec::with_capacity(code.inlined.len() + 1);
    lines.push(RawLine {
        system_name: holder,
        file: texts.shared(&code.at.file),
        begin_line: code.begin_line,
        line: code.at.line,
    });
    for inlined in code.inlined.iter().filter(|inlined| !inlined.name.is_empty()) {
        lines.push(RawLine {
            system_name: texts.shared(&inlined.name),
            file: texts.shared(&inlined.at.file),
            begin_line: inlined.begin_line,
            line: inlined.at.line,
        });
    }
    lines.reverse();
    lines
}

/// Each distinct text once.
#[derive(Default)]
struct Texts(HashMap<String, Arc<str>>);

impl Texts {
    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.0.get(text) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = text.into();
        self.0.insert(text.to_owned(), Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests;
