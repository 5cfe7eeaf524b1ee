//! Samples of made-up processes → the profile as folded text, and how complete it is.

use std::collections::HashMap;
use std::fmt::Write;

use expect_test::{Expect, expect};
use profiler_common::frame::Frame;
use profiler_common::outcome::Outcome;

use super::*;
use crate::collect::decode::RawStack;
use crate::collect::process_event::{FileHint, ProcessChange, ProcessEvent};
use crate::collect::stacks::DefinedStacks;
use crate::collect::{RawSample, StackHash, Tgid};
use crate::host::ProcFs;
use crate::process::table::ProcessTable;
use crate::symbolize::{NamedFunction, NamedLine};
use profiler_common::address::{FileOffset, KernelAddr, RuntimeAddr};

/// A process 10 called "app" with executable memory from 0x1000 to 0x9000 that no file backs.
struct Fixture {
    window: Window,
    stacks: DefinedStacks,
    processes: ProcessTable,
    asked_again: Vec<StackHash>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut processes = ProcessTable::new(ProcFs::at(folder.path()), 16);
        let tgid = Tgid(10);
        let (start, offset) = (RuntimeAddr(0x1000), FileOffset(0));
        let changes = [
            ProcessChange::Fork { child: tgid, parent: Tgid(1) },
            ProcessChange::Exec { tgid, name: "app".into() },
            ProcessChange::Map {
                tgid,
                start,
                len: 0x8000,
                offset,
                path: "//anon".into(),
                hint: FileHint::None,
            },
        ];
        for change in changes {
            processes.apply(ProcessEvent { at: MonotonicNanos(1), change });
        }
        let stacks = DefinedStacks::with_frames(1024);
        Self { window: Window::new(true), stacks, processes, asked_again: Vec::new(), _folder: folder }
    }

    fn define(&mut self, hash: u64, frames: &[Frame]) {
        self.stacks.define(RawStack { hash: StackHash(hash), frames: frames.into() });
    }

    fn sample(&mut self, kernel: Option<u64>, user: Option<u64>, user_outcome: Outcome) {
        let sample = RawSample {
            at: MonotonicNanos(2),
            start_time: 5,
            kernel_stack: kernel.map(StackHash),
            user_stack: user.map(StackHash),
            user_outcome,
            weight: 10,
            ..RawSample::fixture(10)
        };
        let asked_again = &mut self.asked_again;
        let owner = self.processes.owner(&sample);
        let ask_again = |hash| asked_again.push(hash);
        self.window.take(&sample, owner, None, &mut self.stacks, &mut self.processes, ask_again);
    }

    fn check(&mut self, names: &[(Place, &str)], expected: &Expect) -> Finished {
        let named = |&(place, name): &(Place, &str)| {
            let function =
                NamedFunction { name: name.into(), system_name: name.into(), file: "".into(), start_line: 0 };
            (place, Arc::new(vec![NamedLine { function, line: 0 }]))
        };
        let names: HashMap<Place, Arc<NamedAddress>> = names.iter().map(named).collect();
        let event = SampledEvent::CpuClock { period_nanos: 10 };
        let duration = Duration::from_secs(1);
        let capture = Capture { host: "host".into(), started: MonotonicNanos(1), duration, event };
        let sampled = self.processes.take_sampled(self.window.places(), std::iter::empty());
        let finished = build(&self.window, &sampled, &names, &capture, &Clock::host());
        expected.assert_eq(&folded(&finished.profile));
        finished
    }
}

fn folded(profile: &Profile) -> String {
    let name = |id: &u32| {
        let line = profile.locations[*id as usize].lines[0];
        profile.functions[line.function as usize].name.to_string()
    };
    let mut lines: Vec<String> = Vec::new();
    for sample in &profile.samples {
        let mut line = String::new();
        for id in profile.stacks[sample.stack as usize].iter().rev() {
            let _infallible = write!(line, "{};", name(id));
        }
        lines.push(format!("{} {}×{}\n", line.trim_end_matches(';'), sample.count, sample.weight));
    }
    lines.sort();
    lines.concat()
}

fn code(at: u64, is_return: bool) -> Frame {
    Frame::unbacked(at, is_return)
}

fn at(address: u64) -> Place {
    Place::Process(crate::process::ProcessId(0), RuntimeAddr(address))
}

#[test]
fn kernel_frames_come_below_user_frames_and_equal_stacks_merge() {
    let mut fixture = Fixture::new();
    fixture.define(1, &[Frame::kernel(0x20, false), Frame::kernel(0x31, true)]);
    fixture.define(2, &[code(0x1010, false), code(0x2001, true)]);
    fixture.sample(Some(1), Some(2), Outcome::RootReached);
    fixture.sample(Some(1), Some(2), Outcome::RootReached);
    fixture.sample(None, Some(2), Outcome::RootReached);
    let names = [
        (Place::Kernel(KernelAddr(0x20)), "read"),
        (Place::Kernel(KernelAddr(0x30)), "entry"),
        (at(0x1010), "leaf"),
        (at(0x2000), "main"),
    ];
    let finished = fixture.check(
        &names,
        &expect![[r#"
            main;leaf 1×10
            main;leaf;entry;read 2×20
        "#]],
    );
    assert_eq!(finished.completeness.overall.complete, 3);
    assert_eq!(finished.profile.timeline.map(|timeline| timeline.len()), Some(3));
}

#[test]
fn a_chain_that_does_not_reach_an_entry_point_says_so() {
    let mut fixture = Fixture::new();
    fixture.define(1, &[code(0x1010, false), code(0x2001, true)]);
    fixture.sample(None, Some(1), Outcome::FramePointerChainEnd);
    let finished = fixture.check(
        &[(at(0x1010), "leaf")],
        &expect![[r#"
            [incomplete: the chain of frame pointers ended];[anon]+0x2000;leaf 1×10
        "#]],
    );
    let share = finished.completeness.overall;
    let end = BrokenOff { reason: Outcome::FramePointerChainEnd, at: Some(EndedIn::MadeAtRunTime) };
    assert_eq!((share.complete, share.ends()), (0, vec![(&end, 1)]));
}

#[test]
fn what_the_walk_made_up_is_cut() {
    let mut fixture = Fixture::new();
    // Behind _start comes an address in executable memory that is no caller, then one that is not even code.
    fixture
        .define(1, &[code(0x1010, false), code(0x2001, true), code(0x3001, true), code(0xdead_0001, true)]);
    fixture.sample(None, Some(1), Outcome::FramePointerChainEnd);
    let finished = fixture.check(
        &[(at(0x1010), "main"), (at(0x2000), "_start"), (at(0x3000), "unrelated")],
        &expect![[r#"
            _start;main 1×10
        "#]],
    );
    assert_eq!(finished.completeness.overall.complete, 1);
}

#[test]
fn a_leaf_outside_all_code_is_kept() {
    let mut fixture = Fixture::new();
    fixture.define(1, &[code(0xdead_0000, false)]);
    fixture.sample(None, Some(1), Outcome::FramePointerChainEnd);
    fixture.check(
        &[],
        &expect![[r#"
            [incomplete: the chain of frame pointers ended];[anon]+0xdead0000 1×10
        "#]],
    );
}

#[test]
fn a_lost_definition_is_asked_for_again_and_shown() {
    let mut fixture = Fixture::new();
    fixture.sample(None, Some(7), Outcome::FramePointerChainEnd);
    fixture.check(
        &[],
        &expect![[r#"
            [incomplete: its definition was lost on the way] 1×10
        "#]],
    );
    assert_eq!(fixture.asked_again, [StackHash(7)]);
    assert_eq!(fixture.window.counts().get(Outcome::SampleWithoutDefinition), 1);
    fixture.define(7, &[code(0x1010, false)]);
    fixture.sample(None, Some(7), Outcome::RootReached);
    fixture.check(
        &[(at(0x1010), "leaf")],
        &expect![[r#"
            [incomplete: its definition was lost on the way] 1×10
            leaf 1×10
        "#]],
    );
}

#[test]
fn a_sample_that_lost_both_parts_is_one_loss_and_no_whole_stack() {
    let mut fixture = Fixture::new();
    fixture.sample(Some(1), Some(2), Outcome::RootReached);
    fixture.sample(Some(1), None, Outcome::KernelThread);
    let finished = fixture.check(
        &[],
        &expect![[r#"
            [incomplete: its definition was lost on the way] 1×10
            [incomplete: its definition was lost on the way];[incomplete: its definition was lost on the way] 1×10
        "#]],
    );
    assert_eq!(fixture.window.counts().get(Outcome::SampleWithoutDefinition), 2);
    assert_eq!(fixture.asked_again, [1, 2, 1].map(StackHash));
    assert_eq!((finished.completeness.overall.complete, finished.completeness.overall.incomplete()), (0, 2));
}

#[test]
fn a_sample_without_a_user_stack_says_why() {
    let mut fixture = Fixture::new();
    fixture.define(1, &[Frame::kernel(0x20, false)]);
    fixture.sample(Some(1), None, Outcome::NoUserMemory);
    fixture.sample(Some(1), None, Outcome::KernelThread);
    let finished = fixture.check(
        &[(Place::Kernel(KernelAddr(0x20)), "do_exit")],
        &expect![[r#"
            [exiting or in exec];do_exit 1×10
            do_exit 1×10
        "#]],
    );
    let share = finished.completeness.overall;
    assert_eq!(share.with_user_stack(), 0);
    let without: Vec<_> = share.without_user_stack.into_iter().collect();
    assert_eq!(without, [(Outcome::KernelThread, 1), (Outcome::NoUserMemory, 1)]);
}

#[test]
fn what_is_left_out_leaves_nothing_behind() {
    let mut fixture = Fixture::new();
    fixture.define(1, &[code(0x1010, false)]);
    fixture.define(2, &[code(0x2010, false)]);
    for stack in [1, 2, 2] {
        fixture.sample(None, Some(stack), Outcome::RootReached);
    }
    let thread = fixture.window.tallies().next().unwrap().0;
    assert_eq!(fixture.window.leave_out(|_| false), 0);
    assert_eq!(fixture.window.leave_out(|other| other == thread), 3);
    assert_eq!((fixture.window.samples(), fixture.window.timeline()), (0, Some([].as_slice())));
    fixture.sample(None, Some(2), Outcome::RootReached);
    fixture.check(
        &[(at(0x2010), "leaf")],
        &expect![[r#"
            leaf 1×10
        "#]],
    );
}
