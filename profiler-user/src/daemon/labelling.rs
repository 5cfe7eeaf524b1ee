//! Who is profiled, and under which labels: the daemon's [`Admission`], over the [`Attributor`].
//!
//! A process is attributed when its first sample comes, before anything is built for it; its labels are read again at each
//! cut, when more may be known of its container. A process whose pod is not known yet is sampled until that is decided; what
//! turns out not to be wanted, or is still not decided, is taken out at the cut.

use std::collections::HashMap;
use std::sync::Arc;

use profiler_common::outcome::Outcome;
use tokio::sync::{mpsc, watch};

use crate::aggregate::completeness::Completeness;
use crate::attribute::containers::{ContainerStore, Found, Wanted};
use crate::attribute::kubernetes::PublishedPods;
use crate::attribute::labels::Labels;
use crate::attribute::relabel::Relabel;
use crate::attribute::rules::HostLabels;
use crate::attribute::{Attribution, Attributor, Decision, ProcessFacts};
use crate::capture::admission::Admission;
use crate::capture::segment::Segment;
use crate::collect::{RawSample, Tgid};
use crate::config::DaemonConfig;
use crate::deliver::serve::{Target, TargetsSnapshot};
use crate::host::{Host, MonotonicNanos};
use crate::process::table::ProcessTable;
use crate::process::{ProcessId, ProcessKey, ThreadId};

/// What comes in from elsewhere while it works.
pub(super) struct Sources {
    /// This node's pods.
    pub(super) pods: watch::Receiver<PublishedPods>,
    /// Whether anybody tells of them.
    pub(super) are_pods_watched: bool,
    /// Containers that only slow sources may know.
    pub(super) wanted: mpsc::Sender<Wanted>,
    /// What those knew.
    pub(super) found: mpsc::Receiver<Found>,
}

/// See above.
pub(super) struct Labelling {
    attributor: Attributor,
    host: Host,
    sources: Sources,
    /// By process id, of the segment that goes on.
    current: Vec<Option<Arc<Attribution>>>,
    /// Of processes of the segment before that have ended: a sample of theirs may have waited for rows.
    ended: HashMap<ProcessKey, Arc<Attribution>>,
    /// Samples of each process that is known, for the list of targets.
    samples: HashMap<Tgid, u64>,
    /// Samples that were taken out at cuts.
    left_out: u64,
}

impl Labelling {
    pub(super) fn new(config: &DaemonConfig, host: &Host, sources: Sources) -> Self {
        let folders = config.containers.folders();
        let asks_elsewhere = !config.containers.sockets.is_empty() || !folders.homes.is_empty();
        let store = ContainerStore::new(host.proc.clone(), folders, asks_elsewhere);
        let mut labelling = Self {
            attributor: Attributor::new(host.proc.clone(), host_labels(config, host), store),
            host: host.clone(),
            sources,
            current: Vec::new(),
            ended: HashMap::new(),
            samples: HashMap::new(),
            left_out: 0,
        };
        labelling.configure(config);
        labelling
    }

    /// Takes other labels and rules.
    pub(super) fn configure(&mut self, config: &DaemonConfig) {
        let rules = config.labels.relabel_rules();
        let relabel = match Relabel::new(rules) {
            // A configuration that was loaded was checked.
            Err(error) => {
                tracing::error!(%error, "labels.relabel_configs are not used");
                None
            }
            Ok(_) if config.labels.relabel_configs.is_empty() => None,
            Ok(relabel) => Some(relabel),
        };
        let may_drop = relabel.as_ref().is_some_and(Relabel::may_drop);
        self.attributor.wait_for_pods(may_drop && self.sources.are_pods_watched);
        let step = relabel.map(|relabel| -> crate::attribute::attributor::RelabelStep {
            Box::new(move |labels| relabel.dropped_by(labels).map(|rule| rule.to_string().into()))
        });
        self.attributor.configure(host_labels(config, &self.host), step);
    }

    /// Takes what has become known elsewhere. To be called every few seconds.
    pub(super) fn refresh(&mut self) {
        let now = self.host.clock.monotonic();
        self.take_in(now);
        for wanted in self.attributor.take_wanted() {
            // One that finds the queue full is wanted again after a while.
            let _asked = self.sources.wanted.try_send(wanted);
        }
        self.attributor.refresh(now);
    }

    /// The same, if there is anything. To be called about once a second.
    pub(super) fn refresh_if_told(&mut self) {
        let now = self.host.clock.monotonic();
        if self.take_in(now) {
            self.attributor.refresh(now);
        }
    }

    /// Whether anything was told.
    fn take_in(&mut self, now: MonotonicNanos) -> bool {
        let mut is_told = false;
        if self.sources.pods.has_changed().unwrap_or(false) {
            let pods = self.sources.pods.borrow_and_update();
            self.attributor.set_pods(Arc::clone(&pods.table));
            is_told = true;
        }
        while let Ok(found) = self.sources.found.try_recv() {
            self.attributor.learn(found, now);
            is_told = true;
        }
        is_told
    }

    /// The labels of a segment's processes by their ids, as of now. Takes samples out whose process is not wanted, as of
    /// now too. The next segment begins.
    pub(super) fn of_segment(&mut self, segment: &mut Segment) -> Vec<Arc<Labels>> {
        self.refresh_if_told();
        let now = self.host.clock.monotonic();
        let mut current = std::mem::take(&mut self.current);
        let ended_before = std::mem::take(&mut self.ended);
        current.resize(segment.sampled.processes.len(), None);
        let mut labels = Vec::with_capacity(current.len());
        let mut are_wanted = Vec::with_capacity(current.len());
        for (at_sample, process) in current.into_iter().zip(&segment.sampled.processes) {
            let known = match self.attributor.known(process.key) {
                Some(known) => Arc::clone(known),
                None => {
                    let before = at_sample.or_else(|| ended_before.get(&process.key).cloned());
                    let known = match before {
                        Some(before) => self.attributor.anew(&before, now),
                        None => self.attributor.ended_unread(process.tgid, &process.executable_name),
                    };
                    self.ended.insert(process.key, Arc::clone(&known));
                    known
                }
            };
            are_wanted.push(self.attributor.decision(&known, now) == Decision::Wanted);
            labels.push(Arc::clone(&known.labels));
        }
        let threads = &segment.sampled.threads;
        let process_of =
            |thread: ThreadId| threads.get(thread.0 as usize).map(|thread| thread.process.0 as usize);
        self.left_out += segment.window.leave_out(|thread| {
            process_of(thread).and_then(|process| are_wanted.get(process)).is_some_and(|is_wanted| !is_wanted)
        });
        for (thread, _, tally) in segment.window.tallies() {
            let process = process_of(thread).and_then(|process| segment.sampled.processes.get(process));
            // Nobody would tell us to forget one that is forgotten already.
            if let Some(process) = process.filter(|process| self.attributor.known(process.key).is_some()) {
                *self.samples.entry(process.tgid).or_default() += tally.count;
            }
        }
        labels
    }

    /// Samples that were taken out at cuts: their processes turned out not to be wanted.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Every process that is known.
    pub(super) fn targets(&self, completeness: &Completeness) -> TargetsSnapshot {
        let target = |(tgid, known): (Tgid, Arc<Attribution>)| {
            let sources = &known.sources;
            let share = completeness.by_executable.get(&sources.executable_name);
            let share = share.filter(|share| share.with_user_stack() > 0);
            Target {
                pid: tgid.0,
                executable: match &*sources.executable_path {
                    "" => Arc::clone(&sources.executable_name),
                    _ => Arc::clone(&sources.executable_path),
                },
                labels: Arc::clone(&known.labels),
                rule: known.rule.name().into(),
                language: sources.language.map_or("", |language| language.name()).into(),
                dropped: known.dropped.as_ref().map(|why| why.to_string().into()),
                samples: self.samples.get(&tgid).copied().unwrap_or(0),
                complete_permille: share.and_then(|share| u16::try_from(share.complete_permille()).ok()),
            }
        };
        let targets = self.attributor.targets().into_iter().map(target).collect();
        TargetsSnapshot::new(self.host.name.as_str().into(), self.host.clock.wall_now(), targets)
    }

    /// How much there is of what.
    pub(super) fn counts(&self) -> crate::attribute::attributor::AttributorCounts {
        self.attributor.counts()
    }

    fn attribute(
        &mut self,
        id: ProcessId,
        is_kernel_thread: bool,
        processes: &ProcessTable,
        now: MonotonicNanos,
    ) -> Option<Arc<Attribution>> {
        let sampled = processes.sampled_processes().get(id.0 as usize)?;
        let program = processes.program(sampled.tgid)?;
        let facts = ProcessFacts { tgid: sampled.tgid, run: sampled.key, is_kernel_thread, program };
        Some(self.attributor.attribute(&facts, now))
    }
}

impl Admission for Labelling {
    fn admits(&mut self, sample: &RawSample, process: ProcessId, processes: &ProcessTable) -> bool {
        let is_kernel_thread = sample.user_outcome == Outcome::KernelThread;
        let now = self.host.clock.monotonic();
        let attribution = self.attribute(process, is_kernel_thread, processes, now);
        let decision = attribution.as_ref().map(|known| self.attributor.decision(known, now));
        let is_admitted = decision.is_none_or(|decision| decision != Decision::Dropped);
        let index = process.0 as usize;
        if self.current.len() <= index {
            self.current.resize(index + 1, None);
        }
        if let Some(slot) = self.current.get_mut(index) {
            *slot = attribution;
        }
        is_admitted
    }

    fn forget(&mut self, tgid: Tgid) {
        self.attributor.forget(tgid);
        self.samples.remove(&tgid);
    }
}

/// What a host says of all its processes.
pub(super) fn host_labels(config: &DaemonConfig, host: &Host) -> HostLabels {
    let labels = &config.labels;
    HostLabels {
        instance: labels.instance.as_deref().unwrap_or(&host.name).into(),
        hostname: labels.hostname.then(|| host.name.as_str().into()),
        node: config.kubernetes.node_name.as_deref().map(Into::into),
        static_labels: labels
            .static_labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
    }
}
