//! What we see of other processes: namespaces, `/proc`, mapped files.

use std::io;

use super::{cure_by, holds};
use crate::doctor::evidence::{Evidence, Others};
use crate::doctor::finding::Finding;
use crate::sample::capabilities::Capability;

pub(in crate::doctor) fn pid_namespace(evidence: &Evidence) -> Finding {
    match evidence.in_initial_pid_namespace {
        Some(true) => Finding::ok("the host's"),
        None => Finding::ok("unknown"),
        Some(false) => Finding::limited(
            "one of its own (a container)",
            "processes outside the container are sampled, but have neither names nor functions",
        )
        .cure("share the host's: --pid=host for docker and podman, hostPID: true in Kubernetes"),
    }
}

pub(in crate::doctor) fn hidden(evidence: &Evidence) -> Finding {
    let hidden = matches!(&evidence.init_stat, Err(refusal) if refusal.kind == io::ErrorKind::NotFound);
    match (&evidence.hide_pid, hidden) {
        (None, false) => Finding::ok("none"),
        (Some(value), false) => Finding::ok(format!("/proc has hidepid={value}, which does not bind us")),
        (value, true) => {
            let found = value.as_ref().map_or_else(
                || "process 1 is not to be seen in /proc".to_owned(),
                |value| format!("/proc is mounted with hidepid={value}"),
            );
            Finding::limited(found, "processes of other users have neither names nor functions")
                .cure("give flamekeeper CAP_SYS_PTRACE, or mount /proc without hidepid")
        }
    }
}

pub(in crate::doctor) fn others(evidence: &Evidence) -> Finding {
    let Others { readable, refused, reason } = &evidence.others;
    let all = readable + refused;
    // A process may shield itself even from root; that is its right and no fault of the set-up.
    let shielded = *refused == 1 && holds(evidence, Capability::SysPtrace);
    if *refused == 0 {
        return Finding::ok(format!("mappings of all {all} looked at can be read"));
    } else if shielded || refused * 10 <= all {
        return Finding::ok(format!("mappings of {readable} of {all} looked at can be read"));
    }
    let finding = Finding::limited(
        format!("mappings of {refused} of {all} looked at: {reason}"),
        "processes of other users show addresses, not functions",
    );
    let otherwise = "a security module forbids it: in a container, --security-opt apparmor=unconfined";
    cure_by(finding, evidence, Capability::SysPtrace, otherwise)
}

pub(in crate::doctor) fn map_files(evidence: &Evidence) -> Finding {
    let Err(refusal) = &evidence.map_files else {
        return Finding::ok("their files can be read");
    };
    let finding = Finding::limited(
        format!("no file to read: {}", refusal.reason),
        "programs deleted or replaced while they run show addresses, not functions",
    );
    let otherwise = "use a kernel of 5.10 or later, and a /proc that is not overmounted";
    cure_by(finding, evidence, Capability::CheckpointRestore, otherwise)
}
