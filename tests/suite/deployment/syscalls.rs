//! `SystemCallFilter=` lines of a unit → the calls that pass, as systemd's manual defines it.
//!
//! Sets are resolved by the systemd of this machine, so a call that another release moves between them is found there.

use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// systemd's named sets.
pub(super) struct Sets {
    members: BTreeMap<String, Vec<String>>,
}

impl Sets {
    /// As this machine's systemd has them.
    pub(super) fn of_this_machine() -> Result<Self> {
        let output = Command::new("systemd-analyze").args(["--no-pager", "syscall-filter"]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(Self::read(&String::from_utf8(output.stdout)?))
    }

    /// A set's name, then its members by four blanks, comments among them.
    fn read(listing: &str) -> Self {
        let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut current = None;
        for line in listing.lines() {
            match line.strip_prefix("    ") {
                None if line.starts_with('@') => current = Some(line.trim().to_owned()),
                Some(member) if !member.starts_with('#') => {
                    members
                        .entry(current.clone().unwrap_or_default())
                        .or_default()
                        .push(member.trim().to_owned());
                }
                _ => {}
            }
        }
        Self { members }
    }

    /// The calls of one word of a filter; a call stands for itself.
    fn calls(&self, word: &str) -> Result<BTreeSet<String>> {
        if !word.starts_with('@') {
            return Ok(BTreeSet::from([word.to_owned()]));
        }
        let members = self.members.get(word).with_context(|| format!("this systemd has no set {word}"))?;
        let mut calls = BTreeSet::new();
        for member in members {
            calls.extend(self.calls(member)?);
        }
        Ok(calls)
    }

    /// What passes: the first line makes it an allow list, `~` takes away, the last word on a call counts.
    pub(super) fn allowed(&self, unit: &str) -> Result<BTreeSet<String>> {
        let mut allowed = self.calls("@default")?;
        for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
            let (takes_away, words) = line.strip_prefix('~').map_or((false, line), |words| (true, words));
            for word in words.split_whitespace() {
                let calls = self.calls(word)?;
                if takes_away {
                    allowed.retain(|call| !calls.contains(call));
                } else {
                    allowed.extend(calls);
                }
            }
        }
        Ok(allowed)
    }
}

/// The calls in what `strace -f -o` wrote: `PID name(…` and `PID <... name resumed>…`.
pub(super) fn traced(log: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let call = call.strip_prefix("<... ").unwrap_or(call);
        let end = call.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))?;
        (end > 0 && call[end..].starts_with(['(', ' '])).then(|| call[..end].to_owned())
    };
    log.lines().filter_map(name).collect()
}

#[test]
fn a_filter_is_read_as_systemd_reads_it() -> Result<()> {
    let sets = Sets::read(
        "@default\n    # always\n    exit\n\n@outer\n    @inner\n    read\n\n@inner\n    open\n    close\n",
    );
    let unit = "SystemCallFilter=@outer bpf\nSystemCallFilter=~@inner read\nSystemCallFilter=close\n";
    let allowed: Vec<String> = sets.allowed(unit)?.into_iter().collect();
    ensure!(allowed == ["bpf", "close", "exit"], "{allowed:?}");
    ensure!(sets.allowed("SystemCallFilter=@unknown").is_err(), "an unknown set passed");
    Ok(())
}

#[test]
fn calls_are_found_in_a_trace() -> Result<()> {
    let log = "17 read(3, \"x\", 1) = 1\n18 <... bpf resumed>) = 0\n17 +++ exited with 0 +++\n17 --- SIGCHLD {} ---\n";
    let calls: Vec<String> = traced(log).into_iter().collect();
    ensure!(calls == ["bpf", "read"], "{calls:?}");
    Ok(())
}
