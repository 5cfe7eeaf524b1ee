//! What the daemon answers over HTTP while it samples, and what it does with a changed file.

use anyhow::{Result, ensure};
use profiler_tests::{
    Capture, Daemon, Pprof, Pyroscope, Signal, WITHIN, Workload, delivered, ensure_all_arrived,
    machine_or_skip, tool_or_skip,
};

#[test]
fn a_pull_is_a_profile_of_what_was_asked_for_and_costs_the_windows_nothing() -> Result<()> {
    tool_or_skip!("go");
    let machine = machine_or_skip!();
    let peer = Pyroscope::start()?;
    let workload = Workload::build("c_recursion")?.args(["0", "40"]).start()?;
    let daemon = Daemon::start(&machine, &peer, &[])?;
    daemon.wait_for("a first window", || Ok(delivered(&peer)? > 0))?;
    let path = format!("/debug/pprof/profile?seconds=2&hz=99&pid={}", workload.pid());
    let (status, body) = daemon.get(&path)?;
    ensure!(status == "200", "{status}: {}", String::from_utf8_lossy(&body));
    let pprof = Pprof::from_gzip(&body)?;
    let of_it = pprof.samples_of(workload.pid());
    ensure!(of_it.len() == pprof.samples.len(), "others are in it");
    let sum = |which: usize| -> i64 { of_it.iter().filter_map(|sample| sample.values.get(which)).sum() };
    let (samples, nanos) = (sum(0), sum(1));
    ensure!(samples > 0 && samples <= 2 * 99 + 9, "{samples} samples in two seconds at 99 Hz");
    // Each weighs a 99th of a second; on a busy machine it takes a while until the rate is raised, and until then each weighs
    // a 49th.
    let (at_99, at_49) = (1_000_000_000 / 99, 1_000_000_000 / 49);
    let slow = (nanos - samples * at_99) / (at_49 - at_99);
    ensure!(slow * at_49 + (samples - slow) * at_99 == nanos, "{samples} samples weigh {nanos} ns");
    ensure!((0..samples).contains(&slow), "{slow} of {samples} samples at 49 Hz");
    let (status, _) = daemon.get("/debug/pprof/profile?seconds=301")?;
    ensure!(status == "400");
    ensure_all_arrived(&daemon.end()?, &peer)
}

#[test]
fn health_targets_and_discovery_are_answered() -> Result<()> {
    tool_or_skip!("go");
    let machine = machine_or_skip!();
    let peer = Pyroscope::start()?;
    let workload = Workload::build("c_frame_pointers")?.start()?;
    let daemon = Daemon::start(&machine, &peer, &[])?;
    daemon.wait_for("readiness", || Ok(daemon.get("/readyz")?.0 == "200"))?;
    ensure!(daemon.get("/healthz")?.0 == "200");
    let pid = format!("\"pid\":{},", workload.pid());
    daemon.wait_for("the program among the targets", || {
        Ok(String::from_utf8(daemon.get("/targets.json")?.1)?.contains(&pid))
    })?;
    let discovery = String::from_utf8(daemon.get("/sd/targets")?.1)?;
    ensure!(
        discovery.contains("__profile_path_prefix__") && discovery.contains("c_frame_pointers"),
        "{discovery}"
    );
    daemon.end().map(drop)
}

#[test]
fn a_changed_file_is_taken_and_a_wrong_one_refused() -> Result<()> {
    tool_or_skip!("go");
    let machine = machine_or_skip!();
    let peer = Pyroscope::start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.toml");
    let write = |rate: &str| std::fs::write(&file, format!("[sampling]\nrate = {rate}\n"));
    write("49")?;
    let capture = Capture::plain(["daemon", "--window", "1s", "--config"])?;
    let capture = capture.args([&file]).with_spool();
    let daemon = Daemon::run(capture, peer.url()?, &[])?;
    drop(machine);
    write("0")?;
    daemon.running.signal(Signal::HUP)?;
    daemon.running.stderr_line(|line| line.contains("refused") && line.contains("sampling.rate"), WITHIN)?;
    ensure!(daemon.metric("flamekeeper_sampling_rate_configured_hertz")? == 49.0, "the old one goes on");
    write("97")?;
    daemon.running.signal(Signal::HUP)?;
    daemon.wait_for("the new rate", || {
        Ok(daemon.metric("flamekeeper_sampling_rate_configured_hertz")? == 97.0)
    })?;
    daemon.end().map(drop)
}
