//! Bytes as a perf map → names of addresses.

use profiler_common::address::RuntimeAddr;
use profiler_user::symbolize::perf_map::read_perf_map;

/// As many as a large program has in a short capture.
const WANTED: u64 = 512;

pub(crate) fn run(bytes: &[u8]) {
    let wanted: Vec<RuntimeAddr> =
        (0..WANTED).map(|i| RuntimeAddr(i * 64)).chain([RuntimeAddr(u64::MAX)]).collect();
    let names = read_perf_map(bytes, &wanted).expect("reading memory does not fail");
    assert_eq!(names.names.len(), wanted.len());
    assert!(names.names.iter().flatten().all(|name| !name.is_empty() && !name.contains('\n')));
}
