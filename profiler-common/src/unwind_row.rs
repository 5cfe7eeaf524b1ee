//! Compact unwind rows: what must be done to get from one frame to its caller, by address.
//!
//! ```text
//!   pages of a file    64 KiB of linked addresses each; a page stands by itself
//!   row of a page      pc in the page : u16 │ number of a rule : u16       covers [pc, pc of the next row)
//!   rules              one table for all files, 12 bytes each
//! ```
//!
//! The first row of a page is at 0: what is in force at the page's start is repeated there. Rows are some
//! hundred times as many as distinct rules, so four bytes a row are all that a text costs.
//! Written in user space (`profiler-user/src/unwind/`), read in both halves; [`crate::unwind_rule`] says what a rule
//! holds, [`crate::unwind_step`] applies one.

/// Bits of an address within a page.
pub const TEXT_PAGE_BITS: u32 = 16;
/// Bytes of text whose rows make one page.
pub const TEXT_PAGE_BYTES: u64 = 1 << TEXT_PAGE_BITS;
/// Rules that the one table holds: what a row's 16 bits can say.
pub const RULES_MAX: u32 = 1 << 16;

/// From `pc_in_page` on, up to the next row of the page, `rule` is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct UnwindRow {
    /// Low 16 bits of the linked address.
    pub pc_in_page: u16,
    /// Index in the table of rules.
    pub rule: u16,
}

/// The first of the binary search's strides: with all smaller powers of two it reaches any row of a page.
const FIRST_STRIDE: u32 = 1 << (TEXT_PAGE_BITS - 1);
const INDEX_MASK: u32 = (1 << TEXT_PAGE_BITS) - 1;

/// The last of `rows` sorted rows that begins at or before `target`.
///
/// `row_at` is asked for indexes below `rows` only, at most 17 times. `None` if `row_at` has none, if there are no
/// rows or if the first one begins later.
///
/// `opaque_zero` gives 0: in the kernel half one that it reads from map memory each time, elsewhere a literal.
///
/// VERIFIER: the strides bound the loop. `rows` must come from a map: with a constant the verifier walks every path.
/// The xor with an unknown zero makes both arms of a step the same state, so that it follows one of them. What is compared
/// is mixed with it too, or the verifier keeps of each comparison what it learned of `rows` and `target`.
#[inline(always)]
pub fn find_row(
    rows: u32,
    target: u16,
    opaque_zero: impl Fn() -> u32,
    mut row_at: impl FnMut(u32) -> Option<UnwindRow>,
) -> Option<UnwindRow> {
    let mut base = 0;
    let mut stride = FIRST_STRIDE;
    while stride != 0 {
        let candidate = base + stride;
        if candidate < rows ^ opaque_zero()
            && u32::from(row_at(candidate)?.pc_in_page) <= u32::from(target) ^ opaque_zero()
        {
            base = candidate;
        }
        base = (base ^ opaque_zero()) & INDEX_MASK;
        stride >>= 1;
    }
    if base >= rows {
        return None;
    }
    let found = row_at(base)?;
    if found.pc_in_page <= target { Some(found) } else { None }
}

const _: () = {
    assert!(size_of::<UnwindRow>() == 4, "UnwindRow is ABI");
    assert!(FIRST_STRIDE * 2 - 1 == INDEX_MASK);
};

#[cfg(feature = "user")]
mod pod {
    //! All bit patterns are valid for this type and it has no padding, which is what `Pod` asks.
    #![expect(
        unsafe_code,
        reason = "aya::Pod is an unsafe trait; the impl is one line over an asserted layout"
    )]

    // SAFETY: repr(C), integers only, size asserted above to have no padding.
    unsafe impl aya::Pod for super::UnwindRow {}
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn rows(at: &[u16]) -> Vec<UnwindRow> {
        at.iter().map(|&pc_in_page| UnwindRow { pc_in_page, rule: pc_in_page }).collect()
    }

    fn find(rows: &[UnwindRow], target: u16) -> Option<u16> {
        let count = u32::try_from(rows.len()).unwrap();
        find_row(count, target, || 0, |i| Some(rows[i as usize])).map(|row| row.rule)
    }

    #[test]
    fn the_row_in_force_is_the_last_at_or_before_the_address() {
        let some = rows(&[0, 4, 9, 0xfffe]);
        let found = [0, 3, 4, 8, 9, 0xfffd, 0xfffe, 0xffff].map(|target| find(&some, target).unwrap());
        assert_eq!(found, [0, 0, 4, 4, 9, 9, 0xfffe, 0xfffe]);
    }

    #[test]
    fn no_rows_and_rows_that_begin_later_find_nothing() {
        assert_eq!(find(&[], 7), None);
        assert_eq!(find(&rows(&[8]), 7), None);
        assert_eq!(find_row(3, 7, || 0, |_| None), None);
    }

    #[test]
    fn every_count_and_every_target_agrees_with_a_linear_search() {
        for count in (0..if cfg!(miri) { 8 } else { 40 }).chain([255]) {
            let at: Vec<u16> = (0..count).map(|i| i * 3 + 1).collect();
            let rows = rows(&at);
            for target in 0..count * 3 + 3 {
                let expected = at.iter().copied().rfind(|&pc| pc <= target);
                assert_eq!(find(&rows, target), expected, "{count} rows, target {target}");
            }
        }
    }

    #[test]
    fn a_full_page_takes_17_probes_and_stays_inside() {
        let mut probes = 0;
        let found = find_row(
            1 << 16,
            0xabcd,
            || 0,
            |i| {
                assert!(i < 1 << 16);
                probes += 1;
                Some(UnwindRow { pc_in_page: u16::try_from(i).unwrap(), rule: 0 })
            },
        );
        assert_eq!(found.unwrap().pc_in_page, 0xabcd);
        assert_eq!(probes, 17);
    }
}
