//! Segments and whose labels their processes have → the finished windows of the database, and the answers to pulls.
//!
//! ```text
//!   segment ─ names ─▶ Profile ─┬─▶ a merger a label set ─── end of the window ─▶ label budget ─▶ FinishedWindow
//!                               └─▶ a merger a pull ──────── end of the pull ───▶ pprof
//! ```
//!
//! Works in a thread of its own, since names may take long; nothing here waits for a network. Keeps no samples beyond the
//! window and the pulls in progress.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::aggregate::build::{self, Capture};
use crate::aggregate::completeness::Completeness;
use crate::aggregate::merge::{Keep, Merger, Span};
use crate::aggregate::profile::{Profile, Sample, SampledEvent};
use crate::attribute::budget::LabelBudget;
use crate::attribute::labels::Labels;
use crate::capture::segment::Segment;
use crate::collect::loss::Counts;
use crate::deliver::finished::{FinishedWindow, SeriesProfile};
use crate::deliver::series::{SizeLimits, encode_for_database, encode_for_tools};
use crate::deliver::serve::Selector;
use crate::host::{Host, WallNanos};
use crate::symbolize::names::Namer;
use crate::telemetry::account::StackEnds;

/// When something began and how long it took, by the wall clock's reading at the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// Its beginning.
    pub(super) started: WallNanos,
    /// Its length, by the monotonic clock.
    pub(super) duration: Duration,
}

impl Times {
    /// Together with what came right after it.
    pub(super) fn and(self, next: Self) -> Self {
        Self { started: self.started, duration: self.duration.saturating_add(next.duration) }
    }
}

/// A pull, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PullId(pub(super) u64);

/// What is counted of the work.
#[derive(Clone, Debug, Default)]
pub(super) struct WindowCounts {
    /// What could not be named, by cause.
    pub(super) names: Counts,
    /// How stacks ended, of the last window.
    pub(super) completeness: Completeness,
    /// The same of all windows, over all executables.
    pub(super) stacks: StackEnds,
    /// Label sets of the last window, before the budget.
    pub(super) label_sets: usize,
    /// Label sets whose samples went to `other`, in all windows.
    pub(super) label_sets_folded: u64,
    /// Those samples.
    pub(super) samples_folded: u64,
    /// Windows that are finished.
    pub(super) windows: u64,
    /// Samples in them.
    pub(super) samples: u64,
    /// Their CPU time, nanoseconds.
    pub(super) cpu_nanos: u64,
    /// Profiles in them.
    pub(super) profiles: u64,
    /// Bytes of these, before compression and after.
    pub(super) bytes: (u64, u64),
    /// When the last one ended.
    pub(super) last_end: Option<WallNanos>,
}

/// The windows in the making.
pub(super) struct Windows {
    host: Host,
    namer: Namer,
    limits: SizeLimits,
    budget: LabelBudget,
    series: HashMap<Arc<Labels>, Series>,
    event: SampledEvent,
    pulls: HashMap<PullId, Pull>,
    completeness: Completeness,
    counts: WindowCounts,
}

#[derive(Debug)]
struct Series {
    merger: Merger,
    weight: u64,
}

#[derive(Debug)]
struct Pull {
    selector: Selector,
    merger: Merger,
}

impl Windows {
    /// With no window begun.
    pub(super) fn new(host: Host, namer: Namer, limits: SizeLimits, budget: LabelBudget) -> Self {
        Self {
            namer,
            host,
            limits,
            budget,
            series: HashMap::new(),
            event: SampledEvent::CpuClock { period_nanos: 1 },
            pulls: HashMap::new(),
            completeness: Completeness::default(),
            counts: WindowCounts::default(),
        }
    }

    /// Takes a segment, with the labels of its processes by their ids.
    pub(super) fn segment(&mut self, segment: Segment, labels: &[Arc<Labels>]) {
        let now = self.host.clock.monotonic();
        let Segment { window, sampled, event, started, duration } = segment;
        let names = self.namer.name(window.places(), &sampled, now);
        self.counts.names.merge(&names.counts);
        let host = self.host.name.as_str().into();
        let capture = Capture { host, started, duration, event };
        let built = build::build(&window, &sampled, &names.by_place, &capture, &self.host.clock);
        self.completeness.merge(&built.completeness);
        self.event = event;
        self.add_to_series(&built.profile, labels);
        for pull in self.pulls.values_mut() {
            pull.add(&built.profile, labels);
        }
    }

    fn add_to_series(&mut self, profile: &Profile, labels: &[Arc<Labels>]) {
        self.series.values_mut().for_each(|series| series.merger.begin());
        for sample in &profile.samples {
            let Some(labels) = process_of(profile, sample).and_then(|process| labels.get(process)) else {
                continue;
            };
            let fresh = || Series { merger: Merger::new(Keep::Executables), weight: 0 };
            let series = self.series.entry(Arc::clone(labels)).or_insert_with(fresh);
            series.merger.add(profile, sample);
            series.weight = series.weight.saturating_add(sample.weight);
        }
    }

    /// The window that has gone on since the last one's end; `None` if nothing was sampled.
    pub(super) fn end(&mut self, times: Times) -> io::Result<Option<FinishedWindow>> {
        self.counts.completeness = std::mem::take(&mut self.completeness);
        self.counts.stacks.add(&self.counts.completeness.overall);
        self.counts.label_sets = self.series.len();
        let series = std::mem::take(&mut self.series);
        let mut profiles = Vec::new();
        for (labels, merger) in self.within_budget(series) {
            let profile = merger.finish(self.span(times));
            profiles.extend(encode_for_database(&labels, &profile, self.limits)?);
        }
        if profiles.is_empty() {
            return Ok(None);
        }
        // So that two runs over the same samples make the same window.
        profiles.sort_by(|left, right| left.labels.cmp(&right.labels));
        self.count(times, &profiles);
        Ok(Some(FinishedWindow { started: times.started, duration: times.duration, profiles }))
    }

    fn count(&mut self, times: Times, profiles: &[SeriesProfile]) {
        let counts = &mut self.counts;
        counts.windows += 1;
        let duration = u64::try_from(times.duration.as_nanos()).unwrap_or(u64::MAX);
        counts.last_end = Some(WallNanos(times.started.0.saturating_add(duration)));
        for profile in profiles {
            counts.profiles += 1;
            counts.samples += profile.samples;
            counts.cpu_nanos = counts.cpu_nanos.saturating_add(profile.cpu_nanos);
            counts.bytes.0 += u64::from(profile.uncompressed_bytes);
            counts.bytes.1 += u64::try_from(profile.pprof_gz.len()).unwrap_or(0);
        }
    }

    /// The label sets with the most CPU time by themselves, the others together.
    fn within_budget(&mut self, series: HashMap<Arc<Labels>, Series>) -> Vec<(Arc<Labels>, Merger)> {
        let weights: Vec<(Arc<Labels>, u64)> =
            series.iter().map(|(labels, series)| (Arc::clone(labels), series.weight)).collect();
        let folded = self.budget.fold(&weights);
        self.counts.label_sets_folded += u64::try_from(folded.sets).unwrap_or(u64::MAX);
        let mut kept = Vec::new();
        let mut others: HashMap<Arc<Labels>, Merger> = HashMap::new();
        let no_time = Times { started: WallNanos(0), duration: Duration::ZERO };
        for (labels, series) in series {
            let to = folded.series(&labels);
            if Arc::ptr_eq(to, &labels) {
                kept.push((labels, series.merger));
                continue;
            }
            let profile = series.merger.finish(self.span(no_time));
            let merger = others.entry(Arc::clone(to)).or_insert_with(|| Merger::new(Keep::Executables));
            merger.begin();
            for sample in &profile.samples {
                self.counts.samples_folded += sample.count;
                merger.add(&profile, sample);
            }
        }
        kept.extend(others);
        kept
    }

    fn span(&self, times: Times) -> Span {
        Span {
            host: self.host.name.as_str().into(),
            started_nanos: times.started.0,
            duration: times.duration,
            event: self.event,
        }
    }

    /// From the next segment on, samples of these processes are collected for a pull.
    pub(super) fn begin_pull(&mut self, id: PullId, selector: Selector) {
        self.pulls.insert(id, Pull { selector, merger: Merger::new(Keep::Threads) });
    }

    /// A pull's pprof, gzip. `None` if there is none with this number.
    pub(super) fn end_pull(&mut self, id: PullId, times: Times) -> Option<io::Result<Vec<u8>>> {
        let pull = self.pulls.remove(&id)?;
        Some(encode_for_tools(&pull.merger.finish(self.span(times))))
    }

    /// Changes what a reload may change.
    pub(super) fn reconfigure(&mut self, limits: SizeLimits, budget: LabelBudget) {
        self.limits = limits;
        self.budget = budget;
    }

    /// Forgets the names that are kept between windows.
    pub(super) fn empty_caches(&mut self) {
        self.namer.empty_caches();
    }

    /// What is kept of names takes so much, more or less.
    pub(super) fn cache_bytes(&self) -> usize {
        self.namer.cache_bytes()
    }

    /// What was counted so far.
    pub(super) fn counts(&self) -> &WindowCounts {
        &self.counts
    }
}

impl Pull {
    fn add(&mut self, profile: &Profile, labels: &[Arc<Labels>]) {
        self.merger.begin();
        let is_wanted = |(process, labels): (&crate::aggregate::profile::Process, &Arc<Labels>)| {
            self.selector.matches(labels, process.pid)
        };
        let wanted: Vec<bool> = profile.processes.iter().zip(labels).map(is_wanted).collect();
        for sample in &profile.samples {
            let process = process_of(profile, sample);
            if process.and_then(|process| wanted.get(process)).copied().unwrap_or(false) {
                self.merger.add(profile, sample);
            }
        }
    }
}

/// The index of a sample's process.
fn process_of(profile: &Profile, sample: &Sample) -> Option<usize> {
    profile.threads.get(sample.thread as usize).map(|thread| thread.process as usize)
}
