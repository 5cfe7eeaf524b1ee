//! Files as others read them: `go tool pprof`, the Firefox Profiler's format, speedscope.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, Captured, Machine, Stack, Stacks, Workload, machine_or_skip, tool_or_skip};
use serde_json::Value;

/// `record -F 499 -o p.pb.gz -o p.json -o p.speedscope.json -o p.folded -- c_frame_pointers 1000`
fn capture(machine: &Machine) -> Result<Captured> {
    let burn = Workload::build("c_frame_pointers")?.args(["1000"]);
    let outputs = ["p.pb.gz", "p.json", "p.speedscope.json", "p.folded"];
    let capture =
        outputs.iter().fold(Capture::record(machine)?.args(["-F", "499"]), |all, name| all.output(name));
    capture.command(&burn).run()?.expect_code(0)
}

const SEVENTY: [&str; 4] = ["main", "outer", "inner", "burn_seventy"];

fn go_pprof(options: &[&str], profile: &Path) -> Result<String> {
    let scratch = tempfile::tempdir()?;
    let output = Command::new("go")
        .args(["tool", "pprof", "-symbolize=none"])
        .args(options)
        .arg(profile)
        .env("PPROF_TMPDIR", scratch.path())
        .output()
        .context("run go tool pprof")?;
    let (text, errors) =
        (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
    ensure!(output.status.success(), "go tool pprof {options:?} failed: {errors}");
    Ok(text)
}

#[test]
fn go_tool_pprof_reads_samples_types_and_labels() -> Result<()> {
    tool_or_skip!("go");
    let machine = machine_or_skip!();
    let captured = capture(&machine)?;
    let raw = go_pprof(&["-raw"], &captured.path("p.pb.gz"))?;
    for words in ["samples/count cpu/nanoseconds", "PeriodType: cpu nanoseconds", "Period: 2004008"] {
        ensure!(raw.contains(words), "no {words:?} in\n{}", raw.chars().take(2000).collect::<String>());
    }
    ensure!(raw.contains("process_executable_name:[c_frame_pointers]"), "no label of the process");
    ensure!(raw.contains("thread_name:[c_frame_pointer]"), "no label of the thread");
    ensure!(raw.contains("burn_seventy"), "no function");
    Ok(())
}

#[test]
fn go_tool_pprof_has_the_same_shares() -> Result<()> {
    tool_or_skip!("go");
    let machine = machine_or_skip!();
    let captured = capture(&machine)?;
    let options = [
        "-top",
        "-sample_index=samples",
        "-nodecount=100",
        "-tagfocus=process_executable_name=c_frame_pointers",
    ];
    let top = go_pprof(&options, &captured.path("p.pb.gz"))?;
    // flat flat% sum% cum cum% name
    let flat = |name: &str| {
        let line = top.lines().find(|line| line.split_whitespace().last() == Some(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
    };
    let own = captured.folded("p.folded")?.of("c_frame_pointers");
    let leaf = |stack: &&Stack| stack.leaf() == "burn_seventy";
    let expected: u64 = own.0.iter().filter(leaf).map(|stack| stack.count).sum();
    ensure!(expected > 250 && flat("burn_seventy") == Some(expected), "{expected} samples are not in\n{top}");
    Ok(())
}

#[test]
fn pprof_says_what_was_sampled_when_and_for_how_long() -> Result<()> {
    let machine = machine_or_skip!();
    let before = now_nanos()?;
    let captured = capture(&machine)?;
    let after = now_nanos()?;
    let pprof = captured.pprof("p.pb.gz")?;
    let pair = |first: &str, second: &str| (first.to_owned(), second.to_owned());
    ensure!(
        pprof.sample_types == [pair("samples", "count"), pair("cpu", "nanoseconds")],
        "{:?}",
        pprof.sample_types
    );
    ensure!(
        pprof.period_type == pair("cpu", "nanoseconds") && pprof.period == 1_000_000_000 / 499,
        "{}",
        pprof.period
    );
    let ends = pprof.time_nanos + pprof.duration_nanos;
    ensure!(before <= pprof.time_nanos && ends <= after, "{before} {} {ends} {after}", pprof.time_nanos);
    ensure!(pprof.duration_nanos >= 1_000_000_000, "a second of CPU time in {} ns", pprof.duration_nanos);
    for sample in &pprof.samples {
        let [count, nanos] = sample.values[..] else { anyhow::bail!("values {:?}", sample.values) };
        ensure!(nanos == count * pprof.period, "{count} samples are {nanos} ns");
    }
    Ok(())
}

#[test]
fn pprof_has_the_build_id_of_the_program() -> Result<()> {
    tool_or_skip!("readelf");
    let machine = machine_or_skip!();
    // With a build id, whatever the compiler's default is.
    let pprof = capture(&machine)?.pprof("p.pb.gz")?;
    let notes =
        Command::new("readelf").arg("-n").arg(Workload::build("c_frame_pointers")?.path()).output()?;
    let notes = String::from_utf8(notes.stdout)?;
    let build_id =
        notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).context("no build id")?;
    let mapping = pprof.mappings.iter().find(|(file, _)| file.ends_with("/c_frame_pointers"));
    ensure!(mapping.is_some_and(|(_, id)| id == build_id), "{build_id} is not that of {mapping:?}");
    Ok(())
}

#[test]
fn firefox_threads_have_samples_at_their_real_times() -> Result<()> {
    let machine = machine_or_skip!();
    let before = now_nanos()?;
    let captured = capture(&machine)?;
    let after = now_nanos()?;
    let profile = captured.firefox("p.json")?;
    let millis =
        |nanos: i64| std::time::Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)).as_secs_f64() * 1e3;
    let (mut samples, mut tids) = (0, BTreeSet::new());
    for thread in &profile.threads {
        ensure!(
            tids.insert((thread.pid.clone(), thread.tid.clone())),
            "thread {} is there twice",
            thread.tid
        );
        let times = &thread.times_millis;
        ensure!(times.is_sorted(), "times of {} go backwards", thread.name);
        for at in times.iter().map(|at| profile.start_millis + at) {
            ensure!(
                (millis(before)..=millis(after)).contains(&at),
                "a sample at {at}, outside of the capture"
            );
        }
        samples += thread.stacks.total();
    }
    ensure!(samples == captured.folded("p.folded")?.total(), "{samples} samples");
    // A program that is always busy is sampled once a period, so its samples span its second of CPU time.
    let busy =
        profile.threads.iter().find(|thread| thread.process == "c_frame_pointers").context("no thread")?;
    let span = busy.times_millis.last().unwrap_or(&0.0) - busy.times_millis.first().unwrap_or(&0.0);
    ensure!(span >= 900.0, "its samples span {span} ms");
    ensure!((profile.interval_millis - 1000.0 / 499.0).abs() < 0.01, "interval {}", profile.interval_millis);
    busy.stacks.ensure_share(&SEVENTY, 0.7)
}

#[test]
fn firefox_names_threads() -> Result<()> {
    let machine = machine_or_skip!();
    let running = Workload::build("c_threads")?.start()?;
    let capture =
        Capture::record(&machine)?.args(["-F", "499", "-d", "1s"]).of(running.pid()).output("p.json");
    let profile = capture.run()?.expect_code(0)?.firefox("p.json")?;
    for name in ["worker-alpha", "worker-beta"] {
        let tid = running.introduced(&format!("thread {name}"))?.to_string();
        let thread = profile.threads.iter().find(|thread| thread.tid == tid).context("thread is missing")?;
        ensure!(thread.name == name, "thread {tid} is called {}", thread.name);
    }
    Ok(())
}

#[test]
fn speedscope_profiles_have_the_same_stacks() -> Result<()> {
    let machine = machine_or_skip!();
    let captured = capture(&machine)?;
    let root: Value = serde_json::from_slice(&captured.read("p.speedscope.json")?)?;
    let stacks = speedscope_stacks(&root)?;
    stacks.ensure_share(&SEVENTY, 0.7)?;
    // Sampled profiles carry weights; theirs are nanoseconds or counts, so shares are compared and not sums.
    let folded = captured.folded("p.folded")?;
    let difference = stacks.share_of_stacks_with(&SEVENTY) - folded.share_of_stacks_with(&SEVENTY);
    ensure!(difference.abs() < 0.001, "{stacks}\n{folded}");
    Ok(())
}

/// The stacks of all sampled profiles in a speedscope file, each sample counted once a period.
fn speedscope_stacks(root: &Value) -> Result<Stacks> {
    let frames = root["shared"]["frames"].as_array().context("no frames")?;
    let name = |index: &Value| {
        let index = usize::try_from(index.as_u64()?).ok()?;
        Some(frames.get(index)?["name"].as_str()?.to_owned())
    };
    let mut all = Vec::new();
    for profile in root["profiles"].as_array().context("no profiles")? {
        ensure!(profile["type"] == "sampled", "a profile of type {}", profile["type"]);
        let (samples, weights) = (profile["samples"].as_array(), profile["weights"].as_array());
        let (samples, weights) = samples.zip(weights).context("no samples or weights")?;
        ensure!(samples.len() == weights.len(), "samples and weights differ in length");
        let process = profile["name"].as_str().unwrap_or_default().to_owned();
        for (stack, weight) in samples.iter().zip(weights) {
            let names = stack.as_array().context("no stack")?.iter().map(name).collect::<Option<_>>();
            let nanos = weight.as_f64().context("no weight")?;
            let period = if profile["unit"] == "nanoseconds" { 1e9 / 499.0 } else { 1.0 };
            let count = format!("{:.0}", nanos / period).parse()?;
            all.push(Stack { process: process.clone(), frames: names.context("a frame is missing")?, count });
        }
    }
    Ok(Stacks(all))
}

#[expect(clippy::disallowed_methods, reason = "the product's clock must not vouch for itself")]
fn now_nanos() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}
