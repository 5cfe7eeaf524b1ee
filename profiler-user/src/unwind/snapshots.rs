//! Samples with a snapshot → their stacks: at once if the rows of all files on the way are at hand, else when they are.
//!
//! ```text
//!   snapshot + mappings at its time ─▶ offline ─┬─▶ Walked
//!                                               └─▶ Waits(file) ─▶ kept here ─ retry ─┘
//! ```
//!
//! What waits keeps the mappings as they were, so it does not matter what becomes of its process. Nothing is dropped:
//! where too much waits, or at the end, a stack is delivered as far as it is known.

use std::collections::HashMap;
use std::sync::Arc;

use profiler_common::abi::SNAPSHOT_BYTES_MAX;
use profiler_common::address::{CodeAddr, ElfVaddr, RuntimeAddr};
use profiler_common::outcome::Outcome;
use profiler_common::unwind_row::TEXT_PAGE_BITS;
use profiler_common::unwind_rule::Rule;

use super::offline::{self, Code, RuleAt, Unwound, Waits};
use super::store::{RowKey, RowStore, RowsAt};
use crate::collect::RawSample;
use crate::collect::loss::Counts;
use crate::elf::ReadAt;
use crate::process::files::{CodeFile, FileTable};
use crate::process::mappings::{Backing, Mapping, Mappings};
use crate::process::table::SampleOwner;

/// Bytes of stacks that wait at most: 512 of the largest.
const WAITING_BYTES_MAX: usize = 512 * SNAPSHOT_BYTES_MAX;
/// Files that one stack waits for, at most.
const WAITS_MAX: u8 = 64;
/// What a mapping takes that a waiting stack holds on to.
const MAPPING_BYTES: usize = 8;
/// What a waiting sample takes beside its stack: registers, sample, list.
const OTHER_BYTES: usize = 512;

/// A sample whose user part is still to be walked.
#[derive(Debug)]
pub struct Unwalked {
    /// The sample.
    pub sample: RawSample,
    /// Whose it is.
    pub owner: SampleOwner,
    /// What was mapped at its time, every file opened.
    pub mappings: Arc<Mappings>,
    /// How often it has waited. Rows that were read may be let go again before the last of its files is read.
    pub waits: u8,
}

/// A page of a file's text, by its number.
pub type TextPageOf = (RowKey, u32);

/// A sample with its stack.
#[derive(Debug)]
pub struct Walked {
    /// The sample, and what it was walked by.
    pub unwalked: Unwalked,
    /// Its stack.
    pub unwound: Unwound,
    /// The pages that the walk came through.
    pub pages: Vec<TextPageOf>,
}

/// Samples that wait for rows.
#[derive(Debug, Default)]
pub struct Snapshots {
    waiting: HashMap<RowKey, Vec<Unwalked>>,
    waiting_bytes: usize,
    counts: Counts,
}

impl Snapshots {
    /// Walks a sample's stack. `None` if it has to wait: [`Self::retry`] gives it.
    pub fn take(&mut self, unwalked: Unwalked, store: &mut RowStore, files: &FileTable) -> Option<Walked> {
        let (waits, mut unwalked) = match walk(unwalked, store, files) {
            Ok(walked) => return Some(walked),
            Err(waits) => *waits,
        };
        unwalked.waits = unwalked.waits.saturating_add(1);
        if self.waiting_bytes > WAITING_BYTES_MAX || unwalked.waits > WAITS_MAX {
            self.counts.add(Outcome::SnapshotsWaiting, 1);
            return Some(Walked { unwalked, unwound: waits.so_far, pages: Vec::new() });
        }
        self.waiting_bytes += bytes_of(&unwalked);
        self.waiting.entry(waits.waiting).or_default().push(unwalked);
        None
    }

    /// Walks what no longer has to wait.
    pub fn retry(&mut self, store: &mut RowStore, files: &FileTable) -> Vec<Walked> {
        let keys: Vec<RowKey> = self.waiting.keys().copied().collect();
        let is_read = |key: &RowKey| !matches!(store.rows(*key, files), RowsAt::Pending);
        let read: Vec<RowKey> = keys.into_iter().filter(is_read).collect();
        let unwalked: Vec<Unwalked> =
            read.iter().filter_map(|key| self.waiting.remove(key)).flatten().collect();
        self.waiting_bytes -= unwalked.iter().map(bytes_of).sum::<usize>();
        unwalked.into_iter().filter_map(|unwalked| self.take(unwalked, store, files)).collect()
    }

    /// What still waits, as far as it is known.
    pub fn give_up(&mut self, store: &mut RowStore, files: &FileTable) -> Vec<Walked> {
        self.waiting_bytes = 0;
        let so_far = |unwalked| {
            walk(unwalked, store, files).unwrap_or_else(|waits| {
                let (waits, unwalked) = *waits;
                Walked { unwalked, unwound: waits.so_far, pages: Vec::new() }
            })
        };
        std::mem::take(&mut self.waiting).into_values().flatten().map(so_far).collect()
    }

    /// Whose samples wait.
    pub fn owners_mut(&mut self) -> impl Iterator<Item = &mut SampleOwner> {
        self.waiting.values_mut().flatten().map(|unwalked| &mut unwalked.owner)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What could not wait.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

fn bytes_of(unwalked: &Unwalked) -> usize {
    let stack = unwalked.sample.snapshot.as_ref().map_or(0, |snapshot| snapshot.stack.len());
    // Most stacks of a process share one list of mappings.
    stack + OTHER_BYTES + unwalked.mappings.len() * MAPPING_BYTES
}

fn walk(
    unwalked: Unwalked,
    store: &mut RowStore,
    files: &FileTable,
) -> Result<Walked, Box<(Waits<RowKey>, Unwalked)>> {
    let mut code = ProcessCode { mappings: &unwalked.mappings, store, files, pages: Vec::new() };
    let unwound = match &unwalked.sample.snapshot {
        Some(snapshot) => offline::unwind(snapshot, &mut code),
        None => {
            let outcome = unwalked.sample.user_outcome;
            Ok(Unwound { frames: Vec::new(), outcome, is_off_the_map: false })
        }
    };
    // Where the kernel half stopped may lie beyond the copy. The page of the call before it serves as well.
    if let Some(at) = unwalked.sample.snapshot.as_ref().and_then(|snapshot| snapshot.stopped_at) {
        let _wanted = code.rule(CodeAddr::Return(at).lookup());
    }
    let pages = code.pages;
    match unwound {
        Ok(unwound) => Ok(Walked { unwalked, unwound, pages }),
        Err(waits) => Err(Box::new((waits, unwalked))),
    }
}

/// What lies where in a process at the time of a sample.
struct ProcessCode<'a> {
    mappings: &'a Mappings,
    store: &'a mut RowStore,
    files: &'a FileTable,
    pages: Vec<TextPageOf>,
}

impl ProcessCode<'_> {
    fn file(&self, mapping: &Mapping) -> Option<&CodeFile> {
        let Backing::File(id) = mapping.backing else { return None };
        self.files.get(id).map(|file| &**file)
    }

    fn wanted(&mut self, key: RowKey, vaddr: ElfVaddr) {
        if let Ok(number) = u32::try_from(vaddr.0 >> TEXT_PAGE_BITS) {
            self.pages.push((key, number));
        }
    }

    fn vaddr(&self, mapping: &Mapping, at: RuntimeAddr) -> Option<ElfVaddr> {
        match mapping.backing {
            // Linked at 0, and mapped from its first byte on.
            Backing::Vdso => Some(ElfVaddr(at.0.checked_sub(mapping.start.0)?)),
            _ => self.file(mapping)?.elf.as_ref()?.code_vaddr(mapping.file_offset(at)?),
        }
    }
}

impl Code for ProcessCode<'_> {
    type Waiting = RowKey;

    fn rule(&mut self, at: RuntimeAddr) -> RuleAt<RowKey> {
        let Some(mapping) = self.mappings.find(at) else { return RuleAt::NoMapping };
        let key = match mapping.backing {
            Backing::File(id) => RowKey::File(id),
            Backing::Vdso => RowKey::Vdso,
            Backing::Unopened(_) | Backing::Foreign(_) | Backing::Memory => return RuleAt::Rule(Rule::GAP),
        };
        let Some(vaddr) = self.vaddr(mapping, at) else { return RuleAt::Rule(Rule::GAP) };
        match self.store.rows(key, self.files) {
            RowsAt::Ready(rows) => {
                self.wanted(key, vaddr);
                RuleAt::Rule(rows.rule_at(vaddr))
            }
            RowsAt::Pending => {
                self.wanted(key, vaddr);
                RuleAt::Waits(key)
            }
            RowsAt::Never(_) => {
                self.wanted(key, vaddr); // the kernel half is to know it too, or it asks for ever
                RuleAt::Rule(Rule::GAP)
            }
        }
    }

    fn word(&mut self, at: RuntimeAddr) -> Option<u64> {
        let mapping = self.mappings.find(at)?;
        let file = self.file(mapping)?.file.as_ref()?;
        let mut word = [0; 8];
        ReadAt::read_at(file, &mut word, mapping.file_offset(at)?.0)
            .ok()
            .filter(|&read| read == word.len())?;
        Some(u64::from_ne_bytes(word))
    }
}
