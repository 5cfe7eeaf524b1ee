//! A segment: what was sampled from one cut to the next, with all that is needed to name and label it. Owned by nobody
//! else, so another thread can take its time over it.

use std::time::Duration;

use crate::aggregate::profile::SampledEvent;
use crate::aggregate::window::Window;
use crate::host::MonotonicNanos;
use crate::process::table::Sampled;

/// Samples of a segment of time.
#[derive(Debug)]
pub struct Segment {
    /// The samples.
    pub window: Window,
    /// Whose they are, and the files that their code lies in.
    pub sampled: Sampled,
    /// What made the clock tick.
    pub event: SampledEvent,
    /// When it began.
    pub started: MonotonicNanos,
    /// How long it was.
    pub duration: Duration,
}
