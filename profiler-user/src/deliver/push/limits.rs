//! What the profile database takes, for those who make profiles. What is over a limit is refused whole, so we stay below.
//!
//! Pyroscope's defaults, each with its name in the configuration of version 2.2 (`pkg/validation/limits.go`); an operator
//! may have raised or lowered them. Limits of labels are in `attribute/limits.rs`.

use std::time::Duration;

/// Samples (distinct stacks) in a profile: `max_profile_stacktrace_samples`. More are refused with 400.
pub const SAMPLES_MAX: usize = 16_000;

/// Bytes of a profile before compression, unless configured otherwise.
///
/// The database takes 4 MiB (`max_profile_size_bytes`), but what is over the tenant's burst
/// (`ingestion_burst_size_mb`, 2 MiB with its labels) is answered 429 for ever. Tried on 2.2: 1.5 MB pass, 2.2 MB do not.
pub const DEFAULT_PROFILE_BYTES_MAX: u32 = 3 << 19;

/// How far apart, by `time_nanos`, two profiles of one series must be at least.
///
/// Pyroscope's v1 storage replicates, and takes two profiles of one series and one millisecond for copies of each other:
/// queries show one of both (`filterProfiles` in `pkg/phlaredb`; tried on 2.2: two parts 0, 1 and 1,000 ns apart counted
/// once, 1 ms apart twice). So parts of one window are a millisecond apart from each other, and a profile that is sent
/// again counts once there. The v2 storage adds up all that it is sent, also a profile that is sent again.
pub const PROFILE_DISTANCE_MIN: Duration = Duration::from_millis(1);
