//! Whether the names of containers can be found out: which runtimes keep state here, and whether it may be read.

use super::cure_by;
use crate::attribute::containers::{SourceState, SourceStatus};
use crate::doctor::evidence::Evidence;
use crate::doctor::finding::Finding;
use crate::sample::capabilities::Capability;

pub(in crate::doctor) fn names(evidence: &Evidence) -> Finding {
    let refused = evidence.containers.iter().find_map(|source| match &source.state {
        SourceState::Refused(why) => Some((source, why)),
        _ => None,
    });
    let Some((source, why)) = refused else { return Finding::ok(found(&evidence.containers)) };
    let finding = Finding::limited(
        format!("{} ({}): {why}", source.source, source.path.display()),
        "its containers are known by their ids alone, and called by their executables",
    );
    cure_by(finding, evidence, Capability::DacReadSearch, "mount that folder of the host, readable by root")
}

/// Homes are everywhere; only the others tell of a runtime.
fn found(sources: &[SourceStatus]) -> String {
    let is_runtime =
        |source: &&SourceStatus| source.state == SourceState::Ready && source.source != "rootless";
    let mut names: Vec<&str> = sources.iter().filter(is_runtime).map(|source| source.source).collect();
    names.dedup();
    match names[..] {
        [] => "no container runtime keeps its state here".to_owned(),
        _ => format!("can be read: {}", names.join(", ")),
    }
}
