//! Tells the C library's allocator what a process is that runs for months: what it has freed goes back to the kernel.
//!
//! Left alone glibc gives each thread a heap of its own, and learns from the first large block that is freed to carve such
//! blocks out of those heaps; there they stay, between what is in use. Reading the kernel's symbols or a large program's
//! unwind information takes some 10 MB for a moment. Beside a load of compilers 63 and 80 MB were resident after a minute (two
//! runs), of the first's heaps half in use; with this 51 MB. Other C libraries (musl) map large blocks anyway.

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
