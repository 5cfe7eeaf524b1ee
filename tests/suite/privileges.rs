//! With less than root: what is refused, what works all the same, and how loudly.

use anyhow::{Result, ensure};
use profiler_tests::{Capture, Captured, Machine, Workload, machine_or_skip};

/// `record -F 499 -d 1s -o p.folded -p PID`
fn record(machine: &Machine, pid: u32) -> Result<Capture> {
    Ok(Capture::record(machine)?.args(["-F", "499", "-d", "1s"]).output("p.folded").of(pid))
}

fn has_samples(captured: &Captured) -> Result<()> {
    captured.folded("p.folded")?.ensure_share(&["main", "outer", "inner", "burn_seventy"], 0.7)
}

#[test]
fn nobody_is_refused_with_what_is_missing_and_how_to_mend_it() -> Result<()> {
    let machine = machine_or_skip!();
    let capture = Capture::record(&machine)?.args(["-d", "1s"]).output("p.folded").as_nobody()?;
    let captured = capture.run()?.expect_code(77)?.expect_words(&["CAP_BPF", "CAP_PERFMON", "sudo"])?;
    ensure!(!captured.files()?.contains(&"p.folded".to_owned()), "it wrote a profile");
    Ok(())
}

#[test]
fn nobody_is_refused_for_a_command_before_it_runs() -> Result<()> {
    let machine = machine_or_skip!();
    let command = Workload::program("echo").args(["it ran"]);
    let captured = Capture::record(&machine)?.output("p.folded").command(&command).as_nobody()?.run()?;
    ensure!(
        captured.code == Some(77) || captured.code == Some(125),
        "{:?}: {}",
        captured.code,
        captured.stderr
    );
    ensure!(captured.stdout.is_empty(), "{}", captured.stdout_text());
    captured.expect_words(&["CAP_BPF"])?;
    Ok(())
}

#[test]
fn a_single_missing_capability_is_named() -> Result<()> {
    let machine = machine_or_skip!();
    // CAP_SYS_ADMIN stands in for both, so it goes, too.
    for (dropped, name, other) in [("perfmon", "CAP_PERFMON", "CAP_BPF"), ("bpf", "CAP_BPF", "CAP_PERFMON")] {
        let capture = Capture::record(&machine)?.args(["-d", "1s"]).output("p.folded");
        let captured = capture.without_capabilities(&[dropped, "sys_admin"]).run()?.expect_code(77)?;
        let captured = captured.expect_words(&[name])?;
        let missing = captured.lines_with("missing");
        ensure!(!missing.iter().any(|line| line.contains(other)), "{other} is there: {missing:?}");
    }
    Ok(())
}

#[test]
fn the_capabilities_of_the_documentation_are_enough() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_frame_pointers")?.start()?;
    let only = "+bpf,+perfmon,+sys_ptrace,+dac_read_search,+syslog,+checkpoint_restore";
    let setpriv = ["setpriv".to_owned(), format!("--bounding-set=-all,{only}")];
    let captured = record(&machine, burning.pid())?.under(setpriv).run()?.expect_code(0)?;
    has_samples(&captured)
}

#[test]
fn without_sys_resource_nothing_is_alarming() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_frame_pointers")?.start()?;
    let capture = record(&machine, burning.pid())?.without_capabilities(&["sys_resource"]);
    let captured = capture.run()?.expect_code(0)?;
    has_samples(&captured)?;
    ensure!(captured.lines_with("error").is_empty(), "{}", captured.stderr);
    ensure!(captured.lines_with("warning").len() <= 1, "{}", captured.stderr);
    Ok(())
}

#[test]
fn without_tracefs_and_module_list_nothing_is_alarming() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_frame_pointers")?.start()?;
    let hide = "umount /sys/kernel/tracing 2>/dev/null || true; umount /sys/kernel/debug 2>/dev/null || true; \
                if [ -e /proc/modules ]; then mount --bind /dev/null /proc/modules; fi";
    let captured = record(&machine, burning.pid())?.after_mounting(hide).run()?.expect_code(0)?;
    has_samples(&captured)?;
    ensure!(captured.lines_with("error").is_empty(), "{}", captured.stderr);
    ensure!(captured.lines_with("warning").len() <= 1, "{}", captured.stderr);
    Ok(())
}

#[test]
fn two_captures_at_once_both_succeed() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_frame_pointers")?.start()?;
    let first = record(&machine, burning.pid())?.start()?;
    let second = record(&machine, burning.pid())?.start()?;
    for capture in [first, second] {
        has_samples(&capture.finish()?.expect_code(0)?)?;
    }
    Ok(())
}

#[test]
fn a_spent_ring_allowance_costs_one_warning() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_frame_pointers")?.start()?;
    let modest = |capture: Capture| {
        // The user's allowance binds only those who may not lock memory at will.
        let capture = capture.without_capabilities(&["ipc_lock"]);
        capture.under(["prlimit", "--memlock=65536:65536"])
    };
    let mut running = Vec::new();
    for _ in 0..3 {
        let capture = modest(record(&machine, burning.pid())?).start()?;
        capture.samples()?;
        running.push(capture);
    }
    let mut warned = 0;
    for capture in running {
        let captured = capture.finish()?.expect_code(0)?;
        has_samples(&captured)?;
        let warnings = captured.lines_with("warning").len();
        ensure!(warnings <= 1, "more than one warning:\n{}", captured.stderr);
        warned += warnings;
    }
    ensure!(warned >= 1, "three captures share an allowance for one and nobody says so");
    Ok(())
}
