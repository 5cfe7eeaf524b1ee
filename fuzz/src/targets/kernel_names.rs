//! Bytes as `/proc/kallsyms` → names of kernel addresses.

use profiler_common::address::KernelAddr;
use profiler_user::symbolize::kernel::table::KernelTable;

/// Where x86_64 has its kernel; the seeds' symbols lie from here on.
const TEXT_START: u64 = 0xffff_ffff_8100_0000;
const WANTED: u64 = 256;

pub(crate) fn run(bytes: &[u8]) {
    let Some(table) = KernelTable::read(bytes).expect("reading memory does not fail") else { return };
    for at in (0..WANTED).map(|i| TEXT_START + i * 16).chain([0, u64::MAX - 1]) {
        let (range, function) = table.find(KernelAddr(at));
        assert!(range.contains(&at), "{at:x} in {range:x?}");
        assert!(function.is_none_or(|function| !function.name.is_empty()));
    }
}
