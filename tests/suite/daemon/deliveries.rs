//! What is sampled arrives: every sample, under its labels, through outages, and but for the window in progress a kill.

use anyhow::{Context, Result, ensure};
use profiler_tests::{
    Daemon, Pyroscope, Signal, Workload, delivered, ensure_all_arrived, machine_or_skip, tool_or_skip,
};

use super::faults::{Bench, clears_up, piles_up};

#[test]
fn every_sample_arrives_under_the_labels_of_its_process() -> Result<()> {
    tool_or_skip!("go");
    let machine = machine_or_skip!();
    let peer = Pyroscope::start()?;
    let workload = Workload::build("c_recursion")?.args(["0", "40"]).start()?;
    let daemon = Daemon::start(&machine, &peer, &["--labels-static", "team=core"])?;
    daemon.wait_for("three windows of the program", || {
        let received = peer.state()?.received;
        let of_program = received.iter().filter(|profile| is_of(profile, "c_recursion"));
        Ok(of_program.count() >= 3)
    })?;
    drop(workload);
    let words = daemon.end()?;
    ensure_all_arrived(&words, &peer)?;
    let state = peer.state()?;
    ensure!(state.refused.is_empty(), "{:?}", state.refused);
    for profile in &state.received {
        ensure!(profile.sample_types == ["cpu/nanoseconds"] && profile.period_type == "cpu/nanoseconds");
        ensure!(profile.labels.get("team").is_some_and(|team| team == "core"), "{:?}", profile.labels);
        ensure!(profile.sample_labels == 0, "labels of samples explode the series");
        ensure!(profile.duration_nanos > 0, "{profile:?}");
    }
    let of_program = state.received.iter().find(|profile| is_of(profile, "c_recursion"));
    let labels = &of_program.context("nothing of the program")?.labels;
    let label = |name: &str| labels.get(name).map(String::as_str);
    ensure!(label("__name__") == Some("process_cpu") && label("language") == Some("native"), "{labels:?}");
    ensure!(label("process_executable_name").is_some_and(|name| name.contains("c_recursion")), "{labels:?}");
    let deepest = state.received.iter().map(|profile| profile.depth).max();
    ensure!(deepest.is_some_and(|depth| depth > 40), "{deepest:?}");
    Ok(())
}

fn is_of(profile: &profiler_tests::ReceivedProfile, program: &str) -> bool {
    profile.labels.get("service_name").is_some_and(|service| service.contains(program))
}

#[test]
fn samples_of_programs_that_a_rule_drops_are_counted_and_not_sent() -> Result<()> {
    tool_or_skip!("go");
    let machine = machine_or_skip!();
    let peer = Pyroscope::start()?;
    let _workload = Workload::build("c_frame_pointers")?.start()?;
    let drop = r#"[{action = "drop", source_labels = ["service_name"], regex = "c_frame_pointers"}]"#;
    let daemon = Daemon::start(&machine, &peer, &["--labels-relabel-configs", drop])?;
    daemon.wait_for("samples that were left out, and a window of others", || {
        Ok(daemon.metric("flamekeeper_samples_left_out_total")? > 20.0 && delivered(&peer)? > 0)
    })?;
    let words = daemon.end()?;
    ensure!(words.left_out > 20, "{words:?}");
    ensure!(!peer.state()?.received.iter().any(|profile| is_of(profile, "c_frame_pointers")));
    ensure_all_arrived(&words, &peer)
}

#[test]
fn an_outage_loses_nothing() -> Result<()> {
    tool_or_skip!("go");
    let bench = Bench::new(machine_or_skip!())?;
    let daemon = bench.daemon(&[])?;
    bench.delivers(&daemon)?;
    bench.peer.shut()?;
    piles_up(&daemon, 4.0)?;
    bench.peer.open()?;
    clears_up(&daemon)?;
    ensure_all_arrived(&daemon.end()?, &bench.peer)
}

#[test]
fn what_was_in_the_spool_arrives_after_a_kill() -> Result<()> {
    tool_or_skip!("go");
    let bench = Bench::new(machine_or_skip!())?;
    bench.peer.shut()?;
    let killed = bench.daemon(&[])?;
    piles_up(&killed, 3.0)?;
    let in_spool = killed.metric("flamekeeper_sampled_cpu_seconds_total")?;
    ensure!(in_spool > 0.0);
    killed.running.signal(Signal::KILL)?;
    drop(killed);
    bench.peer.open()?;
    let next = bench.daemon(&[])?;
    next.wait_for("what the first one had", || {
        let arrived = std::time::Duration::from_nanos(delivered(&bench.peer)?);
        Ok(arrived.as_secs_f64() >= in_spool)
    })?;
    // That may have been before its first window, and its account is to be judged.
    next.wait_for("a window of its own", || Ok(next.metric("flamekeeper_sampled_cpu_seconds_total")? > 0.0))?;
    let words = next.end()?;
    ensure!(words.windows_waiting == 0, "{words:?}");
    Ok(())
}
