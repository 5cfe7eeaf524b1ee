//! Rows of a file in pages. Rules are numbered within the file, so that it can be kept without the table of all rules
//! ([`super::rule_table`]).

use profiler_common::address::ElfVaddr;
use profiler_common::unwind_row::{TEXT_PAGE_BITS, UnwindRow, find_row};
use profiler_common::unwind_rule::{Rule, Unsupported};

/// 64 KiB of text whose rows follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Linked address without its 16 low bits.
    pub number: u32,
    pub(super) first_row: u32,
}

/// What was made of a file, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowStats {
    /// Functions described.
    pub functions: usize,
    /// Functions left out because no code is there: the linker discarded them, or the file is damaged.
    pub functions_outside_text: usize,
    /// Functions whose unwind instructions could not be read to their end.
    pub functions_malformed: usize,
    /// Tables beside `.eh_frame` that could not be read, or only in part.
    pub tables_unusable: usize,
    /// Bytes of text that functions cover.
    pub text_bytes: u64,
    /// Rows, with those that begin pages.
    pub rows: usize,
    /// Pages with rows.
    pub pages: usize,
    /// Distinct rules.
    pub rules: usize,
    /// Rows that no rule can hold, by [`Unsupported`].
    pub unsupported: [u32; Unsupported::ALL.len()],
}

impl RowStats {
    /// Bytes of the rows of all pages and of what finds them.
    pub fn bytes(&self) -> usize {
        self.rows * size_of::<UnwindRow>() + self.pages * size_of::<Page>()
    }

    /// Rows that no rule can hold for this reason.
    pub fn unsupported(&self, why: Unsupported) -> u32 {
        self.unsupported.get(usize::from(why as u8)).copied().unwrap_or(0)
    }

    pub(super) fn count_unsupported(&mut self, why: Unsupported) {
        if let Some(count) = self.unsupported.get_mut(usize::from(why as u8)) {
            *count = count.saturating_add(1);
        }
    }
}

/// The rows of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRows {
    rules: Vec<Rule>,
    pages: Vec<Page>,
    rows: Vec<UnwindRow>,
    stats: RowStats,
}

impl FileRows {
    pub(super) fn new(rules: Vec<Rule>, pages: Vec<Page>, rows: Vec<UnwindRow>, stats: RowStats) -> Self {
        Self { rules, pages, rows, stats }
    }

    /// Rules, pages and rows, to be kept elsewhere.
    pub(super) fn parts(&self) -> (&[Rule], &[Page], &[UnwindRow]) {
        (&self.rules, &self.pages, &self.rows)
    }

    /// Counts and sizes.
    pub fn stats(&self) -> &RowStats {
        &self.stats
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.rules.len() * size_of::<Rule>()
            + self.pages.len() * size_of::<Page>()
            + self.rows.len() * size_of::<UnwindRow>()
    }

    /// Distinct rules, in the file's numbers.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Pages in ascending order.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Rows of the page with this number, in the file's numbers; none for text that nobody described.
    pub fn page(&self, number: u32) -> &[UnwindRow] {
        let Ok(position) = self.pages.binary_search_by_key(&number, |page| page.number) else { return &[] };
        let first = |page: &Page| usize::try_from(page.first_row).unwrap_or(usize::MAX);
        let start = self.pages.get(position).map_or(usize::MAX, first);
        let end = self.pages.get(position + 1).map_or(self.rows.len(), first);
        self.rows.get(start..end).unwrap_or_default()
    }

    /// The rule in force at a linked address, [`Rule::GAP`] where there is none. As the kernel half finds it.
    pub fn rule_at(&self, at: ElfVaddr) -> Rule {
        let Ok(number) = u32::try_from(at.0 >> TEXT_PAGE_BITS) else { return Rule::GAP };
        let [low, high, ..] = at.0.to_le_bytes();
        let rows = self.page(number);
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let row_at = |index: u32| usize::try_from(index).ok().and_then(|index| rows.get(index)).copied();
        let row = find_row(count, u16::from_le_bytes([low, high]), || 0, row_at);
        row.and_then(|row| self.rules.get(usize::from(row.rule))).copied().unwrap_or(Rule::GAP)
    }
}
