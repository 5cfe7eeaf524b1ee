//! Bytes as a perf map, read in two parts → names of addresses.

use profiler_common::address::RuntimeAddr;
use profiler_user::symbolize::perf_map::PerfMap;

/// As many as a large program has in a short capture.
const WANTED: u64 = 512;

pub(crate) fn run(bytes: &[u8]) {
    let wanted = || (0..WANTED).map(|i| RuntimeAddr(i * 64)).chain([RuntimeAddr(u64::MAX)]);
    let names = |parts: &[usize]| {
        let mut map = PerfMap::default();
        for part in parts {
            let so_far = bytes.get(..*part).unwrap_or(bytes);
            let size = u64::try_from(so_far.len()).unwrap_or(u64::MAX);
            map.catch_up(so_far, size, u64::MAX).expect("reading memory does not fail");
        }
        map.names(bytes, wanted())
    };
    let names_at_once = names(&[bytes.len()]);
    assert_eq!(names_at_once.len(), wanted().count());
    let lines = || names_at_once.iter().flat_map(|name| name.iter());
    assert!(lines().all(|line| !line.function.system_name.is_empty()));
    assert!(lines().all(|line| !line.function.system_name.contains('\n')));
    assert_eq!(names(&[bytes.len() / 2, bytes.len()]), names_at_once);
}
