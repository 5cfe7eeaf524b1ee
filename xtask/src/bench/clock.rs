//! The bench's clocks, so that no other file of it reads one.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures time; there is nothing to hand down another for"
)]

use std::time::{Duration, Instant, SystemTime};

/// For distances.
pub(super) fn now() -> Instant {
    Instant::now()
}

/// For comparing with what profiles say: since 1970.
pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
