//! Tells the C library's allocator what a process is that runs for months: what it has freed goes back to the kernel.
//!
//! Left alone glibc gives each thread a heap of its own, and learns from the first large block that is freed to carve such
//! blocks out of those heaps; there they stay, between what is in use. Reading the kernel's symbols or a large program's
//! unwind information takes some 10 MB for a moment. Beside a load of compilers 63 and 80 MB were resident after a minute (two
//! runs), of the first's heaps half in use; with this 51 MB.
//!
//! The static binary keeps musl's allocator, which maps large blocks anyway. Five captures of 4 s in turn with a glibc build, which was
//! optimized less (thin LTO), names from debug information included, medians on a busy host: 0.50 s of CPU and 38 MiB at most, against
//! 0.46 s and 59 MiB; 7 % of the first's CPU is in the allocator, 3 % of the other's. Two daemons beside each other for 150 s took 0.75
//! and 0.85 s while sampling, at 43 and 39 MiB; an earlier pair 0.92 and 3.48 s. No third allocator was tried: it could win those
//! few percent.

/// Blocks from this size on are mapped, and unmapped when they are freed; so much may be free at the end of a heap.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: std::ffi::c_int = 128 << 10;
/// The thread that samples, and all others: none of them allocates so often that it would wait.
#[cfg(target_env = "gnu")]
const HEAPS: std::ffi::c_int = 2;

/// For a process that stays. To be called before it has threads.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    for (what, value) in [
        // Naming the first also ends that it is learnt.
        (libc::M_MMAP_THRESHOLD, LARGE_BYTES),
        (libc::M_TRIM_THRESHOLD, LARGE_BYTES),
        (libc::M_ARENA_MAX, HEAPS),
    ] {
        #[expect(unsafe_code, reason = "the allocator has no safe function for it")]
        // SAFETY: takes two numbers, and moves nothing that is in use. A refusal leaves the value as it was.
        unsafe {
            libc::mallopt(what, value);
        }
    }
}

/// Memory that was freed goes back to the kernel; glibc would keep much of it for us as long as we live.
pub fn give_back_freed_memory() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the allocator has no safe function for it")]
    // SAFETY: takes a number, may be called at any time, and moves nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
