//! What the kernel can do: BPF, perf events, its own types and symbols.

use std::io;

use super::{NO_SAMPLES, after_the_clock, call_refused, cure_by, holds};
use crate::doctor::evidence::{Evidence, Symbols, Tried};
use crate::doctor::finding::Finding;
use crate::sample::abilities::{Attaching, TAIL_CALLED_FRAMES, Walking};
use crate::sample::capabilities::Capability;

/// The oldest kernel on which this program is tested.
const OLDEST_TESTED: (u32, u32) = (5, 10);

/// Major and minor number of a release such as `6.1.0-42-amd64`.
pub(super) fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

pub(in crate::doctor) fn version(evidence: &Evidence) -> Finding {
    let found = format!("{} on {}", evidence.release, evidence.architecture);
    if version_of(&evidence.release).is_none_or(|version| version >= OLDEST_TESTED) {
        return Finding::ok(found);
    }
    Finding::limited(found, "older than 5.10, the oldest that is tested; the checks below tell what works")
        .cure("use a kernel of 5.10 or later")
}

pub(in crate::doctor) fn program(evidence: &Evidence) -> Finding {
    let Err(refusal) = &evidence.program else {
        return Finding::ok("loads, and may read kernel memory");
    };
    if evidence.empty_program.is_ok() {
        let found = "loads, but may not read kernel memory";
        return Finding::missing(found, NO_SAMPLES)
            .cure("lift the kernel's lockdown: boot with lockdown=integrity or without");
    }
    let finding = call_refused(evidence, refusal, "bpf()", "CONFIG_BPF_SYSCALL");
    match refusal.verifier.lines().rfind(|line| !line.trim().is_empty()) {
        Some(words) => {
            Finding { found: format!("{}; the verifier says: {}", finding.found, words.trim()), ..finding }
        }
        None => finding,
    }
}

pub(in crate::doctor) fn ring(evidence: &Evidence) -> Finding {
    match &evidence.small_ring {
        Ok(()) => Finding::ok("can be made"),
        Err(refusal) if refusal.kind == io::ErrorKind::InvalidInput => {
            Finding::missing("unknown to this kernel", NO_SAMPLES).cure("use a kernel of 5.10 or later")
        }
        Err(refusal) => call_refused(evidence, refusal, "bpf()", "CONFIG_BPF_SYSCALL"),
    }
}

pub(in crate::doctor) fn jit(evidence: &Evidence) -> Finding {
    let compiled = evidence.program.as_ref().ok().copied().flatten();
    match (compiled, evidence.jit_setting) {
        (Some(true), Some(2)) => Finding::ok("on, and logging every program (setting 2)"),
        (Some(true), _) => Finding::ok("on: the trial program was compiled"),
        (None, Some(setting)) if setting > 0 => Finding::ok("on, says its setting"),
        (None, None) => Finding::ok("unknown: not shown in this network namespace"),
        (Some(false), _) | (None, Some(_)) => {
            Finding::limited("off: programs are interpreted", "each sample takes several times longer")
                .cure("turn it on:")
                .command("sudo sysctl net.core.bpf_jit_enable=1")
        }
    }
}

pub(in crate::doctor) fn types(evidence: &Evidence) -> Finding {
    let Err(refusal) = &evidence.types else {
        return Finding::ok("readable");
    };
    let found = match refusal.kind {
        io::ErrorKind::NotFound => "not there".to_owned(),
        _ => refusal.reason.clone(),
    };
    Finding::limited(
        found,
        "a process is known by its number alone: one that reuses the number may be taken for it",
    )
    .cure("use a kernel built with CONFIG_DEBUG_INFO_BTF, as all distributions' are")
}

pub(in crate::doctor) fn clock(evidence: &Evidence) -> Finding {
    match &evidence.clock {
        Ok(()) => Finding::ok("opens for the whole host"),
        Err(refusal) => call_refused(evidence, refusal, "perf_event_open()", "CONFIG_PERF_EVENTS"),
    }
}

pub(in crate::doctor) fn hardware_counters(evidence: &Evidence) -> Finding {
    match (&evidence.cycles, &evidence.clock) {
        (Ok(()), _) => Finding::ok("cycles can be counted (--event cycles)"),
        (Err(_), Ok(())) => {
            Finding::ok("none, as in most virtual machines; not needed, samples come by the CPU clock")
        }
        (Err(_), Err(_)) => after_the_clock(),
    }
}

pub(in crate::doctor) fn attach(evidence: &Evidence) -> Finding {
    match &evidence.attach {
        Some(Ok(())) => match evidence.abilities.choice().attaching {
            Attaching::Link => Finding::ok("a program can be attached to the CPU clock"),
            Attaching::Ioctl => Finding::ok(
                "a program can be attached to the CPU clock, by ioctl: there are no links for that",
            ),
        },
        Some(Err(refusal)) => call_refused(evidence, refusal, "perf_event_open()", "CONFIG_BPF_EVENTS"),
        None => no_program(),
    }
}

fn no_program() -> Finding {
    Finding::missing("not tried", NO_SAMPLES).cure("mend the BPF program above first")
}

pub(in crate::doctor) fn sampler(evidence: &Evidence) -> Finding {
    match &evidence.sampler {
        Some(Ok(Tried { cpus: 1, .. })) => Finding::ok("loads and runs on 1 CPU"),
        Some(Ok(Tried { cpus, .. })) => Finding::ok(format!("loads and runs on {cpus} CPUs")),
        // It fails by the same call.
        Some(Err(_)) if evidence.clock.is_err() => {
            Finding::missing("not tried", NO_SAMPLES).cure("mend the CPU clock above first")
        }
        Some(Err(reason)) => {
            let reason: Vec<&str> = reason.split_whitespace().collect();
            if let (Ok(()), Err(refusal)) = (&evidence.small_ring, &evidence.sample_ring)
                && refusal.kind == io::ErrorKind::PermissionDenied
            {
                return Finding::missing(reason.join(" "), NO_SAMPLES)
                    .cure("raise the memory lock limit, as said below");
            }
            let cure = "the kernel takes simpler programs, so this is likely our fault: please report it, with this text";
            Finding::missing(reason.join(" "), NO_SAMPLES).cure(cure)
        }
        None => no_program(),
    }
}

/// Nothing is lost by the other ways but time: an older kernel is none that has to be mended.
pub(in crate::doctor) fn walker(evidence: &Evidence) -> Finding {
    let Some(Ok(Tried { choice, rows, .. })) = &evidence.sampler else {
        return Finding::limited("not tried", "not known before the sampling program loads")
            .cure("mend what is missing above first");
    };
    if evidence.types.is_err() {
        return Finding::limited(
            "no (btf missing): user stacks are walked along frame pointers",
            "programs without frame pointers show where they were, but not their callers",
        )
        .cure("use a kernel built with CONFIG_DEBUG_INFO_BTF, as all distributions' are");
    }
    let lost = "each sample takes several times longer, and stacks of more than 16 KiB lose their outermost functions";
    if let Err(refused) = rows {
        return Finding::limited(format!("no ({refused}): stacks are unwound in user space"), lost)
            .cure("every kernel from 5.10 on should take them, so this is likely our fault: please report it, with this text");
    }
    let lacking = evidence.abilities.lacking_to_walk().join(", ");
    match choice.walking {
        Walking::InOneGo => Finding::ok("yes, as deep as stacks are kept"),
        Walking::ByTailCalls => Finding::ok(format!(
            "yes, by tail calls ({lacking} missing): user space goes on with stacks deeper than {TAIL_CALLED_FRAMES} \
             frames, as far as they are copied"
        )),
        Walking::InUserSpace => Finding::limited(
            format!("no ({lacking} missing, tail calls refused): stacks are unwound in user space"),
            lost,
        )
        .cure("use a kernel of 5.17 or later"),
    }
}

pub(in crate::doctor) fn symbols(evidence: &Evidence) -> Finding {
    let cost = "functions of the kernel show as addresses";
    match &evidence.symbols {
        Symbols::Addresses => Finding::ok("readable, with addresses"),
        Symbols::Zeros => {
            let finding = Finding::limited("readable, but every address is zero", cost);
            let finding = cure_by(
                finding,
                evidence,
                Capability::Syslog,
                "let those see addresses who hold CAP_SYSLOG:",
            );
            if holds(evidence, Capability::Syslog) {
                finding.command("sudo sysctl kernel.kptr_restrict=1")
            } else {
                finding
            }
        }
        Symbols::Unreadable(refusal) => Finding::limited(format!("unreadable: {}", refusal.reason), cost)
            .cure("use a kernel built with CONFIG_KALLSYMS, and show /proc/kallsyms to the container"),
    }
}

pub(in crate::doctor) fn tracefs(evidence: &Evidence) -> Finding {
    match evidence.tracefs {
        Some(place) => Finding::ok(format!("mounted at /sys/{place}, not needed")),
        None => Finding::ok("not mounted, and not needed"),
    }
}
