//! A daemon that costs more than it may: it samples less often, and totals stay CPU time.

use anyhow::{Result, ensure};
use profiler_tests::{Daemon, Pyroscope, Workload, ensure_all_arrived, machine_or_skip, tool_or_skip};

const EXECUTABLE: &str = "process_executable_name";

#[test]
fn over_its_cpu_budget_it_samples_less_and_totals_stay_cpu_time() -> Result<()> {
    tool_or_skip!("go");
    let machine = machine_or_skip!();
    let peer = Pyroscope::start()?;
    let workload = Workload::build("c_frame_pointers")?.start()?;
    let daemon = Daemon::start(&machine, &peer, &["--budget-cpu-percent", "0.001"])?;
    let cpu_before = workload.cpu_nanos()?;
    daemon.wait_for("a lower rate", || Ok(daemon.metric("flamekeeper_sampling_rate_hertz")? < 49.0))?;
    ensure!(daemon.metric("flamekeeper_sampling_rate_configured_hertz")? == 49.0);
    ensure!(daemon.metric_of("flamekeeper_cpu_budget_state", "state=\"lowered\"")? == 1.0);
    ensure!(daemon.metric_of("flamekeeper_sampling_rate_changes_total", "direction=\"down\"")? >= 1.0);
    // Some 15 s: a third of all time, with two thirds of the samples.
    workload.works_on(300)?;
    let cpu = workload.cpu_nanos()? - cpu_before;
    let words = daemon.end()?;
    ensure_all_arrived(&words, &peer)?;
    let received = peer.state()?.received;
    let of_it = received.iter().filter(|profile| profile.labels[EXECUTABLE] == "c_frame_pointers");
    let sampled = u64::try_from(of_it.map(|profile| profile.cpu_nanos).sum::<i64>())?;
    // Counted as before, a third of the time would weigh a third less: 0.89 of all.
    ensure!((cpu * 96 / 100..cpu * 104 / 100).contains(&sampled), "{sampled} ns sampled of {cpu}: {words:?}");
    ensure!(
        received.iter().any(|profile| profile.period > 1_000_000_000 / 49),
        "no profile tells the lower rate"
    );
    drop(machine);
    Ok(())
}
