//! `flamekeeper doctor`: its verdict, in words and in JSON.

use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, Captured, Workload, machine_or_skip, skip};
use serde_json::Value;

/// The exit code that the worst state in the JSON form calls for.
fn verdict(json: &Value) -> Result<i32> {
    let states = titles_and_states(json)?;
    ensure!(states.len() >= 8, "only {} checks", states.len());
    let code =
        |(_, state): &(String, String)| ["ok", "limited", "missing"].iter().position(|word| word == state);
    let worst = states.iter().map(code).max().flatten().context("no known state")?;
    Ok(i32::try_from(worst)?)
}

fn titles_and_states(json: &Value) -> Result<Vec<(String, String)>> {
    let text = |check: &Value, key: &str| check[key].as_str().map(str::to_owned);
    let checks = json["checks"].as_array().context("no checks")?;
    let pairs =
        checks.iter().map(|check| text(check, "title").zip(text(check, "state"))).collect::<Option<Vec<_>>>();
    pairs.context("a check without title or state")
}

fn json(captured: &Captured) -> Result<Value> {
    serde_json::from_slice(&captured.stdout).with_context(|| captured.stdout_text())
}

#[test]
fn where_captures_work_doctor_says_so() -> Result<()> {
    let _machine = machine_or_skip!();
    let text = Capture::plain(["doctor"])?.run()?;
    let code = text.code.context("it was killed")?;
    ensure!(
        code == 0 || code == 1,
        "exit code {code} on a machine that can profile:\n{}",
        text.stdout_text()
    );
    let as_json = Capture::plain(["doctor", "--json"])?.run()?.expect_code(code)?;
    ensure!(verdict(&json(&as_json)?)? == code, "{}", as_json.stdout_text());
    Ok(())
}

#[test]
fn text_and_json_agree() -> Result<()> {
    let _machine = machine_or_skip!();
    let text = Capture::plain(["doctor"])?.run()?.stdout_text();
    let as_json = Capture::plain(["doctor", "--json"])?.run()?;
    for (title, state) in titles_and_states(&json(&as_json)?)? {
        ensure!(["ok", "limited", "missing"].contains(&state.as_str()), "{title} is {state}");
        let line = text
            .lines()
            .find(|line| line.contains(&title))
            .with_context(|| format!("no {title} in\n{text}"))?;
        ensure!(line.contains(&state), "{title} is {state} in JSON, and in words: {line}");
    }
    Ok(())
}

#[test]
fn every_shortcoming_says_what_it_costs_and_how_to_mend_it() -> Result<()> {
    let as_json = Capture::plain(["doctor", "--json"])?.run()?;
    for check in json(&as_json)?["checks"].as_array().context("no checks")? {
        if check["state"] != "ok" {
            let told = |key: &str| check[key].as_str().is_some_and(|text| !text.is_empty());
            ensure!(told("cost") && told("cure"), "{check}");
        }
    }
    Ok(())
}

#[test]
fn nobody_cannot_profile_and_learns_why() -> Result<()> {
    let _machine = machine_or_skip!();
    let captured = Capture::plain(["doctor"])?.as_nobody()?.run()?.expect_code(2)?;
    for capability in ["CAP_BPF", "CAP_PERFMON"] {
        let text = captured.stdout_text();
        let named = text.lines().any(|line| line.contains("missing") && line.contains(capability));
        ensure!(named, "{capability} is not said to be missing:\n{text}");
    }
    let as_json = Capture::plain(["doctor", "--json"])?.as_nobody()?.run()?.expect_code(2)?;
    ensure!(
        titles_and_states(&json(&as_json)?)?.iter().any(|(_, state)| state == "missing"),
        "nothing is missing"
    );
    Ok(())
}

#[test]
fn cycles_are_counted_where_doctor_says_so_and_refused_elsewhere() -> Result<()> {
    let machine = machine_or_skip!();
    let as_json = Capture::plain(["doctor", "--json"])?.run()?;
    let checks = json(&as_json)?;
    let checks = checks["checks"].as_array().context("no checks")?;
    let counters =
        checks.iter().find(|check| check["title"].as_str().is_some_and(|title| title.contains("counter")));
    let has_cycles = counters.context("no check of hardware counters")?["state"] == "ok";
    if has_cycles && std::fs::read_to_string("/proc/cpuinfo")?.contains(" hypervisor") {
        // Seen: there for the doctor, and standing still, or keeping a CPU busy with interrupts, a moment later.
        let reason = "the hardware counters of virtual machines come and go";
        return skip("cycles_are_counted_where_doctor_says_so_and_refused_elsewhere", reason);
    }
    let burn = Workload::build("c_frame_pointers")?.args(["500"]);
    let capture = Capture::record(&machine)?.args(["--event", "cycles", "-F", "499"]).output("p.pb.gz");
    let captured = capture.command(&burn).run()?;
    if has_cycles {
        let pprof = captured.expect_code(0)?.pprof("p.pb.gz")?;
        ensure!(pprof.sample_types.iter().any(|(name, _)| name == "cycles"), "{:?}", pprof.sample_types);
        return pprof.stacks().of("c_frame_pointers").ensure_share(&["main", "burn_seventy"], 0.7);
    }
    let captured = captured.expect_code(125)?.expect_words(&["cycles", "cpu-clock"])?;
    ensure!(captured.stdout.is_empty(), "the command ran: {}", captured.stdout_text());
    Ok(())
}
