//! Faults of the database and of the agent's life, each with an exact account: what was sampled = what arrived + what is counted as
//! lost, to the sample and to the nanosecond.

use anyhow::{Result, ensure};
use profiler_tests::{
    Capture, Daemon, Machine, Pyroscope, RunningWorkload, Workload, delivered, ensure_all_arrived,
    machine_or_skip, repeated, tool_or_skip,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Windows of 200 ms, so that several of them are no long time; and no CPU budget, so that each sample weighs the same.
const OPTIONS: [&str; 7] = [
    "daemon",
    "--window=200ms",
    "--rate=97",
    "--budget-cpu-percent=0",
    "--log-format=logfmt",
    "--spool-min-free-bytes=0B",
    "--spool-dir",
];

/// A database, something to sample, and a folder for the spool that outlives daemons.
pub(super) struct Bench {
    pub(super) peer: Pyroscope,
    folder: TempDir,
    _workload: RunningWorkload,
    machine: Machine,
}

impl Bench {
    pub(super) fn new(machine: Machine) -> Result<Self> {
        let workload = Workload::build("c_frame_pointers")?.start()?;
        Ok(Self { peer: Pyroscope::start()?, folder: tempfile::tempdir()?, _workload: workload, machine })
    }

    pub(super) fn spool(&self) -> std::path::PathBuf {
        self.folder.path().join("spool")
    }

    /// A daemon that is being put together.
    pub(super) fn capture(&self) -> Result<Capture> {
        let _alone: &Machine = &self.machine;
        Ok(Capture::plain(OPTIONS)?.args([self.spool()]))
    }

    pub(super) fn daemon(&self, more: &[&str]) -> Result<Daemon> {
        Daemon::run(self.capture()?, self.peer.url()?, more)
    }

    /// Waits until the peer has something.
    pub(super) fn delivers(&self, daemon: &Daemon) -> Result<()> {
        let before = delivered(&self.peer)?;
        daemon.wait_for("something new at the peer", || Ok(delivered(&self.peer)? > before))
    }

    /// Has the peer fail, and waits until all of that is over.
    pub(super) fn suffers(&self, daemon: &Daemon, fault: &Value) -> Result<()> {
        self.delivers(daemon)?;
        let (before, count) = (self.peer.state()?.faulty, fault["count"].as_u64().unwrap_or(0));
        self.peer.fail(fault.clone())?;
        daemon.wait_for("all of the fault", || Ok(self.peer.state()?.faulty >= before + count))?;
        self.delivers(daemon)?;
        clears_up(daemon)
    }
}

pub(super) fn windows_waiting(daemon: &Daemon) -> Result<f64> {
    daemon.metric_of("flamekeeper_spool_windows", "waiting")
}

/// Waits until so many windows lie in the spool.
pub(super) fn piles_up(daemon: &Daemon, windows: f64) -> Result<()> {
    daemon.wait_for("windows in the spool", || Ok(windows_waiting(daemon)? >= windows))
}

/// Waits until nothing is in the spool.
pub(super) fn clears_up(daemon: &Daemon) -> Result<()> {
    daemon.wait_for("an empty spool", || Ok(windows_waiting(daemon)? == 0.0))
}

#[test]
fn a_database_that_hangs_gets_everything_once_when_it_is_well_again() -> Result<()> {
    tool_or_skip!("go");
    let bench = Bench::new(machine_or_skip!())?;
    let daemon = bench.daemon(&["--push-timeout=200ms"])?;
    bench.delivers(&daemon)?;
    bench.peer.fail(json!({ "kind": "hang" }))?;
    piles_up(&daemon, 5.0)?;
    let timeouts = || daemon.metric_of("flamekeeper_push_retries_total", "timeout");
    daemon.wait_for("three attempts without an answer", || Ok(timeouts()? >= 3.0))?;
    bench.peer.heal()?;
    clears_up(&daemon)?;
    ensure_all_arrived(&daemon.end()?, &bench.peer)?;
    ensure_none_again(&bench)
}

#[test]
fn a_storm_of_429_is_waited_out_as_the_database_asks() -> Result<()> {
    tool_or_skip!("go");
    let storm = json!({
        "kind": "answer", "count": 3, "code": "resource_exhausted", "headers": { "Retry-After": "1" },
    });
    survives(machine_or_skip!(), &storm)
}

#[test]
fn errors_of_the_server_cost_nothing() -> Result<()> {
    tool_or_skip!("go");
    survives(
        machine_or_skip!(),
        &json!({ "kind": "answer", "count": 4, "code": "internal", "message": "no ingester" }),
    )
}

#[test]
fn half_an_answer_costs_nothing() -> Result<()> {
    tool_or_skip!("go");
    survives(machine_or_skip!(), &json!({ "kind": "half", "count": 3, "status": 503, "body": "upstream" }))
}

/// A daemon sees all of a fault, and all that it sampled arrives, once.
fn survives(machine: Machine, fault: &Value) -> Result<()> {
    let bench = Bench::new(machine)?;
    let daemon = bench.daemon(&[])?;
    bench.suffers(&daemon, fault)?;
    ensure_all_arrived(&daemon.end()?, &bench.peer)?;
    let state = bench.peer.state()?;
    ensure!(state.refused.is_empty(), "{:?}", state.refused);
    ensure_none_again(&bench)
}

fn ensure_none_again(bench: &Bench) -> Result<()> {
    let again = repeated(&bench.peer.state()?.received, |_, _| false)?;
    ensure!(again.is_empty(), "{again:?}");
    Ok(())
}

#[test]
fn a_restart_in_the_middle_of_a_backlog_loses_nothing_and_repeats_nothing() -> Result<()> {
    tool_or_skip!("go");
    let bench = Bench::new(machine_or_skip!())?;
    bench.peer.shut()?;
    let first = bench.daemon(&[])?;
    piles_up(&first, 8.0)?;
    // So slow that the daemon does not come to the end of it before it has to end itself.
    bench.peer.fail(json!({ "kind": "slow", "millis": 1500 }))?;
    bench.peer.open()?;
    bench.delivers(&first)?;
    let first = first.end()?;
    ensure!(first.endpoint.delivered > 0 && first.endpoint.waiting > 0, "not in the middle: {first:?}");
    first.ensure_delivered(&bench.peer)?;
    bench.peer.heal()?;
    let second = bench.daemon(&[])?;
    clears_up(&second)?;
    let second = second.end()?;
    ensure!(second.endpoint.found == first.endpoint.waiting, "{first:?} {second:?}");
    ensure!(second.endpoint.delivered == second.endpoint.found + second.in_windows, "{second:?}");
    let (arrived, sampled) = (delivered(&bench.peer)?, first.cpu_nanos + second.cpu_nanos);
    ensure!(arrived == sampled, "{arrived} ns arrived of {sampled}");
    ensure_none_again(&bench)
}
