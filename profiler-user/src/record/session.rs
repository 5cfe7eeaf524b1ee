//! The stages of one capture, wired and driven by one thread.
//!
//! Every 100 ms, when the ring fills to its mark, and sooner after a process has begun to send snapshots: samples are drained, then process events, then both
//! are handed on by time up to the horizon. What is read meanwhile is `/proc` and the headers of mapped files,
//! at first sight; a file system that does not answer makes the ring fill up, which is counted.

mod samples;

use std::time::Duration;

use profiler_common::abi::WALK_BY_ROWS;
use profiler_common::outcome::Outcome;
use tokio::io::unix::AsyncFd;

use super::command::{Ended, Profiled};
use super::config::Config;
use super::error::RecordError;
use super::live::{Live, Progress};
use super::rounds::Rounds;
use super::setup::{descriptors_max, ring_bytes, sampler_config, shares_ids, walker};
use super::signals::Signals;
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
use crate::host::{Clock, Host, MonotonicNanos};
use crate::process::FileId;
use crate::process::table::ProcessTable;
use crate::sample::capabilities::Capabilities;
use crate::sample::{Sampler, TickSource};
use crate::unwind::publisher::blocks_within;
use crate::unwind::snapshots::Snapshots;
use crate::unwind::walker::Walker;

/// Between two rounds. Short enough that a process that has ended can still be read about, long enough
/// that the rounds themselves do not show.
const ROUND: Duration = Duration::from_millis(100);
/// Between two rounds, whoever asks for one: snapshots do, each time that a process begins to send some.
const BETWEEN_ROUNDS_MIN: Duration = Duration::from_millis(5);
/// A sample is in the ring at most this long after the time it carries.
const IN_FLIGHT_NANOS: u64 = 1_000_000;
/// Processes that a round reads about ahead of their first sample: 50 are some 4 ms.
const READ_AHEAD: usize = 50;
/// Frames of the definitions that are kept: 32 MB.
const FRAMES_MAX: usize = 2 << 20;
/// A capture in progress.
pub(super) struct Session {
    clock: Clock,
    own: Tgid,
    own_children_before_exec: bool,
    sampler: Sampler,
    ring: AsyncFd<SampleRing>,
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
    started: MonotonicNanos,
    last_round: MonotonicNanos,
}

/// What a capture leaves to be named and written.
pub(super) struct Recording {
    pub processes: ProcessTable,
    pub window: Window,
    pub counts: Counts,
    pub event: SampledEvent,
    pub started: MonotonicNanos,
    pub duration: Duration,
    /// Files whose unwind information cannot be used, and why.
    pub unusable: Vec<(FileId, String)>,
}

impl Session {
    /// Loads everything; nothing ticks yet.
    pub(super) fn open(config: &Config, host: &Host, keep_timeline: bool) -> Result<Self, RecordError> {
        let mut warnings = Vec::new();
        if let Some(missing) = Capabilities::of_this_thread(&host.proc)?.missing() {
            if !missing.can_sample() {
                return Err(RecordError::NotPermitted(missing));
            }
            warnings.push(missing.to_string());
        }
        let own = std::process::id();
        let shares_ids = shares_ids(config, host, &mut warnings)?;
        let cpus = Sampler::online_cpus()?;
        let ring_bytes = ring_bytes(cpus.len(), config.rate);
        let sampler_config = sampler_config(config, host, shares_ids, ring_bytes, &mut warnings)?;
        let by_rows = sampler_config.flags & WALK_BY_ROWS != 0;
        let blocks = if by_rows { blocks_within(config.unwind_tables_max_bytes) } else { 0 };
        let descriptors_max = descriptors_max(cpus.len(), blocks);
        let (mut sampler, ring) = Sampler::load(&sampler_config, ring_bytes)?;
        // Before the first tick, so that no sample is older than what we know of its process.
        let side_band = SideBand::open(cpus)?;
        if let Some(bytes) = side_band.reduced_ring_bytes() {
            warnings.push(format!(
                "another profiler uses up the memory allowed for perf rings; ours are {} KiB, and names of \
                 processes that live very shortly may be lost (kernel.perf_event_mlock_kb allows more)",
                bytes >> 10
            ));
        }
        let targets = Targets::enter(config, &host.proc, own, &mut sampler)?;
        let walker = by_rows.then(|| walker(config, host, &mut sampler, &mut warnings)).transpose()?;
        let ring = SampleRing::new(ring);
        let ring = ring.watched().map_err(|source| RecordError::System { what: "watch the ring", source })?;
        Ok(Self {
            clock: host.clock,
            own: Tgid(own),
            own_children_before_exec: config.include_self,
            sampler,
            ring,
            side_band,
            targets,
            merge: Merge::default(),
            stacks: DefinedStacks::with_frames(FRAMES_MAX),
            processes: ProcessTable::new(host.proc.clone(), descriptors_max),
            window: Window::new(keep_timeline),
            walker,
            snapshots: Snapshots::default(),
            counts: Counts::default(),
            warnings,
            event: match config.event {
                TickSource::CpuClock => SampledEvent::CpuClock { period_nanos: config.rate.period_nanos() },
                TickSource::Cycles => SampledEvent::Cycles { rate_hz: config.rate.get() },
            },
            started: MonotonicNanos(0),
            last_round: MonotonicNanos(0),
        })
    }

    /// What works less well than it could.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Starts the ticks. Gives the number of CPUs.
    pub(super) fn start(&mut self, config: &Config) -> Result<usize, RecordError> {
        self.started = self.clock.monotonic();
        Ok(self.sampler.attach(config.event, config.rate)?)
    }

    /// Samples until something ends it.
    pub(super) async fn run(
        &mut self,
        config: &Config,
        mut profiled: Option<&mut Profiled>,
        signals: &mut Signals,
        live: &mut Live,
        console: &mut impl std::io::Write,
    ) -> Result<Ended, RecordError> {
        let mut rounds =
            Rounds::every(ROUND).map_err(|source| RecordError::System { what: "start a timer", source })?;
        let deadline = tokio::time::sleep(config.duration.unwrap_or(Duration::MAX));
        tokio::pin!(deadline);
        loop {
            let ended = tokio::select! {
                beat = rounds.next() => {
                    beat.map_err(|source| RecordError::System { what: "wait for a timer", source })?;
                    self.targets.have_ended(config).then_some(Ended::Targets)
                }
                filled = self.ring.readable() => {
                    filled.map_err(|source| RecordError::System { what: "watch the ring", source })?.clear_ready();
                    rounds.hurry().map_err(|source| RecordError::System { what: "set a timer", source })?;
                    if self.clock.since(self.last_round) < BETWEEN_ROUNDS_MIN {
                        continue; // the hurried beat comes soon; the ring has room until then
                    }
                    None
                }
                ended = signals.next() => Some(ended),
                () = &mut deadline, if config.duration.is_some() => Some(Ended::Duration),
                () = command_ended(profiled.as_deref_mut()), if profiled.is_some() => Some(Ended::Command),
            };
            if let Some(ended) = ended {
                return Ok(ended);
            }
            self.last_round = self.clock.monotonic();
            let horizon = MonotonicNanos(self.last_round.0.saturating_sub(IN_FLIGHT_NANOS));
            self.round(horizon);
            self.processes.read_older(READ_AHEAD);
            if live.is_due(self.clock.since(self.started)) {
                live.update(self.progress(), console);
            }
        }
    }

    /// Stops the ticks and takes what is still in the rings.
    pub(super) fn finish(mut self) -> Recording {
        let duration = self.clock.since(self.started);
        self.sampler.detach();
        self.round(MonotonicNanos(u64::MAX));
        self.finish_snapshots();
        let mut counts = self.counts;
        for &outcome in Outcome::ALL {
            counts.add(outcome, self.sampler.counter(outcome).unwrap_or(0));
        }
        counts.merge(self.processes.counts());
        counts.merge(self.window.counts());
        counts.merge(self.snapshots.counts());
        if let Some(walker) = &self.walker {
            counts.merge(&walker.counts());
        }
        Recording {
            processes: self.processes,
            window: self.window,
            counts,
            event: self.event,
            started: self.started,
            duration,
            unusable: self.walker.iter().flat_map(Walker::unusable).collect(),
        }
    }

    fn round(&mut self, horizon: MonotonicNanos) {
        let (merge, stacks) = (&mut self.merge, &mut self.stacks);
        // Samples first: see merge.rs.
        self.ring.get_mut().drain(&mut self.counts, |event| match event {
            RingEvent::Sample(sample) => merge.sample(sample),
            RingEvent::Stack(stack) => stacks.define(stack),
        });
        self.side_band.drain(|event| merge.event(event));
        let mut merge = std::mem::take(&mut self.merge);
        merge.release(horizon, |happening| match happening {
            Happening::Process(event) => self.processes.apply(event),
            Happening::Sample(sample) => self.sample(sample),
        });
        self.merge = merge;
        let sampler = &mut self.sampler;
        let now = self.clock.monotonic();
        let mut walker = self.walker.as_mut();
        self.processes.forget_ended(now, |ended| {
            sampler.remove_target(ended.0);
            if let Some(walker) = walker.as_mut() {
                walker.forget(ended, now);
            }
        });
        if let Some(walker) = &mut self.walker {
            walker.collect();
        }
        // Before pages are loaded, so that those which these walks came by are loaded too.
        self.retry_snapshots();
        if let Some(walker) = &mut self.walker {
            walker.round(&mut self.processes, now, horizon);
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            elapsed: self.clock.since(self.started),
            samples: self.window.samples(),
            lost: self.sampler.counter(Outcome::SampleRingFull).unwrap_or(0),
            processes: self.processes.sampled_processes().len(),
        }
    }
}

/// Ends with the command.
async fn command_ended(profiled: Option<&mut Profiled>) {
    if let Some(profiled) = profiled {
        profiled.ended().await;
    }
}
