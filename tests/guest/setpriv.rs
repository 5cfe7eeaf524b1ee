//! What the harness asks of util-linux' setpriv, which no static package has: rights are given away, then the command runs
//! in this process's place.
//!
//! Knows the options that [`profiler_tests::Capture`] and [`profiler_tests::Running`] use, and refuses others.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use profiler_tests::Signal;
use rustix::process::{Gid, Uid, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, remove_capability_from_bounding_set, set_thread_gid, set_thread_groups, set_thread_uid,
};

/// Returns only if the command could not be executed.
pub(crate) fn run(args: impl Iterator<Item = String>) -> Result<()> {
    let mut args = args.peekable();
    // Whatever the order of the options: who has changed the user may not change groups, and a change of user takes the
    // signal back.
    let (mut death_signal, mut groups, mut group, mut user) = (None, None, None, None);
    while let Some(option) = args.next_if(|word| word.starts_with("--")) {
        let (name, value) = option.split_once('=').unwrap_or((&option, ""));
        match (name, value) {
            ("--", "") => break,
            ("--pdeathsig", "") if args.next().as_deref() == Some("KILL") => {
                death_signal = Some(Signal::KILL);
            }
            ("--bounding-set", list) => bound(list)?,
            ("--clear-groups", "") => groups = Some([]),
            ("--regid", id) => group = Some(Gid::from_raw(id.parse()?)),
            ("--reuid", id) => user = Some(Uid::from_raw(id.parse()?)),
            _ => bail!("unknown option {option}"),
        }
    }
    if let Some(groups) = groups {
        set_thread_groups(&groups).context("give up groups")?;
    }
    if let Some(group) = group {
        set_thread_gid(group).context("change the group")?;
    }
    if let Some(user) = user {
        set_thread_uid(user).context("change the user")?;
    }
    if death_signal.is_some() {
        set_parent_process_death_signal(death_signal).context("ask for the signal")?;
    }
    let program = args.next().context("no command")?;
    Err(Command::new(&program).args(args).exec()).with_context(|| format!("execute {program}"))
}

/// `-all,+bpf` or `-sys_admin,-bpf`: later words win.
fn bound(list: &str) -> Result<()> {
    let mut dropped = CapabilitySet::empty();
    for word in list.split(',') {
        match word.split_at_checked(1).context("an empty word")? {
            ("-", name) => dropped |= named(name)?,
            ("+", name) => dropped -= named(name)?,
            _ => bail!("neither + nor -: {word}"),
        }
    }
    for capability in dropped.iter() {
        // A capability that this kernel does not know is none to give up.
        match remove_capability_from_bounding_set(capability) {
            Err(error) if error != rustix::io::Errno::INVAL => return Err(error).context("give up a right"),
            _ => {}
        }
    }
    Ok(())
}

fn named(name: &str) -> Result<CapabilitySet> {
    if name == "all" {
        return Ok(CapabilitySet::all());
    }
    CapabilitySet::from_name(&name.to_uppercase()).with_context(|| format!("no capability {name}"))
}
