//! Bytes as a pprof before compression → a profile, in which every number leads somewhere.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use profiler_user::aggregate::profile::{Process, Profile};
use profiler_user::deliver::file::read_pprof;

pub(crate) fn run(bytes: &[u8]) {
    let process = || Process { pid: 1, executable_name: "x".into(), started_nanos: 0, ended_nanos: None };
    let mut compressed = GzEncoder::new(Vec::new(), Compression::none());
    compressed.write_all(bytes).expect("memory can be written to");
    let compressed = compressed.finish().expect("memory can be written to");
    let size = u32::try_from(bytes.len()).expect("64 KiB at most");
    if let Ok(profile) = read_pprof(&compressed, size, "host".into(), process()) {
        check(&profile);
    }
    // Not as they should be: in the place of what is compressed.
    assert!(read_pprof(bytes, size.saturating_add(1), "host".into(), process()).is_err());
}

fn check(profile: &Profile) {
    let is_within = |index: u32, length: usize| usize::try_from(index).is_ok_and(|index| index < length);
    for location in &profile.locations {
        assert!(location.mapping.is_none_or(|mapping| is_within(mapping, profile.mappings.len())));
        assert!(!location.lines.is_empty());
        assert!(location.lines.iter().all(|line| is_within(line.function, profile.functions.len())));
    }
    for stack in &profile.stacks {
        assert!(!stack.is_empty());
        assert!(stack.iter().all(|location| is_within(*location, profile.locations.len())));
    }
    for sample in &profile.samples {
        assert!(sample.weight > 0 && sample.count > 0);
        assert!(
            is_within(sample.thread, profile.threads.len()) && is_within(sample.stack, profile.stacks.len())
        );
    }
}
