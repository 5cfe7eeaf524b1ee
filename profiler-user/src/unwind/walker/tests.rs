//! Processes by their events and samples → what the tables hold, over tables in memory and files of real text.

use std::cell::RefMut;
use std::collections::HashSet;
use std::time::Duration;

use profiler_common::abi::{HAS_ROWS, IS_MEMORY, WalkedMapping};
use profiler_common::address::{ElfVaddr, FileOffset, RuntimeAddr};
use profiler_common::unwind_rule::RuleKind;

use super::*;
use crate::collect::Tid;
use crate::collect::process_event::{FileHint, ProcessChange, ProcessEvent};
use crate::elf::fixture::Fixture;
use crate::elf::{BuildId, ElfHeaders, LoadSegment, vdso};
use crate::host::{Clock, ProcFs};
use crate::process::FileId;
use crate::unwind::publisher::TABLES_BYTES_MIN;
use crate::unwind::tables::memory::{Held, MemoryTables};

const MILLIS: u64 = 1_000_000;

/// A host of processes that all run one program.
struct Host {
    walker: Walker,
    tables: MemoryTables,
    processes: ProcessTable,
    program: Fixture,
    text: LoadSegment,
    headers: ElfHeaders,
    now: MonotonicNanos,
    proc: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self::of(Fixture::compile("int main(int n, char **v) { return n + v[0][0]; }", &["-O2"]))
    }

    fn of(program: Fixture) -> Self {
        let headers = ElfHeaders::read(&program.open()).unwrap();
        let text = *headers.segments().iter().find(|segment| segment.executable).unwrap();
        let image = vdso::image_of_this_process(&ProcFs::host()).unwrap().unwrap();
        let tables = MemoryTables::default();
        let vdso = ElfHeaders::read(&*image).unwrap();
        let publisher = Publisher::new(Box::new(tables.clone()), TABLES_BYTES_MIN, Some(vdso));
        let proc = tempfile::tempdir().unwrap();
        let processes = ProcessTable::new(ProcFs::at(proc.path()), 64);
        let walker = Walker::new(
            publisher,
            RowStore::start(ProcFs::host(), Clock::host(), None, 1 << 20, || {}).unwrap(),
        );
        let now = MonotonicNanos(1_000 * MILLIS);
        Self { walker, tables, processes, program, text, headers, now, proc }
    }

    fn apply(&mut self, change: ProcessChange) {
        self.processes.apply(ProcessEvent { at: self.now, change });
    }

    fn fork(&mut self, child: u32, parent: u32) {
        self.apply(ProcessChange::Fork { child: Tgid(child), parent: Tgid(parent) });
    }

    fn map(&mut self, tgid: u32, start: u64, path: &std::path::Path, hint: FileHint, len: u64, offset: u64) {
        let (tgid, start, offset) = (Tgid(tgid), RuntimeAddr(start), FileOffset(offset));
        self.apply(ProcessChange::Map { tgid, start, len, offset, path: path.into(), hint });
    }

    /// The process runs the program, mapped there, with a vdso and memory of its own.
    fn exec(&mut self, tgid: u32, start: u64) {
        self.apply(ProcessChange::Exec { tgid: Tgid(tgid), name: "program".to_owned() });
        let Some(BuildId::Gnu(id)) = self.headers.build_id().cloned() else { panic!() };
        let (offset, len) = (self.text.file_offset.0, self.text.file_bytes.next_multiple_of(4096));
        self.map(tgid, start, &self.program.path(), FileHint::BuildId(id), len, offset);
        self.map(tgid, 0x7fff_0000_0000, "[vdso]".as_ref(), FileHint::None, 0x2000, 0);
        self.map(tgid, 0x7fff_8000_0000, "//anon".as_ref(), FileHint::None, 0x1000, 0);
    }

    fn sample(&mut self, tgid: u32) {
        let (sample, owner) = self.sample_at(tgid);
        self.walker.saw(&sample, owner);
    }

    /// Whether the kernel half went by what was no longer true of the process.
    fn is_misled(&mut self, tgid: u32) -> bool {
        let (sample, owner) = self.sample_at(tgid);
        self.walker.saw(&sample, owner);
        self.walker.is_misled(&sample, owner, self.now)
    }

    fn sample_at(&mut self, tgid: u32) -> (RawSample, SampleOwner) {
        let start_time = u64::from(tgid) * MILLIS;
        let sample = RawSample { at: self.now, start_time, exec_id: 1, ..RawSample::fixture(tgid) };
        let owner = self.processes.owner(&sample);
        (sample, owner)
    }

    fn round(&mut self, millis_later: u64) {
        self.now.0 += millis_later * MILLIS;
        self.walker.collect();
        self.walker.round(&mut self.processes, self.now, self.now);
    }

    /// Goes on until the rows of a file are made, or known to be unusable.
    fn rounds_until_made(&mut self, key: RowKey) {
        // One to ask, one to open what was closed and ask again, one to collect.
        for _ in 0..3 {
            self.round(1);
            self.walker.store().wait(Duration::from_secs(60));
        }
        self.round(1);
        assert!(!matches!(self.walker.store().rows(key, self.processes.files()), RowsAt::Pending));
    }

    fn held(&self) -> RefMut<'_, Held> {
        self.tables.0.borrow_mut()
    }

    fn is_published(&self, tgid: u32) -> bool {
        self.held().processes.get(&tgid).is_some_and(|process| process.mappings > 0)
    }

    fn mappings(&self, tgid: u32) -> Vec<WalkedMapping> {
        let held = self.held();
        let process = held.processes[&tgid];
        let indexes = process.first_mapping..process.first_mapping + process.mappings;
        indexes.map(|index| held.mappings[&index]).collect()
    }
}

#[test]
fn a_process_is_published_after_two_samples_or_when_it_lives_on_after_one() {
    let mut host = Host::new();
    for tgid in [10, 11, 12] {
        host.fork(tgid, 1);
        host.exec(tgid, 0x5555_0000_0000);
        host.sample(tgid);
    }
    host.sample(10);
    host.round(0);
    assert_eq!([10, 11, 12].map(|tgid| host.is_published(tgid)), [true, false, false]);
    host.apply(ProcessChange::ThreadExit { tgid: Tgid(12), tid: Tid(12) });
    host.round(199);
    assert!(!host.is_published(11));
    host.round(1);
    assert_eq!([10, 11, 12].map(|tgid| host.is_published(tgid)), [true, true, false]);
    host.walker.forget(Tgid(10), host.now);
    assert!(!host.is_published(10));
}

#[test]
fn mappings_say_what_they_are_and_change_with_the_process() {
    let mut host = Host::new();
    host.fork(10, 1);
    host.exec(10, 0x5555_0000_0000);
    (0..2).for_each(|_| host.sample(10));
    host.round(0);
    let flags: Vec<u32> = host.mappings(10).iter().map(|mapping| mapping.flags).collect();
    assert_eq!(flags, [HAS_ROWS, IS_MEMORY | HAS_ROWS, IS_MEMORY]);
    let before = host.held().processes[&10];
    host.map(10, 0x6666_0000_0000, "//anon".as_ref(), FileHint::None, 0x1000, 0);
    host.sample(10);
    host.round(1);
    assert_eq!(host.mappings(10).len(), 3, "published a moment ago");
    host.round(10);
    assert_eq!(host.mappings(10).len(), 4);
    assert_ne!(host.held().processes[&10].first_mapping, before.first_mapping);
    // A mapping that shows more than the text has no rows: its pages would be another file's.
    let Some(BuildId::Gnu(id)) = host.headers.build_id().cloned() else { panic!() };
    let path = host.program.path();
    host.map(10, 0x7777_0000_0000, &path, FileHint::BuildId(id), 0x10_0000, 0);
    host.sample(10);
    host.round(1000);
    assert_eq!(host.mappings(10).iter().filter(|mapping| mapping.flags & HAS_ROWS != 0).count(), 2);
}

#[test]
fn a_process_that_replaces_code_is_left_to_snapshots_until_it_is_quiet() {
    let mut host = Host::new();
    host.fork(10, 1);
    host.exec(10, 0x5555_0000_0000);
    (0..2).for_each(|_| host.sample(10));
    host.round(0);
    host.round(100);
    assert!(!host.is_misled(10) && host.is_published(10));
    host.now.0 += MILLIS;
    let other = Fixture::compile("int main(void) { return 7; }", &["-O2"]);
    host.map(10, 0x5555_0000_0000, &other.path(), FileHint::None, 0x1000, 0);
    assert!(host.is_misled(10), "walked by what lay there before");
    assert!(!host.is_published(10));
    host.round(5_000);
    assert!(!host.is_published(10), "it may do so again");
    host.round(5_100);
    assert!(host.is_published(10));
    host.round(100);
    assert!(!host.is_misled(10));
}

#[test]
fn a_child_is_walked_by_its_parents_mappings_only_while_they_are_its_own() {
    let mut host = Host::new();
    host.fork(10, 1);
    host.exec(10, 0x5555_0000_0000);
    (0..2).for_each(|_| host.sample(10));
    host.round(0);
    [11, 12].into_iter().for_each(|child| host.fork(child, 10));
    assert!(!host.is_misled(11));
    host.map(10, 0x6666_0000_0000, "//anon".as_ref(), FileHint::None, 0x1000, 0);
    host.sample(10);
    host.round(100);
    assert!(host.is_misled(12), "what is published of its parent is newer");
    let held = host.held().processes[&12];
    assert_eq!((held.mappings, held.exec_id), (0, 1), "known, and walked by nothing");
    host.sample(12);
    host.round(100);
    assert!(host.is_published(12));
    host.walker.forget(Tgid(12), host.now);
    assert!(!host.held().processes.contains_key(&12));
}

#[test]
fn a_file_that_turns_out_to_be_unusable_is_walked_by_frame_pointers() {
    let mut host = Host::new();
    host.fork(10, 1);
    host.exec(10, 0x5555_0000_0000);
    (0..2).for_each(|_| host.sample(10));
    host.round(0);
    let key = RowKey::File(FileId(host.mappings(10)[0].file));
    std::fs::File::options().write(true).open(host.program.path()).unwrap().set_len(1000).unwrap();
    host.walker.want(key, u32::try_from(host.text.vaddr.0 >> 16).unwrap());
    host.rounds_until_made(key);
    assert_eq!(host.walker.counts().get(Outcome::UnwindInfoUnusable), 1);
    assert_eq!(host.held().rule_at(10, 0x5555_0000_0000), Some(profiler_common::unwind_rule::Rule::GAP));
}

#[test]
fn wanted_pages_are_loaded_and_say_what_the_file_says() {
    let mut host = Host::new();
    host.fork(10, 1);
    let start = 0x5555_0000_0000;
    host.exec(10, start);
    (0..2).for_each(|_| host.sample(10));
    host.round(0);
    let main = host.program.vaddr_of("main");
    let at = start + (main.0 - host.text.vaddr.0);
    assert_eq!(host.held().rule_at(10, at), None, "not loaded: user space is asked");
    let key = RowKey::File(FileId(host.mappings(10)[0].file));
    host.walker.want(key, u32::try_from(main.0 >> 16).unwrap());
    host.walker.want(RowKey::Vdso, 0);
    [key, RowKey::Vdso].into_iter().for_each(|key| host.rounds_until_made(key));
    let RowsAt::Ready(rows) = host.walker.store().rows(key, host.processes.files()) else { panic!() };
    let expected = rows.rule_at(main);
    assert_eq!(expected.kind(), RuleKind::Register);
    assert_eq!(host.held().rule_at(10, at), Some(expected));
    let RowsAt::Ready(of_vdso) = host.walker.store().rows(RowKey::Vdso, host.processes.files()) else {
        panic!()
    };
    for into in (0..0x2000).step_by(16) {
        let expected = of_vdso.rule_at(ElfVaddr(into));
        assert_eq!(host.held().rule_at(10, 0x7fff_0000_0000 + into), Some(expected), "{into:x}");
    }
    assert_eq!(host.held().rule_at(10, 0x7fff_8000_0000), Some(profiler_common::unwind_rule::Rule::GAP));
}

/// A program of so many functions of 64 KiB, running as process 10, its rows at hand. With its pages.
fn large_program(functions: usize) -> (Host, RowKey, Vec<u32>) {
    let large = |number| format!("void f{number}(void) {{ __asm__ volatile(\".skip 65536, 0x90\"); }}\n");
    let functions: String = (0..functions).map(large).collect();
    let program = Fixture::compile(&(functions + "int main(void) { return 0; }"), &["-O2"]);
    let mut host = Host::of(program);
    host.fork(10, 1);
    host.exec(10, 0x5555_0000_0000);
    (0..2).for_each(|_| host.sample(10));
    host.round(0);
    let key = RowKey::File(FileId(host.mappings(10)[0].file));
    let first = u32::try_from(host.text.vaddr.0 >> 16).unwrap();
    host.walker.want(key, first);
    host.rounds_until_made(key);
    let RowsAt::Ready(rows) = host.walker.store().rows(key, host.processes.files()) else { panic!() };
    let pages = rows.pages().iter().map(|page| page.number).collect();
    (host, key, pages)
}

/// How many pages of the program are loaded.
fn loaded(host: &Host, pages: &[u32]) -> usize {
    let start = 0x5555_0000_0000 - host.text.vaddr.0;
    let at = |page: u32| start + (u64::from(page) << 16).max(host.text.vaddr.0);
    pages.iter().filter(|page| host.held().rule_at(10, at(**page)).is_some()).count()
}

#[test]
fn a_large_file_that_keeps_being_met_is_loaded_whole() {
    let (mut host, key, pages) = large_program(40);
    assert!(pages.len() > 40, "{}", pages.len());
    pages.iter().take(7).for_each(|page| host.walker.want(key, *page));
    host.round(1);
    assert_eq!(loaded(&host, &pages), 7, "what walks came by");
    host.walker.want(key, pages[7]);
    host.round(1);
    assert_eq!(loaded(&host, &pages), pages.len());
}

#[test]
fn a_small_file_is_loaded_whole_when_it_is_met() {
    let (mut host, key, pages) = large_program(12);
    assert!(pages.len() > 12, "{}", pages.len());
    host.walker.want(key, pages[0]);
    host.round(1);
    assert_eq!(loaded(&host, &pages), pages.len());
}

#[test]
fn ten_thousand_processes_take_a_bounded_time_each_round() {
    let mut host = Host::new();
    host.fork(1000, 1);
    host.exec(1000, 0x5555_0000_0000);
    for child in 1001..11_000 {
        host.fork(child, 1000);
    }
    for tgid in 1000..11_000 {
        (0..2).for_each(|_| host.sample(tgid));
    }
    let mut rounds = 0;
    while host.held().processes.len() < 10_000 {
        let before = host.held().processes.len();
        host.round(100);
        let published = host.held().processes.len() - before;
        assert!((1..=PROCESSES_A_ROUND).contains(&published), "{published} in round {rounds}");
        rounds += 1;
    }
    assert_eq!(host.held().mapping_writes, 3, "children share their parent's");
    for tgid in 1000..11_000 {
        host.exec(tgid, 0x5555_0000_0000 + u64::from(tgid) * 0x10_0000);
        (0..2).for_each(|_| host.sample(tgid));
    }
    for _ in 0..10_000 / PROCESSES_A_ROUND + 1 {
        host.round(100);
    }
    let starts: HashSet<u64> = (1000..11_000).map(|tgid| host.mappings(tgid)[0].start).collect();
    assert_eq!(starts.len(), 10_000);
    assert_eq!(host.walker.counts(), Counts::default());
    (1000..11_000).for_each(|tgid| host.walker.forget(Tgid(tgid), host.now));
    assert!(host.held().processes.is_empty());
}

#[test]
fn what_finds_no_room_is_counted_and_tried_again_when_there_is_some() {
    let mut host = Host::new();
    host.held().processes_max = Some(1);
    for tgid in [10, 11] {
        host.fork(tgid, 1);
        host.exec(tgid, 0x5555_0000_0000);
        (0..2).for_each(|_| host.sample(tgid));
    }
    host.round(0);
    assert!(host.is_published(10) && !host.is_published(11));
    host.round(1000);
    assert_eq!(host.walker.counts().get(Outcome::UnwindTablesFull), 1, "once for each process");
    host.walker.forget(Tgid(10), host.now);
    host.sample(11);
    host.round(1000);
    assert!(host.is_published(11));
}

#[test]
fn a_file_that_was_closed_is_opened_again_for_its_rows_and_forgotten_with_them() {
    let mut host = Host::new();
    host.fork(10, 1);
    host.exec(10, 0x5555_0000_0000);
    (0..2).for_each(|_| host.sample(10));
    host.round(0);
    let id = FileId(host.mappings(10)[0].file);
    let is_open = |host: &Host| host.processes.files().get(id).map(|file| file.file.is_some());
    // Minutes pass without a sample.
    let pass = |host: &mut Host, seconds: u64| {
        host.processes.take_sampled(&[], std::iter::empty());
        host.now.0 += seconds * 1000 * MILLIS;
        let Host { walker, processes, now, .. } = host;
        let forgotten = processes.sweep(*now, || walker.published_files());
        walker.forget_files(&forgotten, *now);
        forgotten
    };
    pass(&mut host, 10);
    assert!(pass(&mut host, 700).is_empty(), "process 10 maps it");
    assert_eq!(is_open(&host), Some(false));
    host.walker.want(RowKey::File(id), u32::try_from(host.text.vaddr.0 >> 16).unwrap());
    std::fs::create_dir(host.proc.path().join("10")).unwrap();
    std::os::unix::fs::symlink("/", host.proc.path().join("10/root")).unwrap();
    host.rounds_until_made(RowKey::File(id));
    assert_eq!(is_open(&host), Some(true));
    assert!(matches!(host.walker.store().rows(RowKey::File(id), host.processes.files()), RowsAt::Ready(_)));
    assert_eq!(host.held().loaded(), 1);
    host.apply(ProcessChange::ThreadExit { tgid: Tgid(10), tid: Tid(10) });
    pass(&mut host, 10);
    let (walker, processes) = (&mut host.walker, &mut host.processes);
    processes.forget_ended(host.now, |tgid| walker.forget(tgid, host.now));
    assert_eq!(pass(&mut host, 700), [id]);
    assert_eq!((is_open(&host), host.held().loaded()), (None, 0));
    assert!(matches!(host.walker.store().rows(RowKey::File(id), host.processes.files()), RowsAt::Never(_)));
}
