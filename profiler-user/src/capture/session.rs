//! The stages from rings to a segment, wired and driven by one thread.
//!
//! Every 100 ms, when the ring fills to its mark, and sooner after a process has begun to send snapshots: samples are drained, then process events, then both
//! are handed on by time up to the horizon. What is read meanwhile is `/proc` and the headers of mapped files,
//! at first sight; a file system that does not answer makes the ring fill up, which is counted.

mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use profiler_common::abi::{PROGRAMS, RunTime, WALK_BY_ROWS};
use profiler_common::outcome::Outcome;
use tokio::io::unix::AsyncFd;

use super::admission::Admission;
use super::config::SessionConfig;
use super::error::CaptureError;
use super::rights::{Rights, Surroundings};
use super::rounds::Rounds;
use super::segment::Segment;
use super::setup::{Setting, descriptors_max, ring_bytes, sampler_config, shares_ids, walker};
use super::targets::Targets;
use crate::aggregate::profile::SampledEvent;
use crate::aggregate::window::Window;
use crate::collect::Tgid;
use crate::collect::decode::RingEvent;
use crate::collect::loss::Counts;
use crate::collect::merge::{Happening, Merge};
use crate::collect::ring::SampleRing;
use crate::collect::sideband::SideBand;
use crate::collect::stacks::DefinedStacks;
use crate::host::{Clock, Host, MonotonicNanos, ProcFs};
use crate::process::table::ProcessTable;
use crate::sample::abilities::{Abilities, Choice};
use crate::sample::bpf_trial::TrialProgram;
use crate::sample::capabilities::Capabilities;
use crate::sample::{Hertz, KernelLog, LoadOptions, Loaded, Sampler, TickSource, online_cpus};
use crate::unwind::publisher::blocks_within;
use crate::unwind::snapshots::Snapshots;
use crate::unwind::walker::Walker;
use crate::unwind::{RowsWork, TablesBytes};

/// Between two rounds. Short enough that a process that has ended can still be read about, long enough
/// that the rounds themselves do not show.
const ROUND: Duration = Duration::from_millis(100);
/// Between two rounds, whoever asks for one: snapshots do, each time that a process begins to send some.
const BETWEEN_ROUNDS_MIN: Duration = Duration::from_millis(5);
/// A sample is in the ring at most this long after the time it carries.
const IN_FLIGHT_NANOS: u64 = 1_000_000;
/// Processes that a round reads about ahead of their first sample: 50 are some 4 ms.
const READ_AHEAD: usize = 50;

/// Sampling in progress.
pub struct Session<A> {
    config: SessionConfig,
    proc: ProcFs,
    clock: Clock,
    admission: A,
    own: Tgid,
    rights: Arc<dyn Rights>,
    sampler: Sampler,
    log: Option<KernelLog>,
    ring: AsyncFd<SampleRing>,
    rounds: Rounds,
    side_band: SideBand,
    targets: Targets,
    merge: Merge,
    stacks: DefinedStacks,
    processes: ProcessTable,
    window: Window,
    walker: Option<Walker>,
    snapshots: Snapshots,
    counts: Counts,
    warnings: Vec<String>,
    event: SampledEvent,
    choice: Choice,
    /// Whether anything ticks.
    is_on: bool,
    started: MonotonicNanos,
    last_round: MonotonicNanos,
}

/// The figures since the last cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Since sampling began.
    pub elapsed: Duration,
    /// Taken.
    pub samples: u64,
    /// Ticks that found the ring full.
    pub lost: u64,
    /// Processes seen.
    pub processes: usize,
}

impl<A: Admission> Session<A> {
    /// Loads everything; nothing ticks yet. Needs a runtime of tokio's, and stays with it.
    pub fn open(
        config: SessionConfig,
        host: &Host,
        admission: A,
        surroundings: Surroundings,
    ) -> Result<Self, CaptureError> {
        let mut warnings = Vec::new();
        if let Some(missing) = Capabilities::of_this_thread(&host.proc)?.missing() {
            if !missing.can_sample() {
                return Err(CaptureError::NotPermitted(missing));
            }
            warnings.push(missing.to_string());
        }
        let own = std::process::id();
        let shares_ids = shares_ids(&config, host, &mut warnings)?;
        let cpus = online_cpus()?;
        let ring_bytes = ring_bytes(cpus.len(), config.rate);
        let first_cpu = cpus.first().copied().unwrap_or(0);
        // Where no program is let in at all, each ability would seem to be lacking.
        let trial = TrialProgram::empty()?;
        let abilities = Abilities::probe(Some(&trial), first_cpu, &config.kernel_without);
        let choice = abilities.choice();
        let setting = Setting { config: &config, host, shares_ids, ring_bytes, abilities: &abilities };
        let sampler_config = sampler_config(&setting, &mut warnings)?;
        let by_rows = sampler_config.flags & WALK_BY_ROWS != 0;
        let blocks = if by_rows { blocks_within(config.unwind_tables_max_bytes) } else { 0 };
        let descriptors_max = descriptors_max(cpus.len(), blocks).min(config.open_files_max);
        let options = LoadOptions { ring_bytes, writes_lines: config.kernel_log, choice };
        let Loaded { mut sampler, ticks, ring, walker: tables, log, choice } =
            Sampler::load(&sampler_config, options, &host.proc)?;
        let rights = (surroundings.rights)(ticks)?;
        // Before the first tick, so that no sample is older than what we know of its process.
        let side_band = SideBand::open(cpus)?;
        if let Some(bytes) = side_band.reduced_ring_bytes() {
            warnings.push(format!(
                "another profiler uses up the memory allowed for perf rings; ours are {} KiB, and names of \
                 processes that live very shortly may be lost (kernel.perf_event_mlock_kb allows more)",
                bytes >> 10
            ));
        }
        let targets = Targets::enter(&config.scope, config.include_self, &host.proc, own, &mut sampler)?;
        let begin = surroundings.begin_rows_thread;
        let walker = tables
            .map(|tables| walker(&config, host, tables, Arc::clone(&rights), begin, &mut warnings))
            .transpose()?;
        let ring = SampleRing::new(ring);
        let ring = ring.watched().map_err(CaptureError::system("watch the ring"))?;
        let rounds = Rounds::every(ROUND).map_err(CaptureError::system("start a timer"))?;
        Ok(Self {
            proc: host.proc.clone(),
            clock: host.clock,
            admission,
            own: Tgid(own),
            rights,
            sampler,
            log,
            ring,
            rounds,
            side_band,
            targets,
            merge: Merge::default(),
            stacks: DefinedStacks::with_frames(config.kept.frames),
            processes: ProcessTable::new(host.proc.clone(), descriptors_max),
            window: Window::new(config.keep_timeline),
            walker,
            snapshots: Snapshots::default(),
            counts: Counts::default(),
            warnings,
            event: sampled_event(&config),
            choice,
            config,
            is_on: false,
            started: MonotonicNanos(0),
            last_round: MonotonicNanos(0),
        })
    }

    /// Whether stacks are walked by rows, so that there is a thread that makes them.
    pub fn walks_by_rows(&self) -> bool {
        self.walker.is_some()
    }

    /// How stacks are walked by rows, if not as on new kernels.
    pub fn walking_words(&self) -> Option<&'static str> {
        self.walks_by_rows().then(|| self.choice.walking.words()).flatten()
    }

    /// CPUs that tick.
    pub fn cpus(&self) -> BTreeSet<u32> {
        self.rights.cpus()
    }

    /// What works less well than it could.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Starts the ticks. Gives the number of CPUs.
    pub fn start(&mut self) -> Result<usize, CaptureError> {
        self.started = self.clock.monotonic();
        self.is_on = true;
        Ok(self.rights.attach(self.config.event, self.config.rate)?)
    }

    /// Waits for what comes next, the beat or a ring that fills up, and takes what is there. May be dropped while it
    /// waits.
    pub async fn turn(&mut self) -> Result<(), CaptureError> {
        loop {
            tokio::select! {
                beat = self.rounds.next() => {
                    beat.map_err(CaptureError::system("wait for a timer"))?;
                    break;
                }
                filled = self.ring.readable() => {
                    filled.map_err(CaptureError::system("watch the ring"))?.clear_ready();
                    self.rounds.hurry().map_err(CaptureError::system("set a timer"))?;
                    // Else the hurried beat comes soon; the ring has room until then.
                    if self.clock.since(self.last_round) >= BETWEEN_ROUNDS_MIN {
                        break;
                    }
                }
            }
        }
        self.round_now();
        self.processes.read_older(READ_AHEAD);
        Ok(())
    }

    /// Takes what is there by now.
    pub fn round_now(&mut self) {
        self.last_round = self.clock.monotonic();
        let horizon = MonotonicNanos(self.last_round.0.saturating_sub(IN_FLIGHT_NANOS));
        self.round(horizon);
    }

    /// Whether all that could be sampled has ended.
    pub fn targets_have_ended(&self) -> bool {
        self.targets.have_ended(&self.proc)
    }

    /// Hands over what was sampled since it started or was cut last.
    pub fn cut(&mut self) -> Segment {
        let duration = self.clock.since(self.started);
        let started = std::mem::replace(&mut self.started, self.clock.monotonic());
        let window = self.window.take_all();
        self.counts.merge(window.counts());
        let sampled = self.processes.take_sampled(window.places(), self.snapshots.owners_mut());
        Segment { window, sampled, event: self.event, started, duration }
    }

    /// Stops the ticks, takes what is still in the rings, and waits for rows that stacks wait for, within reason.
    pub fn finish(&mut self) -> Segment {
        let duration = self.clock.since(self.started);
        self.stop();
        Segment { duration, ..self.cut() }
    }

    /// The same, but what was sampled is left to be cut.
    pub fn stop(&mut self) {
        self.is_on = false;
        self.rights.detach();
        self.round(MonotonicNanos(u64::MAX));
        self.finish_snapshots();
    }

    /// All that happened so far, by outcome: counted in the kernel and here.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts.clone();
        for &outcome in Outcome::ALL {
            counts.add(outcome, self.sampler.counter(outcome).unwrap_or(0));
        }
        counts.merge(self.processes.counts());
        counts.merge(self.window.counts());
        counts.merge(self.snapshots.counts());
        if let Some(walker) = &self.walker {
            counts.merge(&walker.counts());
        }
        counts
    }

    /// Samples that the kernel half took and nobody wants: of processes that a rule drops, and of those that we start.
    pub fn left_out(&self) -> u64 {
        self.counts.get(Outcome::Filtered) // the kernel half counts its own
    }

    /// What the kernel half has cost so far, by program.
    pub fn run_times(&self) -> Result<[RunTime; PROGRAMS.len()], CaptureError> {
        Ok(self.sampler.run_times()?)
    }

    /// The unwind tables, and what making them has come to; nothing if stacks are not walked by them.
    pub fn tables(&self) -> Option<(RowsWork, TablesBytes)> {
        self.walker.as_ref().map(|walker| (walker.work(), walker.bytes()))
    }

    /// Kernel memory of each map, bytes. Rows are together in one.
    pub fn map_bytes(&self) -> BTreeMap<String, u64> {
        let mut bytes = self.sampler.map_bytes().clone();
        let rows = self.tables().map_or(0, |(_, bytes)| bytes.rows);
        *bytes.entry("ROWS".to_owned()).or_default() += rows;
        bytes
    }

    /// What is kept so that it need not be asked for or made again, bytes.
    pub fn cache_bytes(&mut self) -> [(&'static str, usize); 2] {
        let rows = self.walker.as_mut().map_or(0, |walker| walker.store().bytes());
        [("stacks", self.stacks.bytes()), ("unwind_rows", rows)]
    }

    /// Lets go of what can be had again, at the cost of some CPU time.
    pub fn empty_caches(&mut self) {
        if let Some(walker) = &mut self.walker {
            walker.store().empty();
        }
    }

    /// Samples at another rate from now on, unless it has been stopped. What was sampled before is weighed as it was.
    pub fn set_rate(&mut self, rate: Hertz) -> Result<(), CaptureError> {
        if self.is_on && rate != self.config.rate {
            self.rights.attach(self.config.event, rate)?;
            self.config.rate = rate;
            self.event = sampled_event(&self.config);
        }
        Ok(())
    }

    /// Samples on CPUs that came online since, too, unless it has been stopped. Gives how many came.
    pub fn follow_cpus(&mut self) -> Result<usize, CaptureError> {
        if !self.is_on {
            return Ok(0);
        }
        let unseen = self.side_band.unseen(self.clock.monotonic());
        let come = self.rights.follow_cpus(self.config.event, self.config.rate, unseen)?;
        for &cpu in &come {
            self.side_band.add(cpu, self.rights.side_band(cpu)?);
        }
        if !come.is_empty() {
            self.processes.events_unseen(self.clock.monotonic());
        }
        Ok(come.len())
    }

    /// Samples per second on each CPU.
    pub fn rate(&self) -> Hertz {
        self.config.rate
    }

    /// Files whose unwind information cannot be used, by path, and why.
    pub fn unusable_files(&self) -> Vec<(PathBuf, String)> {
        let files = self.processes.files();
        let unusable = self.walker.iter().flat_map(Walker::unusable);
        unusable.filter_map(|(id, why)| Some((files.get(id)?.path.clone(), why))).collect()
    }

    /// What is decided about processes.
    pub fn admission(&mut self) -> &mut A {
        &mut self.admission
    }

    fn round(&mut self, horizon: MonotonicNanos) {
        let (merge, stacks) = (&mut self.merge, &mut self.stacks);
        // Samples first: see merge.rs.
        self.ring.get_mut().drain(&mut self.counts, |event| match event {
            RingEvent::Sample(sample) => merge.sample(sample),
            RingEvent::Stack(stack) => stacks.define(stack),
        });
        self.side_band.drain(|event| merge.event(event));
        if let Some(log) = &mut self.log {
            log.take();
        }
        let mut merge = std::mem::take(&mut self.merge);
        merge.release(horizon, |happening| match happening {
            Happening::Process(event) => self.processes.apply(event),
            Happening::Sample(sample) => self.sample(sample),
        });
        self.merge = merge;
        let sampler = &mut self.sampler;
        let now = self.clock.monotonic();
        self.stacks.age(now);
        for hash in self.stacks.take_forgotten() {
            // If it cannot be told, the stack's next sample notices.
            sampler.ask_again(hash.0).ok();
        }
        let mut walker = self.walker.as_mut();
        let admission = &mut self.admission;
        self.processes.forget_ended(now, |ended| {
            sampler.remove_target(ended.0);
            admission.forget(ended);
            if let Some(walker) = walker.as_mut() {
                walker.forget(ended, now);
            }
        });
        let published = || self.walker.as_ref().map(Walker::published_files).unwrap_or_default();
        let forgotten = self.processes.sweep(now, published);
        if let Some(walker) = &mut self.walker {
            walker.forget_files(&forgotten, now);
            walker.collect();
        }
        // Before pages are loaded, so that those which these walks came by are loaded too.
        self.retry_snapshots();
        if let Some(walker) = &mut self.walker {
            walker.round(&mut self.processes, now, horizon);
        }
    }

    /// Since sampling began, or was cut last.
    pub fn elapsed(&self) -> Duration {
        self.clock.since(self.started)
    }

    /// How it goes.
    pub fn progress(&self) -> Progress {
        Progress {
            elapsed: self.elapsed(),
            samples: self.window.samples(),
            lost: self.sampler.counter(Outcome::SampleRingFull).unwrap_or(0),
            processes: self.processes.sampled_processes().len(),
        }
    }
}

fn sampled_event(config: &SessionConfig) -> SampledEvent {
    match config.event {
        TickSource::CpuClock => SampledEvent::CpuClock { period_nanos: config.rate.period_nanos() },
        TickSource::Cycles => SampledEvent::Cycles { rate_hz: config.rate.get() },
    }
}
