//! Evidence → findings. Pure: one function a check, no call into the host.

pub(super) mod containers;
pub(super) mod kernel;
pub(super) mod limits;
pub(super) mod pods;
pub(super) mod processes;
pub(super) mod rights;

use std::io;

use super::evidence::{Evidence, Refusal};
use super::finding::Finding;
use crate::sample::capabilities::{Capability, Held};

/// Nothing can be sampled.
const NO_SAMPLES: &str = "nothing can be sampled";

fn holds(evidence: &Evidence, capability: Capability) -> bool {
    let how = evidence.capabilities.as_ref().map(|capabilities| capabilities.held(capability));
    matches!(how, Some(Held::Itself | Held::Through(_)))
}

/// Whether both capabilities are held without which no call of ours is granted.
fn may_sample(evidence: &Evidence) -> bool {
    holds(evidence, Capability::Bpf) && holds(evidence, Capability::Perfmon)
}

/// Asks for the capability, or for something else if it is held already.
fn cure_by(finding: Finding, evidence: &Evidence, capability: Capability, otherwise: &str) -> Finding {
    if holds(evidence, capability) {
        finding.cure(otherwise)
    } else {
        finding.cure(&format!("give flamekeeper {}, as said above", capability.name()))
    }
}

/// A check that cannot say anything before the CPU clock opens.
fn after_the_clock() -> Finding {
    Finding::limited("not tried", "not known as long as the CPU clock is refused")
        .cure("mend the CPU clock above first")
}

/// The cure of a refused bpf(2) or perf_event_open(2): first rights, then what forbids it in spite of them.
fn call_refused(evidence: &Evidence, refusal: &Refusal, call: &str, option: &str) -> Finding {
    let finding = Finding::missing(format!("refused: {}", refusal.reason), NO_SAMPLES);
    match refusal.kind {
        io::ErrorKind::PermissionDenied if !may_sample(evidence) => {
            finding.cure("give flamekeeper CAP_BPF and CAP_PERFMON, as said above")
        }
        io::ErrorKind::PermissionDenied => finding.cure(&format!(
            "the capabilities are there, so a seccomp profile or a security module forbids {call}: allow it in the \
             container's seccomp profile, and look for denials in the audit log"
        )),
        _ => finding.cure(&format!("use a kernel of 5.10 or later, built with {option}")),
    }
}
