//! The text against the format's rules, against the numbers that went in, and against docs/metrics.md.

use std::collections::{BTreeMap, BTreeSet};

use expect_test::expect_file;

use super::*;
use crate::aggregate::completeness::Share;
use crate::deliver::push::{RefusalCause, RetryCause};
use crate::deliver::serve::ServeCounts;
use crate::deliver::spool::account::{DropReason, EndpointAccount, Held, Stored, Tally};
use crate::deliver::spool::state::{Endpoint, EndpointKey};
use crate::host::MonotonicNanos;
use crate::telemetry::account::{Build, Queue};
use crate::telemetry::logs::LogCounts;
use crate::telemetry::overhead::OwnCost;

/// An account in which every family has a row.
fn full() -> Account {
    let mut account = Account {
        build: Build { version: "1.2.3", architecture: "x86_64", kernel: "6.18.0".into() },
        started_at: WallNanos(1_700_000_000_500_000_000),
        own: OwnCost {
            cpu: Duration::from_millis(1_500),
            children_cpu: Some(Duration::from_millis(20)),
            resident_bytes: Some(40 << 20),
            resident_peak_bytes: Some(50 << 20),
            threads: Some(5),
            open_files: Some(60),
        },
        queues: BTreeMap::from([("windows", Queue { length: 1, capacity: 4, refused: 2 })]),
        serve: ServeCounts {
            requests: BTreeMap::from([(("/metrics", 200), 7)]),
            refusals: BTreeMap::from([("unauthorized", 1)]),
            ..ServeCounts::default()
        },
        logs: LogCounts { written: vec![("warn", 3)], swallowed: 9 },
        ..Account::default()
    };
    account.sampling.counts.add(Outcome::Samples, 1_000);
    account.sampling.counts.add(Outcome::SampleRingFull, 3);
    account.sampling.cpu_budget_ratio = Some(0.003);
    account.sampling.budget = BudgetState::Lowered;
    let broken_off = BTreeMap::new();
    let share = Share { complete: 990, broken_off, without_user_stack: [(Outcome::KernelThread, 10)].into() };
    account.sampling.stacks.add(&share);
    account.sampling.stacks.add(&share);
    account.bpf.run_times[0].nanos = 2_500_000_000;
    account.bpf.run_times[0].runs = 1_000;
    account.bpf.map_bytes.insert("EVENTS".into(), 1 << 20);
    account.cache_bytes.insert("stacks", 2 << 20);
    account.windows.last_end = Some(WallNanos(1_700_000_015_000_000_000));
    account.read_at = WallNanos(1_700_000_060_000_000_000);
    account.read_at_monotonic = MonotonicNanos(500_000_000);
    account.spool.waiting =
        Stored { windows: 3, bytes: 4_096, oldest: Some(WallNanos(1_700_000_015_000_000_000)) };
    let mut endpoint = EndpointAccount {
        taken: Tally { profiles: 12, samples: 17_060, bytes: 0 },
        delivered: Tally { profiles: 5, samples: 30, bytes: 0 },
        waiting: Tally { profiles: 3, samples: 6, bytes: 0 },
        poisoned: Tally::one(4, 0),
        last_success: Some(WallNanos(1_700_000_014_000_000_000)),
        held: Some(Held { cause: RetryCause::Timeout, until: MonotonicNanos(2_000_000_000) }),
        ..EndpointAccount::default()
    };
    endpoint.retries.insert(RetryCause::Timeout, 6);
    endpoint.dropped.insert(DropReason::Evicted, Tally { profiles: 2, samples: 20, bytes: 0 });
    endpoint.dropped.insert(DropReason::Refused, Tally::one(17_000, 0));
    endpoint.refused.insert(RefusalCause::TooLarge, Tally::one(17_000, 0));
    let key = EndpointKey::new("http://a", "");
    let endpoint = (Endpoint { key, name: "a \"b\"".to_owned(), takes_back: None }, endpoint);
    account.spool.endpoints.push(endpoint);
    account
}

/// What a reader sees of a family.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
    rows: BTreeMap<String, f64>,
}

/// Reads the text by the format's own rules, and fails where it breaks them.
fn families(text: &str) -> BTreeMap<String, Family> {
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            current = name.to_owned();
            let new = Family { help: help.to_owned(), ..Family::default() };
            assert!(families.insert(current.clone(), new).is_none(), "{name} twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current);
            families.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            let family = families.get_mut(&current).unwrap();
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let suffix = match &*family.kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let labels = sample.strip_prefix(&format!("{current}{suffix}")).expect("the family's name");
            let inner =
                labels.strip_prefix('{').map(|rest| rest.strip_suffix('}').unwrap()).unwrap_or_default();
            let names = inner.split("\",").filter_map(|pair| pair.split_once("=\""));
            family.labels.extend(names.map(|(name, _)| name.to_owned()));
            let known = family.rows.insert(labels.to_owned(), value.parse().unwrap());
            assert!(known.is_none(), "{sample} twice");
        }
    }
    families
}

fn full_families() -> BTreeMap<String, Family> {
    families(&exposition(Arc::new(full())))
}

#[test]
fn the_documentation_lists_every_metric() {
    let mut text = "\
# Metrics

`flamekeeper daemon` tells about itself at `/metrics`, in the OpenMetrics format that Prometheus reads. Counters count
from the start of the daemon. A number that cannot be known is left out. This page is written by a test from the code.

How to check that nothing was lost: every sample is at one place. To the sample, the first once the daemon has ended (before, the
window in progress is missing), the second for each endpoint and at any moment,

```text
samples_total             = samples_left_out_total + losses_total{cause=\"naming_behind\"} + profile_samples_total
spool_samples_taken_total = push_samples_total + spool_samples (all states)
                            + spool_dropped_samples_total (all reasons) + push_refused_samples_total (all causes)
```

What came into the spool is what earlier runs left there and `profile_samples_total`. What could not be sampled at all is in
`losses_total{cause=\"sample_ring_full\"}`. The other causes of `losses_total` are of names, stacks or process events: their samples are
in the totals.

| metric | type | labels | meaning |
|---|---|---|---|
"
    .to_owned();
    for (name, family) in full_families() {
        let suffix = match &*family.kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let Family { kind, help, .. } = &family;
        text.push_str(&format!("| `{name}{suffix}` | {kind} | {} | {help} |\n", labels.join(" ")));
    }
    text.push_str("\nValues of `cause` in `flamekeeper_losses_total`:\n\n| cause | meaning |\n|---|---|\n");
    for loss in Outcome::ALL.iter().filter(|outcome| outcome.is_loss()) {
        text.push_str(&format!("| `{}` | {} |\n", loss.label(), loss.words()));
    }
    text.push_str(
        "\nValues of `outcome` in `flamekeeper_stacks_total`:\n\n| outcome | meaning |\n|---|---|\n",
    );
    for end in Outcome::ALL.iter().filter(|outcome| outcome.number() < 256) {
        text.push_str(&format!("| `{}` | {} |\n", end.label(), end.words()));
    }
    expect_file!["../../../../docs/metrics.md"].assert_eq(&text);
}

#[test]
fn every_metric_follows_the_conventions() {
    for (name, family) in full_families() {
        assert!(name.starts_with("flamekeeper_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(!name.ends_with("_total") && !name.ends_with("_info"), "{name}: the encoder adds it");
        assert!(family.help.ends_with('.') && !family.help.contains('|'), "{name}: {}", family.help);
        assert!(
            !family.rows.is_empty(),
            "{name} has no row in a full account: its labels are not documented"
        );
        assert!(["counter", "gauge", "info"].contains(&&*family.kind), "{name}");
        for other in ["_milliseconds", "_ms", "_kilobytes", "_kb", "_percent", "_nanos"] {
            assert!(!name.contains(other), "{name}: seconds, bytes and ratios only");
        }
    }
}

#[test]
fn numbers_come_out_as_they_went_in() {
    let families = full_families();
    let value = |name: &str, labels: &str| families[&format!("flamekeeper_{name}")].rows[labels];
    assert_eq!(value("samples", ""), 1_000.0);
    assert_eq!(value("losses", "{cause=\"sample_ring_full\"}"), 3.0);
    assert_eq!(value("losses", "{cause=\"process_unknown\"}"), 0.0, "a cause is there before it counts");
    assert_eq!(value("stacks", "{outcome=\"root_reached\"}"), 1_980.0);
    assert_eq!(value("stacks", "{outcome=\"kernel_thread\"}"), 20.0);
    assert_eq!(value("bpf_run_seconds", "{program=\"on_tick\"}"), 2.5);
    assert_eq!(value("own_cpu_seconds", "{part=\"helpers\"}"), 0.02);
    assert_eq!(value("cpu_budget_state", "{state=\"lowered\"}"), 1.0);
    assert_eq!(value("cpu_budget_state", "{state=\"within\"}"), 0.0);
    assert_eq!(value("start_time_seconds", ""), 1_700_000_000.5);
    assert_eq!(value("http_requests", "{route=\"/metrics\",status=\"200\"}"), 7.0);
    assert_eq!(value("push_retries", "{endpoint=\"a \\\"b\\\"\",cause=\"timeout\"}"), 6.0);
    assert_eq!(value("push_refused_samples", "{endpoint=\"a \\\"b\\\"\",cause=\"too_large\"}"), 17_000.0);
    assert_eq!(value("spool_samples", "{endpoint=\"a \\\"b\\\"\",state=\"too_many_attempts\"}"), 4.0);
    assert_eq!(value("spool_oldest_age_seconds", "{state=\"waiting\"}"), 45.0);
    assert_eq!(value("push_backoff_seconds", "{endpoint=\"a \\\"b\\\"\"}"), 1.5);
    assert_eq!(value("build", "{version=\"1.2.3\",architecture=\"x86_64\",kernel=\"6.18.0\"}"), 1.0);
}

#[test]
fn every_sample_of_the_spool_is_in_one_family() {
    let families = full_families();
    let sum = |name: &str| families[&format!("flamekeeper_{name}")].rows.values().sum::<f64>();
    for what in ["profiles", "samples"] {
        let went =
            ["push_", "spool_", "spool_dropped_", "push_refused_"].map(|part| sum(&format!("{part}{what}")));
        assert_eq!(sum(&format!("spool_{what}_taken")), went.iter().sum::<f64>(), "{what}: {went:?}");
    }
}

#[test]
fn what_is_not_known_is_left_out() {
    let families = families(&exposition(Arc::default()));
    for name in ["cpu_budget_ratio", "own_resident_memory_bytes", "spool_oldest_age_seconds", "push_profiles"]
    {
        assert!(families[&format!("flamekeeper_{name}")].rows.is_empty(), "{name}");
    }
    assert_eq!(families.len(), full_families().len());
}
