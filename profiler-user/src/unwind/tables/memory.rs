//! Tables for tests, searched as the kernel half searches its own. Panics when they are written in an order or at a
//! place that a tick would notice.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use profiler_common::abi::{BLOCK_ROWS, HAS_ROWS};
use profiler_common::unwind_row::{TEXT_PAGE_BITS, find_row};

use super::*;

/// What the tables hold, and how often they were written.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) processes: HashMap<u32, WalkedProcess>,
    pub(crate) mappings: HashMap<u32, WalkedMapping>,
    pub(crate) pages: HashMap<u32, TextPage>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) blocks: HashMap<u32, Vec<Option<UnwindRow>>>,
    /// How many processes point to a mapping.
    users: HashMap<u32, usize>,
    /// How many rows of loaded pages have a rule.
    rule_users: HashMap<usize, usize>,
    pub(crate) block_writes: usize,
    pub(crate) mapping_writes: usize,
    /// Blocks from this one on cannot be made.
    pub(crate) blocks_max: Option<u32>,
    /// Processes that fit.
    pub(crate) processes_max: Option<usize>,
}

/// Tables that the test looks into while somebody else writes them.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryTables(pub(crate) Rc<RefCell<Held>>);

impl Held {
    /// The rule that a walk would find, by the process and the address there; `None` where it would ask user space.
    pub(crate) fn rule_at(&mut self, tgid: u32, at: u64) -> Option<Rule> {
        let process = self.processes[&tgid];
        let mapping = (process.first_mapping..process.first_mapping + process.mappings)
            .map(|index| self.mappings[&index])
            .find(|mapping| (mapping.start..mapping.end).contains(&at));
        let Some(mapping) = mapping.filter(|mapping| mapping.flags & HAS_ROWS != 0) else {
            return Some(Rule::GAP);
        };
        let vaddr = at.wrapping_sub(mapping.vaddr_bias);
        let number = mapping.page_bias.wrapping_add(u32::try_from(vaddr >> TEXT_PAGE_BITS).unwrap());
        let page = self.pages.entry(number).or_default();
        page.touched = page.touched.wrapping_add(1);
        let page = *page;
        if page.rows == 0 {
            return None;
        }
        let block = &self.blocks[&page.block];
        let row_at = |index: u32| block[usize::try_from(page.first_row + index).unwrap()];
        let row = find_row(page.rows, u16::try_from(vaddr & 0xffff).unwrap(), || 0, row_at).unwrap();
        Some(self.rules[usize::from(row.rule)])
    }

    fn rules_of(&self, page: TextPage) -> Vec<usize> {
        let rows = page.first_row..page.first_row + page.rows;
        let row = |row| self.blocks[&page.block][usize::try_from(row).unwrap()].unwrap();
        rows.map(|number| usize::from(row(number).rule)).collect()
    }

    fn count_users(&mut self, process: WalkedProcess, change: isize) {
        for index in process.first_mapping..process.first_mapping + process.mappings {
            let users = self.users.entry(index).or_default();
            *users = users.checked_add_signed(change).unwrap();
        }
    }

    /// Pages that are loaded.
    pub(crate) fn loaded(&self) -> usize {
        self.pages.values().filter(|page| page.rows > 0).count()
    }
}

fn full(what: &'static str) -> TableError {
    TableError::Full { what }
}

impl Tables for MemoryTables {
    fn blocks(&self) -> u32 {
        u32::try_from(self.0.borrow().blocks.len()).unwrap()
    }

    fn set_process(&mut self, tgid: Tgid, process: WalkedProcess) -> Result<(), TableError> {
        let mut held = self.0.borrow_mut();
        if held.processes_max.is_some_and(|max| held.processes.len() >= max) {
            return Err(full("processes"));
        }
        let last = process.first_mapping + process.mappings;
        assert!((process.first_mapping..last).all(|index| held.mappings.contains_key(&index)));
        held.count_users(process, 1);
        if let Some(before) = held.processes.insert(tgid.0, process) {
            held.count_users(before, -1);
        }
        Ok(())
    }

    fn remove_process(&mut self, tgid: Tgid) {
        let mut held = self.0.borrow_mut();
        if let Some(before) = held.processes.remove(&tgid.0) {
            held.count_users(before, -1);
        }
    }

    fn set_mapping(&mut self, index: u32, mapping: WalkedMapping) -> Result<(), TableError> {
        let mut held = self.0.borrow_mut();
        let users = held.users.get(&index).copied().unwrap_or(0);
        assert_eq!(users, 0, "mapping {index} changed under a process");
        held.mappings.insert(index, mapping);
        held.mapping_writes += 1;
        Ok(())
    }

    fn set_page(&mut self, index: u32, page: TextPage) -> Result<(), TableError> {
        let mut held = self.0.borrow_mut();
        let used = held.rules_of(page);
        assert!(used.iter().all(|rule| *rule < held.rules.len()), "a row before its rule");
        used.into_iter().for_each(|rule| *held.rule_users.entry(rule).or_default() += 1);
        if let Some(before) = held.pages.insert(index, page) {
            let unused = held.rules_of(before);
            unused.into_iter().for_each(|rule| *held.rule_users.get_mut(&rule).unwrap() -= 1);
        }
        Ok(())
    }

    fn touched(&self, index: u32) -> Result<u32, TableError> {
        Ok(self.0.borrow().pages[&index].touched)
    }

    fn set_rule(&mut self, number: u32, rule: Rule) -> Result<(), TableError> {
        let mut held = self.0.borrow_mut();
        let number = usize::try_from(number).unwrap();
        if number == held.rules.len() {
            held.rules.push(rule);
            return Ok(());
        }
        let users = held.rule_users.get(&number).copied().unwrap_or(0);
        assert_eq!(users, 0, "rule {number} changed under a page");
        held.rules[number] = rule;
        Ok(())
    }

    fn change_block(&mut self, block: u32, changes: &[BlockRows]) -> Result<(), TableError> {
        let mut held = self.0.borrow_mut();
        if held.blocks_max.is_some_and(|max| block >= max) {
            return Err(full("rows"));
        }
        held.block_writes += 1;
        for change in changes {
            let rows = u32::try_from(change.rows.len()).unwrap();
            let overlaps = |page: &TextPage| {
                page.block == block
                    && page.first_row < change.first + rows
                    && change.first < page.first_row + page.rows
            };
            assert!(!held.pages.values().any(overlaps), "rows changed under a page");
            let all = held.blocks.entry(block).or_insert_with(|| vec![None; BLOCK_ROWS]);
            for (into, row) in change.rows.iter().enumerate() {
                all[usize::try_from(change.first).unwrap() + into] = Some(*row);
            }
        }
        Ok(())
    }
}
