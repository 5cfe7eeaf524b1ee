//! The same seconds seen by another profiler: Debian's `perf record -e cpu-clock -a`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, Workload, machine_or_skip, tool_or_skip};

/// Process and innermost function of each of perf's samples.
fn perf_samples(data: &Path) -> Result<Vec<(u32, String)>> {
    let output = Command::new("perf").args(["script", "-F", "pid,ip,sym", "-i"]).arg(data).output()?;
    ensure!(output.status.success(), "perf script: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let sample = |line: &str| {
        let (pid, rest) = line.trim().split_once(' ')?;
        let (_address, function) = rest.trim().split_once(' ')?;
        Some((pid.parse().ok()?, function.trim().to_owned()))
    };
    Ok(text.lines().filter_map(sample).collect())
}

fn share(part: usize, whole: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(part)?) / f64::from(u32::try_from(whole.max(1))?))
}

#[test]
fn perf_sees_the_same_shares_at_the_same_time() -> Result<()> {
    tool_or_skip!("perf");
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("perf.data");
    let (calm, reader) =
        (Workload::build("c_frame_pointers")?.start()?, Workload::build("c_kernel_reader")?.start()?);
    let capture = Capture::record(&machine)?.args(["-F", "499"]).output("p.pb.gz").start()?;
    capture.samples()?;
    let perf = ["record", "-e", "cpu-clock", "-F", "499", "-a", "--no-buildid", "--no-buildid-cache", "-o"];
    let recorded =
        Command::new("perf").args(perf).arg(&data).args(["--", "sleep", "2"]).output().context("run perf")?;
    ensure!(recorded.status.success(), "perf record: {}", String::from_utf8_lossy(&recorded.stderr));
    capture.signal(profiler_tests::Signal::INT)?;
    let pprof = capture.finish()?.expect_code(0)?.pprof("p.pb.gz")?;

    let theirs = perf_samples(&data)?;
    let of_pid = |pid: u32| theirs.iter().filter(move |(of, _)| *of == pid);
    let (their_calm, their_reader) = (of_pid(calm.pid()).count(), of_pid(reader.pid()).count());
    ensure!(their_calm >= 200 && their_reader >= 200, "perf has {their_calm} and {their_reader} samples");
    let (our_calm, our_reader) = (pprof.stacks_of(calm.pid()), pprof.stacks_of(reader.pid()));
    ensure!(our_calm.total() >= 200 && our_reader.total() >= 200, "{our_calm}\n{our_reader}");

    // Both shared two processors in the same way for both profilers, but for the moments at either end.
    let ours =
        share(usize::try_from(our_calm.total())?, usize::try_from(our_calm.total() + our_reader.total())?)?;
    let perfs = share(their_calm, their_calm + their_reader)?;
    ensure!((ours - perfs).abs() < 0.08, "{ours:.3} here, {perfs:.3} with perf");
    for (function, pid, stacks) in
        [("burn_seventy", calm.pid(), &our_calm), ("read_zero", reader.pid(), &our_reader)]
    {
        let perfs = share(of_pid(pid).filter(|(_, of)| of == function).count(), of_pid(pid).count())?;
        let leaf = |stack: &&profiler_tests::Stack| stack.leaf().trim_end_matches("_[k]") == function;
        let count: u64 = stacks.0.iter().filter(leaf).map(|stack| stack.count).sum();
        let ours = share(usize::try_from(count)?, usize::try_from(stacks.total())?)?;
        ensure!((ours - perfs).abs() < 0.08, "{function}: {ours:.3} here, {perfs:.3} with perf\n{stacks}");
    }
    Ok(())
}
