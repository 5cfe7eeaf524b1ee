//! What we may do: capabilities, namespaces of users, lockdown, perf_event_paranoid.

use super::holds;
use crate::doctor::evidence::{Evidence, Symbols};
use crate::doctor::finding::Finding;
use crate::privileges::Kernel;
use crate::sample::capabilities::{Capability, Held};

pub(in crate::doctor) fn capability(evidence: &Evidence, capability: Capability) -> Finding {
    let Some(capabilities) = &evidence.capabilities else {
        return Finding::limited("could not be read", "the checks below tell what is possible");
    };
    let found = match capabilities.held(capability) {
        Held::Itself => return Finding::ok("held"),
        Held::Through(wider) => return Finding::ok(format!("held, through {wider}")),
        Held::InsideNamespaceOnly => "held only inside a user namespace",
        Held::No if works_without(evidence, capability) => {
            return Finding::ok("not held, and not needed here");
        }
        Held::No => "not held",
    };
    let finding = if capability.is_essential() {
        Finding::missing(found, cost(capability))
    } else {
        Finding::limited(found, cost(capability))
    };
    finding.remedy(capabilities.remedy())
}

/// What the capability is for was tried and granted.
fn works_without(evidence: &Evidence, capability: Capability) -> bool {
    match capability {
        Capability::Syslog => evidence.symbols == Symbols::Addresses,
        Capability::CheckpointRestore => evidence.map_files.is_ok(),
        Capability::Bpf | Capability::Perfmon | Capability::SysPtrace | Capability::DacReadSearch => false,
    }
}

fn cost(capability: Capability) -> &'static str {
    match capability {
        Capability::Bpf => "no BPF program can be loaded: nothing can be sampled",
        Capability::Perfmon => "no perf event over other processes: nothing can be sampled",
        Capability::SysPtrace => "processes of other users show addresses, not functions",
        Capability::DacReadSearch => "programs that only their owner may read show addresses, not functions",
        Capability::Syslog => "functions of the kernel show as addresses",
        Capability::CheckpointRestore => {
            "programs deleted or replaced while they run show addresses, not functions"
        }
    }
}

pub(in crate::doctor) fn user_namespace(evidence: &Evidence) -> Finding {
    match &evidence.capabilities {
        Some(capabilities) if !capabilities.in_initial_user_namespace => {
            let finding = Finding::missing(
                "one of its own (a rootless container)",
                "capabilities held here do not count",
            );
            finding.remedy(capabilities.remedy())
        }
        Some(_) => Finding::ok("the host's"),
        None => Finding::ok("unknown"),
    }
}

pub(in crate::doctor) fn lockdown(evidence: &Evidence) -> Finding {
    let modes = evidence.lockdown.as_deref().unwrap_or_default();
    // The file marks the mode in force: `none [integrity] confidentiality`.
    let mode = modes.split(['[', ']']).nth(1).unwrap_or("none");
    match mode {
        "none" if evidence.lockdown.is_none() => Finding::ok("not in force (the kernel shows no such file)"),
        "none" => Finding::ok("not in force"),
        "confidentiality" if evidence.program.is_err() => Finding::missing(
            "confidentiality",
            "BPF programs may not read kernel memory: nothing can be sampled",
        )
        .cure("boot with lockdown=integrity; on Talos Linux, a kernel argument of the machine configuration"),
        mode => Finding::ok(format!("{mode}, which does not hinder sampling")),
    }
}

pub(in crate::doctor) fn paranoid(evidence: &Evidence) -> Finding {
    let Some(level) = evidence.paranoid else {
        return Finding::ok("no such setting");
    };
    let permitted = holds(evidence, Capability::Perfmon);
    if evidence.clock.is_err() && permitted && level > Kernel::PARANOID_MAX {
        return Finding::limited(
            level.to_string(),
            "some distributions' kernels ask for CAP_SYS_ADMIN at this level",
        )
        .cure("lower it if the CPU clock below is refused for no other reason:")
        .command("sudo sysctl kernel.perf_event_paranoid=2");
    } else if evidence.clock.is_ok() || permitted {
        let binds = if level > 0 && permitted { ", which does not bind us" } else { "" };
        return Finding::ok(format!("{level}{binds}"));
    }
    Finding::limited(level.to_string(), "only who holds CAP_PERFMON may sample the whole host")
        .cure("give flamekeeper CAP_PERFMON, as said above; the setting can stay as it is")
}
