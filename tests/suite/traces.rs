//! What a capture leaves behind: nothing but its outputs.

use anyhow::{Result, ensure};
use profiler_tests::{BpfCensus, Capture, Signal, Workload, machine_or_skip, process_group_is_empty};

#[test]
fn programs_processes_and_temporary_files_are_gone_afterwards() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_frame_pointers")?.start()?;
    let before = BpfCensus::take()?;
    let capture =
        Capture::record(&machine)?.args(["-F", "99"]).of(burning.pid()).output("p.pb.gz").start()?;
    capture.samples()?;
    burning.works_on(2)?;
    let ours = BpfCensus::take()?.since(&before);
    ensure!(!ours.is_empty(), "no BPF program is loaded while it samples");
    capture.signal(Signal::INT)?;
    let captured = capture.finish()?.expect_code(0)?;
    ours.are_gone()?;
    ensure!(captured.files()? == ["p.pb.gz"], "{:?}", captured.files()?);
    ensure!(captured.temporary_files()?.is_empty(), "{:?}", captured.temporary_files()?);
    ensure!(process_group_is_empty(captured.pid)?, "a process is left");
    Ok(())
}

#[test]
fn programs_are_gone_after_a_kill() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_frame_pointers")?.start()?;
    let before = BpfCensus::take()?;
    let capture =
        Capture::record(&machine)?.args(["-F", "99"]).of(burning.pid()).output("p.pb.gz").start()?;
    capture.samples()?;
    let ours = BpfCensus::take()?.since(&before);
    capture.signal(Signal::KILL)?;
    let captured = capture.finish()?;
    ensure!(captured.signal == Some(9), "{:?}", captured.code);
    ours.are_gone()?;
    ensure!(process_group_is_empty(captured.pid)?, "a process is left");
    Ok(())
}

#[test]
fn a_failed_capture_leaves_nothing_either() -> Result<()> {
    let machine = machine_or_skip!();
    let before = BpfCensus::take()?;
    let missing = Workload::program("no-such-program-anywhere");
    let captured = Capture::record(&machine)?.output("p.pb.gz").command(&missing).run()?.expect_code(127)?;
    BpfCensus::take()?.since(&before).are_gone()?;
    ensure!(captured.files()?.is_empty(), "{:?}", captured.files()?);
    ensure!(captured.temporary_files()?.is_empty(), "{:?}", captured.temporary_files()?);
    Ok(())
}
