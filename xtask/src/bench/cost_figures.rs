//! Rounds of a daemon's cost → figures, in the order in which one asks: in all, by part, memory, wire, losses.

use super::cost::Cost;
use super::figures::{Figure, Target, by_round, megabytes, number};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the daemon may take of one CPU, percent, on a host with two busy CPUs.
pub(super) const CPU_PERCENT_MAX: f64 = 0.3;
/// The same with 2,000 processes.
pub(super) const CROWD_CPU_PERCENT_MAX: f64 = 1.0;
const RESIDENT_MEGABYTES_MAX: f64 = 60.0;
const MAPS_MEGABYTES_MAX: f64 = 40.0;
const WIRE_KILOBYTES_A_MINUTE_MAX: f64 = 100.0;

/// What is to be reached beside memory, which is the same for all loads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aims {
    pub(super) cpu_percent: Target,
    pub(super) wire: Target,
}

impl Aims {
    /// Of two busy CPUs.
    pub(super) const HOST: Self = Self {
        cpu_percent: Target::AtMost(CPU_PERCENT_MAX),
        wire: Target::AtMost(WIRE_KILOBYTES_A_MINUTE_MAX),
    };
    /// Of 2,000 processes: what goes over the wire is up to them.
    pub(super) const CROWD: Self =
        Self { cpu_percent: Target::AtMost(CROWD_CPU_PERCENT_MAX), wire: Target::None };
    /// Of loads that no host has for long.
    pub(super) const NONE: Self = Self { cpu_percent: Target::None, wire: Target::None };
}

/// All of them.
pub(super) fn figures(costs: &[Cost], aims: Aims) -> Vec<Figure> {
    let mut figures = cpu(costs, aims);
    figures.extend(memory(costs));
    figures.extend(wire(costs, aims));
    figures.extend(sampled(costs));
    figures
}

/// CPU time by part.
pub(super) fn cpu(costs: &[Cost], aims: Aims) -> Vec<Figure> {
    let percent = |name: String, of: &dyn Fn(&Cost) -> Duration| {
        Figure::new(name, 3, by_round(costs, |cost| cost.percent(of(cost))))
    };
    let mut figures = vec![
        percent("CPU in all, % of one CPU".into(), &Cost::cpu).judged(aims.cpu_percent),
        percent("… the daemon's threads".into(), &|cost| cost.own),
    ];
    for thread in keys(costs, |cost| cost.by_thread.keys()) {
        let of = |cost: &Cost| cost.by_thread.get(thread).copied().unwrap_or_default();
        figures.push(percent(format!("… … {thread}"), &of));
    }
    figures.push(percent("… helpers that read debug information".into(), &|cost| cost.helpers));
    figures.push(percent("… BPF programs".into(), &|cost| Duration::from_nanos(cost.bpf.nanos)));
    let a_run = |cost: &Cost| number(cost.bpf.nanos) / number(cost.bpf.runs) / 1e3;
    figures.push(Figure::new("BPF programs, µs a run", 2, by_round(costs, a_run)));
    figures.extend(by_key("… … {}, by its own clock", 2, costs, |cost| &cost.micros_by_program));
    figures
}

fn memory(costs: &[Cost]) -> Vec<Figure> {
    let of = |name: &str, decimals, of: fn(&Cost) -> f64| Figure::new(name, decimals, by_round(costs, of));
    vec![
        of("resident, MB", 1, |cost| megabytes(cost.size.resident_bytes))
            .judged(Target::AtMost(RESIDENT_MEGABYTES_MAX)),
        of("… the most since its start", 1, |cost| megabytes(cost.size.resident_peak_bytes))
            .judged(Target::AtMost(RESIDENT_MEGABYTES_MAX)),
        of("… with helpers", 1, |cost| megabytes(cost.family_bytes)),
        of("BPF maps, MB", 1, |cost| megabytes(cost.size.maps.all))
            .judged(Target::AtMost(MAPS_MEGABYTES_MAX)),
        of("… of them blocks of unwind rows", 1, |cost| megabytes(cost.size.maps.inner)),
        of("files", 0, |cost| number(cost.size.files)),
        of("threads", 0, |cost| number(cost.size.threads)),
        of("spool, kB", 1, |cost| number(cost.size.spool_bytes) / 1e3),
    ]
}

fn wire(costs: &[Cost], aims: Aims) -> Vec<Figure> {
    let minute = |name: &str, of: fn(&Cost) -> f64| {
        Figure::new(name, 1, by_round(costs, |cost| cost.a_minute(of(cost))))
    };
    let window = |name: &str, of: fn(&Cost) -> u64| {
        let a_window = |cost: &Cost| number(of(cost)) / count(cost.wire.windows).max(1.0);
        Figure::new(name, 0, by_round(costs, a_window))
    };
    vec![
        minute("on the wire, kB a minute", |cost| number(cost.wire.sent_bytes) / 1e3).judged(aims.wire),
        minute("… before compression", |cost| number(cost.wire.profile_bytes) / 1e3),
        minute("… answers", |cost| number(cost.wire.answered_bytes) / 1e3),
        minute("requests a minute", |cost| number(cost.wire.requests)),
        minute("new connections a minute", |cost| number(cost.wire.connections)),
        window("a window's profiles", |cost| u64::try_from(cost.wire.profiles).unwrap_or(0)),
        window("… bytes on the wire", |cost| cost.wire.sent_bytes),
        window("… bytes before compression", |cost| cost.wire.profile_bytes),
    ]
}

/// What was sampled and what was lost.
pub(super) fn sampled(costs: &[Cost]) -> Vec<Figure> {
    let minute = |name: &str, of: fn(&Cost) -> f64| {
        Figure::new(name, 0, by_round(costs, |cost| cost.a_minute(of(cost))))
    };
    let of = |name: &str, of: fn(&Cost) -> f64| Figure::new(name, 0, by_round(costs, of));
    let mut figures = vec![
        minute("samples a minute", |cost| cost.samples),
        minute("… and losses", |cost| cost.losses.values().fold(0.0, |sum, count| sum + count)),
    ];
    figures.extend(by_key("… … {}, in a round", 0, costs, |cost| &cost.losses));
    figures.extend([
        of("samples a second and CPU at the end of a round", |cost| cost.state.rate_hz),
        of("processes known", |cost| cost.state.processes),
        of("label sets of the last window", |cost| cost.state.label_sets),
    ]);
    figures
}

/// A figure for each key that any round has; `{}` in its name is the key.
fn by_key<'a>(
    name: &str,
    decimals: usize,
    costs: &'a [Cost],
    of: impl Fn(&'a Cost) -> &'a BTreeMap<String, f64>,
) -> Vec<Figure> {
    let keys = keys(costs, |cost| of(cost).keys());
    let figure = |key: &String| {
        let rounds = costs.iter().map(|cost| of(cost).get(key).copied().unwrap_or(0.0)).collect();
        Figure::new(name.replace("{}", key), decimals, rounds)
    };
    keys.into_iter().map(figure).collect()
}

fn keys<'a, I: Iterator<Item = &'a String>>(
    costs: &'a [Cost],
    of: impl Fn(&'a Cost) -> I,
) -> BTreeSet<&'a String> {
    costs.iter().flat_map(of).collect()
}

fn count(of: usize) -> f64 {
    number(u64::try_from(of).unwrap_or(u64::MAX))
}
