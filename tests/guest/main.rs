//! Runs in a guest that `cargo xtask vm` has booted: names of tests → a line each on the console, with its figures.
//!
//! ```text
//!   names of tests ─▶ tests.rs ─▶ doctor.rs verifier.rs loads.rs leaks.rs daemon.rs rights.rs changes.rs lockdown.rs ─▶ Outcome ─▶ `VM: test NAME …`
//! ```
//!
//! The guest has busybox, this program (also as `setpriv`), the static `flamekeeper` and the workloads, and nothing
//! else. Ends with 0 when no test failed. Never mounts or powers off: that is the init script's work.
#![expect(clippy::print_stdout, reason = "the console is where the verdict is read")]

mod captures;
mod changes;
mod daemon;
mod doctor;
mod leaks;
mod loads;
mod lockdown;
mod outcome;
mod rights;
mod setpriv;
mod tests;
mod verifier;
mod watch;

use std::process::ExitCode;

use anyhow::Result;

/// Where the workloads are.
pub(crate) const WORKLOADS: &str = "/workloads";

fn main() -> ExitCode {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    let done: Result<bool> =
        if name.ends_with("setpriv") { setpriv::run(args).map(|()| true) } else { tests::run(args) };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{name}: {error:#}");
            ExitCode::from(127)
        }
    }
}
