//! All loads as one table, printed.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;

use super::{Load, control_flow, kernel, measured, native, pitfalls, runtimes, storms};

fn row(load: &Load) -> Result<String> {
    let mut row = format!("{:<36} {:>3.0} %", load.what, load.least * 100.0);
    match measured(load)? {
        Err(reason) => write!(row, "  skipped: {reason}")?,
        Ok(measured) => {
            write!(row, " {}", measured.verdict)?;
            if let Some(expected) = measured.expected {
                let samples = f64::from(u32::try_from(measured.verdict.samples)?);
                write!(row, ", {:.1} % of those expected", samples / expected * 100.0)?;
            }
            if load.least > 0.0
                && let Err(error) = measured.ensure(load.least)
            {
                let first = error.to_string().lines().next().unwrap_or_default().to_owned();
                write!(row, "  FAILS: {}", first.split(':').next().unwrap_or_default())?;
            }
        }
    }
    Ok(row)
}

#[test]
#[ignore = "a table for people; each of its rows is a test of its own"]
fn table() -> Result<()> {
    let groups = [
        native::LOADS,
        control_flow::LOADS,
        kernel::LOADS,
        runtimes::LOADS,
        runtimes::REPORTED,
        storms::LOADS,
        pitfalls::LOADS,
    ];
    let mut out = std::io::stderr();
    for load in groups.iter().copied().flatten() {
        let row = row(load).unwrap_or_else(|error| format!("{:<36} fails: {error:#}", load.what));
        writeln!(out, "{row}")?;
    }
    Ok(())
}
