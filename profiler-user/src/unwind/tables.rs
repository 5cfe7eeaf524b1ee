//! What the walker's tables can be asked to do, whoever holds them: the kernel ([`super::publish`]), or a test.
//!
//! The tick may look at any moment: what is pointed to is written before what points to it, and what was freed
//! is not written again for a while. Whoever calls keeps to that.

use profiler_common::abi::{TextPage, WalkedMapping, WalkedProcess};
use profiler_common::unwind_row::UnwindRow;
use profiler_common::unwind_rule::Rule;

use crate::collect::Tgid;

/// Why something is not in the tables; its processes are walked by frame pointers there.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The tables have no room left.
    #[error("the walker's table of {what} is full")]
    Full {
        /// Of what.
        what: &'static str,
    },
    /// The kernel refused a write.
    #[error("write the walker's table of {what}")]
    Refused {
        /// Of what.
        what: &'static str,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Rows that belong into a block, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRows {
    /// Index of the first in the block.
    pub first: u32,
    /// They end within the block.
    pub rows: Vec<UnwindRow>,
}

/// The walker's tables.
pub trait Tables {
    /// Makes a process known, or known anew.
    fn set_process(&mut self, tgid: Tgid, process: WalkedProcess) -> Result<(), TableError>;
    /// Forgets a process; that it was not there is no error.
    fn remove_process(&mut self, tgid: Tgid);
    /// Writes a mapping.
    fn set_mapping(&mut self, index: u32, mapping: WalkedMapping) -> Result<(), TableError>;
    /// Writes a page.
    fn set_page(&mut self, index: u32, page: TextPage) -> Result<(), TableError>;
    /// How often walks came by a page; wraps.
    fn touched(&self, index: u32) -> Result<u32, TableError>;
    /// Writes a rule.
    fn set_rule(&mut self, number: u32, rule: Rule) -> Result<(), TableError>;
    /// Blocks of rows that were made.
    fn blocks(&self) -> u32;
    /// Writes rows into a block, which is made if there is none; the block's other rows stay as they are.
    fn change_block(&mut self, block: u32, changes: &[BlockRows]) -> Result<(), TableError>;
}

#[cfg(test)]
pub(super) mod memory;
