//! Processes at their first sample → who they are: labels, the rule that named them, or that they are left out.
//!
//! ```text
//!   ProcessFacts ─ known, same program? ──────────────────────────────▶ Arc<Attribution>
//!        └─▶ /proc/PID/{cgroup,exe,comm,status} ─▶ cgroup, container, pod, language
//!                                                     └▶ rules ─▶ relabel ─▶ limits ─┘
//! ```
//!
//! Belongs to the thread that takes samples, so it asks nobody who may not answer: pods come in as a table, slow sources
//! of containers as answers. What was said of a process changes when more is known ([`Attributor::refresh`]) or when the
//! process moves to another cgroup, which is looked for less and less often.

mod awaited;
mod look;
mod shared;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use self::awaited::Awaited;
use self::shared::Shared;
use super::containers::{ContainerStore, Found, Wanted};
use super::kubernetes::PodTable;
use super::labels::Labels;
use super::language::LanguageDetector;
use super::limits;
use super::rules::{self, HostLabels, RuleName};
use super::sources::Sources;
use crate::collect::Tgid;
use crate::host::{MonotonicNanos, ProcFs};
use crate::process::ProcessKey;
use crate::process::table::Program;

/// Why samples of a process are not delivered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// An action `keep`, `drop`, `keepequal` or `dropequal`.
    RelabelConfigs {
        /// The rule, as people read it.
        rule: Arc<str>,
    },
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RelabelConfigs { rule } => write!(f, "relabel_configs: {rule}"),
        }
    }
}

/// Whether samples of a process are delivered, as far as that can be said by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They are.
    Wanted,
    /// They are not.
    Dropped,
    /// Its pod is not known yet, and a rule may keep or drop by that: to be asked again, for some seconds at most.
    Open,
}

/// What is said of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// The labels of its series; the same set for all processes that share a series.
    pub labels: Arc<Labels>,
    /// What named the service, before `relabel_configs`.
    pub rule: RuleName,
    /// Why it is left out; `None` if it is not.
    pub dropped: Option<DropReason>,
    /// What the labels were made of. A fork shares its parent's, as long as it runs the same program in the same cgroup.
    pub sources: Arc<Sources>,
}

/// What the caller knows of a process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessFacts<'a> {
    /// Process id in the host's namespace.
    pub tgid: Tgid,
    /// Another one after each exec, and for another process with the same id.
    pub run: ProcessKey,
    /// Whether the sample is a kernel thread's.
    pub is_kernel_thread: bool,
    /// Its program, from the table of processes.
    pub program: Program<'a>,
}

/// `relabel_configs` as a step: changes the union of source labels and series labels, or tells which rule drops the process.
pub type RelabelStep = Box<dyn Fn(&mut Labels) -> Option<Arc<str>> + Send>;

/// How much there is of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributorCounts {
    /// Processes that are known now.
    pub processes: usize,
    /// Of those, left out.
    pub dropped: usize,
    /// Distinct sets of series labels of those that are not left out.
    pub label_sets: usize,
    /// Distinct `service_name`s among these.
    pub services: usize,
    /// Containers that were met, and those of which something is known.
    pub containers: (usize, usize),
    /// Processes looked at in `/proc` since the start.
    pub looked_at: u64,
    /// Processes of which nothing could be read any more: they ended first.
    pub ended_first: u64,
    /// Label sets that were cut to what the database takes.
    pub cut: u64,
    /// Times that everything was forgotten because there were too many processes.
    pub overflows: u64,
}

#[derive(Debug)]
struct Entry {
    run: ProcessKey,
    attribution: Arc<Attribution>,
    /// The bytes that the cgroup was read from; empty if it could not be read.
    cgroup: Arc<[u8]>,
    /// Mappings when the language was told.
    mapped: usize,
    check_at: MonotonicNanos,
    pause_nanos: u64,
    relabeling: u64,
}

/// Processes that are known at a time.
const PROCESSES_MAX: usize = 1 << 16;

/// Says who processes are.
pub struct Attributor {
    proc: ProcFs,
    host: HostLabels,
    containers: ContainerStore,
    languages: LanguageDetector,
    pods: Arc<PodTable>,
    relabel: Option<RelabelStep>,
    relabeling: u64,
    processes: HashMap<Tgid, Entry>,
    processes_max: usize,
    shared: Shared,
    awaited: Awaited,
    counts: AttributorCounts,
}

impl fmt::Debug for Attributor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attributor")
            .field("host", &self.host)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Attributor {
    /// Knows no process, no pod and no relabelling yet.
    pub fn new(proc: ProcFs, host: HostLabels, containers: ContainerStore) -> Self {
        Self {
            proc,
            host,
            containers,
            languages: LanguageDetector::new(),
            pods: Arc::default(),
            relabel: None,
            relabeling: 0,
            processes: HashMap::new(),
            processes_max: PROCESSES_MAX,
            shared: Shared::default(),
            awaited: Awaited::default(),
            counts: AttributorCounts::default(),
        }
    }

    /// Other `relabel_configs` and labels of the host, as after a reload. Takes effect with [`Self::refresh`].
    pub fn configure(&mut self, host: HostLabels, relabel: Option<RelabelStep>) {
        (self.host, self.relabel) = (host, relabel);
        self.relabeling += 1;
    }

    /// The pods as they are now. Takes effect with [`Self::refresh`].
    pub fn set_pods(&mut self, pods: Arc<PodTable>) {
        self.pods = pods;
    }

    /// Whether decisions on processes of pods that are not known yet are put off for a while: pods are watched, and
    /// `relabel_configs` may keep or drop.
    pub fn wait_for_pods(&mut self, is_waiting: bool) {
        self.awaited.set_waiting(is_waiting);
    }

    /// Whether a process's samples are delivered.
    pub fn decision(&mut self, known: &Attribution, now: MonotonicNanos) -> Decision {
        let Sources { cgroup, pod, .. } = &*known.sources;
        let unknown_pod = cgroup.pod_uid.as_deref().filter(|_| pod.is_none());
        match unknown_pod {
            Some(uid) if self.awaited.is_awaited(uid, now) => Decision::Open,
            _ if known.dropped.is_some() => Decision::Dropped,
            _ => Decision::Wanted,
        }
    }

    /// Containers to ask slow sources for.
    pub fn take_wanted(&mut self) -> Vec<Wanted> {
        self.containers.take_wanted()
    }

    /// What slow sources found. Takes effect with [`Self::refresh`].
    pub fn learn(&mut self, found: Found, now: MonotonicNanos) {
        self.containers.learn(found, now);
    }

    /// Who a process is. To be called with each sample: for a process that is known it is one look-up, unless it
    /// is time to see whether it has moved.
    pub fn attribute(&mut self, facts: &ProcessFacts<'_>, now: MonotonicNanos) -> Arc<Attribution> {
        let known = self.processes.get(&facts.tgid).filter(|known| known.run == facts.run);
        match known {
            Some(known) if now < known.check_at => Arc::clone(&known.attribution),
            Some(_) => self.check(facts, now),
            None => self.meet(facts, now),
        }
    }

    /// What was last said of a process, if it is the same one still.
    pub fn known(&self, run: ProcessKey) -> Option<&Arc<Attribution>> {
        self.processes.get(&run.tgid).filter(|known| known.run == run).map(|known| &known.attribution)
    }

    /// What was once said of a process that is forgotten by now, with what has become known since.
    pub fn anew(&mut self, before: &Arc<Attribution>, now: MonotonicNanos) -> Arc<Attribution> {
        self.again(before, self.relabeling, now).unwrap_or_else(|| Arc::clone(before))
    }

    /// Of a process that had ended before anything but the name of its executable could be read.
    pub fn ended_unread(&mut self, tgid: Tgid, executable_name: &Arc<str>) -> Arc<Attribution> {
        self.decide(Sources::unread(tgid, Arc::clone(executable_name)))
    }

    /// All processes that are known, by id.
    pub fn targets(&self) -> Vec<(Tgid, Arc<Attribution>)> {
        let mut all: Vec<_> =
            self.processes.iter().map(|(&tgid, known)| (tgid, Arc::clone(&known.attribution))).collect();
        all.sort_unstable_by_key(|&(tgid, _)| tgid);
        all
    }

    /// Forgets a process that has ended.
    pub fn forget(&mut self, tgid: Tgid) {
        self.processes.remove(&tgid);
    }

    /// How much there is of what.
    pub fn counts(&self) -> AttributorCounts {
        let attributions = || self.processes.values().map(|known| &known.attribution);
        let kept = || attributions().filter(|known| known.dropped.is_none());
        let sets: HashSet<*const Labels> = kept().map(|known| Arc::as_ptr(&known.labels)).collect();
        let services: HashSet<&str> = kept().map(|known| known.labels.get("service_name")).collect();
        AttributorCounts {
            processes: self.processes.len(),
            dropped: attributions().filter(|known| known.dropped.is_some()).count(),
            label_sets: sets.len(),
            services: services.len(),
            containers: self.containers.counts(),
            ..self.counts
        }
    }

    /// Says anew who those are of which more is known now: pods, containers, relabelling. Gives those whose answer changed.
    /// To be called about once a second; costs a look-up for each process in a container or pod.
    pub fn refresh(&mut self, now: MonotonicNanos) -> Vec<(Tgid, Arc<Attribution>)> {
        let mut changed = Vec::new();
        let mut processes = std::mem::take(&mut self.processes);
        // Forks and threads of one container share what they are made of, and so the answer.
        let mut answers: HashMap<*const Sources, Arc<Attribution>> = HashMap::new();
        for (&tgid, known) in &mut processes {
            let before = &known.attribution;
            let answer = match answers.get(&Arc::as_ptr(&before.sources)) {
                Some(answer) => Arc::clone(answer),
                None => {
                    let Some(answer) = self.again(before, known.relabeling, now) else {
                        continue;
                    };
                    answers.insert(Arc::as_ptr(&before.sources), Arc::clone(&answer));
                    answer
                }
            };
            known.relabeling = self.relabeling;
            if *answer != **before {
                changed.push((tgid, Arc::clone(&answer)));
            }
            known.attribution = answer;
        }
        self.processes = processes;
        changed.sort_unstable_by_key(|&(tgid, _)| tgid);
        changed
    }

    /// A new answer, if anything that it is made of is another.
    fn again(
        &mut self,
        before: &Attribution,
        relabeling: u64,
        now: MonotonicNanos,
    ) -> Option<Arc<Attribution>> {
        let sources = &before.sources;
        let (container, pod) = match &sources.container {
            None if sources.cgroup.pod_uid.is_none() => (None, None),
            _ => self.surroundings(&sources.cgroup, now),
        };
        if container == sources.container && pod == sources.pod && relabeling == self.relabeling {
            return None;
        }
        let sources = Sources { container, pod, ..(**sources).clone() };
        Some(self.decide(sources))
    }

    /// Rules, relabelling, limits.
    fn decide(&mut self, sources: Sources) -> Arc<Attribution> {
        let (mut labels, rule) = rules::apply(&sources, &self.host);
        let mut dropped = None;
        if let Some(relabel) = &self.relabel {
            for (name, value) in sources.labels() {
                labels.set(name, value);
            }
            dropped = relabel(&mut labels).map(|rule| DropReason::RelabelConfigs { rule });
            labels.retain(|name| !name.starts_with("__"));
        }
        self.counts.cut += u64::from(limits::keep(&mut labels));
        let labels = self.shared.labels(labels);
        Arc::new(Attribution { labels, rule, dropped, sources: Arc::new(sources) })
    }
}

#[cfg(test)]
mod tests;
