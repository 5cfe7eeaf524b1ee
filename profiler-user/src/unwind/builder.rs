//! Functions with their rules, from several tables and in any order → pages of rows.
//!
//! ```text
//!   .eh_frame ─┐                                   ┌ rules   distinct ones of this file
//!   .debug_frame ┼▶ begin, row, row … ─▶ seal ─▶ … ─▶ finish ─▶ ┼ rows    4 bytes each
//!   pclntab ───┘                                   └ pages   64 KiB of text each
//! ```
//!
//! A table that comes later adds only functions that begin where the earlier ones said nothing. Within a table two
//! functions may overlap (a damaged file): where the later one begins, the earlier one ends.

use std::collections::HashMap;
use std::ops::Range;

use profiler_common::address::ElfVaddr;
use profiler_common::unwind_row::{TEXT_PAGE_BITS, UnwindRow};
use profiler_common::unwind_rule::{Rule, RuleKind, Unsupported};

use super::compact::{FileRows, Page, RowStats};
use super::error::UnwindError;

/// What one file may ask for. The defaults hold the largest files of a Debian host with compilers some times over, and keep
/// what a hostile file can make us hold below 250 MiB, while its rows are made.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Bytes of one section, unpacked.
    pub section_bytes: u64,
    /// Bytes of unwind instructions that are gone through, some of them several times.
    pub work_bytes: u64,
    /// Rows: rustc's driver, the largest file at hand, has 1.2 million.
    pub rows: u32,
    /// Distinct rules; more become [`Unsupported::TooManyRules`]. The driver has 1,400.
    pub rules: u16,
    /// Pages of 64 KiB of text. 16,384 are a gibibyte.
    pub pages: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { section_bytes: 64 << 20, work_bytes: 256 << 20, rows: 4 << 20, rules: 4096, pages: 16 << 10 }
    }
}

/// Padding between functions is shorter; code without unwind information of its own could fit into more.
const PADDING_BYTES_MAX: u64 = 15;
/// The trampolines that are looked for among functions are shorter.
const SHORT_BYTES_MAX: u64 = 128;
const GAP_INDEX: u16 = 0;
const TOO_MANY_INDEX: u16 = 1;

/// A function whose rows lie together.
#[derive(Clone, Debug)]
struct Function {
    start: u64,
    end: u64,
    rows: Range<u32>,
}

/// Takes functions and gives pages.
#[derive(Debug)]
pub(super) struct Builder {
    budget: Budget,
    /// Where code may be, in order and apart: functions elsewhere are left out.
    text: Vec<Range<u64>>,
    rules: Vec<Rule>,
    index: HashMap<Rule, u16>,
    /// Bytes into its function, and the rule from there on.
    rows: Vec<(u32, u16)>,
    functions: Vec<Function>,
    /// Functions of tables that are done: sorted, without overlaps.
    sealed: Vec<Function>,
    stats: RowStats,
}

impl Builder {
    /// For a file with code in these ranges of linked addresses.
    pub(super) fn new(budget: Budget, text: Vec<Range<u64>>) -> Self {
        let rules = vec![Rule::GAP, Rule::unsupported(Unsupported::TooManyRules)];
        let index = [(Rule::GAP, GAP_INDEX), (Rule::unsupported(Unsupported::TooManyRules), TOO_MANY_INDEX)];
        Self {
            budget,
            text: in_order_and_apart(text),
            rules,
            index: index.into(),
            rows: Vec::new(),
            functions: Vec::new(),
            sealed: Vec::new(),
            stats: RowStats::default(),
        }
    }

    /// What has been counted so far.
    pub(super) fn stats(&mut self) -> &mut RowStats {
        &mut self.stats
    }

    pub(super) fn budget(&self) -> Budget {
        self.budget
    }

    /// Begins a function; `false` if it is not wanted: outside all code, empty, or already described.
    pub(super) fn begin(&mut self, start: u64, end: u64) -> bool {
        let behind = self.text.partition_point(|text| text.start <= start);
        let text = behind.checked_sub(1).and_then(|last| self.text.get(last));
        let Some(text) = text.filter(|text| start < text.end) else {
            self.stats.functions_outside_text += 1;
            return false;
        };
        let mut end = end.min(text.end);
        let after = self.sealed.partition_point(|function| function.start <= start);
        let before = after.checked_sub(1).and_then(|before| self.sealed.get(before));
        if end <= start || before.is_some_and(|before| start < before.end) {
            return false;
        }
        if let Some(next) = self.sealed.get(after) {
            end = end.min(next.start);
        }
        let rows = self.row_count();
        self.functions.push(Function { start, end, rows: rows..rows });
        true
    }

    /// From `at` on, in the function begun last, this rule is in force. What lies outside the function is ignored.
    pub(super) fn row(&mut self, at: u64, rule: Rule) -> Result<(), UnwindError> {
        let Some(function) = self.functions.last() else { return Ok(()) };
        let into = at.checked_sub(function.start).filter(|_| at < function.end);
        let Some(into) = into.and_then(|into| u32::try_from(into).ok()) else { return Ok(()) };
        let first = function.rows.start;
        if rule.kind() == RuleKind::Unsupported {
            self.stats.count_unsupported(rule.why_unsupported());
        }
        let rule = self.intern(rule);
        let has_row = self.row_count() > first;
        match self.rows.last_mut().filter(|_| has_row) {
            Some((_, last_rule)) if *last_rule == rule => return Ok(()),
            // Rows of one place: the last one counts. Backwards is damaged, and stays where it is.
            Some((last_into, last_rule)) if *last_into >= into => {
                *last_rule = rule;
                return Ok(());
            }
            _ => {}
        }
        if self.row_count() >= self.budget.rows {
            let (found, limit) = (u64::from(self.row_count()), u64::from(self.budget.rows));
            return Err(UnwindError::TooLarge { what: "unwind rows", found, limit });
        }
        self.rows.push((into, rule));
        let count = self.row_count();
        if let Some(function) = self.functions.last_mut() {
            function.rows.end = count;
        }
        Ok(())
    }

    /// A whole function under one rule.
    pub(super) fn function(&mut self, start: u64, end: u64, rule: Rule) -> Result<(), UnwindError> {
        if self.begin(start, end) { self.row(start, rule) } else { Ok(()) }
    }

    /// The table is done: from here on its functions are not described again.
    pub(super) fn seal(&mut self) {
        self.stats.functions += self.functions.len();
        // Millions in a hostile file, so neither is copied: not to here, nor to sort them.
        if self.sealed.is_empty() {
            std::mem::swap(&mut self.sealed, &mut self.functions);
        }
        self.sealed.append(&mut self.functions);
        // Of two functions with one start the first in the file stays; rows lie in its order.
        self.sealed.sort_unstable_by_key(|function| (function.start, function.rows.start, function.rows.end));
        self.sealed.dedup_by_key(|function| function.start);
        let mut next_start = u64::MAX;
        for function in self.sealed.iter_mut().rev() {
            function.end = function.end.min(next_start);
            next_start = function.start;
        }
    }

    /// Starts of short functions of finished tables that have nothing but this rule; at most `limit`.
    pub(super) fn short_functions_under(&self, rule: Rule, limit: usize) -> Vec<u64> {
        let Some(&rule) = self.index.get(&rule) else { return Vec::new() };
        let is_one = |function: &&Function| {
            let rows = self.rows.get(index_range(&function.rows)).unwrap_or_default();
            function.end - function.start <= SHORT_BYTES_MAX && matches!(rows, [(0, only)] if *only == rule)
        };
        self.sealed.iter().filter(is_one).take(limit).map(|function| function.start).collect()
    }

    /// Says of a function in a finished table that it is where stacks end.
    pub(super) fn make_root(&mut self, start: u64) {
        let end = self.intern(Rule::END);
        let position = self.sealed.partition_point(|function| function.start < start);
        let Some(function) = self.sealed.get(position).filter(|function| function.start == start) else {
            return;
        };
        for row in self.rows.get_mut(index_range(&function.rows)).unwrap_or_default() {
            row.1 = end;
        }
    }

    /// Pages of rows. Rules are numbered as this file met them.
    pub(super) fn finish(mut self) -> Result<FileRows, UnwindError> {
        self.seal();
        let mut pages =
            Pages { budget: self.budget, pages: Vec::new(), rows: Vec::new(), in_force: GAP_INDEX };
        let end_rule = self.index.get(&Rule::END).copied();
        let mut previous_end = 0;
        for (position, function) in self.sealed.iter().enumerate() {
            self.stats.text_bytes += function.end - function.start;
            let rows = self.rows.get(index_range(&function.rows)).unwrap_or_default();
            // Hand-made frames return to the very start of such a function, and are looked up one byte earlier.
            if rows.first().map(|row| row.1) == end_rule
                && previous_end < function.start
                && end_rule.is_some()
            {
                pages.push(function.start - 1, end_rule.unwrap_or(GAP_INDEX))?;
            }
            for &(into, rule) in rows {
                let at = function.start + u64::from(into);
                if at < function.end {
                    pages.push(at, rule)?;
                }
            }
            previous_end = function.end;
            let next = self.sealed.get(position + 1).map_or(u64::MAX, |next| next.start);
            if next - function.end > PADDING_BYTES_MAX {
                pages.push(function.end, GAP_INDEX)?;
            }
        }
        pages.rows.shrink_to_fit();
        self.stats.rows = pages.rows.len();
        self.stats.pages = pages.pages.len();
        self.stats.rules = self.rules.len();
        Ok(FileRows::new(self.rules, pages.pages, pages.rows, self.stats))
    }

    fn row_count(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }

    fn intern(&mut self, rule: Rule) -> u16 {
        if let Some(&index) = self.index.get(&rule) {
            return index;
        }
        let next = u16::try_from(self.rules.len()).ok().filter(|next| *next < self.budget.rules);
        let Some(next) = next else {
            self.stats.count_unsupported(Unsupported::TooManyRules);
            return TOO_MANY_INDEX;
        };
        self.rules.push(rule);
        self.index.insert(rule, next);
        next
    }
}

/// A hostile file has a thousand segments over each other, and millions of functions to look up in them.
fn in_order_and_apart(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut apart: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match apart.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

fn index_range(rows: &Range<u32>) -> Range<usize> {
    usize::try_from(rows.start).unwrap_or(usize::MAX)..usize::try_from(rows.end).unwrap_or(usize::MAX)
}

/// Rows in ascending order → pages.
struct Pages {
    budget: Budget,
    pages: Vec<Page>,
    rows: Vec<UnwindRow>,
    in_force: u16,
}

impl Pages {
    fn push(&mut self, at: u64, rule: u16) -> Result<(), UnwindError> {
        if rule == self.in_force {
            return Ok(());
        }
        let number = at >> TEXT_PAGE_BITS;
        self.open_up_to(number)?;
        let pc_in_page = low_bits(at);
        // The last row is one of this page: what was in force at its start is replaced if this begins there too.
        match self.rows.last_mut() {
            Some(last) if last.pc_in_page == pc_in_page => last.rule = rule,
            _ => self.rows.push(UnwindRow { pc_in_page, rule }),
        }
        self.in_force = rule;
        Ok(())
    }

    /// Makes the page, and those before it that the rule in force reaches over.
    fn open_up_to(&mut self, number: u64) -> Result<(), UnwindError> {
        let last = self.pages.last().map(|page| u64::from(page.number));
        if last == Some(number) {
            return Ok(());
        }
        let from = match last {
            Some(last) if self.in_force != GAP_INDEX => last + 1,
            _ => number,
        };
        for number in from..=number {
            let limit = u64::from(self.budget.pages);
            let found = u64::try_from(self.pages.len()).unwrap_or(u64::MAX);
            if found >= limit {
                return Err(UnwindError::TooLarge { what: "pages of text", found, limit });
            }
            let Ok(number) = u32::try_from(number) else {
                let limit = u64::from(u32::MAX);
                return Err(UnwindError::TooLarge { what: "number of a page of text", found: number, limit });
            };
            let first_row = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
            self.pages.push(Page { number, first_row });
            self.rows.push(UnwindRow { pc_in_page: 0, rule: self.in_force });
        }
        Ok(())
    }
}

fn low_bits(at: u64) -> u16 {
    let [low, high, ..] = at.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// Ranges of linked addresses as the builder takes them.
pub(super) fn text_range(start: ElfVaddr, bytes: u64) -> Range<u64> {
    start.0..start.0.saturating_add(bytes)
}
