//! `.eh_frame` or `.debug_frame` → functions with their rules.
//!
//! ```text
//!   CIE ─ initial instructions ─▶ state ┐ once each
//!   FDE ─ instructions ─────────────────┴▶ state after state ─▶ rule after rule
//! ```
//!
//! gimli takes entries and instructions apart; the rows are made here ([`super::cfi_state`]), because only three
//! registers of a row are kept: gimli's own rows hold all of them and cost three times as much.
//!
//! A damaged function is counted, and is unknown from the damage on; a damaged entry ends the section, since where the
//! next one begins is not known. Work is bounded by counting the bytes of instructions that are gone through.

use std::collections::HashMap;

use gimli::{
    BaseAddresses, CallFrameInstruction, CieOrFde, CommonInformationEntry, EndianSlice, NativeEndian,
    UnwindSection,
};
use profiler_common::unwind_rule::{Rule, Unsupported};

use super::builder::Builder;
use super::cfi_state::{Changed, Registers, State};
use super::error::UnwindError;
use crate::elf::Machine;

pub(super) type Slice<'a> = EndianSlice<'a, NativeEndian>;
type Cie<'a> = CommonInformationEntry<Slice<'a>>;

/// A CIE and what its instructions lead to.
#[derive(Clone)]
struct KnownCie<'a> {
    cie: Cie<'a>,
    state: Option<State>,
}

/// Goes through a section once.
struct Reader<'a, 'b, S> {
    section: S,
    name: &'static str,
    bases: &'b BaseAddresses,
    registers: Registers,
    /// By offset; `None` for those that cannot be read.
    cies: HashMap<usize, Option<KnownCie<'a>>>,
    /// Bytes of instructions gone through.
    work: u64,
    remembered: Vec<State>,
    builder: &'b mut Builder,
}

/// `remember_state` within `remember_state`: compilers go two deep.
const REMEMBERED_MAX: usize = 16;
/// CIEs that are kept. Linkers merge equal ones, so that real files have some ten; a hostile one may have one for each
/// function, and we hold twenty bytes for each byte of theirs.
const CIES_KEPT_MAX: usize = 1024;
/// Into how many parts the work for a file is divided: a CIE that cannot be read costs one. How far it was gone through
/// before that showed is not known: maybe to the end of the section, and CIEs can lie over each other.
const BROKEN_CIES_MAX: u64 = 32;

/// Adds all functions of a section to the builder.
pub(super) fn read<'a, S>(
    section: S,
    name: &'static str,
    bases: &BaseAddresses,
    machine: Machine,
    builder: &mut Builder,
) -> Result<(), UnwindError>
where
    S: UnwindSection<Slice<'a>>,
    S::Offset: gimli::UnwindOffset<usize>,
{
    let registers = Registers::of(machine);
    let cies = HashMap::new();
    let mut reader =
        Reader { section, name, bases, registers, cies, work: 0, remembered: Vec::new(), builder };
    reader.all()?;
    reader.builder.seal();
    Ok(())
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl<'a, S> Reader<'a, '_, S>
where
    S: UnwindSection<Slice<'a>>,
    S::Offset: gimli::UnwindOffset<usize>,
{
    fn all(&mut self) -> Result<(), UnwindError> {
        let section = self.section.clone();
        let mut entries = section.entries(self.bases);
        let mut is_first = true;
        loop {
            match entries.next() {
                Ok(Some(CieOrFde::Cie(_))) => {}
                Ok(Some(CieOrFde::Fde(partial))) => {
                    let offset = gimli::UnwindOffset::into(partial.cie_offset());
                    match self.cie(partial.cie_offset(), offset)? {
                        Some(known) => {
                            let fde = partial.parse(|_, _, _| Ok(known.cie.clone()));
                            match fde {
                                Ok(fde) => self.function(&fde, known.state)?,
                                Err(_) => self.builder.stats().functions_malformed += 1,
                            }
                        }
                        None => self.builder.stats().functions_malformed += 1,
                    }
                }
                Ok(None) => return Ok(()),
                Err(source) if is_first => return Err(UnwindError::Malformed { name: self.name, source }),
                Err(_) => {
                    self.builder.stats().functions_malformed += 1;
                    return Ok(());
                }
            }
            is_first = false;
        }
    }

    fn cie(&mut self, at: S::Offset, offset: usize) -> Result<Option<KnownCie<'a>>, UnwindError> {
        if let Some(known) = self.cies.get(&offset) {
            return Ok(known.clone());
        }
        let cie = self.section.cie_from_offset(self.bases, at).ok();
        let broken = self.builder.budget().work_bytes / BROKEN_CIES_MAX;
        let bytes = cie.as_ref().map_or(broken, |cie| length(cie.entry_len()));
        self.count_work(bytes)?;
        let known = cie.map(|cie| KnownCie { state: self.initial_state(&cie), cie });
        if self.cies.len() >= CIES_KEPT_MAX {
            self.cies.clear();
        }
        self.cies.insert(offset, known.clone());
        Ok(known)
    }

    fn count_work(&mut self, bytes: u64) -> Result<(), UnwindError> {
        let limit = self.builder.budget().work_bytes;
        self.work = self.work.saturating_add(bytes);
        if self.work > limit {
            let found = self.work;
            return Err(UnwindError::TooLarge { what: "bytes of unwind instructions", found, limit });
        }
        Ok(())
    }

    fn initial_state(&self, cie: &Cie<'a>) -> Option<State> {
        let section = self.section.clone();
        let mut instructions = cie.instructions(&section, self.bases);
        let mut state = State::new(cie, self.registers);
        while let Some(instruction) = instructions.next().ok()? {
            state.apply(&instruction, None)?;
        }
        Some(state)
    }

    fn function(
        &mut self,
        fde: &gimli::FrameDescriptionEntry<Slice<'a>>,
        initial: Option<State>,
    ) -> Result<(), UnwindError> {
        self.count_work(length(fde.entry_len()))?;
        let start = fde.initial_address();
        if !self.builder.begin(start, start.saturating_add(fde.len())) {
            return Ok(());
        }
        let mut at = start;
        if self.rows(fde, initial, &mut at)?.is_none() {
            self.builder.stats().functions_malformed += 1;
            self.builder.row(at, Rule::unsupported(Unsupported::Malformed))?;
        }
        Ok(())
    }

    /// `None` where the instructions stop making sense, which is at `at`.
    fn rows(
        &mut self,
        fde: &gimli::FrameDescriptionEntry<Slice<'a>>,
        initial: Option<State>,
        at: &mut u64,
    ) -> Result<Option<()>, UnwindError> {
        let Some(initial) = initial else { return Ok(None) };
        let is_signal = fde.is_signal_trampoline();
        let section = self.section.clone();
        let mut instructions = fde.instructions(&section, self.bases);
        let mut state = initial;
        self.remembered.clear();
        loop {
            let instruction = match instructions.next() {
                Ok(Some(instruction)) => instruction,
                Ok(None) => {
                    self.builder.row(*at, state.rule(&section, fde.cie(), is_signal))?;
                    return Ok(Some(()));
                }
                Err(_) => return Ok(None),
            };
            let next = match instruction {
                CallFrameInstruction::AdvanceLoc { delta } => {
                    let bytes = u64::from(delta).wrapping_mul(fde.cie().code_alignment_factor());
                    Some(at.saturating_add(bytes))
                }
                CallFrameInstruction::SetLoc { address } => Some(address),
                _ => None,
            };
            match next {
                Some(next) if next >= *at => {
                    if next > *at {
                        self.builder.row(*at, state.rule(&section, fde.cie(), is_signal))?;
                    }
                    *at = next;
                }
                Some(_) => return Ok(None),
                None => match state.apply(&instruction, Some(&initial)) {
                    Some(Changed::No) => {}
                    Some(Changed::Remember) if self.remembered.len() < REMEMBERED_MAX => {
                        self.remembered.push(state);
                    }
                    Some(Changed::Restore) => match self.remembered.pop() {
                        Some(remembered) => state = remembered,
                        None => return Ok(None),
                    },
                    Some(Changed::Remember) | None => return Ok(None),
                },
            }
        }
    }
}
