//! What is refused before anything is touched: each refusal is exit code 64 and says what would be right.

use anyhow::{Result, ensure};
use profiler_tests::{Capture, machine_or_skip};

fn refused(args: &[&str], words: &[&str]) -> Result<()> {
    let captured = Capture::plain(args.iter().copied())?.run()?.expect_code(64)?.expect_words(words)?;
    ensure!(captured.files()?.is_empty(), "a refused capture wrote {:?}", captured.files()?);
    Ok(())
}

#[test]
fn a_rate_of_nothing_is_refused() -> Result<()> {
    refused(&["record", "-F", "0", "-d", "1s", "-o", "p.folded"], &["999"])
}

#[test]
fn a_rate_beyond_reason_is_refused() -> Result<()> {
    refused(&["record", "-F", "100000", "-d", "1s", "-o", "p.folded"], &["100000", "999"])?;
    refused(&["record", "--rate", "1000", "-d", "1s", "-o", "p.folded"], &["1000", "999"])?;
    refused(&["record", "--rate", "fast", "-d", "1s", "-o", "p.folded"], &["fast"])
}

#[test]
fn a_rate_of_the_environment_counts_and_yields_to_the_option() -> Result<()> {
    let plain = || Capture::plain(["record", "-d", "1s", "-o", "profile.doc"]);
    plain()?.env("FLAMEKEEPER_RATE", "0").run()?.expect_code(64)?.expect_words(&["--rate 0"])?;
    let both = plain()?.args(["-F", "99"]).env("FLAMEKEEPER_RATE", "0").run()?.expect_code(64)?;
    ensure!(both.lines_with("--rate").is_empty(), "{}", both.stderr);
    both.expect_words(&["profile.doc"])?;
    Ok(())
}

#[test]
fn a_rate_above_the_kernels_limit_is_refused() -> Result<()> {
    let machine = machine_or_skip!();
    // The limit of the whole machine stays as it is: this run alone sees another file in its place.
    let lower = "echo 50 > limit && mount --bind limit /proc/sys/kernel/perf_event_max_sample_rate";
    let capture =
        Capture::record(&machine)?.args(["-F", "99", "-d", "1s"]).output("p.folded").after_mounting(lower);
    capture.run()?.expect_code(64)?.expect_words(&["perf_event_max_sample_rate", "50"])?;
    Ok(())
}

#[test]
fn an_unknown_ending_is_refused_with_the_known_ones() -> Result<()> {
    let known = [".pb.gz", ".pprof", ".folded", ".svg", ".json", ".speedscope.json"];
    refused(&["record", "-d", "1s", "-o", "profile.doc"], &known)?;
    refused(&["record", "-d", "1s", "-o", "profile"], &known)
}

#[test]
fn an_unknown_format_is_refused() -> Result<()> {
    refused(&["record", "-d", "1s", "--format", "doc", "-o", "p.folded"], &["doc", "folded"])
}

#[test]
fn an_unknown_option_or_subcommand_is_refused() -> Result<()> {
    refused(&["record", "--no-such-option"], &["--no-such-option"])?;
    refused(&["recrod"], &["recrod", "record"])
}

#[test]
fn a_duration_without_sense_is_refused() -> Result<()> {
    refused(&["record", "-d", "soon", "-o", "p.folded"], &["soon"])?;
    refused(&["record", "-d", "0s", "-o", "p.folded"], &["--duration"])
}

#[test]
fn a_pid_that_does_not_exist_is_refused_by_its_number() -> Result<()> {
    let machine = machine_or_skip!();
    let mut gone = std::process::Command::new("true").spawn()?;
    gone.wait()?;
    let pid = gone.id().to_string();
    let captured = Capture::record(&machine)?.args(["-d", "1s"]).of(gone.id()).output("p.folded").run()?;
    let captured = captured.expect_code(64)?.expect_words(&[&pid])?;
    ensure!(captured.files()?.is_empty(), "it wrote {:?}", captured.files()?);
    refused(&["record", "-p", "0", "-d", "1s"], &["0"])?;
    refused(&["record", "-p", "init", "-d", "1s"], &["init"])
}

#[test]
fn help_and_version_are_no_failures() -> Result<()> {
    let help = Capture::plain(["record", "--help"])?.run()?.expect_code(0)?;
    for word in ["--rate", "--duration", "--pid", "--children", "--self", "--event", "--output", "--format"] {
        ensure!(help.stdout_text().contains(word), "{word} is not in the help:\n{}", help.stdout_text());
    }
    let version = Capture::plain(["--version"])?.run()?.expect_code(0)?;
    ensure!(version.stdout_text().starts_with("flamekeeper "), "{:?}", version.stdout_text());
    Ok(())
}
