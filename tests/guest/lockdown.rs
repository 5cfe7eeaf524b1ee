//! The kernel's lockdown, which only ever gets stricter: `integrity` must not hinder, `confidentiality` must be named.

use anyhow::{Context, Result, ensure};
use profiler_tests::Capture;

use crate::captures::{LEAST, Watched, machine};
use crate::loads::plain;
use crate::outcome::Outcome;

const FILE: &str = "/sys/kernel/security/lockdown";

/// `None`: this kernel cannot.
fn tighten(level: &str) -> Result<Option<()>> {
    let Ok(levels) = std::fs::read_to_string(FILE) else { return Ok(None) };
    ensure!(levels.contains(level), "{FILE} knows no {level}: {levels}");
    std::fs::write(FILE, level).with_context(|| format!("write {level} to {FILE}"))?;
    Ok(Some(()))
}

fn no_such_file() -> Outcome {
    Outcome::Untested(format!("{FILE} is not there"))
}

/// Everything works.
pub(crate) fn integrity() -> Result<Outcome> {
    if tighten("integrity")?.is_none() {
        return Ok(no_such_file());
    }
    let doctor = Capture::plain(["doctor"])?.run()?;
    let text = doctor.stdout_text();
    ensure!(text.contains("integrity, which does not hinder sampling"), "{text}");
    let (workload, answer) = plain();
    let figures = Watched::of(&workload, |capture| capture)?.judged(&answer, LEAST)?;
    Ok(Outcome::Passed(figures.saying("in force, and named by doctor")))
}

/// The kernel refuses reads of its memory when a program is loaded: whole stacks cannot be had, and both commands say why.
pub(crate) fn confidentiality() -> Result<Outcome> {
    if tighten("confidentiality")?.is_none() {
        return Ok(no_such_file());
    }
    let doctor = Capture::plain(["doctor"])?.run()?;
    let text = doctor.stdout_text();
    ensure!(text.contains("confidentiality"), "doctor does not name the lockdown:\n{text}");
    let captured = Capture::record(&machine()?)?.args(["-d", "500ms"]).output("p.folded").run()?;
    let captured = captured.expect_code(77)?.expect_words(&["lockdown=integrity"])?;
    Ok(Outcome::said(captured.lines_with("lockdown").join(" ")))
}
