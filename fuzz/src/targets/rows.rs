//! What must hold for the rows of any file. No target of its own: those that make rows ask here.

use profiler_common::address::ElfVaddr;
use profiler_common::unwind_row::TEXT_PAGE_BITS;
use profiler_user::host::MonotonicNanos;
use profiler_user::unwind::{Budget, FileRows, RuleTable, UnwindError, read_rows};

use profiler_user::elf::ElfHeaders;

/// A 64th of the defaults, so that an input of some KiB can reach every bound, and often.
pub(crate) const BUDGET: Budget =
    Budget { section_bytes: 1 << 20, work_bytes: 4 << 20, rows: 64 << 10, rules: 128, pages: 256 };

/// The rows of a file, checked; `None` if it has none.
pub(crate) fn checked(file: &[u8], headers: &ElfHeaders) -> Option<FileRows> {
    match read_rows(file, headers, BUDGET) {
        Ok(rows) => {
            check(&rows);
            Some(rows)
        }
        Err(error) => {
            // Said to a person: spelling it must work too.
            assert!(!error.to_string().is_empty());
            assert!(!matches!(error, UnwindError::TooLarge { found, limit, .. } if found < limit));
            None
        }
    }
}

fn check(rows: &FileRows) {
    let rules = rows.rules().len();
    assert!(rules <= usize::from(BUDGET.rules), "{rules} rules");
    assert!(u32::try_from(rows.pages().len()).is_ok_and(|count| count <= BUDGET.pages));
    assert!(rows.pages().is_sorted_by(|a, b| a.number < b.number), "pages out of order");
    let mut table = RuleTable::new();
    let mut count = 0;
    for page in rows.pages() {
        let of_page = rows.page(page.number);
        count += of_page.len();
        assert_eq!(of_page.first().map(|row| row.pc_in_page), Some(0), "a page begins with what is in force");
        assert!(of_page.is_sorted_by(|a, b| a.pc_in_page < b.pc_in_page), "rows out of order");
        assert!(of_page.iter().all(|row| usize::from(row.rule) < rules), "a row without a rule");
        let taken = table.take_page(rows, page.number, MonotonicNanos(0)).expect("a file has room");
        assert_eq!(taken.rows.len(), of_page.len());
        let start = u64::from(page.number) << TEXT_PAGE_BITS;
        // The search of the kernel half finds each row, and what is in force behind it.
        for row in of_page.iter().take(64) {
            let rule = rows.rules().get(usize::from(row.rule)).copied();
            assert_eq!(Some(rows.rule_at(ElfVaddr(start + u64::from(row.pc_in_page)))), rule);
        }
    }
    let stats = rows.stats();
    assert_eq!((stats.rows, stats.pages, stats.rules), (count, rows.pages().len(), rules));
}
