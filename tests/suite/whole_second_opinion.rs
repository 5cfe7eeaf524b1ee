//! Whole stacks of the same seconds by another unwinder: `perf record --call-graph dwarf` copies each sample's stack and
//! walks it later by the same unwind information, with none of our code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, PprofSample, Signal, Workload, machine_or_skip, tool_or_skip};

/// Distinct stacks, as folded names, and their samples.
#[derive(Debug, Default)]
struct Distribution(BTreeMap<String, u32>);

impl Distribution {
    fn add(&mut self, outermost_first: &[String], count: u32) {
        *self.0.entry(outermost_first.join(";")).or_default() += count;
    }

    fn total(&self) -> f64 {
        f64::from(self.0.values().sum::<u32>())
    }

    fn share(&self, stack: &str) -> f64 {
        f64::from(self.0.get(stack).copied().unwrap_or(0)) / self.total()
    }

    /// Stacks that every fiftieth sample has, or more.
    fn top(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).filter(|stack| self.share(stack) >= 0.02).collect()
    }
}

/// What two readers of the same symbols agree on: no version, no leading underscores of aliases, no suffix of a part.
fn plain(name: &str) -> String {
    let nameless = name == "[unknown]" || name.contains("+0x");
    let name = name.split('@').next().unwrap_or_default().split(".part").next().unwrap_or_default();
    let name = name.trim_start_matches('_');
    if nameless { "?".to_owned() } else { name.strip_prefix("GI___").unwrap_or(name).to_owned() }
}

/// Samples are blocks of lines `address name`, innermost first, with an empty line behind each.
fn perfs(data: &Path) -> Result<Distribution> {
    let output =
        Command::new("perf").args(["script", "--no-inline", "-F", "ip,sym", "-i"]).arg(data).output()?;
    ensure!(output.status.success(), "perf script: {}", String::from_utf8_lossy(&output.stderr));
    let mut all = Distribution::default();
    let text = String::from_utf8_lossy(&output.stdout);
    for block in text.split("\n\n") {
        let name = |line: &str| line.trim().split_once(' ').map(|(_, name)| plain(name.trim()));
        let frames: Vec<_> = block.lines().rev().filter_map(name).collect();
        if !frames.is_empty() {
            all.add(&frames, 1);
        }
    }
    Ok(all)
}

/// The same of ours: samples in user mode, a frame for each function that the linker knows.
fn ours<'s>(samples: impl IntoIterator<Item = &'s PprofSample>) -> Result<Distribution> {
    let mut all = Distribution::default();
    for sample in samples {
        if sample.mapping_files.iter().any(|file| file.contains("[kernel")) {
            continue;
        }
        let physical = sample.locations.iter().rev().filter_map(|location| location.last());
        let frames: Vec<_> = physical.map(|frame| plain(&frame.name)).collect();
        all.add(&frames, u32::try_from(sample.count())?);
    }
    Ok(all)
}

fn agree(workload: &Workload) -> Result<()> {
    let machine = machine_or_skip!();
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("perf.data");
    let running = workload.start()?;
    let capture = Capture::record(&machine)?.of(running.pid()).args(["-F", "499"]).output("p.pb.gz");
    let capture = capture.start()?;
    capture.samples()?;
    let pid = running.pid().to_string();
    // As much of the stack as goes into a record of 64 KiB.
    let perf = ["record", "-e", "cpu-clock:u", "-F", "499", "--call-graph", "dwarf,32768", "-p", &pid];
    let keep = ["--no-buildid", "--no-buildid-cache", "-o"];
    let recorded = Command::new("perf").args(perf).args(keep).arg(&data).args(["--", "sleep", "4"]).output();
    let recorded = recorded.context("run perf")?;
    ensure!(recorded.status.success(), "perf record: {}", String::from_utf8_lossy(&recorded.stderr));
    capture.signal(Signal::INT)?;
    let pprof = capture.finish()?.expect_code(0)?.pprof("p.pb.gz")?;
    drop(running);

    let (ours, perfs) = (ours(&pprof.samples)?, perfs(&data)?);
    ensure!(
        ours.total() >= 300.0 && perfs.total() >= 300.0,
        "{} and {} samples",
        ours.total(),
        perfs.total()
    );
    let top: BTreeSet<_> = ours.top().union(&perfs.top()).copied().collect();
    ensure!(!top.is_empty(), "no stack is frequent");
    for stack in top {
        let (here, there) = (ours.share(stack), perfs.share(stack));
        // Four standard deviations of the difference of two samples of what both saw. And a tenth: the program goes
        // round and round as regularly as both profilers look, so that each of them may see one phase more often.
        let both = (here * ours.total() + there * perfs.total()) / (ours.total() + perfs.total());
        let spread = (both * (1.0 - both) * (1.0 / ours.total() + 1.0 / perfs.total())).sqrt();
        ensure!(
            (here - there).abs() <= 4.0 * spread + 0.1,
            "{here:.3} here, {there:.3} with perf: {stack}\n{ours:#?}\n{perfs:#?}"
        );
    }
    Ok(())
}

#[test]
fn perf_walks_a_program_without_frame_pointers_to_the_same_stacks() -> Result<()> {
    tool_or_skip!("perf");
    agree(&Workload::build("c_qsort")?)
}

#[test]
fn perf_walks_python_to_the_same_stacks() -> Result<()> {
    tool_or_skip!("perf");
    tool_or_skip!("python3");
    agree(&Workload::build("py_burn")?)
}

#[test]
fn names_of_two_readers_are_made_alike() {
    for (theirs, name) in [
        ("__libc_start_main@@GLIBC_2.34", "libc_start_main"),
        ("__GI___qsort_r", "qsort_r"),
        ("msort_with_tmp.part.0", "msort_with_tmp"),
        ("[unknown]", "?"),
        ("python3.11+0x5115a8", "?"),
    ] {
        assert_eq!(plain(theirs), name);
    }
}
