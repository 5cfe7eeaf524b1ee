//! The label sets of a window, each with its weight → which keep a series of their own, and which share one called `other`.
//!
//! ```text
//!   weights ─▶ score: 3/4 of the score before + weight ─▶ the largest, those kept before counting double ─▶ kept
//!                                                          the rest ─▶ service_name="other", language, instance, …
//! ```
//!
//! A host with ten thousand services must not make ten thousand series. Who is near the bound must not change sides with
//! each window either: then both series would have holes. So a score remembers some windows, a place once held is given
//! up only to one of twice the score, and who was folded stays so until there is clear room. Folds weights, loses none.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::labels::Labels;
use super::rules::{HostLabels, INSTANCE, LANGUAGE, SERVICE_NAME};

/// The service that the rest is counted under.
pub const OTHER: &str = "other";

/// A set that was not seen for so many windows is forgotten.
const IDLE_WINDOWS_MAX: u32 = 8;
/// Sets that are remembered, for each that may be kept. Those beyond are judged by one window alone.
const REMEMBERED_A_SET: usize = 16;

/// What is remembered of a set.
#[derive(Clone, Debug)]
struct Standing {
    /// Recent weight.
    score: u64,
    is_kept: bool,
    is_folded: bool,
    idle_windows: u32,
}

/// Decides window by window.
#[derive(Debug)]
pub struct LabelBudget {
    sets_max: usize,
    common: Vec<Arc<str>>,
    known: HashMap<Arc<Labels>, Standing>,
}

/// What was decided for a window.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    others: HashMap<Arc<Labels>, Arc<Labels>>,
    /// Sets that have no series of their own.
    pub sets: usize,
    /// Their weight, all of which is in the others' series.
    pub weight: u64,
}

impl Folded {
    /// The labels that a set's samples are delivered under.
    pub fn series<'a>(&'a self, labels: &'a Arc<Labels>) -> &'a Arc<Labels> {
        self.others.get(labels).unwrap_or(labels)
    }
}

impl LabelBudget {
    /// At most so many sets a window, the others' series among them; at least one. Labels that the operator put on all series
    /// stay on the others', too.
    pub fn new(sets_max: usize, host: &HostLabels) -> Self {
        let of_host = [(host.hostname.is_some(), "hostname"), (host.node.is_some(), "node")];
        let of_host = of_host.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name);
        let fixed = host.static_labels.iter().map(|(name, _)| name);
        let common = [LANGUAGE, INSTANCE].into_iter().chain(of_host).chain(fixed).map(Arc::from);
        Self { sets_max: sets_max.max(1), common: common.collect(), known: HashMap::new() }
    }

    /// Decides for a window, in which each set stands once with its weight.
    pub fn fold(&mut self, weights: &[(Arc<Labels>, u64)]) -> Folded {
        self.remember(weights);
        let is_full = weights.len() > self.sets_max;
        let was_folded = |labels: &Arc<Labels>| self.known.get(labels).is_some_and(|known| known.is_folded);
        let stays = !is_full && weights.len() > self.sets_max - self.sets_max / 10;
        let folded: HashSet<Arc<Labels>> = if is_full {
            let kept = self.largest(weights);
            weights
                .iter()
                .map(|(labels, _)| labels)
                .filter(|labels| !kept.contains(*labels))
                .cloned()
                .collect()
        } else if stays {
            weights.iter().map(|(labels, _)| labels).filter(|labels| was_folded(labels)).cloned().collect()
        } else {
            HashSet::new()
        };
        for (labels, known) in &mut self.known {
            if known.idle_windows == 0 {
                known.is_folded = folded.contains(labels);
                known.is_kept = !known.is_folded;
            }
        }
        self.apart(weights, &folded)
    }

    /// Brings scores up to date, and forgets who was long idle.
    fn remember(&mut self, weights: &[(Arc<Labels>, u64)]) {
        for known in self.known.values_mut() {
            known.score -= known.score / 4;
            known.idle_windows += 1;
        }
        for (labels, weight) in weights {
            if let Some(known) = self.known.get_mut(labels) {
                known.score = known.score.saturating_add(*weight);
                known.idle_windows = 0;
            } else if self.known.len() < self.sets_max.saturating_mul(REMEMBERED_A_SET) {
                let new = Standing { score: *weight, is_kept: false, is_folded: false, idle_windows: 0 };
                self.known.insert(Arc::clone(labels), new);
            }
        }
        self.known.retain(|_, known| known.idle_windows < IDLE_WINDOWS_MAX);
    }

    /// Those that keep a series of their own; who held a place and is idle just now still holds it.
    fn largest(&self, weights: &[(Arc<Labels>, u64)]) -> HashSet<Arc<Labels>> {
        let score = |labels: &Arc<Labels>, weight: u64| match self.known.get(labels) {
            Some(known) if known.is_kept => known.score.saturating_mul(2),
            Some(known) => known.score,
            None => weight,
        };
        let present = weights.iter().map(|(labels, weight)| (score(labels, *weight), labels));
        let idle = self.known.iter().filter(|(_, known)| known.is_kept && known.idle_windows > 0);
        let mut ranked: Vec<_> = present.chain(idle.map(|(labels, _)| (score(labels, 0), labels))).collect();
        // By labels where scores are equal, so that the same window always gives the same answer.
        ranked.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let places = self.sets_max.saturating_sub(self.others(weights).places);
        ranked.into_iter().take(places).map(|(_, labels)| Arc::clone(labels)).collect()
    }

    /// What the others of a window can come to.
    fn others(&self, weights: &[(Arc<Labels>, u64)]) -> Others<'_> {
        let apart = Others { common: &self.common, places: 0 };
        let distinct: HashSet<Labels> = weights.iter().map(|(labels, _)| apart.of(labels)).collect();
        // More than a quarter of all places for languages: somebody relabels them, and they are no help.
        if distinct.len() > 1 && distinct.len() > self.sets_max / 4 {
            Others { common: &[], places: 1 }
        } else {
            Others { places: distinct.len(), ..apart }
        }
    }

    fn apart(&self, weights: &[(Arc<Labels>, u64)], folded: &HashSet<Arc<Labels>>) -> Folded {
        if folded.is_empty() {
            return Folded::default();
        }
        let others = self.others(weights);
        let mut shared: HashMap<Labels, Arc<Labels>> = HashMap::new();
        let mut made = Folded { sets: folded.len(), ..Folded::default() };
        for (labels, weight) in weights.iter().filter(|(labels, _)| folded.contains(labels)) {
            let other = shared.entry(others.of(labels)).or_insert_with_key(|other| Arc::new(other.clone()));
            made.others.insert(Arc::clone(labels), Arc::clone(other));
            made.weight = made.weight.saturating_add(*weight);
        }
        made
    }
}

/// How sets become others'.
struct Others<'a> {
    /// Labels that are left on.
    common: &'a [Arc<str>],
    /// Series of them, at most.
    places: usize,
}

impl Others<'_> {
    fn of(&self, labels: &Labels) -> Labels {
        let mut other: Labels = self.common.iter().map(|name| (Arc::clone(name), labels.get(name))).collect();
        other.set(SERVICE_NAME, OTHER);
        other
    }
}

#[cfg(test)]
mod tests;
