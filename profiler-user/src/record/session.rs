//! The stages of one capture, wired and driven by one thread.
//!
//! Every 100 ms, or when the ring fills to its mark: samples are drained, then process events, then both
//! are handed on by time up to the horizon. What is read meanwhile is `/proc` and the headers of mapped files,
//! at first sight; a file system that does not answer makes the ring fill up, which is counted.

use std::time::Duration;

use profiler_common::abi::{
    ABI_VERSION, FILTER_TARGETS, FOLLOW_CHILDREN, SNAPSHOT_BYTES_MAX, SNAPSHOT_SPAN_BITS, SamplerConfig,
    TaskOffsets, WALK_BY_ROWS,
};
use profiler_common::outcome::Outcome;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::unix::AsyncFd;

use super::command::{Ended, Profiled};
use super::config::{Config, Unwind};
use super::error::RecordError;
use super::live::{Live, Progress};
use super::rounds::Rounds;
use super::signals::Signals;
use super::targets::Targets;
use crate::aggregate::profile::SampledEvent;
use crate::aggregate::window::{WalkedPart, Window};
use crate::collect::decode::RingEvent;
use crate::collect::loss::Counts;
use crate::collect::merge::{Happening, Merge};
use crate::collect::ring::SampleRing;
use crate::collect::sideband::SideBand;
use crate::collect::stacks::DefinedStacks;
use crate::collect::{RawSample, StackHash, Tgid};
use crate::elf::{ElfHeaders, vdso};
use crate::host::{Clock, Host, MonotonicNanos};
use crate::process::table::ProcessTable;
use crate::sample::capabilities::Capabilities;
use crate::sample::kernel_features::task_offsets;
use crate::sample::{Hertz, Sampler, TickSource, chain};
use crate::unwind::RowStore;
use crate::unwind::cache::{CACHE_BYTES_MAX, CacheError, RowCache};
use crate::unwind::publish::KernelTables;
use crate::unwind::publisher::{Publisher, blocks_within};
use crate::unwind::snapshots::{Snapshots, Unwalked, Walked};
use crate::unwind::walker::Walker;

/// Between two rounds. Short enough that a process that has ended can still be read about, long enough
/// that the rounds themselves do not show.
const ROUND: Duration = Duration::from_millis(100);
/// A sample is in the ring at most this long after the time it carries.
const IN_FLIGHT_NANOS: u64 = 1_000_000;
/// Processes that a round reads about ahead of their first sample: 50 are some 4 ms.
const READ_AHEAD: usize = 50;
/// After the last sample, rows that are still being made are waited for so long: what the largest files take.
const ROWS_WAIT_MAX: Duration = Duration::from_secs(5);
/// Frames of the definitions that are kept: 32 MB.
const FRAMES_MAX: usize = 2 << 20;
/// File descriptors in all, if the process may have as many.
const DESCRIPTORS_MAX: u64 = 32_768;
/// Of them, left for all but the files to be named: a ring, a tick and its link on each CPU, blocks of unwind rows, files
/// whose rows are being made, and some for the rest.
const OTHER_DESCRIPTORS: u64 = 224;
/// See [`OTHER_DESCRIPTORS`].
const DESCRIPTORS_A_CPU: u64 = 3;

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
}

/// What a capture leaves to be named and written.
pub(super) struct Recording {
    pub processes: ProcessTable,
    pub window: Window,
    pub counts: Counts,
    pub event: SampledEvent,
    pub started: MonotonicNanos,
    pub duration: Duration,
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
        let shares_ids = host.proc.is_initial_pid_namespace().unwrap_or(true);
        if !shares_ids && (!config.pids.is_empty() || !config.command.is_empty()) {
            return Err(RecordError::OwnPidNamespace);
        } else if !shares_ids {
            let text = "in a PID namespace of its own (a container): processes have neither names nor functions; \
                        `flamekeeper doctor` tells how to share the host's";
            warnings.push(text.to_owned());
        }
        let cpus = Sampler::online_cpus()?;
        let blocks =
            if config.unwind == Unwind::Rows { blocks_within(config.unwind_tables_max_bytes) } else { 0 };
        let descriptors_max = descriptors_max(cpus.len(), blocks);
        let ring_bytes = ring_bytes(cpus.len(), config.rate);
        let sampler_config = sampler_config(config, host, own, ring_bytes, &mut warnings)?;
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
        let walker = match config.unwind {
            Unwind::Rows => {
                let cache = row_cache(config, &mut warnings);
                let store = RowStore::start(host.proc.clone(), cache).map_err(|source| {
                    RecordError::System { what: "start a thread for unwind rows", source }
                })?;
                let tables = Box::new(KernelTables::new(sampler.walker_maps()?));
                // Without its headers the vdso is walked by frame pointers.
                let vdso = vdso::image_of_this_process(&host.proc).ok().flatten();
                let vdso = vdso.and_then(|image| ElfHeaders::read(&*image).ok());
                Some(Walker::new(Publisher::new(tables, config.unwind_tables_max_bytes, vdso), store))
            }
            Unwind::FramePointers => None,
        };
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
                    None
                }
                ended = signals.next() => Some(ended),
                () = &mut deadline, if config.duration.is_some() => Some(Ended::Duration),
                () = command_ended(profiled.as_deref_mut()), if profiled.is_some() => Some(Ended::Command),
            };
            if let Some(ended) = ended {
                return Ok(ended);
            }
            let horizon = MonotonicNanos(self.clock.monotonic().0.saturating_sub(IN_FLIGHT_NANOS));
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
            walker.store().collect();
        }
        // Before pages are loaded, so that those which these walks came by are loaded too.
        self.retry_snapshots();
        if let Some(walker) = &mut self.walker {
            walker.round(&mut self.processes, now, horizon);
        }
    }

    fn sample(&mut self, sample: RawSample) {
        if !self.own_children_before_exec && self.processes.is_fork_without_exec(sample.tgid, self.own) {
            return; // the command is still us
        }
        let owner = self.processes.owner(&sample);
        // Without the kernel's types nothing tells a reused pid, so nothing is published.
        let has_memory = !matches!(sample.user_outcome, Outcome::KernelThread | Outcome::NoUserMemory);
        if let Some(walker) = &mut self.walker
            && has_memory
            && sample.start_time != 0
        {
            walker.saw(&sample, owner);
        }
        if let Some(walker) = &mut self.walker
            && sample.snapshot.is_some()
        {
            let mappings = self.processes.pinned_mappings(sample.tgid);
            let unwalked = Unwalked { sample, owner, mappings };
            if let Some(walked) = self.snapshots.take(unwalked, walker.store(), self.processes.files()) {
                self.walked(&walked);
            }
            return;
        }
        let now = self.clock.monotonic();
        let mut sample = sample;
        if let Some(walker) = &mut self.walker
            && sample.user_stack.is_some()
            && walker.is_misled(&sample, owner, now)
        {
            sample.user_stack = None;
            sample.user_outcome = Outcome::CodeReplaced;
        }
        let ask_again = ask_again(&mut self.sampler);
        self.window.take(&sample, owner, &mut self.stacks, &mut self.processes, ask_again);
    }

    /// Counts a sample whose stack was walked here.
    fn walked(&mut self, walked: &Walked) {
        let (sample, owner) = (&walked.unwalked.sample, walked.unwalked.owner);
        let unwound = &walked.unwound;
        if unwound.is_off_the_map {
            self.processes.doubt(sample.tgid, sample.at);
        }
        if let Some(walker) = &mut self.walker {
            walked.pages.iter().for_each(|&(key, page)| walker.want(key, page));
        }
        let mappings = &walked.unwalked.mappings;
        let part = WalkedPart { frames: &unwound.frames, outcome: unwound.outcome, mappings };
        let ask_again = ask_again(&mut self.sampler);
        self.window.take_walked(sample, owner, part, &mut self.stacks, &mut self.processes, ask_again);
    }

    /// Walks what waited for rows that have been read since.
    fn retry_snapshots(&mut self) {
        let Some(walker) = &mut self.walker else { return };
        let walked = self.snapshots.retry(walker.store(), self.processes.files());
        walked.iter().for_each(|walked| self.walked(walked));
    }

    /// Waits for the rows that stacks still wait for, within reason, and walks them.
    fn finish_snapshots(&mut self) {
        let started = self.clock.monotonic();
        while !self.snapshots.is_empty()
            && let Some(walker) = &mut self.walker
            && let Some(left) = ROWS_WAIT_MAX.checked_sub(self.clock.since(started))
        {
            walker.store().wait(left);
            walker.store().collect();
            self.retry_snapshots();
        }
        let Some(walker) = &mut self.walker else { return };
        let walked = self.snapshots.give_up(walker.store(), self.processes.files());
        walked.iter().for_each(|walked| self.walked(walked));
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

/// If the slot cannot be cleared the stack stays unknown, which the window has counted.
fn ask_again(sampler: &mut Sampler) -> impl FnMut(StackHash) + '_ {
    |hash| {
        let _counted = sampler.ask_again(hash.0);
    }
}

/// Ends with the command.
async fn command_ended(profiled: Option<&mut Profiled>) {
    if let Some(profiled) = profiled {
        profiled.ended().await;
    }
}

/// The folder of rows. That there is none is no news; that somebody meddled with it is.
fn row_cache(config: &Config, warnings: &mut Vec<String>) -> Option<RowCache> {
    match RowCache::open(config.cache_dir.as_deref()?, CACHE_BYTES_MAX) {
        Ok(cache) => Some(cache),
        Err(error @ CacheError::NotTrusted { .. }) => {
            warnings.push(format!("{error}; --cache-dir names another folder"));
            None
        }
        Err(CacheError::Unavailable { .. }) => None,
    }
}

fn sampler_config(
    config: &Config,
    host: &Host,
    own: u32,
    ring_bytes: u32,
    warnings: &mut Vec<String>,
) -> Result<SamplerConfig, RecordError> {
    let follow = config.children || !config.command.is_empty();
    let task = match task_offsets(&host.sys) {
        Ok(task) => task,
        Err(source) if follow => {
            return Err(RecordError::NeedsBtf { what: "following child processes", source });
        }
        Err(source) => {
            let cause = chain(&source);
            warnings.push(format!("reused pids, execs and kernel threads are not recognized: {cause}"));
            TaskOffsets::default()
        }
    };
    let mut flags = 0;
    if !config.pids.is_empty() || !config.command.is_empty() {
        flags |= FILTER_TARGETS;
    }
    if follow {
        flags |= FOLLOW_CHILDREN;
    }
    if config.unwind == Unwind::Rows {
        flags |= WALK_BY_ROWS;
    }
    // Elsewhere our id is somebody else's in the kernel.
    let is_own_id = host.proc.is_initial_pid_namespace().unwrap_or(true);
    let excluded_tgid = if config.include_self || !is_own_id { 0 } else { own };
    Ok(SamplerConfig {
        abi_version: ABI_VERSION,
        flags,
        excluded_tgid,
        wakeup_bytes: ring_bytes / 2,
        snapshots_a_span: snapshots_a_span(config.rate),
        task,
    })
}

/// What a thread that never sleeps takes of samples until its process is published, one and a half times.
fn snapshots_a_span(rate: Hertz) -> u32 {
    let span_nanos = 1u64 << SNAPSHOT_SPAN_BITS;
    let samples = span_nanos.div_ceil(rate.period_nanos().max(1));
    u32::try_from(samples + samples / 2).unwrap_or(u32::MAX)
}

/// Room for one and a half rounds of snapshots of every CPU, none of them short, between 1 and 16 MiB: at least a
/// second of plain samples at 999 Hz. Online CPUs, not those that we may run on: all of them write to it.
fn ring_bytes(cpus: usize, rate: Hertz) -> u32 {
    let in_rounds = u64::from(rate.get()) * 3 / 20;
    let snapshots = u64::try_from(cpus).unwrap_or(u64::MAX).saturating_mul(in_rounds);
    let bytes = snapshots.saturating_mul(SNAPSHOT_BYTES_MAX as u64).next_power_of_two();
    u32::try_from(bytes.clamp(1 << 20, 16 << 20)).unwrap_or(1 << 20)
}

/// Raises the limit of file descriptors as far as it goes; how many of them files to be named may take.
fn descriptors_max(cpus: usize, blocks_of_rows: u32) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
    if limit.current.is_some_and(|current| current < wanted) {
        // If it cannot be raised, fewer files stay open.
        let _kept = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
    let others = u64::try_from(cpus)
        .unwrap_or(u64::MAX)
        .saturating_mul(DESCRIPTORS_A_CPU)
        .saturating_add(u64::from(blocks_of_rows))
        .saturating_add(OTHER_DESCRIPTORS);
    let left = getrlimit(Resource::Nofile)
        .current
        .unwrap_or(DESCRIPTORS_MAX)
        .min(DESCRIPTORS_MAX)
        .saturating_sub(others);
    usize::try_from(left).unwrap_or(0).max(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_samples_a_second_are_more_snapshots() {
        let at = |hertz| snapshots_a_span(Hertz::new(hertz).unwrap());
        assert_eq!([1, 99, 999].map(at), [1, 21, 202]);
    }

    #[test]
    fn the_ring_grows_with_cpus_and_rate_within_bounds() {
        let megabytes = |cpus, hertz| ring_bytes(cpus, Hertz::new(hertz).unwrap()) >> 20;
        assert_eq!([0, 2, 16, 17, 128, 8192].map(|cpus| megabytes(cpus, 99)), [1, 1, 4, 4, 16, 16]);
        assert_eq!([19, 499, 999].map(|hertz| megabytes(2, hertz)), [1, 4, 8]);
    }
}
