//! The daemon, which gives up its rights once it runs: what needs them later is done by one small thread. Nobody listens where it pushes to, so every sample has to lie in its spool at the end.

use anyhow::{Context, Result, ensure};
use profiler_tests::{Answer, Capture, Daemon, Pprof, RunningWorkload, Stacks, WITHIN};

use crate::captures::LEAST;
use crate::changes::Cpu;
use crate::loads::plain;
use crate::outcome::{Figures, Outcome};
use crate::rights::{Setting, as_documented};

/// Nothing listens there: connections are refused.
const NOBODY: &str = "http://127.0.0.1:1";

/// Enough samples of a busy thread to judge, and some to lose.
const PULL: &str = "seconds=8&hz=99";
const MOST_PULLS: u32 = 4;
const ENOUGH: u64 = 500;
/// Of two accounts, which are taken every five seconds.
const MORE_SAMPLES: f64 = 300.0;

fn start(change: impl Fn(Capture) -> Capture) -> Result<Daemon> {
    let capture = Capture::plain(["daemon", "--window", "2s", "--rate", "49"])?;
    let daemon = Daemon::run(change(capture.with_spool()), NOBODY, &[])?;
    daemon.wait_for("readiness", || Ok(daemon.get("/readyz")?.0 == "200"))?;
    Ok(daemon)
}

/// A process's stacks by a pull.
fn pull(daemon: &Daemon, how: &str, of: &RunningWorkload) -> Result<Stacks> {
    let (status, body) = daemon.get(&format!("/debug/pprof/profile?{how}&pid={}", of.pid()))?;
    ensure!(status == "200", "{status}: {}", String::from_utf8_lossy(&body));
    Ok(Pprof::from_gzip(&body)?.stacks())
}

/// Its stacks are whole.
fn judged(daemon: &Daemon, of: &RunningWorkload, answer: &Answer) -> Result<Figures> {
    let mut stacks = pull(daemon, PULL, of)?;
    for _ in 1..MOST_PULLS {
        if stacks.total() >= ENOUGH {
            break;
        }
        stacks.0.extend(pull(daemon, PULL, of)?.0);
    }
    let verdict = answer.judge(&stacks);
    verdict.ensure(LEAST).with_context(|| daemon.running.said())?;
    Ok(Figures {
        complete_percent: Some(verdict.share() * 100.0),
        samples: Some(verdict.samples),
        ..Figures::default()
    })
}

/// Every sample is accounted for, and none got anywhere.
fn ended(daemon: Daemon) -> Result<String> {
    let words = daemon.end()?;
    let waiting = words.endpoint.waiting;
    ensure!(waiting == words.in_windows, "not all lie in the spool: {words:?}");
    Ok(format!("{waiting} samples in the spool, {} lost", words.lost))
}

/// Started by root, at the level that the distribution sets: a pull is answered with whole stacks, and all that was sampled waits for
/// a database.
pub(crate) fn samples_without_rights() -> Result<Outcome> {
    let (workload, answer) = plain();
    let running = workload.start()?;
    let daemon = start(|capture| capture)?;
    let figures = judged(&daemon, &running, &answer)?;
    walks_in_the_kernel(&daemon)?;
    Ok(Outcome::Passed(figures.saying(&ended(daemon)?)))
}

/// By now the only program that does anything is in the walker's tables: what comes from here on is walked there, which cannot
/// be seen by the stacks.
fn walks_in_the_kernel(daemon: &Daemon) -> Result<()> {
    let counts = || -> Result<(f64, f64)> {
        Ok((daemon.metric("flamekeeper_samples_total")?, daemon.metric("flamekeeper_snapshots_total")?))
    };
    let before = counts()?;
    daemon.wait_for("more samples", || Ok(counts()?.0 >= before.0 + MORE_SAMPLES))?;
    let after = counts()?;
    let (samples, snapshots) = (after.0 - before.0, after.1 - before.1);
    ensure!(snapshots * 4.0 < samples, "{snapshots} of {samples} samples were walked in user space");
    Ok(())
}

/// With the documented capabilities, at the documented level: a CPU that leaves and comes back is sampled again, although most threads
/// have given up the right to open an event on it.
pub(crate) fn cpu_comes_back() -> Result<Outcome> {
    let Some(cpu) = Cpu::that_can_leave()? else { return Ok(Outcome::Untested(Cpu::STAYS.to_owned())) };
    let _paranoid = Setting::set("perf_event_paranoid", "2")?;
    let daemon = start(as_documented)?;
    cpu.leaves()?;
    cpu.comes_back()?;
    let (workload, answer) = plain();
    let running = workload.under(Cpu::ON_IT).start()?;
    // Until then its events are not seen, and what a pull starts anew there cannot be walked.
    daemon.running.stderr_line(|line| line.contains("CPUs came online"), WITHIN)?;
    let figures = judged(&daemon, &running, &answer)?;
    Ok(Outcome::Passed(figures.saying(&ended(daemon)?)))
}
