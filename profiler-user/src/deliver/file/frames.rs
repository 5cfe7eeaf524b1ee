//! Walks a profile's stacks function by function, and says what all formats must say alike.
//!
//! Indices are in range by [`Profile`]'s contract, so tables are indexed without ceremony here.

use crate::aggregate::profile::{Line, Location, Profile, Sample, SampledEvent, Space};

/// The entry of a table at an index out of another table.
pub(super) fn at<T>(table: &[T], index: u32) -> &T {
    &table[index as usize]
}

/// One function on a stack, physical or inlined.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameOf<'a> {
    /// The code address it is at.
    pub(super) location: &'a Location,
    /// Function and source line.
    pub(super) line: Line,
}

/// The functions of a stack, outermost first, inlined ones after the function that holds them.
pub(super) fn outermost_first(profile: &Profile, stack: u32) -> impl Iterator<Item = FrameOf<'_>> {
    at(&profile.stacks, stack).iter().rev().flat_map(|&location| {
        let location = at(&profile.locations, location);
        location.lines.iter().rev().map(move |&line| FrameOf { location, line })
    })
}

/// Marks kernel functions in formats that have but a name for a frame; flame graph tools know it.
pub(super) const KERNEL_SUFFIX: &str = "_[k]";

/// What follows a function's name where a frame is nothing but its name.
pub(super) const fn suffix(space: Space) -> &'static str {
    match space {
        Space::Kernel => KERNEL_SUFFIX,
        Space::User | Space::Marker => "",
    }
}

/// What the widths of a flame graph add up, in [`width_unit`]: samples of the CPU clock are all worth
/// the same; with hardware cycles only the weights are, since the period varies.
pub(super) const fn width(event: SampledEvent, sample: &Sample) -> u64 {
    match event {
        SampledEvent::CpuClock { .. } => sample.count,
        SampledEvent::Cycles { .. } => sample.weight,
    }
}

/// Unit of [`width`].
pub(super) const fn width_unit(event: SampledEvent) -> &'static str {
    match event {
        SampledEvent::CpuClock { .. } => "samples",
        SampledEvent::Cycles { .. } => "cycles",
    }
}

/// The last part of a path; `[vdso]` and the like are their own.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(path)
}
