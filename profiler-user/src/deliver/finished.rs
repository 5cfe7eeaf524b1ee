//! A finished window: what goes from aggregation into the spool, and from there to the profile database.

use std::time::Duration;

use crate::attribute::labels::Labels;
use crate::host::WallNanos;

/// All series of a window of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedWindow {
    /// When it began.
    pub started: WallNanos,
    /// How long it was.
    pub duration: Duration,
    /// A profile for each series, or several if one would be too large.
    pub profiles: Vec<SeriesProfile>,
}

/// One profile of one series, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesProfile {
    /// What the series is known by; `service_name` among them, `__name__` not.
    pub labels: Labels,
    /// pprof (`cpu/nanoseconds` only, `time_nanos` and `duration_nanos` set), gzip.
    pub pprof_gz: Vec<u8>,
    /// Size of the pprof before compression, bytes: what the database's limits count.
    pub uncompressed_bytes: u32,
    /// Samples in it: ticks of the sampling clock, for the account of what arrived.
    pub samples: u64,
    /// CPU time in it, nanoseconds.
    pub cpu_nanos: u64,
}
