//! The tests by name, in the order in which they run: what cannot be undone comes last.

use std::io::Write;

use anyhow::{Result, ensure};

use crate::outcome::{Outcome, line};
use crate::{changes, daemon, doctor, leaks, loads, lockdown, rights, verifier};

/// A test: its name, and what it does.
type Test = (&'static str, fn() -> Result<Outcome>);

const TESTS: &[Test] = &[
    ("doctor", doctor::says_what_is_expected),
    ("verifier", verifier::instructions),
    ("record-c", loads::dynamic_c),
    ("record-static", loads::static_c),
    ("record-signal", loads::signal_handler),
    ("record-kernel", loads::kernel_heavy),
    ("record-storm", loads::fork_storm),
    ("record-pac", loads::signed_returns),
    ("leaks", leaks::rounds_leave_nothing),
    ("daemon", daemon::samples_without_rights),
    ("capabilities", rights::without_capabilities),
    ("user-namespace", rights::in_a_user_namespace),
    ("kptr-restrict", rights::hidden_kernel_addresses),
    ("paranoid", rights::paranoid),
    ("read-only-root", rights::read_only_root),
    ("hotplug", changes::cpu_comes_and_goes),
    ("daemon-hotplug", daemon::cpu_comes_back),
    ("suspend", changes::suspend),
    ("lockdown-integrity", lockdown::integrity),
    ("lockdown-confidentiality", lockdown::confidentiality),
];

/// Runs those that are named, or all. Gives whether none failed.
pub(crate) fn run(names: impl Iterator<Item = String>) -> Result<bool> {
    let names: Vec<String> = names.collect();
    for name in &names {
        ensure!(TESTS.iter().any(|(known, _)| known == name), "no test has the name {name}");
    }
    let mut none_failed = true;
    for (name, test) in TESTS.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|n| n == name)) {
        let began = now();
        let result = test();
        let took = began.elapsed();
        if let Err(error) = &result {
            none_failed = false;
            for words in format!("{error:?}").lines() {
                println!("    {words}");
            }
        }
        println!("{}", line(name, &result, took));
        std::io::stdout().flush()?;
    }
    Ok(none_failed)
}

#[expect(clippy::disallowed_methods, reason = "how long a test took; nothing is judged by it")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
