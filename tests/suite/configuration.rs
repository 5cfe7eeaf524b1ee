//! `flamekeeper daemon --check-config` and `--example-config` as an operator meets them: what is printed where, and with
//! which exit status. Profiles nothing.

use std::fs;

use anyhow::{Result, ensure};
use profiler_tests::{Capture, Captured};

/// Checks this file, with further options.
fn check(file: &str, options: &[&str]) -> Result<Capture> {
    let capture = Capture::plain(["daemon", "--check-config", "--config", "config.toml"])?;
    fs::write(capture.folder().join("config.toml"), file)?;
    Ok(capture.args(options.iter().copied()))
}

fn says(captured: &Captured, line: &str) -> Result<()> {
    let text = captured.stdout_text();
    ensure!(
        text.lines().any(|own| own.split_whitespace().collect::<Vec<_>>().join(" ") == line),
        "{line}\n{text}"
    );
    Ok(())
}

#[test]
fn the_example_is_a_right_configuration_and_the_one_in_the_tree() -> Result<()> {
    let example = Capture::plain(["daemon", "--example-config"])?.run()?.expect_code(0)?.stdout_text();
    let in_the_tree = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config.example.toml");
    ensure!(example == fs::read_to_string(in_the_tree)?, "{example}");
    let captured = check(&example, &[])?.run()?.expect_code(0)?;
    says(&captured, "rate = 19 # default")
}

#[test]
fn what_is_in_force_goes_to_stdout_and_warnings_to_stderr() -> Result<()> {
    let file = "[sampling]\nwindow = '30s'\n[[push]]\nurl = 'http://db:4040'\nbearer_token = 'hunter2'\n";
    let captured = check(file, &["--rate", "49"])?.env("FLAMEKEEPER_SPOOL_MAX_BYTES", "1GiB");
    let captured =
        captured.run()?.expect_code(0)?.expect_words(&["warning", "config.toml:4:7", "push[0].url"])?;
    says(&captured, "rate = 49 # --rate")?;
    says(&captured, "window = \"30s\" # config.toml:2")?;
    says(&captured, "max_bytes = \"1GiB\" # FLAMEKEEPER_SPOOL_MAX_BYTES")?;
    let all = format!("{}{}", captured.stdout_text(), captured.stderr);
    ensure!(!all.contains("hunter2"), "{all}");
    Ok(())
}

#[test]
fn everything_wrong_is_told_and_the_status_is_64() -> Result<()> {
    let captured = check("[sampling]\nrte = 9\n[http]\nlisten = ['4041']\n", &["--window", "soon"])?.run()?;
    let captured = captured.expect_code(64)?;
    ensure!(captured.stdout_text().is_empty(), "{}", captured.stdout_text());
    for words in [
        "config.toml:2:1: sampling.rte:",
        "did you mean `rate`?",
        "config.toml:4:11: http.listen[0]:",
        "--window:",
    ] {
        ensure!(captured.stderr.contains(words), "{words}\n{}", captured.stderr);
    }
    Capture::plain(["daemon", "--config", "none.toml"])?
        .run()?
        .expect_code(64)?
        .expect_words(&["none.toml"])?;
    Capture::plain(["daemon", "--spol-dir", "x"])?.run()?.expect_code(64)?.expect_words(&["--spool-dir"])?;
    Ok(())
}

#[test]
fn help_is_grouped_and_names_the_exit_statuses() -> Result<()> {
    let captured = Capture::plain(["daemon", "--help"])?.run()?.expect_code(0)?;
    let help = captured.stdout_text();
    for heading in ["Sampling:", "Budgets:", "Push:", "Spool:", "Labels:", "HTTP:", "Exit status:"] {
        ensure!(help.lines().any(|line| line.starts_with(heading)), "{heading}\n{help}");
    }
    Ok(())
}
