//! libFuzzer over one target of the list, the one that the environment names.
//!
//! libFuzzer brings `main` and reads the arguments, so the name cannot be one of them. One program for all targets
//! because linking takes longer than everything else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use profiler_fuzz::{TARGET_VARIABLE, TARGETS};

fuzz_target!(|bytes: &[u8]| {
    let name = std::env::var(TARGET_VARIABLE).unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    let Some(target) = target else { panic!("{TARGET_VARIABLE} names no target: {name:?}") };
    target.check(bytes);
});
