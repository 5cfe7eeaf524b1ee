//! The object of the kernel half → how many instructions this kernel's verifier looked at, program by program.
//!
//! Before 5.16 the kernel tells that only in the verifier's log, and aya shows the log only of a load that failed. So every
//! load fails, after the verifier is done: no descriptor is left for the program (bpf_prog_load in kernel/bpf/syscall.c
//! asks for one last).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aya::programs::{Program, ProgramError};
use aya::{EbpfLoader, VerifierLogLevel};
use profiler_common::abi::{FOR_NEW_KERNELS, FOR_OLD_KERNELS, SamplerConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::outcome::{Figures, Outcome};

/// Where the object of this architecture is.
const OBJECT: &str = "/flamekeeper.o";

/// The sum is that of the programs which are loaded on this kernel; the words have each one's own, also those of the others if the
/// kernel would take them.
pub(crate) fn instructions() -> Result<Outcome> {
    // Kernels before 5.11 count maps as locked memory.
    setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })
        .context("lift the limit of memory")?;
    let bytes = std::fs::read(OBJECT).with_context(|| format!("read {OBJECT}"))?;
    let mut object = EbpfLoader::new()
        .btf(None)
        .verifier_log_level(VerifierLogLevel::STATS)
        .override_global("CONFIG", &SamplerConfig::EVERY_BRANCH, true)
        .override_global("AYA_LOG_LEVEL", &0u8, true)
        .load(&bytes)
        .context("load the object")?;
    let mut taken: BTreeMap<String, u64> = BTreeMap::new();
    for (name, program) in object.programs_mut() {
        if let Some(instructions) = verified(program).with_context(|| format!("program {name}"))? {
            taken.insert(name.to_owned(), instructions);
        }
    }
    let words: Vec<String> =
        taken.iter().map(|(name, instructions)| format!("{name} {instructions}")).collect();
    let words = words.join(", ");
    let sum_of = |programs: &[&str]| programs.iter().map(|name| taken.get(*name)).sum::<Option<u64>>();
    let verified = sum_of(&FOR_NEW_KERNELS).or_else(|| sum_of(&FOR_OLD_KERNELS));
    Ok(Outcome::Passed(Figures {
        verified: Some(verified.with_context(|| format!("taken are only: {words}"))?),
        words,
        ..Figures::default()
    }))
}

/// `None`: the verifier refused it.
fn verified(program: &mut Program) -> Result<Option<u64>> {
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..before }).context("leave no descriptor")?;
    let loaded = match program {
        Program::PerfEvent(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        other => anyhow::bail!("of type {:?}", other.prog_type()),
    };
    setrlimit(Resource::Nofile, before).context("allow descriptors again")?;
    let Err(ProgramError::LoadError { io_error, verifier_log }) = loaded else {
        anyhow::bail!("it was not the want of a descriptor: {loaded:?}");
    };
    if io_error.raw_os_error() != Some(rustix::io::Errno::MFILE.raw_os_error()) {
        return Ok(None);
    }
    let log = verifier_log.to_string();
    let told = log.split_once("processed ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    Ok(Some(told.with_context(|| format!("no count in {log:?}"))?))
}
