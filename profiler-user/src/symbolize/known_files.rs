//! What is known of the names in each file, while they are asked for and up to a bound in bytes: files whose names were
//! asked for longest ago go first.

use std::collections::HashMap;

use super::UNUSED_NANOS_MAX;
use super::native::KnownFile;
use crate::host::MonotonicNanos;
use crate::process::FileId;

/// Names of all files together: what some ten busy programs and their libraries need.
const BYTES_MAX: usize = 8 << 20;
/// Files of whose names nothing is left are still known, while they are asked for, to have debug information or none.
const FILES_MAX: usize = 4096;

#[derive(Debug, Default)]
struct Kept {
    file: KnownFile,
    last_used: MonotonicNanos,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct KnownFiles {
    files: HashMap<FileId, Kept>,
    now: MonotonicNanos,
}

impl KnownFiles {
    /// Begins a window.
    pub(super) fn begin(&mut self, now: MonotonicNanos) {
        self.now = now;
    }

    /// What is known of a file, for this window.
    pub(super) fn get(&mut self, id: FileId) -> &mut KnownFile {
        let kept = self.files.entry(id).or_default();
        kept.last_used = self.now;
        &mut kept.file
    }

    /// Ends the window, and forgets what does not fit.
    pub(super) fn make_room(&mut self) {
        let now = self.now;
        self.files.retain(|_, kept| now.0.saturating_sub(kept.last_used.0) < UNUSED_NANOS_MAX);
        self.make_room_within(BYTES_MAX, FILES_MAX);
    }

    /// What all of it takes, more or less.
    pub(super) fn bytes(&self) -> usize {
        self.files.values().map(|kept| kept.file.bytes()).sum()
    }

    fn make_room_within(&mut self, bytes_max: usize, files_max: usize) {
        let mut bytes = self.bytes();
        if bytes <= bytes_max && self.files.len() <= files_max {
            return;
        }
        let mut by_age: Vec<(MonotonicNanos, FileId)> =
            self.files.iter().map(|(id, kept)| (kept.last_used, *id)).collect();
        by_age.sort_unstable();
        for (_, id) in by_age {
            let is_one_too_many = self.files.len() > files_max;
            let Some(kept) = self.files.get_mut(&id).filter(|_| is_one_too_many || bytes > bytes_max) else {
                return;
            };
            bytes -= kept.file.bytes();
            kept.file.forget_names();
            if is_one_too_many {
                self.files.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use profiler_common::address::ElfVaddr;

    use super::*;

    fn fill(files: &mut KnownFiles, id: u32) {
        let file = files.get(FileId(id));
        file.keep_name(ElfVaddr(1), 0..10, &std::sync::Arc::default());
    }

    #[test]
    fn names_that_were_asked_for_longest_ago_go_first() {
        let mut files = KnownFiles::default();
        for (at, id) in (0..).zip([1, 2, 3, 1]) {
            files.begin(MonotonicNanos(at));
            fill(&mut files, id);
            files.make_room();
        }
        let one = files.get(FileId(1)).bytes();
        files.make_room_within(2 * one, 10);
        let kept = [1, 2, 3].map(|id| files.get(FileId(id)).bytes());
        assert_eq!(kept, [one, 0, one]);
    }

    #[test]
    fn names_that_nobody_asks_for_go() {
        let mut files = KnownFiles::default();
        for (minute, id) in [(0, 1), (0, 2), (6, 2), (10, 3)] {
            files.begin(MonotonicNanos(minute * 60_000_000_000));
            fill(&mut files, id);
            files.make_room();
        }
        let mut left: Vec<FileId> = files.files.into_keys().collect();
        left.sort_unstable();
        assert_eq!(left, [FileId(2), FileId(3)]);
    }

    #[test]
    fn files_themselves_are_bounded() {
        let mut files = KnownFiles::default();
        for id in 0..100 {
            files.begin(MonotonicNanos(u64::from(id)));
            fill(&mut files, id);
            files.make_room();
        }
        files.make_room_within(usize::MAX, 10);
        assert_eq!(files.files.len(), 10);
        assert!(files.files.contains_key(&FileId(99)));
    }
}
