//! What was found out about one file, kept from window to window.
//!
//! ```text
//!   names     what was asked for, with the range in which each answer holds       first look
//!   symbols   functions of the symbol tables                                      ┐ for an address beside those:
//!   code      whole functions of the debug information (debug_code.rs)            ┘ no file is opened for it
//! ```

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use profiler_common::address::ElfVaddr;

use super::debug_code::DebugCode;
use crate::elf::ElfHeaders;
use crate::host::MonotonicNanos;
use crate::symbolize::spans::{Spans, entry_bytes};
use crate::symbolize::symtab::{FoundSymbol, Symbol};
use crate::symbolize::{NamedAddress, NamedLine};

/// Whether there is debug information for a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DebugState {
    /// Nobody looked.
    #[default]
    Unknown,
    /// There is some, in the file or beside it.
    Present,
    /// There is none that can be used.
    Absent,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct KnownFile {
    pub(super) headers: Option<ElfHeaders>,
    names: Spans<Arc<NamedAddress>>,
    symbols: Spans<Option<Symbol>>,
    pub(super) code: DebugCode,
    pub(super) texts: Texts,
    pub(super) debug: DebugState,
    /// Its debug information is not read before.
    pub(super) read_again_at: MonotonicNanos,
    /// Whether Go's own table is there, once that is known.
    pub(super) is_go: Option<bool>,
    /// Of the names alone.
    names_bytes: usize,
}

impl KnownFile {
    /// What is at an address.
    pub(super) fn name(&self, at: ElfVaddr) -> Option<&Arc<NamedAddress>> {
        self.names.get(at.0).map(|(_, name)| name)
    }

    pub(in crate::symbolize) fn keep_name(
        &mut self,
        at: ElfVaddr,
        span: Range<u64>,
        name: &Arc<NamedAddress>,
    ) {
        if self.names.insert(at.0, span, Arc::clone(name)) {
            self.names_bytes += entry_bytes::<Arc<NamedAddress>>()
                + size_of::<NamedAddress>()
                + name.len() * size_of::<NamedLine>();
        }
    }

    pub(super) fn symbol(&self, at: ElfVaddr) -> Option<FoundSymbol> {
        let (span, symbol) = self.symbols.get(at.0)?;
        Some(FoundSymbol { symbol: symbol.clone(), span })
    }

    pub(super) fn keep_symbol(&mut self, at: ElfVaddr, found: &FoundSymbol) {
        let symbol = found.symbol.as_ref();
        let symbol = symbol.map(|symbol| Symbol { name: self.texts.shared(&symbol.name), ..*symbol });
        self.symbols.insert(at.0, found.span.clone(), symbol);
    }

    /// What all of it takes, more or less.
    pub(in crate::symbolize) fn bytes(&self) -> usize {
        let symbols = self.symbols.len() * entry_bytes::<Option<Symbol>>();
        self.names_bytes + symbols + self.code.bytes() + self.texts.bytes
    }

    /// Forgets all names, to begin anew with those that are still asked for. What kind of file it is stays known.
    pub(in crate::symbolize) fn forget_names(&mut self) {
        let Self { headers, debug, is_go, .. } = std::mem::take(self);
        *self = Self { headers, debug, is_go, ..Self::default() };
    }
}

/// Each distinct text once.
#[derive(Debug, Default)]
pub(super) struct Texts {
    texts: HashSet<Arc<str>>,
    bytes: usize,
}

/// What a text takes beside itself: counters, and its place among the others.
const TEXT_BYTES: usize = 48;

impl Texts {
    pub(super) fn shared(&mut self, text: &Arc<str>) -> Arc<str> {
        if let Some(shared) = self.texts.get(text) {
            return Arc::clone(shared);
        }
        self.texts.insert(Arc::clone(text));
        self.bytes += text.len() + TEXT_BYTES;
        Arc::clone(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_in_their_range_and_are_forgotten_with_their_bytes() {
        let mut known = KnownFile { debug: DebugState::Absent, ..KnownFile::default() };
        let text = known.texts.shared(&"name".into());
        assert!(Arc::ptr_eq(&text, &known.texts.shared(&"name".into())));
        let empty = known.bytes();
        known.keep_name(ElfVaddr(0x18), 0x10..0x20, &Arc::new(Vec::new()));
        assert!(known.name(ElfVaddr(0x1f)).is_some() && known.name(ElfVaddr(0x20)).is_none());
        let one = known.bytes();
        known.keep_name(ElfVaddr(0x12), 0x10..0x20, &Arc::new(Vec::new()));
        assert!(empty < one && known.bytes() == one, "known before");
        known.forget_names();
        assert_eq!((known.bytes(), known.debug), (0, DebugState::Absent));
    }
}
