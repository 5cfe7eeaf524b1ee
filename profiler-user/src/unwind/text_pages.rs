//! Pages of text: which file has which slots, which of them are loaded, and which make room for hotter ones.
//!
//! ```text
//!   file ─▶ run of slots, one for each 64 KiB of its text ─▶ loaded: rows in a block
//!                                                       └▶ not loaded: its walks go to user space, which wants it
//! ```
//!
//! Text that nobody described is loaded as one row that all such pages share: a gap. So a loaded page always has rows,
//! and one that is not loaded asks for them once. Knows nothing of processes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use profiler_common::abi::{BLOCK_ROWS, TEXT_PAGES, TextPage};
use profiler_common::unwind_row::{TEXT_PAGE_BITS, UnwindRow};

use super::compact::FileRows;
use super::ranges::Ranges;
use super::rule_table::RuleTable;
use super::store::RowKey;
use super::tables::{BlockRows, TableError, Tables};
use super::{Budget, is_native};
use crate::elf::ElfHeaders;
use crate::host::MonotonicNanos;
use crate::sample::chain;

/// How often the touches of all loaded pages are read, at most: some 0.4 µs for each of them.
const LOOK_NANOS: u64 = 1_000_000_000;

/// Pages that find no room before the others of their round are no longer tried.
const LEFT_MAX: usize = 8;

/// A page that somebody's walk went through.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) key: RowKey,
    /// Linked address without its 16 low bits.
    pub(super) page: u32,
    /// `None` for a file that has none: its text is a gap.
    pub(super) rows: Option<Arc<FileRows>>,
    /// How many walks.
    pub(super) heat: u32,
}

/// A file's slots.
#[derive(Clone, Copy, Debug)]
struct Run {
    base: u32,
    first_page: u32,
    pages: u32,
    /// Published processes that map the file.
    users: u32,
    /// Since when there are none, in steps of [`TextPages::steps`].
    unused_since: u64,
}

/// Where a page's rows are, and how often they were needed.
#[derive(Clone, Debug)]
struct Loaded {
    /// Among the rows of all blocks.
    first: u32,
    rows: u32,
    /// Numbers of their rules.
    rules: Box<[u16]>,
    touched: u32,
    /// Halves with each look.
    heat: u32,
}

/// See the head of this file.
pub(super) struct TextPages {
    slots: Ranges,
    rows: Ranges,
    runs: HashMap<RowKey, Run>,
    /// By slot; pages that share the gap are in `gaps`.
    loaded: HashMap<u32, Loaded>,
    gaps: HashSet<u32>,
    /// The row that pages without rows share, once it has a place, and whether it was written there.
    gap: Option<u32>,
    is_gap_written: bool,
    rules: RuleTable,
    last_look: Option<MonotonicNanos>,
    steps: u64,
    /// Rows of loaded pages, and how many there can be.
    rows_loaded: u32,
    rows_max: u32,
}

impl TextPages {
    /// With rows for so many blocks.
    pub(super) fn new(blocks: u32) -> Self {
        Self {
            slots: Ranges::new(count(TEXT_PAGES)),
            rows: Ranges::in_pieces(blocks, count(BLOCK_ROWS)),
            runs: HashMap::new(),
            loaded: HashMap::new(),
            gaps: HashSet::new(),
            gap: None,
            is_gap_written: false,
            rules: RuleTable::new(),
            last_look: None,
            steps: 0,
            rows_loaded: 0,
            rows_max: blocks.saturating_mul(count(BLOCK_ROWS)),
        }
    }

    /// Whether less than half of the rows are used.
    pub(super) fn has_room_to_spare(&self) -> bool {
        self.rows_loaded < self.rows_max / 2
    }

    /// The slots of a file, made at first sight; `None` if there is no room. Their number is [`text_span`]'s.
    pub(super) fn reserve(
        &mut self,
        tables: &mut dyn Tables,
        key: RowKey,
        span: &Range<u32>,
        now: MonotonicNanos,
    ) -> Option<u32> {
        let run = match self.runs.get(&key) {
            Some(run) => *run,
            None => {
                let pages = span.end - span.start;
                let Some(base) = self.slots.take(pages, now) else {
                    self.let_go_unused(tables, pages, now);
                    return None;
                };
                let run = Run { base, first_page: span.start, pages, users: 0, unused_since: self.step() };
                self.runs.insert(key, run);
                run
            }
        };
        Some(run.base.wrapping_sub(run.first_page))
    }

    /// Notes that one more process maps the file.
    pub(super) fn add_user(&mut self, key: RowKey) {
        if let Some(run) = self.runs.get_mut(&key) {
            run.users += 1;
        }
    }

    /// Notes that one process less maps it. Its slots and rows stay until they are in the way.
    pub(super) fn remove_user(&mut self, key: RowKey) {
        let step = self.step();
        if let Some(run) = self.runs.get_mut(&key) {
            run.users = run.users.saturating_sub(1);
            run.unused_since = step;
        }
    }

    /// Whether this page has a slot that waits for its rows.
    pub(super) fn is_wanted(&self, key: RowKey, page: u32) -> bool {
        self.slot(key, page).is_some_and(|slot| !self.is_loaded(slot))
    }

    /// Whether a page that was unloaded will make room soon.
    pub(super) fn is_cooling(&self) -> bool {
        self.slots.is_cooling() || self.rows.is_cooling() || self.rules.is_cooling()
    }

    fn slot(&self, key: RowKey, page: u32) -> Option<u32> {
        let run = self.runs.get(&key)?;
        let into = page.checked_sub(run.first_page).filter(|into| *into < run.pages)?;
        Some(run.base + into)
    }

    fn is_loaded(&self, slot: u32) -> bool {
        self.loaded.contains_key(&slot) || self.gaps.contains(&slot)
    }

    fn step(&mut self) -> u64 {
        self.steps += 1;
        self.steps
    }

    /// Loads pages, hottest first, with one write for each block. Gives those that found no room.
    pub(super) fn load(
        &mut self,
        tables: &mut dyn Tables,
        mut wishes: Vec<Wish>,
        now: MonotonicNanos,
    ) -> Result<Vec<Wish>, TableError> {
        wishes.sort_by_key(|wish| (u32::MAX - wish.heat, wish.key, wish.page));
        let (mut changes, mut placed, mut left) = (Changes::default(), Vec::new(), Vec::new());
        for wish in wishes {
            let Some(slot) = self.slot(wish.key, wish.page).filter(|slot| !self.is_loaded(*slot)) else {
                continue;
            };
            // Where several found no room there is hardly any for others, and looking costs as much as loading.
            let is_hopeless = left.len() >= LEFT_MAX;
            match if is_hopeless { None } else { self.place(&wish, &mut changes, now) } {
                Some(at) => placed.push((slot, at, wish)),
                None => left.push(wish),
            }
        }
        self.rules.write(|number, rule| tables.set_rule(u32::from(number), rule))?;
        let first_unwritten = changes.write(tables).unwrap_or(u32::MAX);
        self.is_gap_written |= self.gap.is_some_and(|gap| gap < first_unwritten);
        for (slot, (at, rules), wish) in placed {
            let is_written = self.is_gap(&at) && self.is_gap_written || at.start < first_unwritten;
            if is_written && tables.set_page(slot, text_page(&at)).is_ok() {
                self.note_loaded(slot, &at, rules, wish.heat);
                continue;
            }
            if !self.is_gap(&at) {
                self.rows.release(at.start, at.end - at.start); // no page points there
                self.rules.give_back(&rules, now);
            }
            left.push(wish);
        }
        Ok(left)
    }

    /// Where the rows come to lie, and the numbers of their rules.
    fn place(&mut self, wish: &Wish, changes: &mut Changes, now: MonotonicNanos) -> Option<Placed> {
        // No real text has more rows than a block holds: two bytes each.
        let is_real = |rows: &Arc<FileRows>| (1..=BLOCK_ROWS).contains(&rows.page(wish.page).len());
        let Some(rows) = wish.rows.as_ref().filter(|rows| is_real(rows)) else {
            return Some((self.place_gap(changes, now)?, Box::default()));
        };
        let page = self.rules.take_page(rows, wish.page, now)?;
        let length = count(page.rows.len());
        let Some(first) = self.rows.take(length, now) else {
            self.rules.give_back(&page.rules, now);
            return None;
        };
        changes.add(first, page.rows);
        Some((first..first + length, page.rules))
    }

    fn place_gap(&mut self, changes: &mut Changes, now: MonotonicNanos) -> Option<Range<u32>> {
        let gap = match self.gap {
            Some(gap) => gap,
            None => self.rows.take(1, now)?,
        };
        self.gap = Some(gap);
        if !self.is_gap_written {
            changes.add(gap, vec![UnwindRow { pc_in_page: 0, rule: RuleTable::GAP }]);
        }
        Some(gap..gap + 1)
    }

    fn is_gap(&self, at: &Range<u32>) -> bool {
        self.gap == Some(at.start)
    }

    fn note_loaded(&mut self, slot: u32, at: &Range<u32>, rules: Box<[u16]>, heat: u32) {
        if self.is_gap(at) {
            self.gaps.insert(slot);
        } else {
            let loaded = Loaded { first: at.start, rows: at.end - at.start, rules, touched: 0, heat };
            self.rows_loaded = self.rows_loaded.saturating_add(loaded.rows);
            self.loaded.insert(slot, loaded);
        }
    }

    /// Unloads pages for wishes that found no room: the coldest, and only colder ones. The room is free a while later.
    /// Gives how many were unloaded.
    pub(super) fn make_room(&mut self, tables: &mut dyn Tables, left: &[Wish], now: MonotonicNanos) -> u64 {
        let is_early = self.last_look.is_some_and(|last| now.0.saturating_sub(last.0) < LOOK_NANOS);
        let Some(hottest) = left.iter().map(|wish| wish.heat).max().filter(|_| !is_early) else { return 0 };
        self.last_look = Some(now);
        self.look(tables);
        let mut by_heat: Vec<(u32, u32)> =
            self.loaded.iter().map(|(slot, loaded)| (loaded.heat, *slot)).collect();
        by_heat.sort_unstable();
        let lacking: usize =
            left.iter().filter_map(|wish| Some(wish.rows.as_ref()?.page(wish.page).len())).sum();
        let rules = left.iter().filter_map(|wish| Some(self.rules.lacking(wish.rows.as_ref()?, wish.page)));
        let rules: usize = rules.sum();
        let (mut freed, mut unloaded) = (0, 0);
        for (_, slot) in by_heat.into_iter().take_while(|(heat, _)| *heat < hottest) {
            // Twice: what is freed lies here and there.
            if freed >= count(lacking).saturating_mul(2) && self.rules.room() >= rules {
                break;
            }
            freed += self.unload(tables, slot, now);
            unloaded += 1;
        }
        unloaded
    }

    fn look(&mut self, tables: &dyn Tables) {
        for (slot, loaded) in &mut self.loaded {
            let touched = tables.touched(*slot).unwrap_or(loaded.touched);
            // Two CPUs that count at once may set it back by a few.
            let since = touched.wrapping_sub(loaded.touched).cast_signed().max(0).unsigned_abs();
            loaded.heat = (loaded.heat / 2).saturating_add(since);
            loaded.touched = touched;
        }
    }

    fn unload(&mut self, tables: &mut dyn Tables, slot: u32, now: MonotonicNanos) -> u32 {
        let was_gap = self.gaps.remove(&slot);
        let loaded = self.loaded.remove(&slot);
        if was_gap || loaded.is_some() {
            // A write into a slot that exists does not fail.
            let _unloaded = tables.set_page(slot, TextPage::default());
        }
        let Some(loaded) = loaded else { return 0 };
        self.rows_loaded = self.rows_loaded.saturating_sub(loaded.rows);
        self.rows.give_back(loaded.first, loaded.rows, now);
        self.rules.give_back(&loaded.rules, now);
        loaded.rows
    }

    /// Takes the slots of a file that nobody maps any more.
    pub(super) fn forget(&mut self, tables: &mut dyn Tables, key: RowKey, now: MonotonicNanos) {
        if let Some(run) = self.runs.get(&key).copied().filter(|run| run.users == 0) {
            self.let_go(tables, key, run, now);
        }
    }

    fn let_go(&mut self, tables: &mut dyn Tables, key: RowKey, run: Run, now: MonotonicNanos) {
        for slot in run.base..run.base + run.pages {
            self.unload(tables, slot, now);
        }
        self.slots.give_back(run.base, run.pages, now);
        self.runs.remove(&key);
    }

    /// Takes the slots of files that nobody maps any more, those first that have been so longest.
    fn let_go_unused(&mut self, tables: &mut dyn Tables, pages: u32, now: MonotonicNanos) {
        let mut unused: Vec<(u64, RowKey, Run)> = (self.runs.iter())
            .filter(|(_, run)| run.users == 0)
            .map(|(key, run)| (run.unused_since, *key, *run))
            .collect();
        unused.sort_unstable_by_key(|(since, key, _)| (*since, *key));
        let mut freed = 0;
        for (_, key, run) in unused {
            if freed >= pages {
                return;
            }
            self.let_go(tables, key, run, now);
            freed += run.pages;
        }
    }
}

/// Where rows are to lie among those of all blocks, and the numbers of their rules.
type Placed = (Range<u32>, Box<[u16]>);

/// Rows to be written, by block.
#[derive(Default)]
struct Changes(BTreeMap<u32, Vec<BlockRows>>);

impl Changes {
    fn add(&mut self, first: u32, rows: Vec<UnwindRow>) {
        let block = first / count(BLOCK_ROWS);
        self.0.entry(block).or_default().push(BlockRows { first: first % count(BLOCK_ROWS), rows });
    }

    /// Writes all blocks, up to the first that cannot be: then the first row that was not written.
    fn write(&self, tables: &mut dyn Tables) -> Option<u32> {
        self.0.iter().find_map(|(block, changes)| {
            let error = tables.change_block(*block, changes).err()?;
            tracing::warn!(error = chain(&error), "rows could not be written");
            Some(block * count(BLOCK_ROWS))
        })
    }
}

fn text_page(at: &Range<u32>) -> TextPage {
    let (block, first_row) = (at.start / count(BLOCK_ROWS), at.start % count(BLOCK_ROWS));
    TextPage { block, first_row, rows: at.end - at.start, touched: 0 }
}

/// The pages that a file's code lies in, as linked. `None` for another machine's, and for more than real files have.
pub(super) fn text_span(elf: &ElfHeaders) -> Option<Range<u32>> {
    if !is_native(elf) {
        return None;
    }
    let code = elf.segments().iter().filter(|segment| segment.executable && segment.file_bytes > 0);
    let pages = code.map(|segment| {
        let last = segment.vaddr.0.saturating_add(segment.file_bytes - 1);
        (segment.vaddr.0 >> TEXT_PAGE_BITS, last >> TEXT_PAGE_BITS)
    });
    let (first, last) = pages
        .reduce(|(first, last), (other_first, other_last)| (first.min(other_first), last.max(other_last)))?;
    let (first, end) = (u32::try_from(first).ok()?, u32::try_from(last).ok()?.checked_add(1)?);
    (end - first <= Budget::default().pages).then_some(first..end)
}

/// Of things that are fewer than 4 billion by their bounds.
fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
