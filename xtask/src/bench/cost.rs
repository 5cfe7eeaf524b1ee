//! A daemon between two moments → what it took: CPU time by part, memory, what went over the wire.
//!
//! | figure | source |
//! |---|---|
//! | CPU of the daemon | `/proc/PID/task/*/schedstat` (to the nanosecond), or utime + stime of `/proc/PID/stat` where threads have ended (10 ms) |
//! | … of its helpers | cutime + cstime of `/proc/PID/stat`: readers of debug information that have ended (10 ms) |
//! | … of its BPF programs | `run_time_ns` in `/proc/PID/fdinfo`: the kernel's account, taken around each run; that accounting is itself some 20 ns a run |
//! | … of each program | `/metrics`: its own clock, at entry and exit |
//! | resident, peak | VmRSS and VmHWM of `/proc/PID/status`; helpers are looked for once a second |
//! | maps | `memlock` in fdinfo of each map, those that maps point to included |
//! | wire | the database counts bytes on its connections below HTTP, both ways apart; without TLS here |
//!
//! Reading debug information has a budget of its own (`READER_FULL` and what follows it in symbolize/names.rs). While it is being
//! used up, rounds cost more than later ones: `--warm-up` moves them behind that.
//!
//! What the load itself does in the kernel is not counted. Neither is what a tick costs outside of the program (the timer's
//! interrupt): no account has it; `--part slowdown` shows it together with everything else.

use super::bpf::{BpfTime, Programs};
use super::clock;
use super::daemon::{Daemon, Size};
use super::database::{Database, Got};
use super::metrics::Metrics;
use super::resident::Resident;
use anyhow::{Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often helpers are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// What was taken up to a moment.
pub(super) struct Mark {
    at: Instant,
    by_thread: BTreeMap<String, Duration>,
    /// The daemon's own, threads that have ended included.
    own: Duration,
    helpers: Duration,
    bpf: BpfTime,
    pub(super) metrics: Metrics,
    pub(super) got: Got,
}

/// What one round took.
pub(super) struct Cost {
    pub(super) elapsed: Duration,
    pub(super) own: Duration,
    /// By thread: what is missing to `own` was taken by threads that have ended.
    pub(super) by_thread: BTreeMap<String, Duration>,
    pub(super) helpers: Duration,
    pub(super) bpf: BpfTime,
    /// Microseconds of a run, by program.
    pub(super) micros_by_program: BTreeMap<String, f64>,
    /// At the end.
    pub(super) size: Size,
    /// With helpers, the most at once.
    pub(super) family_bytes: u64,
    pub(super) wire: WireCost,
    pub(super) samples: f64,
    /// By cause, those that there were.
    pub(super) losses: BTreeMap<String, f64>,
    /// At the end.
    pub(super) state: State,
}

/// What went to the database.
#[derive(Clone, Debug, Default)]
pub(super) struct WireCost {
    pub(super) requests: u64,
    pub(super) sent_bytes: u64,
    pub(super) answered_bytes: u64,
    pub(super) connections: u64,
    pub(super) protocol: String,
    /// Windows that arrived, as far as their beginnings tell them apart.
    pub(super) windows: usize,
    pub(super) profiles: usize,
    /// Of profiles, before requests are compressed.
    pub(super) profile_bytes: u64,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    pub(super) rate_hz: f64,
    pub(super) processes: f64,
    pub(super) label_sets: f64,
}

impl Cost {
    /// Of so long from now on.
    pub(super) async fn of(daemon: &Daemon, database: &Database, duration: Duration) -> Result<Self> {
        database.forget().await?;
        let before = Mark::now(daemon, database).await?;
        let family_bytes = watch(daemon, duration).await?;
        let after = Mark::now(daemon, database).await?;
        Self::between(before, after, daemon.size()?, family_bytes)
    }

    /// `size` and `family_bytes` are those of the end.
    pub(super) fn between(before: Mark, after: Mark, size: Size, family_bytes: u64) -> Result<Self> {
        let bpf = after.bpf.since(before.bpf);
        if bpf.runs == 0 {
            bail!("nothing ran in the kernel");
        }
        let since = |name: &str| after.metrics.sum(name) - before.metrics.sum(name);
        let state = State {
            rate_hz: after.metrics.sum("sampling_rate_hertz"),
            processes: after.metrics.sum("processes"),
            label_sets: after.metrics.sum("label_sets"),
        };
        Ok(Self {
            elapsed: after.at.duration_since(before.at),
            own: after.own.saturating_sub(before.own),
            by_thread: durations_since(&after.by_thread, &before.by_thread),
            helpers: after.helpers.saturating_sub(before.helpers),
            bpf,
            micros_by_program: micros_by_program(&after.metrics, &before.metrics),
            size,
            family_bytes,
            wire: WireCost::between(&before.got, &after.got)?,
            samples: since("samples_total"),
            losses: counts_since(&after.metrics, &before.metrics, "losses_total", "cause"),
            state,
        })
    }

    /// CPU time that the daemon took in all, BPF programs and helpers included.
    pub(super) fn cpu(&self) -> Duration {
        self.own + self.helpers + Duration::from_nanos(self.bpf.nanos)
    }

    /// Percent of one CPU.
    pub(super) fn percent(&self, of: Duration) -> f64 {
        of.as_secs_f64() / self.elapsed.as_secs_f64() * 100.0
    }

    /// What comes to a minute.
    pub(super) fn a_minute(&self, count: f64) -> f64 {
        count / self.elapsed.as_secs_f64() * 60.0
    }
}

/// The most memory of the daemon and its helpers at once.
async fn watch(daemon: &Daemon, duration: Duration) -> Result<u64> {
    let mut resident = Resident::default();
    let (process, end) = (daemon.process()?, clock::now() + duration);
    loop {
        daemon.check()?;
        resident.look_at(&process);
        let left = end.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Ok(resident.family_bytes());
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

impl Mark {
    /// What the database has is asked for last: its answer takes it CPU time, not the daemon.
    pub(super) async fn now(daemon: &Daemon, database: &Database) -> Result<Self> {
        let metrics = daemon.metrics().await?;
        let by_thread = daemon.cpu_by_thread()?;
        let (with_ended, helpers) = daemon.running.own_and_children_cpu()?;
        let bpf = BpfTime::of(&daemon.process()?, Programs::All)?;
        let at = clock::now();
        let own = with_ended.max(by_thread.values().sum());
        Ok(Self { at, by_thread, own, helpers, bpf, metrics, got: database.got().await? })
    }
}

impl WireCost {
    fn between(before: &Got, after: &Got) -> Result<Self> {
        if let Some(refused) = after.refused.first() {
            bail!("the database refused {} profiles: {}", after.refused.len(), refused.message);
        }
        let received = &after.received;
        let beginnings: BTreeSet<i64> =
            received.iter().map(|profile| whole_second(profile.time_nanos)).collect();
        Ok(Self {
            requests: after.requests - before.requests,
            sent_bytes: after.wire.read_bytes - before.wire.read_bytes,
            answered_bytes: after.wire.written_bytes - before.wire.written_bytes,
            connections: after.wire.connections - before.wire.connections,
            protocol: received.first().map_or_else(String::new, |profile| profile.protocol.clone()),
            windows: beginnings.len(),
            profiles: received.len(),
            profile_bytes: received.iter().map(|profile| profile.unpacked_bytes).sum(),
        })
    }
}

/// Parts of a profile that was split begin a millisecond apart.
fn whole_second(time_nanos: i64) -> i64 {
    time_nanos.div_euclid(1_000_000_000)
}

fn durations_since(
    after: &BTreeMap<String, Duration>,
    before: &BTreeMap<String, Duration>,
) -> BTreeMap<String, Duration> {
    let since =
        |name: &String, time: &Duration| time.saturating_sub(before.get(name).copied().unwrap_or_default());
    after.iter().map(|(name, time)| (name.clone(), since(name, time))).collect()
}

/// Those that grew.
fn counts_since(after: &Metrics, before: &Metrics, name: &str, label: &str) -> BTreeMap<String, f64> {
    let (mut after, before) = (after.by(name, label), before.by(name, label));
    for (value, count) in &mut after {
        *count -= before.get(value).copied().unwrap_or(0.0);
    }
    after.retain(|_, count| *count > 0.0);
    after
}

fn micros_by_program(after: &Metrics, before: &Metrics) -> BTreeMap<String, f64> {
    let runs = counts_since(after, before, "bpf_runs_total", "program");
    let seconds = counts_since(after, before, "bpf_run_seconds_total", "program");
    let micros = |program: &String, runs: f64| seconds.get(program).copied().unwrap_or(0.0) / runs * 1e6;
    runs.iter().map(|(program, &runs)| (program.clone(), micros(program, runs))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(runs: u32, seconds: f64, losses: u32) -> Metrics {
        Metrics::parse(&format!(
            "flamekeeper_bpf_runs_total{{program=\"on_tick\"}} {runs}\n\
             flamekeeper_bpf_run_seconds_total{{program=\"on_tick\"}} {seconds}\n\
             flamekeeper_losses_total{{cause=\"late\"}} {losses}\n\
             flamekeeper_losses_total{{cause=\"never\"}} 4\n"
        ))
    }

    fn mark(at: Instant, seconds: u64, metrics: Metrics) -> Mark {
        let millis = |of: u64| Duration::from_millis(of * seconds);
        Mark {
            at: at + Duration::from_secs(seconds),
            by_thread: BTreeMap::from([("names".to_owned(), millis(1))]),
            own: millis(2),
            helpers: millis(3),
            bpf: BpfTime { nanos: 500_000 * seconds, runs: seconds },
            metrics,
            got: Got { requests: 2 * seconds, ..Got::default() },
        }
    }

    #[test]
    fn a_round_is_what_was_added() {
        let at = clock::now();
        let (before, after) = (mark(at, 60, metrics(10, 1.0, 1)), mark(at, 90, metrics(12, 1.000_008, 3)));
        let cost = Cost::between(before, after, Size::default(), 7).unwrap();
        assert_eq!(cost.elapsed, Duration::from_secs(30));
        assert_eq!(cost.cpu(), Duration::from_millis(30 * 5 + 15));
        assert_eq!(cost.percent(cost.cpu()), 0.55);
        assert_eq!(cost.a_minute(60.0), 120.0);
        assert_eq!(cost.by_thread["names"], Duration::from_millis(30));
        assert_eq!(cost.losses, BTreeMap::from([("late".to_owned(), 2.0)]));
        assert_eq!(cost.micros_by_program["on_tick"].round(), 4.0);
        assert_eq!(cost.wire.requests, 60);
    }

    #[test]
    fn a_round_without_a_run_of_the_programs_is_no_measurement() {
        let at = clock::now();
        let marks = [(); 2].map(|()| mark(at, 60, Metrics::default()));
        let [before, after] = marks;
        assert!(Cost::between(before, after, Size::default(), 0).is_err());
    }
}
