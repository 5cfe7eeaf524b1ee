//! Every process that is known, with its labels and why it is sampled or not: the one picture behind `/targets`,
//! `/targets.json`, `/sd/targets` and the check of selectors. Plain data; whoever samples makes it once a window.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::selector::Selector;
use crate::attribute::labels::Labels;
use crate::host::WallNanos;

/// So many are listed; of more, those with the most samples.
pub const TARGETS_MAX: usize = 5_000;

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Process id in the host's pid namespace.
    pub pid: u32,
    /// Path or name of its executable; the kernel's name for kernel threads.
    pub executable: Arc<str>,
    /// What its samples are delivered under, `service_name` among them; what they would be for a dropped one.
    pub labels: Arc<Labels>,
    /// The rule that named its service, such as `kubernetes`, `systemd`, `executable`.
    pub rule: Arc<str>,
    /// Its language, as in the label; empty if unknown.
    pub language: Arc<str>,
    /// Why it is not sampled, if it is not.
    pub dropped: Option<Arc<str>>,
    /// Samples since it was first seen.
    pub samples: u64,
    /// Of a thousand user stacks, those that reach their root; `None` before there is one.
    pub complete_permille: Option<u16>,
}

impl Target {
    /// The service that it belongs to; empty if nothing named it.
    pub fn service(&self) -> &str {
        self.labels.get("service_name")
    }
}

/// Every process at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetsSnapshot {
    /// Name of the host.
    pub host: Arc<str>,
    /// When it was made; zero before there was one.
    pub taken_at: WallNanos,
    targets: Vec<Target>,
    left_out: usize,
}

impl TargetsSnapshot {
    /// Bounded at [`TARGETS_MAX`], most samples first.
    pub fn new(host: Arc<str>, taken_at: WallNanos, mut targets: Vec<Target>) -> Self {
        targets.sort_by_key(|target| (Reverse(target.samples), target.pid));
        let left_out = targets.len().saturating_sub(TARGETS_MAX);
        targets.truncate(TARGETS_MAX);
        Self { host, taken_at, targets, left_out }
    }

    /// Most samples first.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// How many did not fit.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The first name in a selector that no sampled process has a label of, with the names that there are: most
    /// likely a slip, and an empty profile would not tell. `None` while nothing is known.
    pub fn unknown_label<'a>(&self, selector: &'a Selector) -> Option<UnknownLabel<'a>> {
        let sampled = || self.targets.iter().filter(|target| target.dropped.is_none());
        if self.left_out > 0 || sampled().next().is_none() {
            return None;
        }
        let mut known: BTreeSet<&str> =
            sampled().flat_map(|target| target.labels.iter().map(|(name, _)| name)).collect();
        known.insert(super::selector::PID);
        let name = selector.names().find(|name| !known.contains(name))?;
        Some(UnknownLabel { name, known: known.into_iter().collect::<Vec<_>>().join(" ") })
    }
}

/// A label that no sampled process has.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownLabel<'a> {
    /// What was asked for.
    pub name: &'a str,
    /// What there is, with blanks between.
    pub known: String,
}

/// As `/targets.json` has it.
impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'a> {
            pid: u32,
            executable: &'a str,
            service: &'a str,
            rule: &'a str,
            language: &'a str,
            dropped: Option<&'a str>,
            samples: u64,
            complete_permille: Option<u16>,
            labels: LabelMap<'a>,
        }
        let view = View {
            pid: self.pid,
            executable: &self.executable,
            service: self.service(),
            rule: &self.rule,
            language: &self.language,
            dropped: self.dropped.as_deref(),
            samples: self.samples,
            complete_permille: self.complete_permille,
            labels: LabelMap(&self.labels),
        };
        view.serialize(serializer)
    }
}

/// Labels as a JSON object.
pub(super) struct LabelMap<'a>(pub(super) &'a Labels);

impl Serialize for LabelMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(pid: u32, samples: u64, service: &str) -> Target {
        let labels = Arc::new([("service_name", service)].into_iter().collect());
        Target { pid, samples, labels, ..Target::default() }
    }

    fn snapshot(targets: Vec<Target>) -> TargetsSnapshot {
        TargetsSnapshot::new("h".into(), WallNanos(1), targets)
    }

    #[test]
    fn the_busiest_are_kept() {
        let many = (1..=5_003).map(|pid| target(pid, u64::from(pid), "x")).collect();
        let snapshot = snapshot(many);
        assert_eq!((snapshot.targets().len(), snapshot.left_out()), (5_000, 3));
        assert_eq!((snapshot.targets()[0].pid, snapshot.targets()[4_999].pid), (5_003, 4));
    }

    #[test]
    fn a_label_that_nothing_has_is_found() {
        let mut selector = Selector::default();
        selector.add_path("service_name=x,pid=1,sevice=y").unwrap();
        let unknown = snapshot(vec![target(1, 1, "x")]);
        let unknown = unknown.unknown_label(&selector).unwrap();
        assert_eq!((unknown.name, &*unknown.known), ("sevice", "pid service_name"));
        assert_eq!(snapshot(Vec::new()).unknown_label(&selector), None, "nothing is known yet");
        let dropped = Target { dropped: Some("by rule".into()), ..target(1, 0, "x") };
        assert_eq!(snapshot(vec![dropped]).unknown_label(&selector), None);
    }

    #[test]
    fn json_has_everything() {
        let one = Target { complete_permille: Some(1_000), ..target(7, 3, "a\"b") };
        expect_test::expect![[r#"{"pid":7,"executable":"","service":"a\"b","rule":"","language":"","dropped":null,"samples":3,"complete_permille":1000,"labels":{"service_name":"a\"b"}}"#]]
            .assert_eq(&serde_json::to_string(&one).unwrap());
    }
}
