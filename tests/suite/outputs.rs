//! Where a profile goes: names, stdout, several files, and folders that cannot take them.

use anyhow::{Context, Result, ensure};
use profiler_tests::{Capture, Captured, Machine, Pprof, Stacks, Workload, machine_or_skip, tool_or_skip};

/// `record -F 499 -- c_frame_pointers 400`
fn record(machine: &Machine) -> Result<Capture> {
    let burn = Workload::build("c_frame_pointers")?.args(["400"]);
    Ok(Capture::record(machine)?.args(["-F", "499"]).command(&burn))
}

/// Fails unless it was refused with these words before the command ran.
fn refused_before_sampling(captured: Captured, code: i32, words: &[&str]) -> Result<()> {
    let captured = captured.expect_code(code)?.expect_words(words)?;
    ensure!(!captured.stdout_text().contains("ready"), "the command ran all the same");
    Ok(())
}

#[test]
fn every_ending_is_its_format() -> Result<()> {
    let machine = machine_or_skip!();
    let names = ["a.pb.gz", "b.pprof", "c.folded", "d.svg", "e.json", "f.speedscope.json"];
    let capture = names.iter().fold(record(&machine)?, |capture, name| capture.output(name));
    let captured = capture.run()?.expect_code(0)?.expect_words(&names)?;
    ensure!(captured.files()? == names, "{:?}", captured.files()?);
    let folded = captured.folded("c.folded")?;
    for name in ["a.pb.gz", "b.pprof"] {
        let stacks = captured.pprof(name)?.stacks();
        ensure!(stacks.total() == folded.total(), "{name}: {stacks}");
    }
    let svg = captured.text("d.svg")?;
    ensure!(
        svg.contains("<svg") && svg.contains("burn_seventy") && svg.trim_end().ends_with("</svg>"),
        "no picture"
    );
    ensure!(
        captured.firefox("e.json")?.threads.iter().any(|thread| thread.process == "c_frame_pointers"),
        "no thread"
    );
    let speedscope: serde_json::Value = serde_json::from_slice(&captured.read("f.speedscope.json")?)?;
    ensure!(speedscope["$schema"] == "https://www.speedscope.app/file-format-schema.json", "no schema");
    Ok(())
}

/// Walked along frame pointers that it does not have, so no stack reaches its root.
#[test]
fn stacks_that_break_off_are_counted_in_words_and_marked_in_every_format() -> Result<()> {
    let machine = machine_or_skip!();
    let program = "c_no_frame_pointers";
    let burn = Workload::build(program)?.args(["400"]);
    let names = ["a.pb.gz", "b.folded", "c.svg", "d.json", "e.speedscope.json"];
    let capture = Capture::record(&machine)?.args(["-F", "499", "--unwind", "frame-pointers"]).command(&burn);
    let capture = names.iter().fold(capture, |capture, name| capture.output(name));
    let captured = capture.run()?.expect_code(0)?;
    let summary = captured.lines_with("of the user stacks reach their root").concat();
    ensure!(!summary.is_empty(), "no share");
    let worst = captured.lines_with(&format!("{program}: ")).concat();
    ensure!(worst.contains("the chain of frame pointers ended ("), "no reason and file: {worst}");
    let comments = captured.pprof("a.pb.gz")?.comments;
    for line in [&summary, &worst] {
        ensure!(comments.contains(line), "not in the comments: {line}\n{comments:#?}");
    }
    let note = "[incomplete: the chain of frame pointers ended]";
    captured.folded("b.folded")?.of(program).ensure_share_at_least(&[note, "*"], 0.9)?;
    captured.pprof("a.pb.gz")?.stacks().of(program).ensure_share_at_least(&[note, "*"], 0.9)?;
    for name in ["c.svg", "d.json", "e.speedscope.json"] {
        ensure!(captured.text(name)?.contains(note), "{name} does not show it");
    }
    Ok(())
}

#[test]
fn a_format_overrides_the_ending() -> Result<()> {
    let machine = machine_or_skip!();
    let captured =
        record(&machine)?.args(["--format", "folded"]).output("stacks.txt").run()?.expect_code(0)?;
    captured.folded("stacks.txt")?.of("c_frame_pointers").ensure_share(&["main", "burn_seventy"], 0.7)
}

#[test]
fn stdout_takes_a_profile_and_nothing_else() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_frame_pointers")?.start()?;
    let to_stdout =
        || Ok::<_, anyhow::Error>(Capture::record(&machine)?.args(["-F", "499", "-d", "1s", "-o", "-"]));
    let folded = to_stdout()?.args(["--format", "folded"]).of(burning.pid()).run()?.expect_code(0)?;
    Stacks::from_folded(&folded.stdout_text())?.ensure_share(&["main", "burn_seventy"], 0.7)?;
    ensure!(folded.files()?.is_empty(), "{:?}", folded.files()?);
    let pprof = to_stdout()?.args(["--format", "pprof"]).of(burning.pid()).run()?.expect_code(0)?;
    Pprof::from_gzip(&pprof.stdout)?.stacks().ensure_share(&["main", "burn_seventy"], 0.7)
}

#[test]
fn without_an_output_the_file_is_named_after_host_and_time() -> Result<()> {
    let machine = machine_or_skip!();
    let captured = record(&machine)?.run()?.expect_code(0)?;
    let files = captured.files()?;
    let [name] = &files[..] else { anyhow::bail!("{files:?}") };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let rest = name.strip_prefix(&format!("flamekeeper-{}-", host.trim())).with_context(|| name.clone())?;
    let time = rest.strip_suffix(".pb.gz").with_context(|| name.clone())?;
    ensure!(time.chars().filter(char::is_ascii_digit).count() >= 12, "{name} has no time");
    let captured = captured.expect_words(&[name])?;
    captured.pprof(name)?.stacks().ensure_share(&["main", "burn_seventy"], 0.7).context(captured.stderr)
}

#[test]
fn the_end_tells_functions_processes_and_files() -> Result<()> {
    let machine = machine_or_skip!();
    let captured = record(&machine)?.output("p.pb.gz").run()?.expect_code(0)?;
    let captured = captured.expect_words(&["burn_seventy", "c_frame_pointers", "p.pb.gz", "samples"])?;
    ensure!(
        !captured.lines_with("burn_seventy").is_empty() && captured.stderr.contains('%'),
        "{}",
        captured.stderr
    );
    Ok(())
}

#[test]
fn a_missing_folder_is_refused_before_sampling() -> Result<()> {
    let machine = machine_or_skip!();
    refused_before_sampling(record(&machine)?.output("nowhere/p.folded").run()?, 125, &["nowhere"])?;
    let capture = Capture::record(&machine)?.args(["-d", "1s"]).output("nowhere/p.folded");
    capture.run()?.expect_code(1)?.expect_words(&["nowhere"])?;
    Ok(())
}

#[test]
fn a_folder_for_a_file_is_refused_before_sampling() -> Result<()> {
    let machine = machine_or_skip!();
    let capture = record(&machine)?.output("taken.folded");
    std::fs::create_dir(capture.folder().join("taken.folded"))?;
    refused_before_sampling(capture.run()?, 125, &["taken.folded"])
}

#[test]
fn a_read_only_folder_is_refused_before_sampling() -> Result<()> {
    let machine = machine_or_skip!();
    let mount = "mkdir locked && mount -t tmpfs -o ro none locked";
    let capture = record(&machine)?.output("locked/p.folded").after_mounting(mount);
    refused_before_sampling(capture.run()?, 125, &["locked", "read-only"])
}

#[test]
fn a_full_folder_is_refused_before_sampling() -> Result<()> {
    let machine = machine_or_skip!();
    let mount = "mkdir full && mount -t tmpfs -o size=16k none full && (cat /dev/zero > full/ballast 2>/dev/null || true)";
    let capture = record(&machine)?.output("full/p.folded").after_mounting(mount);
    refused_before_sampling(capture.run()?, 125, &["full"])
}

#[test]
fn a_disk_that_fills_up_keeps_the_other_outputs() -> Result<()> {
    let machine = machine_or_skip!();
    // Room to begin with, but not for a time line of the whole host.
    let mount = "mkdir small && mount -t tmpfs -o size=4k none small";
    let burning = Workload::build("c_frame_pointers")?.start()?;
    let capture = Capture::record(&machine)?.args(["-F", "997", "-d", "2s"]).of(burning.pid());
    let capture = capture.output("first.folded").output("small/second.json").output("third.pb.gz");
    let captured =
        capture.after_mounting(mount).run()?.expect_code(1)?.expect_words(&["second.json", "space"])?;
    let failed = captured.lines_with("space");
    ensure!(
        failed.iter().all(|line| !line.contains("first.folded") && !line.contains("third.pb.gz")),
        "{failed:?}"
    );
    captured.folded("first.folded")?.ensure_share(&["main", "burn_seventy"], 0.7)?;
    captured.pprof("third.pb.gz")?.stacks().ensure_share(&["main", "burn_seventy"], 0.7)
}

#[test]
fn a_device_that_takes_nothing_fails_alone() -> Result<()> {
    let machine = machine_or_skip!();
    let burning = Workload::build("c_frame_pointers")?.start()?;
    let capture =
        Capture::record(&machine)?.args(["-F", "499", "-d", "1s", "--format", "folded"]).of(burning.pid());
    let captured = capture.output("/dev/full").output("kept.folded").run()?.expect_code(1)?;
    captured
        .expect_words(&["/dev/full", "space"])?
        .folded("kept.folded")?
        .ensure_share(&["burn_seventy"], 0.7)
}

#[test]
fn an_older_profile_survives_until_the_new_one_is_whole() -> Result<()> {
    let machine = machine_or_skip!();
    let capture = record(&machine)?.output("p.folded");
    std::fs::write(capture.folder().join("p.folded"), "older;stack 1\n")?;
    let captured = capture.run()?.expect_code(0)?;
    let stacks = captured.folded("p.folded")?;
    ensure!(!stacks.processes().contains(&"older") && stacks.total() >= 150, "{stacks}");
    ensure!(captured.files()? == ["p.folded"], "{:?}", captured.files()?);
    Ok(())
}

#[test]
fn on_a_terminal_the_progress_is_redrawn() -> Result<()> {
    tool_or_skip!("script");
    let machine = machine_or_skip!();
    // script gives the command a terminal and copies what is drawn on it to its own stdout.
    let terminal = ["sh", "-c", "exec script --quiet --return --command \"$*\" /dev/null", "sh"];
    // A quiet host may have no sample in two seconds.
    let _burning = Workload::build("c_frame_pointers")?.start()?;
    let capture = Capture::record(&machine)?.args(["-d", "2s"]).output("p.folded").under(terminal);
    let captured = capture.run()?.expect_code(0)?;
    let drawn = captured.stdout_text();
    ensure!(drawn.contains('\x1b') && drawn.contains("samples"), "nothing was redrawn: {drawn:?}");
    ensure!(captured.folded("p.folded")?.total() > 0, "no samples");
    Ok(())
}

#[test]
fn an_output_of_the_environment_is_used() -> Result<()> {
    let machine = machine_or_skip!();
    let captured = record(&machine)?.env("FLAMEKEEPER_OUTPUT", "named.folded").run()?.expect_code(0)?;
    ensure!(captured.files()? == ["named.folded"], "{:?}", captured.files()?);
    Ok(())
}

#[test]
fn a_failed_output_is_not_hidden_by_a_commands_success() -> Result<()> {
    let machine = machine_or_skip!();
    let capture = record(&machine)?.args(["--format", "folded"]).output("/dev/full").output("kept.folded");
    let captured = capture.run()?.expect_code(125)?.expect_words(&["/dev/full"])?;
    captured.folded("kept.folded")?.ensure_share(&["main", "burn_seventy"], 0.7)
}
