//! Bytes as `/proc/kallsyms` → names of kernel addresses.

use profiler_common::address::KernelAddr;
use profiler_user::symbolize::kernel::{KernelNames, names_in};

/// Where x86_64 has its kernel; the seeds' symbols lie from here on.
const TEXT_START: u64 = 0xffff_ffff_8100_0000;
const WANTED: u64 = 256;

pub(crate) fn run(bytes: &[u8]) {
    let wanted: Vec<KernelAddr> =
        (0..WANTED).map(|i| KernelAddr(TEXT_START + i * 16)).chain([KernelAddr(u64::MAX)]).collect();
    match names_in(bytes, &wanted).expect("reading memory does not fail") {
        KernelNames::Named(names) => {
            assert_eq!(names.len(), wanted.len());
            assert!(names.iter().flatten().all(|function| !function.name.is_empty()));
        }
        KernelNames::Hidden => {}
    }
}
