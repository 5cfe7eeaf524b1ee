//! DWARF of a unit + addresses → the functions around them, cut where anything changes: at each row of the line table and
//! at the bounds of inlined calls and of functions.
//!
//! Between two of these bounds every address has the same answer, so one address of each range stands for all. Runs in
//! the reader only.

use std::ops::Range;

use gimli::{Dwarf, Unit};

use super::declarations::Slice;

/// Ranges of one function. Beyond are generated parsers and interpreters: of these only what was asked for is told.
const FUNCTION_RANGES_MAX: usize = 4096;

/// Adds the ranges of a unit's functions around `wanted`, which must be sorted, while there are less than `ranges_max`.
pub(super) fn of_unit<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &Unit<Slice<'a>>,
    wanted: &[u64],
    ranges_max: usize,
    ranges: &mut Vec<Range<u64>>,
) {
    let (mut functions, mut bounds) = (Vec::new(), Vec::new());
    // What was found before a damaged entry is kept.
    collect(dwarf, unit, wanted, &mut functions, &mut bounds).ok();
    functions.sort_unstable_by_key(|range: &Range<u64>| (range.start, range.end));
    let mut rows = unit.line_program.clone().map(gimli::IncompleteLineProgram::rows);
    while let Some(rows) = &mut rows
        && let Ok(Some((_, row))) = rows.next_row()
    {
        let around = functions.partition_point(|function| function.start <= row.address()).checked_sub(1);
        if around.and_then(|around| functions.get(around)).is_some_and(|range| row.address() < range.end) {
            bounds.push(row.address());
        }
    }
    bounds.sort_unstable();
    bounds.dedup();
    let mut end = 0;
    for function in functions {
        let first = bounds.partition_point(|at| *at <= function.start);
        let behind = bounds.partition_point(|at| *at < function.end);
        let inner = bounds.get(first..behind).unwrap_or_default();
        let is_apart = function.start >= end;
        if !is_apart || inner.len() >= FUNCTION_RANGES_MAX || ranges.len() + inner.len() >= ranges_max {
            continue;
        }
        end = function.end;
        let starts = std::iter::once(function.start).chain(inner.iter().copied());
        let ends = inner.iter().copied().chain([function.end]);
        ranges.extend(starts.zip(ends).map(|(start, end)| start..end));
    }
}

/// Ranges of the functions that hold a wanted address, and bounds of all functions and inlined calls.
fn collect<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &Unit<Slice<'a>>,
    wanted: &[u64],
    functions: &mut Vec<Range<u64>>,
    bounds: &mut Vec<u64>,
) -> gimli::Result<()> {
    let mut entries = unit.entries();
    while let Some(entry) = entries.next_dfs()? {
        if !matches!(entry.tag(), gimli::DW_TAG_subprogram | gimli::DW_TAG_inlined_subroutine) {
            continue;
        }
        let (mut own, mut holds_wanted) = (Vec::new(), false);
        let mut ranges = dwarf.die_ranges(unit, entry)?;
        while let Some(range) = ranges.next()? {
            bounds.extend([range.begin, range.end]);
            own.push(range.begin..range.end);
            let first = wanted.partition_point(|at| *at < range.begin);
            holds_wanted |= wanted.get(first).is_some_and(|at| *at < range.end);
        }
        if holds_wanted && entry.tag() == gimli::DW_TAG_subprogram {
            functions.extend(own.into_iter().filter(|range| range.start < range.end));
        }
    }
    Ok(())
}
