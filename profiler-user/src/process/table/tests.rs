//! Sequences of process events and samples → whose sample it is and where its frames lie.

use profiler_common::address::{FileOffset, KernelAddr, RuntimeAddr};
use profiler_common::frame::Frame;
use profiler_common::outcome::Outcome;

use super::*;
use crate::collect::process_event::FileHint;
use crate::process::Place;

/// A table over a host whose `/proc` is empty: events alone must do.
fn table() -> (ProcessTable, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (ProcessTable::new(ProcFs::at(folder.path()), 16), folder)
}

fn sample(tgid: u32, tid: u32, start_time: u64) -> RawSample {
    RawSample { tid: Tid(tid), start_time, ..RawSample::fixture(tgid) }
}

fn apply(table: &mut ProcessTable, at: u64, change: ProcessChange) {
    table.apply(ProcessEvent { at: MonotonicNanos(at), change });
}

fn fork(table: &mut ProcessTable, at: u64, child: u32, parent: u32) {
    apply(table, at, ProcessChange::Fork { child: Tgid(child), parent: Tgid(parent) });
}

fn exec(table: &mut ProcessTable, at: u64, tgid: u32, name: &str) {
    apply(table, at, ProcessChange::Exec { tgid: Tgid(tgid), name: name.to_owned() });
}

fn map(table: &mut ProcessTable, at: u64, tgid: u32, start: u64, path: &str) {
    let tgid = Tgid(tgid);
    let (start, offset, path) = (RuntimeAddr(start), FileOffset(0x1000), path.into());
    apply(table, at, ProcessChange::Map { tgid, start, len: 0x1000, offset, path, hint: FileHint::None });
}

fn exit(table: &mut ProcessTable, at: u64, tgid: u32, tid: u32) {
    apply(table, at, ProcessChange::ThreadExit { tgid: Tgid(tgid), tid: Tid(tid) });
}

fn name(table: &ProcessTable, owner: SampleOwner) -> &str {
    &table.sampled_processes()[owner.process.0 as usize].executable_name
}

fn thread_name(table: &ProcessTable, owner: SampleOwner) -> &str {
    &table.sampled_threads()[owner.thread.0 as usize].name
}

#[test]
fn a_process_is_what_it_executed_last() {
    let (mut table, _folder) = table();
    fork(&mut table, 1, 10, 5);
    exec(&mut table, 2, 10, "a-name-that-is-");
    map(&mut table, 3, 10, 0x1000, "/usr/bin/a-name-that-is-cut-in-comm");
    map(&mut table, 4, 10, 0x8000, "/usr/lib/ld.so");
    let first = table.owner(&sample(10, 10, 7_000));
    assert_eq!(name(&table, first), "a-name-that-is-cut-in-comm");
    exec(&mut table, 5, 10, "ls");
    map(&mut table, 6, 10, 0x1000, "/usr/bin/ls");
    let second = table.owner(&sample(10, 10, 7_000));
    assert_eq!(name(&table, second), "ls");
    assert_ne!(first.process, second.process);
    assert_ne!(first.mappings_generation, second.mappings_generation);
    assert_eq!(table.sampled_processes()[0].ended, Some(MonotonicNanos(5)));
}

#[test]
fn a_sample_in_the_middle_of_exec_learns_the_full_name_later() {
    let (mut table, _folder) = table();
    fork(&mut table, 1, 10, 5);
    exec(&mut table, 2, 10, "script.py");
    let early = table.owner(&sample(10, 10, 7_000));
    assert_eq!(name(&table, early), "script.py");
    map(&mut table, 3, 10, 0x1000, "/usr/bin/python3.13");
    assert_eq!(name(&table, early), "python3.13");
    assert_eq!(table.owner(&sample(10, 10, 7_000)).process, early.process);
}

#[test]
fn a_forked_child_has_its_parents_memory_and_name() {
    let (mut table, _folder) = table();
    fork(&mut table, 1, 10, 5);
    exec(&mut table, 2, 10, "server");
    map(&mut table, 3, 10, 0x1000, "/srv/server");
    fork(&mut table, 4, 11, 10);
    let child = table.owner(&sample(11, 11, 9_000));
    assert_eq!(name(&table, child), "server");
    assert!(!table.is_astray(Tgid(11), Frame::unbacked(0x1800, false)));
    assert!(table.is_astray(Tgid(11), Frame::unbacked(0x2800, true)));
    assert!(table.is_fork_without_exec(Tgid(11), Tgid(10)));
    exec(&mut table, 5, 11, "worker");
    assert!(!table.is_fork_without_exec(Tgid(11), Tgid(10)));
    assert!(table.is_astray(Tgid(11), Frame::unbacked(0x1800, false)), "exec leaves no mapping behind");
}

#[test]
fn a_forked_child_has_one_thread_however_many_its_parent_has() {
    let (mut table, _folder) = table();
    fork(&mut table, 1, 10, 5);
    exec(&mut table, 2, 10, "server");
    let (tgid, tid, creator) = (Tgid(10), Tid(12), Tid(10));
    apply(&mut table, 3, ProcessChange::ThreadStart { tgid, tid, creator });
    fork(&mut table, 4, 11, 10);
    exit(&mut table, 5, 11, 11);
    let mut forgotten = Vec::new();
    table.forget_ended(MonotonicNanos(u64::MAX), |tgid| forgotten.push(tgid));
    assert_eq!(forgotten, [Tgid(11)]);
}

#[test]
fn the_leaders_end_is_not_the_processs() {
    let (mut table, _folder) = table();
    fork(&mut table, 1, 10, 5);
    exec(&mut table, 2, 10, "server");
    apply(&mut table, 3, ProcessChange::ThreadStart { tgid: Tgid(10), tid: Tid(12), creator: Tid(10) });
    apply(&mut table, 4, ProcessChange::Rename { tgid: Tgid(10), tid: Tid(12), name: "io".into() });
    exit(&mut table, 5, 10, 10);
    table.forget_ended(MonotonicNanos(u64::MAX), |_| panic!("thread 12 goes on"));
    let owner = table.owner(&sample(10, 12, 7_000));
    assert_eq!((name(&table, owner), thread_name(&table, owner)), ("server", "io"));
    exit(&mut table, 6, 10, 12);
    let mut forgotten = Vec::new();
    table.forget_ended(MonotonicNanos(u64::MAX), |tgid| forgotten.push(tgid));
    assert_eq!(forgotten, [Tgid(10)]);
    assert_eq!(table.sampled_processes()[0].ended, Some(MonotonicNanos(6)));
}

#[test]
fn exec_by_another_thread_keeps_the_process() {
    let (mut table, _folder) = table();
    fork(&mut table, 1, 10, 5);
    exec(&mut table, 2, 10, "launcher");
    apply(&mut table, 3, ProcessChange::ThreadStart { tgid: Tgid(10), tid: Tid(12), creator: Tid(10) });
    exit(&mut table, 4, 10, 10);
    exec(&mut table, 5, 10, "payload");
    table.forget_ended(MonotonicNanos(u64::MAX), |_| panic!("it lives on as the payload"));
    let owner = table.owner(&sample(10, 10, 7_000));
    assert_eq!(name(&table, owner), "payload");
}

#[test]
fn the_last_ticks_of_an_exit_still_belong_to_the_process() {
    let (mut table, _folder) = table();
    fork(&mut table, 1, 10, 5);
    exec(&mut table, 2, 10, "short");
    exit(&mut table, 3, 10, 10);
    table.forget_ended(MonotonicNanos(1_000_000), |_| panic!("too early"));
    let owner = table.owner(&sample(10, 10, 7_000));
    assert_eq!(name(&table, owner), "short");
}

#[test]
fn a_reused_pid_is_another_process() {
    let (mut table, _folder) = table();
    fork(&mut table, 1, 10, 5);
    exec(&mut table, 2, 10, "first");
    let first = table.owner(&sample(10, 10, 1_000_000_000));
    // The end of the first and the fork of the second were lost.
    let second = table.owner(&sample(10, 10, 9_000_000_000));
    assert_ne!(first.process, second.process);
    assert_eq!(name(&table, second), "[unknown process]");
    assert_eq!(table.counts().get(Outcome::ProcessUnknown), 1);
    assert_eq!(table.owner(&sample(10, 10, 9_000_000_000)), second);
    assert_eq!(table.counts().get(Outcome::ProcessUnknown), 2, "samples are counted, not processes");
}

#[test]
fn lost_events_do_not_make_a_process_unknown() {
    let (mut table, _folder) = table();
    fork(&mut table, 1, 10, 5);
    exec(&mut table, 2, 10, "server");
    map(&mut table, 3, 10, 0x1000, "/srv/server");
    apply(&mut table, 4, ProcessChange::Lost(3));
    let owner = table.owner(&sample(10, 10, 7_000));
    assert_eq!(name(&table, owner), "server");
    assert_eq!(table.counts().get(Outcome::ProcessUnknown), 0);
    assert_eq!(table.counts().get(Outcome::ProcessEventsLost), 3);
}

#[test]
fn a_fork_takes_the_place_of_an_ended_process_with_its_pid() {
    let (mut table, _folder) = table();
    fork(&mut table, 1, 10, 5);
    exec(&mut table, 2, 10, "first");
    exit(&mut table, 3, 10, 10);
    fork(&mut table, 4, 10, 5);
    exec(&mut table, 5, 10, "second");
    table.forget_ended(MonotonicNanos(u64::MAX), |_| panic!("the second lives"));
    let owner = table.owner(&sample(10, 10, 5_000));
    assert_eq!(name(&table, owner), "second");
}

#[test]
fn markers_and_kernel_frames_need_no_process() {
    let (mut table, _folder) = table();
    let owner = table.owner(&sample(1, 1, 0));
    let kernel = table.locate(Tgid(1), owner.process, Frame::kernel(0xffff_ffff_8100_0010, true));
    assert_eq!(kernel, Place::Kernel(KernelAddr(0xffff_ffff_8100_000f)));
    let marker = table.locate(Tgid(1), owner.process, Frame::marker(Outcome::FrameLimit));
    assert_eq!(marker, Place::Marker(Outcome::FrameLimit));
    let unknown_kind = Frame::from_words(u64::MAX, 0);
    assert_eq!(table.locate(Tgid(1), owner.process, unknown_kind), Place::Marker(Outcome::MalformedEvent));
}

#[test]
fn an_exec_whose_event_was_lost_is_another_process() {
    let (mut table, _folder) = table();
    fork(&mut table, 1, 10, 5);
    exec(&mut table, 2, 10, "first");
    let first = table.owner(&RawSample { exec_id: 3, ..sample(10, 10, 7_000) });
    apply(&mut table, 3, ProcessChange::Lost(9));
    let second = table.owner(&RawSample { exec_id: 4, ..sample(10, 10, 7_000) });
    assert_ne!(first.process, second.process);
    assert_eq!(table.counts().get(Outcome::ProcessEventsLost), 9);
}

#[test]
fn a_program_that_was_started_unseen_has_its_own_name() {
    let (mut table, folder) = table();
    fork(&mut table, 1, 10, 5);
    exec(&mut table, 2, 10, "taskset");
    let first = table.owner(&RawSample { exec_id: 3, ..sample(10, 10, 7_000) });
    // It went to a CPU whose events nobody saw.
    write_proc(&folder, "7f0000000000-7f0000001000 r-xp 00000000 00:00 0 \n");
    table.events_unseen(MonotonicNanos(3));
    let second = table.owner(&RawSample { exec_id: 4, ..sample(10, 10, 10_000_000) });
    assert_ne!(first.process, second.process);
    assert_eq!(name(&table, second), "jit");
    assert_eq!(table.counts().get(Outcome::ProcessEventsLost), 0, "nobody knows of any");
}

/// `/proc/10` as it is now, with one executable mapping.
fn write_proc(folder: &tempfile::TempDir, maps: &str) {
    let process = folder.path().join("10");
    std::fs::create_dir_all(process.join("task/10")).unwrap();
    std::fs::write(process.join("task/10/comm"), "jit\n").unwrap();
    std::fs::write(process.join("stat"), format!("10 (jit) S {} 0 0 0", vec!["1"; 18].join(" "))).unwrap();
    std::fs::write(process.join("comm"), "jit\n").unwrap();
    std::fs::write(process.join("maps"), maps).unwrap();
}

#[test]
fn a_process_that_maps_code_at_ever_new_addresses_is_read_again() {
    let (mut table, folder) = table();
    write_proc(&folder, "7f0000000000-7f0000001000 r-xp 00000000 00:00 0 \n");
    fork(&mut table, 1, 10, 5);
    exec(&mut table, 2, 10, "jit");
    let count = |table: &ProcessTable| table.live[&Tgid(10)].mappings.len();
    let mut most = 0;
    for number in 0..20_000u64 {
        map(&mut table, 3 + number, 10, 0x1_0000 + number * 0x10_000, "//anon");
        if number % 100 == 0 {
            table.owner(&sample(10, 10, 0));
            most = most.max(count(&table));
        }
    }
    assert!(most < 700, "{most}: what was unmapped is not told");
    // Nobody samples it any more.
    for number in 0..20_000u64 {
        map(&mut table, 30_000 + number, 10, 0x1_0000 + number * 0x10_000, "//anon");
        assert!(count(&table) < 5 * 520);
    }
    table.owner(&sample(10, 10, 0));
    assert_eq!(count(&table), 1);
}

#[test]
fn a_large_process_is_not_read_again_for_a_few_more_mappings() {
    let (mut table, folder) = table();
    let line =
        |number: u64| format!("{:x}-{:x} r-xp 00000000 00:00 0 \n", number << 16, (number << 16) + 4096);
    let maps: String = (1..5_000).map(line).collect();
    write_proc(&folder, &maps);
    table.owner(&sample(10, 10, 0));
    for number in 6_000..10_000u64 {
        map(&mut table, number, 10, number << 16, "//anon");
    }
    assert!(table.live[&Tgid(10)].is_known);
    (10_000..12_000u64).for_each(|number| map(&mut table, number, 10, number << 16, "//anon"));
    assert!(!table.live[&Tgid(10)].is_known, "it has doubled");
}

#[test]
fn a_root_folder_is_kept_while_its_process_is_sampled_and_closed_when_it_is_not() {
    let (own, pid) = (Tgid(std::process::id()), std::process::id());
    let mut table = ProcessTable::new(ProcFs::host(), 16);
    let mut sampled = || {
        let owner = table.owner(&sample(pid, pid, 0));
        table.locate(own, owner.process, Frame::unbacked(0x10, false));
        let cut = table.take_sampled(&[], std::iter::empty());
        let Root::Open(root) = &cut.processes[0].root else { panic!("{:?}", cut.processes[0].root) };
        Arc::downgrade(root)
    };
    let first = sampled();
    assert!(std::ptr::eq(first.as_ptr(), sampled().as_ptr()), "opened once");
    for _ in 0..7 {
        table.take_sampled(&[], std::iter::empty());
        assert!(first.upgrade().is_some());
    }
    for _ in 0..2 {
        table.take_sampled(&[], std::iter::empty());
    }
    assert!(first.upgrade().is_none());
}
