//! A symbol and what debug information says of an address → its name, for people.

use std::sync::Arc;

use super::FoundCode;
use super::known::Texts;
use crate::symbolize::demangle::demangle_all;
use crate::symbolize::dwarf::CodeAt;
use crate::symbolize::symtab::{FoundSymbol, Symbol};
use crate::symbolize::{NamedAddress, NamedFunction, NamedLine};

/// Joins both sources and makes all names readable.
pub(super) fn assemble(
    symbols: &[FoundSymbol],
    code: &[FoundCode],
    texts: &mut Texts,
) -> Vec<Arc<NamedAddress>> {
    let mut lines: Vec<Vec<RawLine>> = Vec::with_capacity(symbols.len());
    for (found, code) in symbols.iter().zip(code) {
        lines.push(raw_lines(found.symbol.as_ref(), code.code.as_ref()));
    }
    let mut system_names: Vec<Arc<str>> =
        lines.iter().flatten().map(|line| Arc::clone(&line.system_name)).collect();
    system_names.sort_unstable();
    system_names.dedup();
    let names = if system_names.is_empty() { Vec::new() } else { demangle_all(&system_names) };
    let names: Vec<Arc<str>> = names.iter().map(|name| texts.shared(name)).collect();
    let readable = |name: &Arc<str>| {
        let index = system_names.binary_search(name).ok();
        index.and_then(|index| names.get(index)).unwrap_or(name).clone()
    };
    let mut named = |line: RawLine| NamedLine {
        function: NamedFunction {
            name: readable(&line.system_name),
            system_name: texts.shared(&line.system_name),
            file: texts.shared(&line.file),
            start_line: line.begin_line,
        },
        line: line.line,
    };
    lines.into_iter().map(|lines| Arc::new(lines.into_iter().map(&mut named).collect())).collect()
}

/// A [`NamedLine`] before its name is made readable.
struct RawLine {
    system_name: Arc<str>,
    file: Arc<str>,
    begin_line: u32,
    line: u32,
}

/// Innermost inlined function first, the one that holds the code last; nothing if that one has no name.
fn raw_lines(symbol: Option<&Symbol>, code: Option<&CodeAt>) -> Vec<RawLine> {
    let dwarf_name = code.map(|code| &code.name).filter(|name| !name.is_empty());
    let Some(holder) = symbol.map(|symbol| &symbol.name).or(dwarf_name).cloned() else { return Vec::new() };
    let Some(code) = code else {
        return vec![RawLine { system_name: holder, file: "".into(), begin_line: 0, line: 0 }];
    };
    let mut lines = Vec::with_capacity(code.inlined.len() + 1);
    lines.push(RawLine {
        system_name: holder,
        file: Arc::clone(&code.at.file),
        begin_line: code.begin_line,
        line: code.at.line,
    });
    for inlined in code.inlined.iter().filter(|inlined| !inlined.name.is_empty()) {
        lines.push(RawLine {
            system_name: Arc::clone(&inlined.name),
            file: Arc::clone(&inlined.at.file),
            begin_line: inlined.begin_line,
            line: inlined.at.line,
        });
    }
    lines.reverse();
    lines
}
