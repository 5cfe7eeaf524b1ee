//! Rows and mappings → the walker's tables in the kernel.
//!
//! ```text
//!   FileRows ─▶ RULES (numbers shared by all files) · ROWS (blocks of 256 KiB) · PAGES (64 KiB of text each)
//!   mappings ─▶ MAPPINGS (a process's side by side) ─▶ PROCESSES (what the tick looks up first)
//! ```
//!
//! The tick may look at any moment: what is pointed to is written before what points to it, and what was freed
//! is not written again for a while.

use std::collections::HashMap;

use aya::maps::{Array, MapData, MapError};
use profiler_common::abi::{
    BLOCK_ROWS, HAS_ROWS, IS_MEMORY, ROW_BLOCKS, RowBlock, TEXT_PAGES, TextPage, WALKED_MAPPINGS,
    WalkedMapping, WalkedProcess,
};
use profiler_common::unwind_row::UnwindRow;

use super::compact::{FileRows, RuleTable};
use crate::collect::Tgid;
use crate::elf::ElfHeaders;
use crate::host::MonotonicNanos;
use crate::process::FileId;
use crate::process::files::FileTable;
use crate::process::mappings::{Backing, Mapping};
use crate::sample::WalkerMaps;

/// A tick is over by then, whatever it interrupted.
const COOLING_NANOS: u64 = 1_000_000_000;

/// Why something is not in the tables; its processes are walked by frame pointers there.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The tables have no room left.
    #[error("the walker's table of {what} is full")]
    Full {
        /// Of what.
        what: &'static str,
    },
    /// The kernel refused a write.
    #[error("write the walker's tables")]
    Map(#[from] MapError),
}

/// The tables, and what is in them.
pub struct Publisher {
    maps: WalkerMaps,
    rules: RuleTable,
    rules_written: usize,
    /// What to add to a linked page's number, for each file with rows.
    page_bias: HashMap<FileId, u32>,
    pages_used: usize,
    block: Block,
    mappings: Slots,
    processes: HashMap<Tgid, (u32, u32)>,
}

/// The block that is being filled; earlier ones are full.
struct Block {
    map: Option<Array<MapData, RowBlock>>,
    number: u32,
    rows: Vec<UnwindRow>,
}

impl Publisher {
    /// Over empty tables.
    pub fn new(maps: WalkerMaps) -> Self {
        Self {
            maps,
            rules: RuleTable::new(),
            rules_written: 0,
            page_bias: HashMap::new(),
            pages_used: 0,
            block: Block { map: None, number: 0, rows: Vec::new() },
            mappings: Slots::new(WALKED_MAPPINGS),
            processes: HashMap::new(),
        }
    }

    /// Loads all rows of a file.
    pub fn file(&mut self, id: FileId, rows: &FileRows) -> Result<(), PublishError> {
        let (Some(first), Some(last)) = (rows.pages().first(), rows.pages().last()) else { return Ok(()) };
        let span = last.number.wrapping_sub(first.number) as usize + 1;
        if self.pages_used + span > TEXT_PAGES {
            return Err(PublishError::Full { what: "pages" });
        }
        let numbers = self.rules.adopt(rows);
        let new_rules = self.rules.rules().iter().enumerate().skip(self.rules_written);
        for (number, rule) in new_rules {
            self.maps.rules.set(u32::try_from(number).unwrap_or(u32::MAX), rule, 0)?;
        }
        self.rules_written = self.rules.rules().len();
        let base = u32::try_from(self.pages_used).unwrap_or(u32::MAX);
        self.pages_used += span;
        let mut pages = Vec::new();
        for page in rows.pages() {
            let page_rows = rows.page_rows(page.number, &numbers);
            let (block, first_row) = self.add_rows(&page_rows)?;
            let count = u32::try_from(page_rows.len()).unwrap_or(0);
            pages.push((
                base + (page.number - first.number),
                TextPage { block, first_row, rows: count, touched: 0 },
            ));
        }
        self.write_block()?;
        for (index, page) in pages {
            self.maps.pages.set(index, page, 0)?;
        }
        self.page_bias.insert(id, base.wrapping_sub(first.number));
        Ok(())
    }

    /// Finds room for the rows of a page, all in one block.
    fn add_rows(&mut self, rows: &[UnwindRow]) -> Result<(u32, u32), PublishError> {
        if self.block.map.is_none() || self.block.rows.len() + rows.len() > BLOCK_ROWS {
            self.write_block()?;
            let number = if self.block.map.is_some() { self.block.number + 1 } else { 0 };
            if number as usize >= ROW_BLOCKS {
                return Err(PublishError::Full { what: "rows" });
            }
            let map: Array<MapData, RowBlock> = Array::create(1, 0)?;
            self.maps.rows.set(number, &map, 0)?;
            self.block = Block { map: Some(map), number, rows: Vec::with_capacity(BLOCK_ROWS) };
        }
        let first = self.block.rows.len();
        self.block.rows.extend_from_slice(rows);
        Ok((self.block.number, u32::try_from(first).unwrap_or(u32::MAX)))
    }

    fn write_block(&mut self) -> Result<(), PublishError> {
        let Some(map) = &mut self.block.map else { return Ok(()) };
        let mut whole = Box::new(RowBlock { rows: [UnwindRow::default(); BLOCK_ROWS] });
        whole.rows.iter_mut().zip(&self.block.rows).for_each(|(to, from)| *to = *from);
        map.set(0, *whole, 0)?;
        Ok(())
    }

    /// Whether a file's rows are loaded.
    pub fn has_rows(&self, id: FileId) -> bool {
        self.page_bias.contains_key(&id)
    }

    /// Publishes a process, or publishes it anew.
    pub fn process(
        &mut self,
        tgid: Tgid,
        process: WalkedProcess,
        mappings: &[Mapping],
        files: &FileTable,
        now: MonotonicNanos,
    ) -> Result<(), PublishError> {
        let count = u32::try_from(mappings.len()).unwrap_or(u32::MAX);
        let first = self.mappings.take(count, now).ok_or(PublishError::Full { what: "mappings" })?;
        for (index, mapping) in (first..).zip(mappings) {
            let walked = self.walked(mapping, files);
            self.maps.mappings.set(index, walked, 0)?;
        }
        let entry = WalkedProcess { first_mapping: first, mappings: count, ..process };
        self.maps.processes.insert(tgid.0, entry, 0)?;
        if let Some((first, count)) = self.processes.insert(tgid, (first, count)) {
            self.mappings.give_back(first, count, now);
        }
        Ok(())
    }

    fn walked(&self, mapping: &Mapping, files: &FileTable) -> WalkedMapping {
        let (start, end) = (mapping.start.0, mapping.end.0);
        let file_bias = start.wrapping_sub(mapping.start_in_file.0);
        let plain = WalkedMapping { start, end, file_bias, flags: IS_MEMORY, ..WalkedMapping::default() };
        let Backing::File(id) = mapping.backing else { return plain };
        let native = WalkedMapping { file: id.0, flags: 0, ..plain };
        let elf = files.get(id).and_then(|file| file.elf.as_ref());
        let vaddr_bias = elf.and_then(|elf| vaddr_bias(mapping, elf));
        match (self.page_bias.get(&id), vaddr_bias) {
            (Some(&page_bias), Some(vaddr_bias)) => {
                WalkedMapping { page_bias, vaddr_bias, flags: HAS_ROWS, ..native }
            }
            _ => native,
        }
    }

    /// Forgets a process that has ended.
    pub fn forget(&mut self, tgid: Tgid, now: MonotonicNanos) {
        if let Some((first, count)) = self.processes.remove(&tgid) {
            let _absent = self.maps.processes.remove(&tgid.0);
            self.mappings.give_back(first, count, now);
        }
    }
}

/// Runtime address − this = address as linked, for the segment that the mapping shows.
fn vaddr_bias(mapping: &Mapping, elf: &ElfHeaders) -> Option<u64> {
    let (first, last) = (mapping.start_in_file.0, mapping.end.0 - mapping.start.0 + mapping.start_in_file.0);
    let shown = |segment: &&crate::elf::LoadSegment| {
        segment.executable
            && segment.file_offset.0 < last
            && segment.file_offset.0.saturating_add(segment.file_bytes) > first
    };
    let segment = elf.segments().iter().find(shown)?;
    let runtime_of_segment = mapping.start.0.wrapping_sub(first).wrapping_add(segment.file_offset.0);
    Some(runtime_of_segment.wrapping_sub(segment.vaddr.0))
}

/// Ranges of an array, given out and taken back.
#[derive(Debug)]
struct Slots {
    next: u32,
    end: u32,
    free: Vec<(u32, u32)>,
    cooling: Vec<(MonotonicNanos, u32, u32)>,
}

impl Slots {
    fn new(count: usize) -> Self {
        Self { next: 0, end: u32::try_from(count).unwrap_or(u32::MAX), free: Vec::new(), cooling: Vec::new() }
    }

    fn take(&mut self, count: u32, now: MonotonicNanos) -> Option<u32> {
        let free = &mut self.free;
        self.cooling.retain(|&(since, first, length)| {
            let is_hot = now.0.saturating_sub(since.0) < COOLING_NANOS;
            if !is_hot {
                free.push((first, length));
            }
            is_hot
        });
        let fits = self.free.iter().enumerate().filter(|(_, (_, length))| *length >= count);
        if let Some((position, &(first, length))) = fits.min_by_key(|(_, (_, length))| *length) {
            self.free.swap_remove(position);
            if length > count {
                self.free.push((first + count, length - count));
            }
            return Some(first);
        }
        let first = self.next;
        self.next = first.checked_add(count).filter(|&next| next <= self.end)?;
        Some(first)
    }

    fn give_back(&mut self, first: u32, count: u32, now: MonotonicNanos) {
        if count > 0 {
            self.cooling.push((now, first, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_not_given_out_while_a_tick_may_look_at_it() {
        let mut slots = Slots::new(10);
        assert_eq!(slots.take(6, MonotonicNanos(0)), Some(0));
        slots.give_back(0, 6, MonotonicNanos(0));
        assert_eq!(slots.take(6, MonotonicNanos(COOLING_NANOS - 1)), None);
        assert_eq!(slots.take(2, MonotonicNanos(COOLING_NANOS)), Some(0));
        assert_eq!(slots.take(4, MonotonicNanos(COOLING_NANOS)), Some(2));
        assert_eq!(slots.take(4, MonotonicNanos(COOLING_NANOS)), Some(6));
        assert_eq!(slots.take(1, MonotonicNanos(COOLING_NANOS)), None);
    }
}
