//! Processes and their mappings → the walker's tables; wanted pages of text are loaded, cold ones unloaded.
//!
//! Publishing a process writes its mappings and reserves a slot for each page of their text. It makes no rows: a page
//! is loaded when a walk has come by.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use profiler_common::abi::{
    BLOCK_ROWS, HAS_ROWS, IS_MEMORY, ROW_BLOCKS, TEXT_PAGES, TextPage, WALKED_MAPPINGS, WALKED_PROCESSES,
    WalkedMapping, WalkedProcess,
};
use profiler_common::address::FileOffset;
use profiler_common::unwind_row::{RULES_MAX, TEXT_PAGE_BITS, UnwindRow};
use profiler_common::unwind_rule::Rule;

use super::ranges::Ranges;
use super::store::{RowKey, RowStore};
use super::tables::{TableError, Tables};
use super::text_pages::{TextPages, Wish, text_span};
use crate::collect::Tgid;
use crate::elf::{ElfHeaders, LoadSegment};
use crate::host::MonotonicNanos;
use crate::process::FileId;
use crate::process::files::FileTable;
use crate::process::mappings::{Backing, Mapping, Mappings};

/// Mappings of one process: as many as the kernel half searches.
const MAPPINGS_A_PROCESS: usize = 4095;

/// What the tables take before there is a row: pages, mappings, rules, and processes with what a hash map takes for each.
const FIXED_BYTES: u64 = ((TEXT_PAGES * size_of::<TextPage>())
    + (WALKED_MAPPINGS * size_of::<WalkedMapping>())
    + (RULES_MAX as usize * size_of::<Rule>())
    + (WALKED_PROCESSES * (size_of::<WalkedProcess>() + 72))) as u64;
/// A block, and the page that its header takes.
const BLOCK_BYTES: u64 = (BLOCK_ROWS * size_of::<UnwindRow>() + 4096) as u64;

/// The least that the tables can be held to: themselves and 2 MiB of rows.
pub const TABLES_BYTES_MIN: u64 = FIXED_BYTES + 16 * BLOCK_BYTES;

/// Blocks of rows that fit into so many bytes together with everything else; each takes a file descriptor.
pub fn blocks_within(tables_max_bytes: u64) -> u32 {
    let blocks = tables_max_bytes.saturating_sub(FIXED_BYTES) / BLOCK_BYTES;
    let most = u32::try_from(ROW_BLOCKS).unwrap_or(u32::MAX);
    u32::try_from(blocks).unwrap_or(most).clamp(1, most)
}

/// Mappings side by side in the table. A process that was forked shares its parent's until one of them changes.
#[derive(Debug)]
struct Published {
    generation: u64,
    count: u32,
    /// With slots.
    files: Box<[RowKey]>,
    /// That the mappings name, with slots or without.
    named: Box<[FileId]>,
    users: u32,
}

/// Memory of the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TablesBytes {
    /// Of what is there from the start.
    pub fixed: u64,
    /// Of blocks of rows.
    pub rows: u64,
}

/// The tables, and what is in them.
pub struct Publisher {
    tables: Box<dyn Tables>,
    pages: TextPages,
    slots: Ranges,
    /// By their first slot.
    mappings: HashMap<u32, Published>,
    /// The first slot of the mappings of a generation, if they are all there is to them.
    by_generation: HashMap<u64, u32>,
    /// First slots of their mappings.
    processes: HashMap<Tgid, u32>,
    /// Those that have an entry and no mappings, with that entry.
    held: HashMap<Tgid, WalkedProcess>,
    vdso: Option<ElfHeaders>,
}

impl Publisher {
    /// Over empty tables of so many bytes in all, with the headers of the kernel's page of user code if there is one.
    pub fn new(tables: Box<dyn Tables>, tables_max_bytes: u64, vdso: Option<ElfHeaders>) -> Self {
        Self {
            tables,
            pages: TextPages::new(blocks_within(tables_max_bytes)),
            slots: Ranges::new(u32::try_from(WALKED_MAPPINGS).unwrap_or(u32::MAX)),
            mappings: HashMap::new(),
            by_generation: HashMap::new(),
            processes: HashMap::new(),
            held: HashMap::new(),
            vdso,
        }
    }

    /// Memory of the tables now, bytes: rows take more as more files are walked.
    pub(super) fn bytes(&self) -> TablesBytes {
        let rows = u64::from(self.tables.blocks()).saturating_mul(BLOCK_BYTES);
        TablesBytes { fixed: FIXED_BYTES, rows }
    }

    /// Publishes a process whose mappings are those of a published one; `None` if there is none.
    pub(super) fn join(
        &mut self,
        tgid: Tgid,
        process: WalkedProcess,
        generation: u64,
        now: MonotonicNanos,
    ) -> Option<Result<(), TableError>> {
        let first = *self.by_generation.get(&generation)?;
        Some(self.point(tgid, process, first, now))
    }

    /// Publishes a process, or publishes it anew. False if some of its files found no room for their pages; they are
    /// walked by frame pointers. On an error it stays as it was.
    pub(super) fn process(
        &mut self,
        tgid: Tgid,
        process: WalkedProcess,
        (generation, mappings): (u64, &Mappings),
        store: &RowStore,
        files: &FileTable,
        now: MonotonicNanos,
    ) -> Result<bool, TableError> {
        if mappings.is_empty() {
            self.forget(tgid, now);
            return Ok(true);
        }
        if mappings.len() > MAPPINGS_A_PROCESS {
            return Err(TableError::Full { what: "mappings of one process" });
        }
        let count = u32::try_from(mappings.len()).unwrap_or(u32::MAX);
        let Some(first) = self.slots.take(count, now) else {
            return Err(TableError::Full { what: "mappings" });
        };
        let mut writing = Writing { has_room: true, files: Vec::new() };
        let has_vdso_of_ours = !is_foreign(mappings, files);
        let written = (first..).zip(mappings.iter()).try_for_each(|(index, mapping)| {
            let walked = self.walked(mapping, has_vdso_of_ours, store, files, now, &mut writing);
            self.tables.set_mapping(index, walked)
        });
        let Writing { has_room, files } = writing;
        if let Err(error) = written {
            self.slots.release(first, count); // nothing points there
            files.iter().for_each(|key| self.pages.remove_user(*key));
            return Err(error);
        }
        let named: BTreeSet<FileId> = mappings.iter().filter_map(file_of).collect();
        let (files, named) = (files.into(), named.into_iter().collect());
        self.mappings.insert(first, Published { generation, count, files, named, users: 0 });
        if has_room {
            self.by_generation.insert(generation, first);
        }
        self.point(tgid, process, first, now).map(|()| has_room)
    }

    /// Lets a process's entry point to its mappings.
    fn point(
        &mut self,
        tgid: Tgid,
        process: WalkedProcess,
        first: u32,
        now: MonotonicNanos,
    ) -> Result<(), TableError> {
        let Some(published) = self.mappings.get_mut(&first) else { return Ok(()) };
        published.users += 1;
        let entry = WalkedProcess { first_mapping: first, mappings: published.count, ..process };
        if let Err(error) = self.tables.set_process(tgid, entry) {
            self.let_go(first, now);
            return Err(error);
        }
        self.held.remove(&tgid);
        if let Some(before) = self.processes.insert(tgid, first) {
            self.let_go(before, now);
        }
        Ok(())
    }

    fn walked(
        &mut self,
        mapping: &Mapping,
        has_vdso_of_ours: bool,
        store: &RowStore,
        files: &FileTable,
        now: MonotonicNanos,
        writing: &mut Writing,
    ) -> WalkedMapping {
        let (start, end) = (mapping.start.0, mapping.end.0);
        let file_bias = start.wrapping_sub(mapping.start_in_file.0);
        let plain = WalkedMapping { start, end, file_bias, ..WalkedMapping::default() };
        let (key, elf, walked) = match mapping.backing {
            Backing::File(id) => {
                let elf = files.get(id).and_then(|file| file.elf.as_ref());
                (RowKey::File(id), elf, WalkedMapping { file: id.0, ..plain })
            }
            Backing::Vdso => {
                let elf = self.vdso.as_ref().filter(|_| has_vdso_of_ours);
                (RowKey::Vdso, elf, WalkedMapping { flags: IS_MEMORY, ..plain })
            }
            _ => return WalkedMapping { flags: IS_MEMORY, ..plain },
        };
        // The image is mapped from its first byte on, whatever is said of an offset.
        let start_in_file = if key == RowKey::Vdso { FileOffset(0) } else { mapping.start_in_file };
        let shown = Mapping { start_in_file, ..mapping.clone() };
        let text = elf.filter(|_| !store.has_none(key)).and_then(|elf| text_of(&shown, elf));
        let Some((span, vaddr_bias)) = text else { return walked };
        let Some(page_bias) = self.pages.reserve(&mut *self.tables, key, &span, now) else {
            writing.has_room = false;
            return walked;
        };
        if !writing.files.contains(&key) {
            // At once: the next file may look for slots that nobody uses.
            self.pages.add_user(key);
            writing.files.push(key);
        }
        WalkedMapping { page_bias, vaddr_bias, flags: walked.flags | HAS_ROWS, ..walked }
    }

    /// One process less has these mappings.
    fn let_go(&mut self, first: u32, now: MonotonicNanos) {
        let Some(published) = self.mappings.get_mut(&first) else { return };
        published.users = published.users.saturating_sub(1);
        if published.users > 0 {
            return;
        }
        let Some(gone) = self.mappings.remove(&first) else { return };
        if self.by_generation.get(&gone.generation) == Some(&first) {
            self.by_generation.remove(&gone.generation);
        }
        self.slots.give_back(first, gone.count, now);
        gone.files.iter().for_each(|key| self.pages.remove_user(*key));
    }

    /// Forgets a process that has ended.
    pub(super) fn forget(&mut self, tgid: Tgid, now: MonotonicNanos) {
        if self.held.remove(&tgid).is_some() {
            self.tables.remove_process(tgid);
        }
        if let Some(first) = self.processes.remove(&tgid) {
            self.tables.remove_process(tgid);
            self.let_go(first, now);
        }
    }

    /// Takes a process's mappings away and keeps its entry: it is walked by nothing, not even by its parent's mappings,
    /// so all its samples are snapshots. Does nothing for one that is held as this program already.
    pub(super) fn hold(
        &mut self,
        tgid: Tgid,
        process: WalkedProcess,
        now: MonotonicNanos,
    ) -> Result<(), TableError> {
        if self.held.get(&tgid) == Some(&process) {
            return Ok(());
        }
        self.tables.set_process(tgid, process)?;
        self.held.insert(tgid, process);
        if let Some(first) = self.processes.remove(&tgid) {
            self.let_go(first, now);
        }
        Ok(())
    }

    /// Files that the tables name.
    pub(super) fn files(&self) -> HashSet<FileId> {
        self.mappings.values().flat_map(|published| published.named.iter().copied()).collect()
    }

    /// Forgets a file that no process in the tables maps.
    pub(super) fn forget_file(&mut self, key: RowKey, now: MonotonicNanos) {
        self.pages.forget(&mut *self.tables, key, now);
    }

    /// Whether a published process has this page, and it is not loaded.
    pub(super) fn is_wanted(&self, key: RowKey, page: u32) -> bool {
        self.pages.is_wanted(key, page)
    }

    /// Whether less than half of the room for rows is used.
    pub(super) fn has_room_to_spare(&self) -> bool {
        self.pages.has_room_to_spare()
    }

    /// Whether room will come by itself.
    pub(super) fn is_cooling(&self) -> bool {
        self.slots.is_cooling() || self.pages.is_cooling()
    }

    /// Loads wanted pages, and unloads colder ones if there is no room. Gives how many were unloaded.
    pub(super) fn load(&mut self, wishes: Vec<Wish>, now: MonotonicNanos) -> Result<u64, TableError> {
        let left = self.pages.load(&mut *self.tables, wishes, now)?;
        Ok(self.pages.make_room(&mut *self.tables, &left, now))
    }
}

fn file_of(mapping: &Mapping) -> Option<FileId> {
    match mapping.backing {
        Backing::File(id) => Some(id),
        _ => None,
    }
}

/// What became clear while a process's mappings were written.
struct Writing {
    has_room: bool,
    /// Files with slots, of which this process is a user now.
    files: Vec<RowKey>,
}

/// Whether code for another machine is mapped (32 bits): then the vdso is not like ours.
fn is_foreign(mappings: &Mappings, files: &FileTable) -> bool {
    let elf = |mapping: &Mapping| files.get(file_of(mapping)?).and_then(|file| file.elf.as_ref());
    mappings.iter().filter_map(elf).any(|elf| !super::is_native(elf))
}

/// The pages of a file's text, and runtime address − address as linked for what the mapping shows of it. `None` if
/// that is not all among those pages.
fn text_of(mapping: &Mapping, elf: &ElfHeaders) -> Option<(Range<u32>, u64)> {
    let span = text_span(elf)?;
    let vaddr_bias = vaddr_bias(mapping, elf)?;
    let page = |at: u64| u32::try_from(at.wrapping_sub(vaddr_bias) >> TEXT_PAGE_BITS).ok();
    let (first, last) = (page(mapping.start.0)?, page(mapping.end.0.wrapping_sub(1))?);
    (first >= span.start && last < span.end).then_some((span, vaddr_bias))
}

fn vaddr_bias(mapping: &Mapping, elf: &ElfHeaders) -> Option<u64> {
    let first = mapping.start_in_file.0;
    let last = first.saturating_add(mapping.end.0 - mapping.start.0);
    let shown = |segment: &&LoadSegment| {
        segment.executable
            && segment.file_offset.0 < last
            && segment.file_offset.0.saturating_add(segment.file_bytes) > first
    };
    let segment = elf.segments().iter().find(shown)?;
    let runtime_of_segment = mapping.start.0.wrapping_sub(first).wrapping_add(segment.file_offset.0);
    Some(runtime_of_segment.wrapping_sub(segment.vaddr.0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use profiler_common::abi::TEXT_PAGES;
    use profiler_common::address::RuntimeAddr;

    use super::*;
    use crate::collect::process_event::FileHint;
    use crate::elf::BuildId;
    use crate::elf::fixture::Fixture;
    use crate::host::{Clock, ProcFs};
    use crate::process::files::Opened;
    use crate::process::mappings::NamedFile;
    use crate::unwind::tables::memory::MemoryTables;

    const NOW: MonotonicNanos = MonotonicNanos(0);

    /// The program's text, mapped there.
    fn mapped(program: &Fixture, start: u64, files: &mut FileTable) -> Mapping {
        let elf = ElfHeaders::read(&program.open()).unwrap();
        let text = elf.segments().iter().find(|segment| segment.executable).unwrap();
        let Some(BuildId::Gnu(id)) = elf.build_id().cloned() else { panic!() };
        let end = RuntimeAddr(start + text.file_bytes.next_multiple_of(4096));
        let (start, path) = (RuntimeAddr(start), program.path().into_os_string());
        let named = Arc::new(NamedFile { path, hint: FileHint::BuildId(id) });
        let backing = Backing::Unopened(Arc::clone(&named));
        let mapping = Mapping { start, end, start_in_file: text.file_offset, backing };
        let nowhere = tempfile::tempdir().unwrap();
        match files.open(&ProcFs::at(nowhere.path()), Tgid(1), &mapping, &named) {
            Opened::Elf(id) => Mapping { backing: Backing::File(id), ..mapping },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_that_finds_no_slots_does_not_take_those_of_the_file_before_it() {
        let programs =
            [1, 2].map(|number| Fixture::compile(&format!("int main(void) {{ return {number}; }}"), &[]));
        let mut files = FileTable::new(64);
        let mut mappings = Mappings::default();
        for (program, start) in [(0, 0x5555_0000_0000), (0, 0x5555_1000_0000), (1, 0x5555_2000_0000)] {
            mappings.insert(mapped(&programs[program], start, &mut files));
        }
        let tables = MemoryTables::default();
        let mut publisher = Publisher::new(Box::new(tables.clone()), TABLES_BYTES_MIN, None);
        // All slots but one are taken.
        let other = RowKey::File(FileId(1000));
        let all = u32::try_from(TEXT_PAGES).unwrap();
        publisher.pages.reserve(&mut tables.clone(), other, &(0..all - 1), NOW);
        publisher.pages.add_user(other);
        let store = RowStore::start(ProcFs::host(), Clock::host(), None, 1 << 20, || {}).unwrap();
        let entry = WalkedProcess::default();
        let publish = |publisher: &mut Publisher, second: u64| {
            let now = MonotonicNanos(second * 1_000_000_000);
            publisher.process(Tgid(1), entry, (second, &mappings), &store, &files, now).unwrap()
        };
        let flags = || {
            let held = tables.0.borrow();
            let first = held.processes[&1].first_mapping;
            [0, 1, 2].map(|index| held.mappings[&(first + index)].flags)
        };
        assert!(!publish(&mut publisher, 1));
        assert_eq!(flags(), [HAS_ROWS, HAS_ROWS, 0]);
        assert_eq!(tables.0.borrow().mappings[&0].page_bias, all - 1);
        assert!(publisher.is_wanted(RowKey::File(FileId(0)), 0), "it still has its slot");
        publisher.pages.remove_user(other);
        assert!(!publish(&mut publisher, 2), "the slots are cooling");
        assert!(publish(&mut publisher, 3));
        assert_eq!(flags(), [HAS_ROWS; 3]);
    }
}
