//! `record --unwind rows`: programs without frame pointers, walked to their root in the kernel.

use anyhow::Result;
use profiler_tests::{Capture, Machine, Stacks, Workload, machine_or_skip};

/// Four seconds of a process, by rows. Its first samples come before its rows are ready, which takes a thread of low
/// priority a while on a busy machine: so the shares asked for are far below what a quiet one gives.
fn walked(machine: &Machine, workload: &str) -> Result<Stacks> {
    let burning = Workload::build(workload)?.start()?;
    let capture = Capture::record(machine)?
        .of(burning.pid())
        .args(["--unwind", "rows", "-F", "499", "-d", "4s"])
        .output("p.folded");
    capture.run()?.expect_code(0)?.folded("p.folded")
}

#[test]
fn a_program_without_frame_pointers_is_walked_to_its_root() -> Result<()> {
    let machine = machine_or_skip!();
    let stacks = walked(&machine, "c_no_frame_pointers")?;
    stacks.ensure_share_at_least(&["_start", "main", "burn_without_frame"], 0.7)
}

#[test]
fn four_hundred_frames_are_all_there() -> Result<()> {
    let machine = machine_or_skip!();
    let stacks = walked(&machine, "c_deep_no_frame_pointers")?;
    let mut whole = vec!["_start", "main"];
    whole.extend(["descend"; 401]);
    whole.push("burn_at_the_end");
    stacks.ensure_share_at_least(&whole, 0.7)
}

#[test]
fn frame_pointers_and_rows_agree_where_there_are_both() -> Result<()> {
    let machine = machine_or_skip!();
    let stacks = walked(&machine, "c_frame_pointers")?;
    stacks.ensure_share_at_least(&["_start", "main", "outer", "inner"], 0.7)
}
