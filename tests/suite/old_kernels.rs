//! What is done on kernels that lack something, forced on one that has it: the stacks are as whole there.

use std::time::Duration;

use anyhow::{Result, ensure};
use profiler_tests::{Capture, Captured, Machine, Signal, Workload, machine_or_skip};

/// What 5.10 lacks; it has tail calls.
const AS_ON_5_10: &str = "bpf_loop,bpf_task_pt_regs,perf_links";
/// Nor does this one run programs that call programs.
const WITHOUT_TAIL_CALLS: &str = "bpf_loop,bpf_task_pt_regs,perf_links,tail_calls";

fn record(machine: &Machine, without: &str, workload: &Workload) -> Result<Captured> {
    let capture = Capture::record(machine)?.args(["-F", "499"]).env("FLAMEKEEPER_KERNEL_WITHOUT", without);
    capture.output("profile.folded").command(workload).run()?.expect_code(0)
}

#[test]
fn user_stacks_are_whole_without_bpf_loop() -> Result<()> {
    let machine = machine_or_skip!();
    let workload = Workload::build("c_no_frame_pointers")?.args(["1500"]);
    for (without, how) in [(AS_ON_5_10, "by tail calls"), (WITHOUT_TAIL_CALLS, "unwound in user space")] {
        let captured = record(&machine, without, &workload)?.expect_words(&[how])?;
        let stacks = captured.folded("profile.folded")?.of("c_no_frame_pointers");
        ensure!(stacks.total() > 400, "{stacks}");
        stacks.ensure_share_at_least(&["_start", "main", "burn_without_frame"], 0.98)?;
    }
    Ok(())
}

#[test]
fn stacks_deeper_than_the_calls_go_keep_their_root() -> Result<()> {
    let machine = machine_or_skip!();
    let workload = Workload::build("c_deep_no_frame_pointers")?.args(["1500"]);
    for without in [AS_ON_5_10, WITHOUT_TAIL_CALLS] {
        let captured = record(&machine, without, &workload)?;
        let stacks = captured.folded("profile.folded")?.of("c_deep_no_frame_pointers");
        stacks.ensure_share_at_least(&["_start", "main"], 0.97)?;
    }
    Ok(())
}

#[test]
fn samples_in_the_kernel_have_their_user_stack() -> Result<()> {
    let machine = machine_or_skip!();
    let workload = Workload::build("c_kernel_reader")?.args(["1000"]);
    for without in [AS_ON_5_10, WITHOUT_TAIL_CALLS] {
        let captured = record(&machine, without, &workload)?;
        let stacks = captured.folded("profile.folded")?.of("c_kernel_reader");
        stacks.ensure_share_at_least(&["_start", "main", "read_zeroes", "*read*"], 0.9)?;
        ensure!(captured.lines_with("user registers").is_empty(), "registers were not found");
    }
    Ok(())
}

#[test]
fn forked_children_are_followed() -> Result<()> {
    let machine = machine_or_skip!();
    let family = Workload::build("c_family")?.start()?;
    let capture = Capture::record(&machine)?.args(["-F", "499", "-d", "2s", "--children"]).of(family.pid());
    let capture = capture.env("FLAMEKEEPER_KERNEL_WITHOUT", AS_ON_5_10).output("profile.folded").start()?;
    capture.samples()?;
    family.signal(Signal::USR1)?;
    family.next_line(|line| line.starts_with("late "), Duration::from_secs(10))?;
    let stacks = capture.finish()?.expect_code(0)?.folded("profile.folded")?;
    for function in ["burn_in_parent", "burn_in_early_child", "burn_in_late_child"] {
        ensure!(stacks.count_with(&["main", function]) >= 20, "{function}: {stacks}");
    }
    Ok(())
}

#[test]
fn without_types_frame_pointers_lead_on() -> Result<()> {
    let machine = machine_or_skip!();
    let workload = Workload::build("c_frame_pointers")?.start()?;
    let capture = Capture::record(&machine)?.args(["-F", "499", "-d", "1s"]).of(workload.pid());
    let capture = capture.env("FLAMEKEEPER_KERNEL_WITHOUT", "btf,bpf_loop,bpf_task_pt_regs,perf_links");
    let captured = capture.output("profile.folded").run()?.expect_code(0)?;
    let captured = captured.expect_words(&["frame pointers only"])?;
    let stacks = captured.folded("profile.folded")?.of("c_frame_pointers");
    stacks.ensure_share_at_least(&["main", "outer", "inner", "burn_*"], 0.97)
}

#[test]
fn doctor_says_how_stacks_are_walked() -> Result<()> {
    let _machine = machine_or_skip!();
    let doctor = |without: &str| {
        let run = Capture::plain(["doctor"])?.env("FLAMEKEEPER_KERNEL_WITHOUT", without).run()?;
        anyhow::Ok(run.stdout_text().split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let expect = |without: &str, words: &[&str]| {
        let text = doctor(without)?;
        ensure!(words.iter().all(|words| text.contains(words)), "{words:?} not in {text}");
        Ok(())
    };
    expect("", &["in-kernel walker yes, as deep as stacks are kept"])?;
    expect(
        AS_ON_5_10,
        &["yes, by tail calls (bpf_loop, bpf_task_pt_regs missing)", "by ioctl: there are no links"],
    )?;
    expect(WITHOUT_TAIL_CALLS, &["no (bpf_loop, bpf_task_pt_regs missing, tail calls refused)"])?;
    expect("btf", &["limited in-kernel walker no (btf missing)", "limited kernel types (BTF) not there"])
}
