//! How much heap a piece of work holds at most: the system's allocator with a counter for each thread.
//!
//! libFuzzer can bound a process's resident memory, but looks once a second and sees the fuzzer's own too. This is
//! exact, the same in a replay, and blind only to what C code allocates by itself (zstd's window).

#![expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait; it forwards to the system's allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes allocated less bytes freed on this thread, and the most that it has been.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    // Gone while the thread ends: nothing is measured there.
    HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = now.saturating_add(bytes);
        held.set((now, most.max(now)));
    })
    .ok();
}

fn size(layout: Layout) -> isize {
    // A layout's size is at most `isize::MAX` by its own contract.
    layout.size().cast_signed()
}

// SAFETY: every call goes to `System` unchanged; counting touches no memory but a cell that needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-size(layout));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Both at once, as when the block has to move.
        count(new_size.cast_signed());
        count(-size(layout));
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, new_size) }
    }
}

/// The most bytes that `work` held at a time, beyond what this thread held before.
pub fn peak_bytes_during(work: impl FnOnce()) -> usize {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    work();
    let (_, most) = HELD.with(Cell::get);
    usize::try_from(most.saturating_sub(before)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_counts_what_was_freed_again_and_a_block_that_grows_twice() {
        assert_eq!(peak_bytes_during(|| drop(vec![0u8; 1000])), 1000);
        let grown = peak_bytes_during(|| {
            let mut bytes = Vec::<u8>::with_capacity(1000);
            bytes.reserve_exact(3000);
        });
        assert_eq!(grown, 4000);
        assert_eq!(peak_bytes_during(|| {}), 0);
    }
}
