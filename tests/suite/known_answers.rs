//! Programs whose profile is known before it is taken: shares, totals, inlined lines, kernel frames.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, FrameView, Stacks, Workload, ensure_near, machine_or_skip};

const RATE_HZ: f64 = 997.0;

/// `record -F 997 -o profile.pb.gz -o profile.folded -- WORKLOAD`
fn capture(machine: &profiler_tests::Machine, workload: &Workload) -> Result<profiler_tests::Captured> {
    let capture =
        Capture::record(machine)?.args(["-F", "997"]).output("profile.pb.gz").output("profile.folded");
    capture.command(workload).run()?.expect_code(0)
}

#[test]
fn shares_and_total_are_those_that_were_built_in() -> Result<()> {
    let machine = machine_or_skip!();
    let workload = Workload::build("c_frame_pointers")?.args(["2000"]);
    let captured = capture(&machine, &workload)?;
    let stacks = captured.folded("profile.folded")?.of("c_frame_pointers");
    let burn = ["main", "outer", "inner", "burn_*"];
    stacks.ensure_share_at_least(&burn, 0.98)?;
    for (function, share) in [("burn_seventy", 0.7), ("burn_twenty", 0.2), ("burn_ten", 0.1)] {
        stacks.ensure_share(&["main", "outer", "inner", function], share)?;
    }
    // What the program says it used, from its first instruction to its last but few.
    let cpu_nanos = u32::try_from(captured.printed("cpu_nanos")? / 1000).context("CPU time")?;
    let expected = RATE_HZ * f64::from(cpu_nanos) / 1e6;
    let total = u32::try_from(stacks.total()).context("total")?;
    ensure_near("samples against rate x CPU seconds", f64::from(total), expected, 0.05)
}

#[test]
fn pprof_and_folded_have_the_same_samples() -> Result<()> {
    let machine = machine_or_skip!();
    let workload = Workload::build("c_frame_pointers")?.args(["1000"]);
    let captured = capture(&machine, &workload)?;
    let pprof = captured.pprof("profile.pb.gz")?;
    let folded = captured.folded("profile.folded")?;
    ensure!(folded.total() == pprof.stacks().total(), "{folded}\n{}", pprof.stacks());
    let seventy = |stacks: &Stacks| stacks.of("c_frame_pointers").count_with(&["main", "burn_seventy"]);
    ensure!(seventy(&folded) > 500, "{folded}");
    ensure!(seventy(&folded) == seventy(&pprof.stacks()), "{folded}\n{}", pprof.stacks());
    Ok(())
}

/// Number of the line of a workload's source that has this mark.
fn marked_line(source: &str, mark: &str) -> Result<i64> {
    let at = source.lines().position(|line| line.contains(&format!("mark: {mark}")));
    Ok(i64::try_from(at.with_context(|| format!("no {mark} in the source"))?)? + 1)
}

#[test]
fn inlined_functions_are_lines_of_one_location() -> Result<()> {
    let machine = machine_or_skip!();
    let captured = capture(&machine, &Workload::build("rust_inlined")?.args(["150"]))?;
    let pprof = captured.pprof("profile.pb.gz")?;
    let source =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/rust_inlined.rs"))?;
    let work = marked_line(&source, "work begins")? - 1..=marked_line(&source, "work ends")?;
    let calls = [marked_line(&source, "innermost is called")?, marked_line(&source, "between is called")?];

    let is =
        |frame: &FrameView, name: &str| frame.name.ends_with(name) && frame.file.ends_with("rust_inlined.rs");
    let (mut right, mut all) = (0, 0);
    for sample in
        pprof.samples.iter().filter(|sample| sample.labels["process_executable_name"] == "rust_inlined")
    {
        all += sample.count();
        if let Some([inner, between, physical]) = sample.locations.first().map(Vec::as_slice)
            && is(inner, "innermost")
            && is(between, "between")
            && is(physical, "physical")
            && work.contains(&inner.line)
            && [between.line, physical.line] == calls
        {
            right += sample.count();
        }
    }
    ensure!(all >= 200 && right * 100 >= all * 90, "{right} of {all} samples are right\n{}", pprof.stacks());
    pprof
        .stacks()
        .of("rust_inlined")
        .ensure_share_at_least(&["*main", "*physical", "*between", "*innermost"], 0.9)
}

#[test]
fn functions_begin_where_the_source_says() -> Result<()> {
    let machine = machine_or_skip!();
    let captured = capture(&machine, &Workload::build("rust_inlined")?.args(["50"]))?;
    let pprof = captured.pprof("profile.pb.gz")?;
    let source =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/rust_inlined.rs"))?;
    let begins = source.lines().position(|line| line.starts_with("fn physical")).context("no physical")?;
    let frames = pprof.samples.iter().flat_map(|sample| sample.locations.iter().flatten());
    let physical =
        frames.into_iter().find(|frame| frame.name.ends_with("physical")).context("not sampled")?;
    ensure!(physical.start_line == i64::try_from(begins)? + 1, "{physical:?}");
    ensure!(
        physical.system_name != physical.name && physical.system_name.contains("physical"),
        "{physical:?}"
    );
    Ok(())
}

#[test]
fn kernel_frames_lie_below_the_user_frames_that_called_them() -> Result<()> {
    let machine = machine_or_skip!();
    let captured = capture(&machine, &Workload::build("c_kernel_reader")?.args(["1000"]))?;
    let stacks = captured.folded("profile.folded")?.of("c_kernel_reader");
    stacks.ensure_share_at_least(&["main", "read_zeroes", "vfs_read_[k]"], 0.8)?;
    // Once in the kernel, a stack stays there.
    let mixed = stacks.0.iter().find(|stack| {
        let first =
            stack.frames.iter().position(|frame| frame.ends_with("_[k]")).unwrap_or(stack.frames.len());
        stack.frames.iter().skip(first).any(|frame| !frame.ends_with("_[k]"))
    });
    ensure!(mixed.is_none(), "a user frame below a kernel frame: {mixed:?}");
    Ok(())
}

#[test]
fn c_plus_plus_names_are_demangled() -> Result<()> {
    let machine = machine_or_skip!();
    let captured = capture(&machine, &Workload::build("cpp_names")?.args(["500"]))?;
    let pprof = captured.pprof("profile.pb.gz")?;
    pprof
        .stacks()
        .of("cpp_names")
        .ensure_share_at_least(&["main", "furnace::Stove<unsigned long>::burn_fuel*"], 0.9)?;
    let mut frames = pprof.samples.iter().flat_map(|sample| sample.locations.iter().flatten());
    let method = frames.find(|frame| frame.name.contains("burn_fuel")).context("not sampled")?;
    ensure!(method.system_name == "_ZN7furnace5StoveImE9burn_fuelEm", "{method:?}");
    Ok(())
}

#[test]
fn go_programs_are_named_from_their_symbol_table() -> Result<()> {
    profiler_tests::tool_or_skip!("go");
    let machine = machine_or_skip!();
    let burning = Workload::build("go_burn")?.start()?;
    let capture =
        Capture::record(&machine)?.args(["-F", "499", "-d", "2s"]).of(burning.pid()).output("go.folded");
    let stacks = capture.run()?.expect_code(0)?.folded("go.folded")?;
    stacks.of("go_burn").ensure_share_at_least(&["main.main.func1", "main.feed", "main.(*stove).burn"], 0.9)
}

#[test]
fn the_default_rate_is_99_a_second() -> Result<()> {
    let machine = machine_or_skip!();
    let workload = Workload::build("c_frame_pointers")?.args(["2000"]);
    let captured = Capture::record(&machine)?.output("p.pb.gz").command(&workload).run()?.expect_code(0)?;
    let pprof = captured.pprof("p.pb.gz")?;
    ensure!(pprof.period == 1_000_000_000 / 99, "period {}", pprof.period);
    let total = u32::try_from(pprof.stacks().of("c_frame_pointers").total())?;
    ensure_near("samples of two CPU seconds", f64::from(total), 198.0, 0.05)
}

#[test]
fn a_stack_deeper_than_the_frame_pointer_walker_goes_keeps_its_leaf_and_says_so() -> Result<()> {
    let machine = machine_or_skip!();
    let running = Workload::build("c_deep")?.args(["500"]).start()?;
    let capture = Capture::record(&machine)?.args(["--unwind", "frame-pointers", "-F", "499", "-d", "1s"]);
    let captured = capture.of(running.pid()).output("p.folded").run()?.expect_code(0)?;
    let stacks = captured.folded("p.folded")?.of("c_deep");
    stacks
        .ensure_share_at_least(&["*incomplete*", "descend", "descend", "descend", "burn_at_the_end"], 0.9)?;
    let deep = |stack: &&profiler_tests::Stack| {
        stack.frames.iter().filter(|frame| *frame == "descend").count() >= 50
    };
    ensure!(stacks.0.iter().any(|stack| deep(&stack)), "{stacks}");
    stacks.ensure_none(&["main", "descend"])
}
