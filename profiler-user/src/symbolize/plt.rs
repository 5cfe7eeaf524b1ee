//! Sorted addresses in procedure linkage tables → the function that each stub there jumps to.
//!
//! ```text
//!   ElfVaddr ─section─▶ stub ─decode─▶ slot of the GOT ─relocation─▶ dynamic symbol ─▶ `strlen@plt`
//!                                                           └─▶ resolver of an indirect function, for the caller to name
//! ```
//!
//! Linkers write these stubs without symbols; the names are those that objdump and perf make up. They stand in sections
//! of known names, so that in a file without section headers they stay unnamed, as does what is no stub: the start of
//! a table, padding, code of other linkers. Relocations are read in pieces, and only until all slots are found.

mod stubs;

use std::ops::ControlFlow;
use std::sync::Arc;

use object::elf::{self, RelocationType};
use profiler_common::address::ElfVaddr;

use self::stubs::{Stub, Target, WINDOW_REACH_BYTES, Window};
use super::demangle::STUB_SUFFIX;
use super::symtab::dynamic_name;
use crate::elf::relocations::{Relocation, each_relocation, relocation_number};
use crate::elf::sections::{Section, Sections};
use crate::elf::{ElfError, ElfHeaders, Machine, ReadAt, read_up_to};

/// A stub and what it jumps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedStub {
    pub(super) start: ElfVaddr,
    pub(super) name: StubName,
}

/// What a stub is called by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StubName {
    /// `strlen@plt`.
    Known(Arc<str>),
    /// The function in this file whose resolver is here picks one of several bodies at start. The dynamic symbol table
    /// does not have it.
    Indirect(ElfVaddr),
}

/// Where linkers put stubs. `.plt.sec` and `.plt.bnd` hold the jumps of tables that are made of two.
const SECTIONS: [&[u8]; 5] = [b".plt", b".plt.sec", b".plt.got", b".plt.bnd", b".iplt"];
/// Where stubs that know a number have their relocations.
const NUMBERED: &[u8] = b".rela.plt";
/// Addresses that are looked at: more than all stubs of any program.
const ADDRESSES_MAX: usize = 1 << 18;

/// For each address that lies in a stub what that is, in the same order. `wanted` must be sorted.
pub(super) fn find_stubs(
    source: &(impl ReadAt + ?Sized),
    headers: &ElfHeaders,
    sections: &Sections,
    wanted: &[ElfVaddr],
) -> Result<Vec<Option<NamedStub>>, ElfError> {
    let mut stubs: Vec<Option<Stub>> = vec![None; wanted.len()];
    let Some(machine) = headers.machine() else { return Ok(vec![None; wanted.len()]) };
    for (at, stub) in wanted.iter().zip(&mut stubs).take(ADDRESSES_MAX) {
        if let Some(section) = sections.loaded_at(*at, &SECTIONS) {
            *stub = window(source, section, *at)?.stub(machine, *at);
        }
    }
    let slots = Slots::find(source, machine, sections, &stubs)?;
    let mut named: Vec<Option<NamedStub>> = Vec::with_capacity(stubs.len());
    for stub in stubs {
        let Some(stub) = stub else {
            named.push(None);
            continue;
        };
        // Neighbouring addresses often lie in one stub.
        let repeated = named.last().and_then(Option::as_ref).filter(|last| last.start == stub.start);
        let found = match repeated {
            Some(repeated) => Some(repeated.clone()),
            None => slots.name(source, sections, stub)?,
        };
        named.push(found);
    }
    Ok(named)
}

fn window(source: &(impl ReadAt + ?Sized), section: &Section, at: ElfVaddr) -> Result<Window, ElfError> {
    let into = at.0.saturating_sub(section.vaddr.0);
    let first = into.saturating_sub(WINDOW_REACH_BYTES);
    let end = into.saturating_add(WINDOW_REACH_BYTES).min(section.bytes);
    let bytes = usize::try_from(end.saturating_sub(first)).unwrap_or(0);
    Ok(Window {
        section: section.vaddr,
        start: ElfVaddr(section.vaddr.0.saturating_add(first)),
        bytes: read_up_to(source, section.at.saturating_add(first), bytes)?,
    })
}

/// Relocations of slots and of numbers.
struct Slots {
    machine: Machine,
    /// Sorted by slot.
    by_slot: Vec<(ElfVaddr, Option<Relocation>)>,
}

impl Slots {
    /// Looks up the slots of all stubs, first where they most likely are.
    fn find(
        source: &(impl ReadAt + ?Sized),
        machine: Machine,
        sections: &Sections,
        stubs: &[Option<Stub>],
    ) -> Result<Self, ElfError> {
        let slot = |stub: &Stub| match stub.target {
            Target::Slot(slot) => Some((slot, None)),
            Target::Number(_) => None,
        };
        let mut by_slot: Vec<(ElfVaddr, Option<Relocation>)> =
            stubs.iter().flatten().filter_map(slot).collect();
        by_slot.sort_unstable_by_key(|(slot, _)| *slot);
        by_slot.dedup_by_key(|(slot, _)| *slot);
        let mut missing = by_slot.len();
        let mut visit = |relocation: Relocation| {
            if is_of_slot(machine, relocation.kind)
                && let Ok(index) = by_slot.binary_search_by_key(&relocation.at, |(slot, _)| *slot)
                && let Some((_, found @ None)) = by_slot.get_mut(index)
            {
                *found = Some(relocation);
                missing -= 1;
            }
            if missing == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let (likely, others): (Vec<_>, Vec<_>) =
            sections.relocations().partition(|table| &*table.name == NUMBERED);
        if stubs.iter().flatten().any(|stub| slot(stub).is_some()) {
            for table in likely.into_iter().chain(others) {
                if each_relocation(source, table, &mut visit)?.is_break() {
                    break;
                }
            }
        }
        Ok(Self { machine, by_slot })
    }

    fn name(
        &self,
        source: &(impl ReadAt + ?Sized),
        sections: &Sections,
        stub: Stub,
    ) -> Result<Option<NamedStub>, ElfError> {
        let relocation = match stub.target {
            Target::Slot(slot) => {
                let index = self.by_slot.binary_search_by_key(&slot, |(slot, _)| *slot).ok();
                index.and_then(|index| self.by_slot.get(index)?.1)
            }
            Target::Number(number) => match sections.relocations().find(|table| &*table.name == NUMBERED) {
                Some(table) => relocation_number(source, table, number)?
                    .filter(|relocation| is_of_slot(self.machine, relocation.kind)),
                None => None,
            },
        };
        let name = match relocation {
            Some(Relocation { symbol: 0, addend, .. }) => Some(StubName::Indirect(ElfVaddr(addend))),
            Some(Relocation { symbol, .. }) => match sections.dynamic_symbols() {
                Some(table) => {
                    dynamic_name(source, table, symbol)?.map(|name| StubName::Known(stub_name(&name)))
                }
                None => None,
            },
            None => None,
        };
        Ok(name.map(|name| NamedStub { start: stub.start, name }))
    }
}

/// Whether a relocation fills a slot that a stub jumps by.
fn is_of_slot(machine: Machine, kind: RelocationType) -> bool {
    let [jump, data, indirect] = match machine {
        Machine::X86_64 => [elf::R_X86_64_JUMP_SLOT, elf::R_X86_64_GLOB_DAT, elf::R_X86_64_IRELATIVE],
        Machine::Arm64 => [elf::R_AARCH64_JUMP_SLOT, elf::R_AARCH64_GLOB_DAT, elf::R_AARCH64_IRELATIVE],
    };
    kind == jump || kind == data || kind == indirect
}

/// The name of the stub of a function.
pub(super) fn stub_name(function: &str) -> Arc<str> {
    format!("{function}{STUB_SUFFIX}").into()
}

#[cfg(test)]
mod tests;
