//! `record -- COMMAND` and how a capture ends: exit statuses, signals, a duration that is shorter than the command.

use std::time::Duration;

use anyhow::{Result, ensure};
use profiler_tests::{Capture, Captured, Machine, Signal, Workload, machine_or_skip};

/// `record -o p.folded -- sh -c SCRIPT`
fn shell(machine: &Machine, script: &str) -> Result<Captured> {
    let command = Workload::program("sh").args(["-c", script]);
    Capture::record(machine)?.output("p.folded").command(&command).run()
}

#[test]
fn the_status_of_a_command_is_passed_on() -> Result<()> {
    let machine = machine_or_skip!();
    let captured =
        shell(&machine, "echo out; echo err >&2; exit 3")?.expect_code(3)?.expect_words(&["err"])?;
    ensure!(captured.stdout_text() == "out\n", "{:?}", captured.stdout_text());
    shell(&machine, "exit 0")?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_command_has_the_limit_of_open_files_that_it_would_have_without_us() -> Result<()> {
    let machine = machine_or_skip!();
    let limits = Workload::program("sh").args(["-c", "ulimit -Sn; ulimit -Hn"]);
    let lowered = ["sh", "-c", r#"ulimit -Sn 300; exec "$0" "$@""#];
    let captured = Capture::record(&machine)?.under(lowered).output("p.folded").command(&limits).run()?;
    let captured = captured.expect_code(0)?;
    ensure!(captured.stdout_text().starts_with("300\n"), "{:?}", captured.stdout_text());
    Ok(())
}

#[test]
fn the_signal_that_ends_a_command_is_passed_on() -> Result<()> {
    let machine = machine_or_skip!();
    shell(&machine, "kill -TERM $$")?.expect_code(128 + 15)?;
    shell(&machine, "kill -KILL $$")?.expect_code(128 + 9)?;
    Ok(())
}

#[test]
fn a_command_that_is_not_there_is_127() -> Result<()> {
    let machine = machine_or_skip!();
    let missing = Workload::program("no-such-program-anywhere");
    let captured = Capture::record(&machine)?.output("p.folded").command(&missing).run()?;
    captured.expect_code(127)?.expect_words(&["no-such-program-anywhere"])?;
    Ok(())
}

#[test]
fn a_command_that_cannot_be_executed_is_126() -> Result<()> {
    let machine = machine_or_skip!();
    let file = tempfile::NamedTempFile::new()?;
    let captured =
        Capture::record(&machine)?.output("p.folded").command(&Workload::program(file.path())).run()?;
    let name = file.path().display().to_string();
    captured.expect_code(126)?.expect_words(&[&name])?;
    Ok(())
}

#[test]
fn a_failure_of_our_own_is_125_and_the_command_does_not_run() -> Result<()> {
    let machine = machine_or_skip!();
    let marker = tempfile::tempdir()?;
    let file = marker.path().join("ran");
    let touch = Workload::program("touch").args([&file]);
    let captured = Capture::record(&machine)?.output("missing-folder/p.folded").command(&touch).run()?;
    captured.expect_code(125)?.expect_words(&["missing-folder"])?;
    ensure!(!file.exists(), "the command ran although nothing could be written");
    Ok(())
}

#[test]
fn a_command_is_profiled_with_its_children_and_nothing_else() -> Result<()> {
    let machine = machine_or_skip!();
    let burn = Workload::build("c_frame_pointers")?;
    let _other = Workload::build("c_kernel_reader")?.start()?;
    let script = format!("{} 300 & {} 300 & wait", burn.path().display(), burn.path().display());
    let command = Workload::program("sh").args(["-c".to_owned(), script]);
    let captured =
        Capture::record(&machine)?.args(["-F", "499"]).output("p.pb.gz").command(&command).run()?;
    let pprof = captured.expect_code(0)?.pprof("p.pb.gz")?;
    let stacks = pprof.stacks();
    ensure!(!stacks.processes().contains(&"c_kernel_reader"), "{stacks}");
    ensure!(stacks.of("c_frame_pointers").total() >= 250, "{stacks}");
    let pids = pprof.samples.iter().filter(|sample| sample.stack().process == "c_frame_pointers");
    let pids: std::collections::BTreeSet<_> = pids.map(|sample| sample.numbers["pid"]).collect();
    ensure!(pids.len() == 2, "{pids:?}");
    Ok(())
}

#[test]
fn a_command_that_outlasts_the_duration_runs_on_and_is_waited_for() -> Result<()> {
    let machine = machine_or_skip!();
    let burn = Workload::build("c_frame_pointers")?.args(["2500"]);
    let captured =
        Capture::record(&machine)?.args(["-F", "499", "-d", "1s"]).output("p.folded").command(&burn).run()?;
    let captured = captured.expect_code(0)?;
    // It went through all its work, and at most about one second of it was seen; all would be 1247 samples.
    ensure!(captured.printed("cpu_nanos")? >= 2_500_000_000, "{}", captured.stdout_text());
    let total = captured.folded("p.folded")?.of("c_frame_pointers").total();
    ensure!((50..=650).contains(&total), "{total} samples of one second");
    Ok(())
}

#[test]
fn a_command_that_outlasts_the_duration_passes_its_status_on() -> Result<()> {
    let machine = machine_or_skip!();
    let burn = Workload::build("c_frame_pointers")?;
    let script = format!("{} 1500; exit 7", burn.path().display());
    let command = Workload::program("sh").args(["-c".to_owned(), script]);
    let capture = Capture::record(&machine)?.args(["-d", "1s"]).output("p.folded").command(&command);
    ensure!(capture.run()?.expect_code(7)?.folded("p.folded")?.total() > 0, "nothing was written");
    Ok(())
}

/// A capture without an end of its own, ended by a signal after a known program has worked for a while.
fn ended_by(signal: Signal, duration: &[&str]) -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_frame_pointers")?.start()?;
    let capture =
        Capture::record(&machine)?.args(["-F", "499"]).args(duration.iter().copied()).of(burning.pid());
    let capture = capture.output("p.folded").output("p.svg").start()?;
    capture.samples()?;
    burning.works_on(10)?;
    capture.signal(signal)?;
    let captured = capture.finish()?.expect_code(0)?;
    ensure!(captured.text("p.svg")?.contains("burn_seventy"), "no picture");
    captured.folded("p.folded")?.ensure_share(&["main", "outer", "inner", "burn_seventy"], 0.7)
}

#[test]
fn ctrl_c_ends_a_capture_that_still_writes() -> Result<()> {
    ended_by(Signal::INT, &[])
}

#[test]
fn ctrl_c_ends_a_capture_before_its_duration() -> Result<()> {
    ended_by(Signal::INT, &["-d", "10m"])
}

#[test]
fn sigterm_ends_a_capture_that_still_writes() -> Result<()> {
    ended_by(Signal::TERM, &[])
}

#[test]
fn sigterm_during_a_command_still_writes() -> Result<()> {
    let machine = machine_or_skip!();
    let burn = Workload::build("c_frame_pointers")?.args(["3000"]);
    let capture = Capture::record(&machine)?.args(["-F", "499"]).output("p.folded").command(&burn).start()?;
    capture.next_line(|line| line == "ready", Duration::from_secs(20))?;
    let own_child = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.trim() == "c_frame_pointer")
    };
    let command = profiler_tests::descendants(capture.pid())?.into_iter().find(own_child);
    ensure!(command.is_some(), "the command is no child of the capture");
    capture.signal(Signal::TERM)?;
    // Whether the command is ended with it or waited for: the samples are written.
    let captured = capture.finish()?;
    captured.folded("p.folded")?;
    Ok(())
}

#[test]
fn sigterm_while_a_command_is_waited_for_ends_both() -> Result<()> {
    let machine = machine_or_skip!();
    let burn = Workload::build("c_frame_pointers")?;
    let capture = Capture::record(&machine)?.args(["-d", "1s"]).output("p.folded").command(&burn).start()?;
    // The profile is written by then, and the command would run for ever.
    capture.stderr_line(|line| line.contains("waiting for"), Duration::from_secs(20))?;
    capture.signal(Signal::TERM)?;
    let captured = capture.finish()?;
    ensure!(captured.folded("p.folded")?.total() > 0, "nothing was written");
    ensure!(profiler_tests::process_group_is_empty(captured.pid)?, "the command runs on without its parent");
    Ok(())
}
