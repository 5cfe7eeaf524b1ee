//! The distinct rules of all loaded pages, numbered once: what the kernel half is given.
//!
//! ```text
//!   page of a file ─▶ rows by the table's numbers; each rule counts the pages that use it
//!   page unloaded ──▶ a rule that no page uses cools for a second, then its number is given to another
//! ```
//!
//! So a number means what it meant for as long as a tick may look at it, and whatever files come and go the table holds
//! the rules of those that are loaded. Never touches a map.

use std::collections::{HashMap, VecDeque};

use profiler_common::unwind_row::{RULES_MAX, UnwindRow};
use profiler_common::unwind_rule::Rule;

use super::compact::FileRows;
use super::ranges::COOLING_NANOS;
use crate::host::MonotonicNanos;

/// Rows of a page, as the kernel half takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRows {
    /// By address, with the table's numbers.
    pub rows: Vec<UnwindRow>,
    /// These numbers, each once. To be given back when the page is unloaded.
    pub rules: Box<[u16]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Use {
    /// Loaded pages.
    pages: u32,
    /// When the last of them was unloaded.
    released: MonotonicNanos,
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub struct RuleTable {
    rules: Vec<Rule>,
    uses: Vec<Use>,
    index: HashMap<Rule, u16>,
    /// In order of time; a rule may have been taken again since.
    cooling: VecDeque<(MonotonicNanos, u16)>,
    free: Vec<u16>,
    /// Not in the kernel's table yet.
    unwritten: VecDeque<u16>,
}

impl Default for RuleTable {
    fn default() -> Self {
        Self::new()
    }
}

impl RuleTable {
    /// The number of [`Rule::GAP`], which stays.
    pub const GAP: u16 = 0;

    /// With the gap alone.
    pub fn new() -> Self {
        Self {
            rules: vec![Rule::GAP],
            uses: vec![Use { pages: 1, ..Use::default() }],
            index: HashMap::from([(Rule::GAP, Self::GAP)]),
            cooling: VecDeque::new(),
            free: Vec::new(),
            unwritten: VecDeque::from([Self::GAP]),
        }
    }

    /// Rows of a file's page in the table's numbers. Rules that no page has are added; `None` if there is no room for
    /// them.
    pub fn take_page(&mut self, file: &FileRows, number: u32, now: MonotonicNanos) -> Option<PageRows> {
        self.cool(now);
        let mut known: Vec<Option<u16>> = vec![None; file.rules().len()];
        let mut page = PageRows::default();
        let mut taken = Vec::new();
        for row in file.page(number) {
            let place = usize::from(row.rule);
            let rule = match (file.rules().get(place), known.get_mut(place)) {
                (_, Some(Some(known))) => *known,
                (Some(rule), Some(known)) => {
                    let Some(rule) = self.take(*rule) else {
                        self.give_back(&taken, now);
                        return None;
                    };
                    taken.push(rule);
                    *known.insert(rule)
                }
                _ => Self::GAP,
            };
            page.rows.push(UnwindRow { rule, ..*row });
        }
        page.rules = taken.into();
        Some(page)
    }

    /// Takes back the numbers of a page that no walk finds any more from now on.
    pub fn give_back(&mut self, rules: &[u16], now: MonotonicNanos) {
        for &number in rules {
            let Some(uses) = self.uses.get_mut(usize::from(number)) else { continue };
            uses.pages = uses.pages.saturating_sub(1);
            if uses.pages == 0 {
                uses.released = now;
                self.cooling.push_back((now, number));
            }
        }
    }

    /// How many rules of a page are not in the table.
    pub fn lacking(&self, file: &FileRows, number: u32) -> usize {
        let mut met = vec![false; file.rules().len()];
        let mut lacks = |row: &&UnwindRow| {
            let place = usize::from(row.rule);
            let is_new = met.get_mut(place).is_some_and(|met| !std::mem::replace(met, true));
            is_new && file.rules().get(place).is_some_and(|rule| !self.index.contains_key(rule))
        };
        file.page(number).iter().filter(&mut lacks).count()
    }

    /// Rules that no page uses: free now, or within a second.
    pub fn room(&self) -> usize {
        let unmade = usize::try_from(RULES_MAX).unwrap_or(0).saturating_sub(self.rules.len());
        unmade + self.free.len() + self.cooling.len()
    }

    /// Whether rules will be free soon.
    pub fn is_cooling(&self) -> bool {
        !self.cooling.is_empty()
    }

    /// All rules, by number; those that nobody uses may be anything.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Writes rules that are new, by a function that may fail: those that failed are written the next time.
    pub fn write<E>(&mut self, mut write: impl FnMut(u16, Rule) -> Result<(), E>) -> Result<(), E> {
        while let Some(&number) = self.unwritten.front() {
            if let Some(rule) = self.rules.get(usize::from(number)) {
                write(number, *rule)?;
            }
            self.unwritten.pop_front();
        }
        Ok(())
    }

    fn take(&mut self, rule: Rule) -> Option<u16> {
        let number = match self.index.get(&rule) {
            Some(&known) => known,
            None => self.add(rule)?,
        };
        let uses = self.uses.get_mut(usize::from(number))?;
        uses.pages = uses.pages.saturating_add(1);
        Some(number)
    }

    fn add(&mut self, rule: Rule) -> Option<u16> {
        let number = match self.free.pop() {
            Some(free) => {
                *self.rules.get_mut(usize::from(free))? = rule;
                free
            }
            None => {
                let has_room = u32::try_from(self.rules.len()).is_ok_and(|count| count < RULES_MAX);
                let next = u16::try_from(self.rules.len()).ok().filter(|_| has_room)?;
                self.rules.push(rule);
                self.uses.push(Use::default());
                next
            }
        };
        self.index.insert(rule, number);
        self.unwritten.push_back(number);
        Some(number)
    }

    /// Frees what has cooled.
    fn cool(&mut self, now: MonotonicNanos) {
        while let Some(&(since, number)) = self.cooling.front()
            && now.0.saturating_sub(since.0) >= COOLING_NANOS
        {
            self.cooling.pop_front();
            let place = usize::from(number);
            // It may have been taken since, and given back again later: then it is in the list once more.
            let is_it = |uses: &&Use| uses.pages == 0 && uses.released == since;
            if self.uses.get(place).filter(is_it).is_some()
                && let Some(rule) = self.rules.get(place)
                && self.index.get(rule) == Some(&number)
            {
                self.index.remove(rule);
                self.free.push(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use profiler_common::unwind_rule::Base;

    use super::*;
    use crate::unwind::builder::{Budget, Builder};

    /// A page of functions with these frame sizes.
    fn page_of(sizes: impl Iterator<Item = i32>) -> FileRows {
        let text = 0..1u64 << 32;
        let mut builder = Builder::new(Budget::default(), [text].into());
        for (start, size) in (0..).step_by(16).zip(sizes) {
            builder.function(start, start + 16, Rule::register(Base::StackPointer, size * 8)).unwrap();
        }
        builder.finish().unwrap()
    }

    fn at(millis: u64) -> MonotonicNanos {
        MonotonicNanos(millis * 1_000_000)
    }

    #[test]
    fn a_number_is_given_out_again_when_no_page_has_it_and_no_tick_looks_at_it() {
        let mut table = RuleTable::new();
        let (one, two, three) = (page_of(1..4), page_of(3..6), page_of(7..9));
        let first = table.take_page(&one, 0, at(0)).unwrap();
        let second = table.take_page(&two, 0, at(0)).unwrap();
        assert_eq!((&*first.rules, &*second.rules), (&[1, 2, 3, 0][..], &[3, 4, 5, 0][..]));
        table.give_back(&first.rules, at(0));
        assert_eq!(*table.take_page(&three, 0, at(999)).unwrap().rules, [6, 7, 0], "still cooling");
        let mut reused = table.take_page(&page_of(20..22), 0, at(1000)).unwrap().rules.into_vec();
        reused.sort_unstable();
        assert_eq!(reused, [0, 1, 2], "3 is the other page's too");
        assert_eq!(*table.take_page(&two, 0, at(5000)).unwrap().rules, [3, 4, 5, 0]);
    }

    #[test]
    fn a_rule_that_is_taken_while_it_cools_stays_what_it_is() {
        let mut table = RuleTable::new();
        let one = page_of(1..3);
        let rules = table.take_page(&one, 0, at(0)).unwrap().rules;
        table.give_back(&rules, at(0));
        assert_eq!(table.take_page(&one, 0, at(500)).unwrap().rules, rules);
        table.give_back(&rules, at(800));
        assert_eq!(*table.take_page(&page_of(5..6), 0, at(1500)).unwrap().rules, [3, 0], "given back at 800");
        assert_eq!(*table.take_page(&page_of(6..7), 0, at(1800)).unwrap().rules, [2, 0]);
    }

    #[test]
    fn a_page_without_room_takes_nothing() {
        let mut table = RuleTable::new();
        let mut pages = Vec::new();
        for first in (0..).step_by(4000) {
            let page = page_of(first..first + 4000);
            let Some(taken) = table.take_page(&page, 0, at(0)) else { break };
            pages.push((page, taken));
        }
        assert_eq!(pages.len(), 16);
        let late = page_of(100_000..104_000);
        assert_eq!(table.lacking(&late, 0), 4000);
        let room = table.room();
        assert!(room < 4000 && table.take_page(&late, 0, at(0)).is_none());
        assert_eq!(table.room(), room, "those that were added are free again");
        table.give_back(&pages[3].1.rules, at(0));
        assert!(table.room() > 4000 && table.is_cooling());
        assert!(table.take_page(&late, 0, at(1000)).is_some());
    }

    #[test]
    fn what_was_not_written_is_written_later() {
        let mut table = RuleTable::new();
        table.take_page(&page_of(1..3), 0, at(0)).unwrap();
        let (mut written, mut has_failed) = (Vec::new(), false);
        let mut write = |number: u16, _| {
            if number == 2 && !std::mem::replace(&mut has_failed, true) {
                return Err(());
            }
            written.push(number);
            Ok(())
        };
        assert_eq!([table.write(&mut write), table.write(&mut write)], [Err(()), Ok(())]);
        assert_eq!(written, [0, 1, 2]);
    }
}
