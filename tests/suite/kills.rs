//! Killed at any moment: the kernel cleans up, since nothing is pinned, and files are whole or not there.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use profiler_tests::{
    BpfCensus, BpfKind, Capture, Captured, Machine, RunningCapture, Signal, Workload, descendants,
    machine_or_skip, process_group_becomes_empty,
};

const KILLS: u32 = 100;
/// Longer than a start takes on a quiet machine, so that all of it is hit: before the object is loaded, while the
/// verifier runs, half attached, sampling, naming, writing.
const LATEST_MILLIS: u64 = 400;

/// The same moments on every run: the upper bits of a linear congruential generator by Knuth.
fn moments() -> impl Iterator<Item = Duration> {
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    let states = std::iter::successors(Some(4), next).skip(1);
    states.map(|state| Duration::from_millis((state >> 33) % LATEST_MILLIS))
}

/// One of three kinds of run: by frame pointers, by rows, and one that is soon at its end and writes. All of them keep
/// rows in the same folder.
fn start(machine: &Machine, cache: &Path, number: u32) -> Result<RunningCapture> {
    let kind: &[&str] = match number % 3 {
        0 => &["-d", "20s"],
        1 => &["-d", "20s", "--unwind", "frame-pointers"],
        _ => &["-d", "100ms"],
    };
    let capture =
        Capture::record(machine)?.args(["-F", "499"]).env("FLAMEKEEPER_CACHE_DIR", cache).args(kind);
    capture.output("p.pb.gz").output("p.folded").start()
}

/// Whole outputs, or none; under a temporary name in the same folder anything may lie.
fn outputs_are_whole(captured: &Captured) -> Result<()> {
    for name in captured.files()? {
        match name.as_str() {
            "p.pb.gz" => drop(captured.pprof("p.pb.gz")?),
            "p.folded" => drop(captured.folded("p.folded")?),
            other => ensure!(other.starts_with(".flamekeeper-") && other.ends_with(".tmp"), "{other}"),
        }
    }
    ensure!(captured.temporary_files()?.is_empty(), "{:?}", captured.temporary_files()?);
    Ok(())
}

/// Kept rows under their final names have the length that their heads say: 32 bytes with four counts at 16, 68 of
/// statistics, and what is counted. Gives how many there are.
fn kept_rows_are_whole(cache: &Path) -> Result<usize> {
    let mut whole = 0;
    for entry in std::fs::read_dir(cache).context("list kept rows")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(".new-") {
            continue;
        }
        ensure!(name.ends_with(".rows"), "{name}");
        let bytes = std::fs::read(cache.join(&name))?;
        let count = |at: usize| {
            let count = bytes.get(at..).and_then(|rest| rest.first_chunk().copied()).map(u32::from_le_bytes);
            count.map(usize::try_from).with_context(|| format!("{name} has {} bytes", bytes.len()))
        };
        let length = 100 + count(16)?? + 12 * count(20)?? + 8 * count(24)?? + 4 * count(28)??;
        ensure!(bytes.len() == length, "{name} has {} bytes, not {length}", bytes.len());
        whole += 1;
    }
    Ok(whole)
}

#[test]
fn a_hundred_kills_at_any_moment_leave_no_program_map_link_or_process() -> Result<()> {
    let machine = machine_or_skip!();
    let _burning = Workload::build("c_frame_pointers")?.start()?;
    let folder = tempfile::tempdir()?;
    let cache = folder.path().join("rows");
    let before = BpfCensus::take()?;
    let children_before = descendants(std::process::id())?;
    let (mut killed_with_maps, mut ended_before) = (0, 0);
    for (number, moment) in (0..KILLS).zip(moments()) {
        let capture = start(&machine, &cache, number)?;
        // Some are hit while they sample, however long a start takes here.
        if number % 10 == 0 {
            capture.samples()?;
        }
        std::thread::sleep(moment);
        let ours = BpfCensus::take()?.since(&before);
        capture.signal(Signal::KILL)?;
        let captured = capture.finish()?;
        ensure!(captured.signal == Some(9) || captured.code == Some(0), "{}", captured.stderr);
        killed_with_maps += u32::from(captured.signal == Some(9) && ours.count(BpfKind::Map) > 0);
        ended_before += u32::from(captured.code == Some(0));
        ensure!(process_group_becomes_empty(captured.pid)?, "kill {number} after {moment:?} left a process");
        outputs_are_whole(&captured)?;
    }
    ensure!(killed_with_maps >= 6, "only {killed_with_maps} were killed with maps in the kernel");
    ensure!(ended_before < KILLS / 2, "{ended_before} had ended by themselves");
    // What all these left behind does not disturb one that is left in peace.
    let last = Capture::record(&machine)?.args(["-d", "1s", "--unwind", "rows"]).output("p.folded");
    let last = last.env("FLAMEKEEPER_CACHE_DIR", &cache).run()?.expect_code(0)?;
    ensure!(last.folded("p.folded")?.total() > 0 && kept_rows_are_whole(&cache)? > 0, "{}", last.stderr);
    let left = BpfCensus::take()?.since(&before);
    left.are_gone()?;
    let now = descendants(std::process::id())?;
    ensure!(now.iter().all(|pid| children_before.contains(pid)), "{now:?}");
    Ok(())
}
