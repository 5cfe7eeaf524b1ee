//! Symbols at addresses: of a file, of its debug file, and of stubs, which have none.

use profiler_common::address::ElfVaddr;

use super::known::KnownFile;
use crate::process::debug_files::OpenElf;
use crate::symbolize::error::SymbolizeError;
use crate::symbolize::plt::{NamedStub, StubName, find_stubs, stub_name};
use crate::symbolize::spans::{alone, shared};
use crate::symbolize::symtab::{FoundSymbol, Kinds, Symbol, find_symbols_of};

/// A file and its debug file, for their symbols.
#[derive(Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) elf: &'a OpenElf,
    pub(super) debug: Option<&'a OpenElf>,
}

impl Tables<'_> {
    /// The symbol at each address, by what is known or by the tables.
    pub(super) fn code_symbols(
        self,
        sorted: &[ElfVaddr],
        known: &mut KnownFile,
        problems: &mut Vec<SymbolizeError>,
    ) -> Vec<FoundSymbol> {
        let unknown: Vec<ElfVaddr> =
            sorted.iter().copied().filter(|at| known.symbol(*at).is_none()).collect();
        for (at, found) in unknown.iter().zip(self.symbols(Kinds::Code, &unknown, problems)) {
            known.keep_symbol(*at, &found);
        }
        let symbol = |at: &ElfVaddr| known.symbol(*at).unwrap_or_else(|| nothing(*at));
        let mut symbols: Vec<FoundSymbol> = sorted.iter().map(symbol).collect();
        self.fill_from_plt(sorted, &mut symbols, problems);
        symbols
    }

    /// Asks one table after the other about what is still unnamed.
    fn symbols(
        self,
        kinds: Kinds,
        sorted: &[ElfVaddr],
        problems: &mut Vec<SymbolizeError>,
    ) -> Vec<FoundSymbol> {
        let tables = [
            self.debug.and_then(|debug| Some((debug, debug.sections.symbols()?))),
            self.elf.sections.symbols().map(|table| (self.elf, table)),
            self.elf.sections.dynamic_symbols().map(|table| (self.elf, table)),
        ];
        let mut symbols: Vec<FoundSymbol> =
            sorted.iter().map(|_| FoundSymbol { symbol: None, span: 0..u64::MAX }).collect();
        for (elf, table) in tables.into_iter().flatten() {
            let missing = unnamed(&symbols, sorted);
            if missing.is_empty() {
                break;
            }
            match find_symbols_of(kinds, &elf.file, &elf.headers, table, &missing) {
                Ok(found) => {
                    let open = symbols.iter_mut().filter(|found| found.symbol.is_none());
                    for (symbol, found) in open.zip(found) {
                        let span = shared(&symbol.span, &found.span);
                        *symbol = FoundSymbol { span, ..found };
                    }
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
        symbols: &mut [FoundSymbol],
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
                let function = functions.get(resolvers.binary_search(&resolver).ok()?)?.symbol.as_ref();
                let function = function.filter(|function| function.start == resolver)?;
                Some(Symbol { name: stub_name(&function.name), start: stub.start })
            }
        };
        let open = symbols.iter_mut().filter(|found| found.symbol.is_none());
        for ((found, at), stub) in open.zip(missing).zip(stubs) {
            if let Some(symbol) = stub.and_then(name) {
                *found = FoundSymbol { symbol: Some(symbol), span: alone(at.0) };
            }
        }
    }
}

fn nothing(at: ElfVaddr) -> FoundSymbol {
    FoundSymbol { symbol: None, span: alone(at.0) }
}

fn unnamed(symbols: &[FoundSymbol], sorted: &[ElfVaddr]) -> Vec<ElfVaddr> {
    let unnamed = symbols.iter().zip(sorted).filter(|(found, _)| found.symbol.is_none());
    unnamed.map(|(_, at)| *at).collect()
}
