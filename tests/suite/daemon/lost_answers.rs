//! The database has stored a profile, but its answer does not come: in a daemon that lives, the only way to a duplicate.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use profiler_tests::{Machine, ensure_all_arrived, machine_or_skip, repeated, tool_or_skip};
use serde_json::{Value, json};

use super::faults::Bench;

/// A daemon under this fault: ids of what was stored without a whole answer, and of what came again. All of it arrives.
fn under(machine: Machine, fault: &Value) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let bench = Bench::new(machine)?;
    let daemon = bench.daemon(&["--push-timeout=500ms"])?;
    bench.suffers(&daemon, fault)?;
    ensure_all_arrived(&daemon.end()?, &bench.peer)?;
    let received = bench.peer.state()?.received;
    let again = repeated(&received, |_, _| false)?;
    let unanswered = received.into_iter().filter(|profile| profile.answer_lost).map(|profile| profile.id);
    Ok((unanswered.collect(), again))
}

#[test]
fn what_is_stored_without_a_word_comes_again_and_nothing_else() -> Result<()> {
    tool_or_skip!("go");
    let (unanswered, again) =
        under(machine_or_skip!(), &json!({ "kind": "reset", "store": true, "count": 3 }))?;
    ensure!(!again.is_empty() && again == unanswered, "{again:?} {unanswered:?}");
    Ok(())
}

#[test]
fn what_is_stored_while_the_answer_hangs_comes_again_and_nothing_else() -> Result<()> {
    tool_or_skip!("go");
    let (unanswered, again) =
        under(machine_or_skip!(), &json!({ "kind": "hang", "store": true, "count": 2 }))?;
    ensure!(!again.is_empty() && again == unanswered, "{again:?} {unanswered:?}");
    Ok(())
}

#[test]
fn a_success_that_breaks_off_behind_its_head_is_one() -> Result<()> {
    tool_or_skip!("go");
    let half = json!({
        "kind": "half", "store": true, "count": 3, "status": 200, "headers": { "Content-Type": "application/proto" },
    });
    let (unanswered, again) = under(machine_or_skip!(), &half)?;
    ensure!(!unanswered.is_empty() && again.is_empty(), "{again:?} {unanswered:?}");
    Ok(())
}
