//! The walker's tables in the kernel.
//!
//! ```text
//!   RULES (numbers shared by all files) · ROWS (blocks of 128 KiB) · PAGES (64 KiB of text each)
//!   MAPPINGS (a process's side by side) ─▶ PROCESSES (what the tick looks up first)
//! ```
//!
//! Only writes and reads them: what goes where, and when, is decided elsewhere.

use aya::maps::MapError;
use profiler_common::abi::{BLOCK_ROWS, RowBlock, TextPage, WalkedMapping, WalkedProcess};
use profiler_common::unwind_row::UnwindRow;
use profiler_common::unwind_rule::Rule;

use super::tables::{BlockRows, TableError, Tables};
use crate::collect::Tgid;
use crate::sample::{RowBlockMap, SampleError, WalkerMaps};

/// Makes a block of rows: for that one needs rights that the thread may have given up.
pub type MakeBlock = Box<dyn FnMut() -> Result<RowBlockMap, SampleError> + Send>;

/// The tables. Blocks are made as they are needed, and kept: each holds a file descriptor.
pub struct KernelTables {
    maps: WalkerMaps,
    blocks: Vec<RowBlockMap>,
    make_block: MakeBlock,
}

impl KernelTables {
    /// Over empty tables.
    pub fn new(maps: WalkerMaps, make_block: MakeBlock) -> Self {
        Self { maps, blocks: Vec::new(), make_block }
    }

    /// Makes the first block, which is needed anyway: whether this kernel takes any.
    pub fn try_a_block(&mut self) -> Result<(), TableError> {
        self.make_blocks_up_to(0)
    }

    fn make_blocks_up_to(&mut self, number: usize) -> Result<(), TableError> {
        while self.blocks.len() <= number {
            let block = (self.make_block)()
                .map_err(|source| TableError::Refused { what: "rows", source: Box::new(source) })?;
            let next = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
            self.maps.rows.set(next, &block, 0).map_err(refused("rows"))?;
            self.blocks.push(block);
        }
        Ok(())
    }

    fn change(&mut self, number: u32, changes: &[BlockRows]) -> Result<(), TableError> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let is_new = number >= self.blocks.len();
        self.make_blocks_up_to(number)?;
        let Some(block) = self.blocks.get_mut(number) else { return Ok(()) };
        let mut whole = Box::new(RowBlock { rows: [UnwindRow::default(); BLOCK_ROWS] });
        if !is_new {
            *whole = block.get(&0, 0).map_err(refused("rows"))?;
        }
        for change in changes {
            let first = usize::try_from(change.first).unwrap_or(usize::MAX);
            let places = whole.rows.iter_mut().skip(first);
            places.zip(&change.rows).for_each(|(to, from)| *to = *from);
        }
        // Rows that a tick reads meanwhile are overwritten by themselves.
        let whole: &RowBlock = &whole;
        block.set(0, whole, 0).map_err(refused("rows"))
    }
}

impl Tables for KernelTables {
    fn blocks(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }

    fn set_process(&mut self, tgid: Tgid, process: WalkedProcess) -> Result<(), TableError> {
        self.maps.processes.insert(tgid.0, process, 0).map_err(refused("processes"))
    }

    fn remove_process(&mut self, tgid: Tgid) {
        let _absent = self.maps.processes.remove(&tgid.0);
    }

    fn set_mapping(&mut self, index: u32, mapping: WalkedMapping) -> Result<(), TableError> {
        self.maps.mappings.set(index, mapping, 0).map_err(refused("mappings"))
    }

    fn set_page(&mut self, index: u32, page: TextPage) -> Result<(), TableError> {
        self.maps.pages.set(index, page, 0).map_err(refused("pages"))
    }

    fn touched(&self, index: u32) -> Result<u32, TableError> {
        self.maps.pages.get(&index, 0).map(|page| page.touched).map_err(refused("pages"))
    }

    fn set_rule(&mut self, number: u32, rule: Rule) -> Result<(), TableError> {
        self.maps.rules.set(number, rule, 0).map_err(refused("rules"))
    }

    fn change_block(&mut self, block: u32, changes: &[BlockRows]) -> Result<(), TableError> {
        self.change(block, changes)
    }
}

fn refused(what: &'static str) -> impl Fn(MapError) -> TableError {
    move |source| TableError::Refused { what, source: Box::new(source) }
}
