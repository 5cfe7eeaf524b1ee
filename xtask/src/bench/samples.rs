//! What one sample costs in the kernel, by the depth of its stack and the way that it is walked.
//!
//! A program of known depth runs on one CPU, flamekeeper samples it alone. All ticks run the BPF program, those that
//! interrupt others too, and it returns early then. So the time of a sample is what remains of all time:
//!
//! ```text
//!   time of a sample = (time of all runs − runs that were no sample × time of such a run) / samples
//! ```
//!
//! The time of a run that is no sample is measured in each round and at the same rate, since more frequent runs find
//! warmer caches, while the program that is sampled sleeps. Time is by the kernel's statistics, samples by flamekeeper's own counters, stacks are looked at in what it writes.

use super::bpf::{BpfTime, Counting, Programs};
use super::bpf_maps::Counters;
use super::clock;
use super::cpus;
use super::figures::{Figure, Target, number};
use super::load::compile;
use super::recorder::{Recorder, Walk};
use super::running::Running;
use super::{Measured, Setting};
use anyhow::{Context, Result, bail, ensure};
use profiler_common::outcome::Outcome;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const DEEP: &str = include_str!("load/deep.c");
const STORM: &str = include_str!("load/storm.c");

/// The product's default.
const HERTZ: u32 = 99;
/// The most that it takes.
const OFTEN_HERTZ: u32 = 999;
/// What all builds of the program have in common.
const ALWAYS: [&str; 2] = ["-O2", "-fno-optimize-sibling-calls"];
/// main, two of libc's and _start.
const CALLERS_OF_MAIN: u32 = 4;
/// The kernel's walker ends in libc, which keeps no frame pointer: main and its caller.
const CALLERS_BY_FRAME_POINTERS: u32 = 2;
/// How many times as long as on a CPU of their own samples are waited for; how often a program is looked at until it
/// is known.
const PATIENCE: u32 = 20;
/// Samples after which a process is published, if no snapshot was sent among them.
const WARM_SAMPLES: u64 = 20;
/// Of the stacks that are to have the wanted depth: the first ones may have been cut.
const DEEP_ENOUGH: f64 = 0.8;

/// A program to be sampled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Build {
    NoFramePointers,
    FramePointers,
    /// With frame pointers, and nothing else to walk by.
    NoUnwindInfo,
}

/// One line of the result.
struct Case {
    name: &'static str,
    build: Build,
    walk: Walk,
    frames: u32,
    /// Where its last call spends its time; that of a system call is in libc's wrapper, a frame like any other.
    work: &'static str,
    hertz: u32,
    target: Target,
}

const CASES: [Case; 9] = [
    Case { target: Target::AtMost(5.0), ..Case::by_rows("30 frames", 30) },
    Case::by_rows("100 frames", 100),
    Case::by_rows("500 frames", 500),
    Case { hertz: OFTEN_HERTZ, ..Case::by_rows("30 frames, 999 times a second", 30) },
    Case { work: "kernel", ..Case::by_rows("30 frames below a system call", 30) },
    Case { build: Build::FramePointers, ..Case::by_rows("30 frames, built with frame pointers", 30) },
    Case {
        build: Build::NoUnwindInfo,
        ..Case::by_rows("30 frames, frame pointers, no unwind information", 30)
    },
    Case::by_frame_pointers("30 frames, by the kernel's own walker", 30),
    Case::by_frame_pointers("100 frames, by the kernel's own walker", 100),
];

impl Case {
    const fn by_rows(name: &'static str, frames: u32) -> Self {
        let (build, walk) = (Build::NoFramePointers, Walk::Rows);
        Self { name, build, walk, frames, work: "user", hertz: HERTZ, target: Target::None }
    }

    const fn by_frame_pointers(name: &'static str, frames: u32) -> Self {
        let (build, walk) = (Build::FramePointers, Walk::FramePointers);
        Self { name, build, walk, frames, work: "user", hertz: HERTZ, target: Target::None }
    }

    /// Frames below main, as the program takes them.
    fn calls(&self) -> u32 {
        let callers = match self.walk {
            Walk::Rows => CALLERS_OF_MAIN,
            Walk::FramePointers => CALLERS_BY_FRAME_POINTERS,
        };
        self.frames - callers
    }
}

/// What happened between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ticks {
    time: BpfTime,
    samples: u64,
    snapshots: u64,
}

impl Ticks {
    fn look(recorder: &Recorder, counters: &Counters) -> Result<Self> {
        Ok(Self {
            time: BpfTime::of(&recorder.process()?, Programs::OnTick)?,
            samples: counters.get(Outcome::Samples)?,
            snapshots: counters.get(Outcome::Snapshots)?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            time: self.time.since(before.time),
            samples: self.samples.saturating_sub(before.samples),
            snapshots: self.snapshots.saturating_sub(before.snapshots),
        }
    }

    /// `None` without any.
    fn micros_a_run(self) -> Option<f64> {
        (self.time.runs > 0).then(|| number(self.time.nanos) / number(self.time.runs) / 1e3)
    }

    /// Without the runs that were none. `None` without samples.
    fn micros_a_sample(self, micros_a_run_of_others: f64) -> Option<f64> {
        let others = number(self.time.runs.saturating_sub(self.samples));
        let micros = number(self.time.nanos) / 1e3 - others * micros_a_run_of_others;
        (self.samples > 0).then(|| micros / number(self.samples))
    }
}

/// Programs and where to work.
struct Bench<'a> {
    setting: &'a Setting<'a>,
    no_frame_pointers: PathBuf,
    frame_pointers: PathBuf,
    no_unwind_info: PathBuf,
    storm: PathBuf,
}

pub(super) async fn measure(setting: &Setting<'_>) -> Result<Measured> {
    let bench = Bench::build(setting)?;
    let _counting = Counting::start()?;
    let mut others = Vec::new();
    let mut by_case = vec![Vec::new(); CASES.len()];
    let (mut by_storm, mut snapshots) = (Vec::new(), Vec::new());
    for round in 0..setting.rounds {
        setting.tell(round);
        let (of_others, of_others_often) = (bench.others(HERTZ).await?, bench.others(OFTEN_HERTZ).await?);
        others.push(of_others);
        let mut cases: Vec<_> = CASES.iter().zip(&mut by_case).collect();
        if round % 2 != 0 {
            cases.reverse();
        }
        for (case, micros) in cases {
            let ticks = bench.warm(case).await.with_context(|| case.name)?;
            let of_others = if case.hertz == HERTZ { of_others } else { of_others_often };
            micros.extend(ticks.micros_a_sample(of_others));
        }
        let ticks = bench.storm().await.context("short processes")?;
        by_storm.extend(ticks.micros_a_sample(of_others));
        snapshots.push(100.0 * number(ticks.snapshots) / number(ticks.samples));
    }
    let mut figures: Vec<Figure> = CASES
        .iter()
        .zip(by_case)
        .map(|(case, micros)| Figure::new(case.name, 2, micros).judged(case.target))
        .collect();
    figures.push(Figure::new("processes of some 8 ms: samples with a part of their stack", 2, by_storm));
    figures.push(Figure::new("… how many of their samples are such, %", 0, snapshots));
    figures.push(Figure::new("ticks in processes that are not sampled, and in none", 2, others));
    let about = format!(
        "BPF time of one sample in µs, once the process is known; samples of {} s of CPU time, {HERTZ} a second; median [least–most] of {} rounds.",
        setting.duration.as_secs_f64(),
        setting.rounds
    );
    Ok(Measured { about: vec![about], figures })
}

impl<'a> Bench<'a> {
    fn build(setting: &'a Setting<'a>) -> Result<Self> {
        let build = |name, options: &[&str]| {
            compile(setting.folder, name, DEEP, &[ALWAYS.as_slice(), options].concat())
        };
        let no_unwind_info =
            ["-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
        Ok(Self {
            setting,
            no_frame_pointers: build("deep-no-frame-pointers", &["-fomit-frame-pointer"])?,
            frame_pointers: build("deep-frame-pointers", &["-fno-omit-frame-pointer"])?,
            no_unwind_info: build("deep-no-unwind-info", &no_unwind_info)?,
            storm: compile(setting.folder, "storm", STORM, &["-O2", "-fomit-frame-pointer"])?,
        })
    }

    /// Microseconds of a run that is no sample.
    async fn others(&self, hertz: u32) -> Result<f64> {
        let sleeper = Running::start("sleep", Command::new("sleep").arg("1000000"))?;
        let pid = sleeper.process()?.pid.to_string();
        let recorder = self.record(Walk::Rows, &["-F", &hertz.to_string(), "-p", &pid]).await?;
        let counters = recorder.counters()?;
        let before = Ticks::look(&recorder, &counters)?;
        tokio::time::sleep(self.setting.duration).await;
        let ticks = Ticks::look(&recorder, &counters)?.since(before);
        recorder.stop().await?;
        ticks.micros_a_run().context("no tick on any CPU")
    }

    /// A program of known depth, once flamekeeper knows it.
    async fn warm(&self, case: &Case) -> Result<Ticks> {
        let (program, hertz) = (self.program(case.build), case.hertz.to_string());
        let running = self.start(program, &[&case.calls().to_string(), case.work]).await?;
        let pid = running.process()?.pid.to_string();
        let recorder = self.record(case.walk, &["-F", &hertz, "-p", &pid]).await?;
        let counters = recorder.counters()?;
        self.is_warm(&recorder, &counters).await?;
        let wanted = u64::try_from(self.setting.duration.as_millis())? * u64::from(case.hertz) / 1000;
        let ticks = self.samples(&recorder, &counters, wanted).await?;
        recorder.stop().await?;
        ensure!(
            ticks.snapshots * 20 <= ticks.samples,
            "{} of {} samples were snapshots",
            ticks.snapshots,
            ticks.samples
        );
        let folded = fs::read_to_string(self.output())?;
        let share = share_of_depth(&folded, case.frames);
        ensure!(share >= DEEP_ENOUGH, "{:.0} % of the stacks have {} frames", share * 100.0, case.frames);
        Ok(ticks)
    }

    /// Processes of which only one or two samples are taken.
    async fn storm(&self) -> Result<Ticks> {
        let running = self.start(&self.storm, &[]).await?;
        let pid = running.process()?.pid.to_string();
        let recorder = self.record(Walk::Rows, &["-F", &HERTZ.to_string(), "-p", &pid, "--children"]).await?;
        let counters = recorder.counters()?;
        let wanted = u64::try_from(self.setting.duration.as_millis())? * u64::from(HERTZ) / 1000;
        let ticks = self.samples(&recorder, &counters, wanted).await?;
        // The storm first: its last life would be a process of nobody's.
        drop(running);
        recorder.stop().await?;
        Ok(ticks)
    }

    /// Waits until no more samples are sent with their stacks.
    async fn is_warm(&self, recorder: &Recorder, counters: &Counters) -> Result<()> {
        for _ in 0..PATIENCE {
            if self.samples(recorder, counters, WARM_SAMPLES).await?.snapshots == 0 {
                return Ok(());
            }
        }
        bail!("the program is not known after {} samples", u64::from(PATIENCE) * WARM_SAMPLES)
    }

    /// What happens until so many samples have been taken.
    async fn samples(&self, recorder: &Recorder, counters: &Counters, wanted: u64) -> Result<Ticks> {
        let patient_until = clock::now() + self.setting.duration * PATIENCE;
        let before = Ticks::look(recorder, counters)?;
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let ticks = Ticks::look(recorder, counters)?.since(before);
            if ticks.samples >= wanted {
                return Ok(ticks);
            }
            if recorder.running.has_ended()? || clock::now() > patient_until {
                bail!("only {} of {wanted} samples came: {}", ticks.samples, recorder.said());
            }
        }
    }

    fn program(&self, build: Build) -> &Path {
        match build {
            Build::NoFramePointers => &self.no_frame_pointers,
            Build::FramePointers => &self.frame_pointers,
            Build::NoUnwindInfo => &self.no_unwind_info,
        }
    }

    fn output(&self) -> PathBuf {
        self.setting.folder.join("stacks.folded")
    }

    async fn record(&self, walk: Walk, arguments: &[&str]) -> Result<Recorder> {
        let arguments = [arguments, &["-o", "stacks.folded"]].concat();
        Recorder::start(self.setting.program, self.setting.folder, walk, &arguments).await
    }

    /// Starts a program on one CPU and waits until it does what it is for.
    async fn start(&self, program: &Path, arguments: &[&str]) -> Result<Running> {
        let said = self.setting.folder.join("program.out");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(File::create(&said)?);
        let running = cpus::on_first_cpus(1, || Running::start("a sampled program", &mut command))?;
        while !fs::read_to_string(&said)?.contains("ready") {
            ensure!(!running.has_ended()?, "{} ended by itself", program.display());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(running)
    }
}

/// Of folded stacks, those with so many user frames. A line is `process;root;…;leaf COUNT`, kernel frames end in `_[k]`.
fn share_of_depth(folded: &str, frames: u32) -> f64 {
    let (mut deep, mut all) = (0, 0);
    for line in folded.lines() {
        let Some((stack, count)) = line.rsplit_once(' ') else { continue };
        let user = stack.split(';').skip(1).filter(|frame| !frame.ends_with("_[k]")).count();
        let count: u64 = count.parse().unwrap_or(0);
        all += count;
        if u32::try_from(user) == Ok(frames) {
            deep += count;
        }
    }
    number(deep) / number(all.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_runs_are_taken_off() {
        let time = BpfTime { nanos: 460_000, runs: 300 };
        let ticks = Ticks { time, samples: 100, snapshots: 0 };
        // 200 runs of 0.3 µs leave 400 µs.
        assert_eq!(ticks.micros_a_sample(0.3), Some(4.0));
        assert_eq!(Ticks { samples: 0, ..ticks }.micros_a_sample(0.3), None);
        assert_eq!(Ticks { samples: 400, ..ticks }.micros_a_sample(99.0), Some(1.15), "no other run");
    }

    #[test]
    fn a_look_is_taken_off_the_next() {
        let look =
            |nanos, runs, samples, snapshots| Ticks { time: BpfTime { nanos, runs }, samples, snapshots };
        assert_eq!(look(900, 9, 7, 3).since(look(400, 4, 4, 3)), look(500, 5, 3, 0));
    }

    #[test]
    fn the_depth_is_that_of_user_code() {
        let folded = "deep;_start;main;read;entry_[k];do_[k] 7\ndeep;main;read 2\ndeep;_start;main;burn 1\n";
        assert_eq!(share_of_depth(folded, 3), 0.8);
        assert_eq!(share_of_depth("", 3), 0.0);
    }

    #[test]
    fn callers_of_main_are_among_the_frames() {
        assert_eq!(Case::by_rows("x", 30).calls(), 26);
        assert_eq!(Case::by_frame_pointers("x", 30).calls(), 28);
    }
}
