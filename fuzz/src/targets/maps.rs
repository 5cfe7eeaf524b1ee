//! Bytes as `/proc/PID/maps` → mappings in a process's memory.

use profiler_common::address::RuntimeAddr;
use profiler_user::process::mappings::{Mapping, Mappings};
use profiler_user::process::maps::executable_mappings;

pub(crate) fn run(bytes: &[u8]) {
    let mut mappings = Mappings::default();
    for entry in executable_mappings(bytes) {
        assert!(!entry.path.as_encoded_bytes().contains(&b'\n'));
        insert(&mut mappings, Mapping::new(entry.start, entry.end, entry.offset, entry.path, entry.hint));
    }
    check(&mappings);
}

/// Adds one and looks for it.
pub(crate) fn insert(mappings: &mut Mappings, new: Mapping) {
    let (start, end) = (new.start, new.end);
    mappings.insert(new);
    if start < end {
        assert!(mappings.find(start).is_some_and(|found| found.start <= start && start < found.end));
        let last = RuntimeAddr(end.0 - 1);
        assert_eq!(mappings.find(last).map(|found| found.end), Some(end));
    }
}

/// In order, none empty, none over another.
pub(crate) fn check(mappings: &Mappings) {
    let mut last_end = RuntimeAddr(0);
    for mapping in mappings.iter() {
        assert!(
            last_end <= mapping.start && mapping.start < mapping.end,
            "{mapping:x?} behind {last_end:x?}"
        );
        last_end = mapping.end;
        if let Some(offset) = mapping.file_offset(mapping.start) {
            assert_eq!(offset, mapping.start_in_file);
        }
        assert_eq!(mapping.file_offset(mapping.end), None);
    }
}
