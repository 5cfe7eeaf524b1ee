//! When windows end: on boundaries of the wall clock, so that those of all hosts coincide; how long they took is told by the
//! monotonic clock, which nobody steps.
//!
//! ```text
//!   wall clock   :00           :15           :30           :45           windows of 15 s
//!   window          └─ first ─┘└───────────┘└───────────┘
//! ```
//!
//! Between two looks at the wall clock only the monotonic one counts: a step of the wall clock moves where the *next* window
//! ends, and never makes one negative, doubled or much longer than the others. Reads no clock itself.

use std::time::Duration;

use super::windows::Times;
use crate::host::{MonotonicNanos, WallNanos};

/// What is left of a window is joined to the next one if it is less than this part: a boundary that is missed by a
/// millisecond (clocks are slewed) must not make a window of a millisecond.
const SLIVER_DIVISOR: u64 = 10;

/// The window in progress.
#[derive(Clone, Debug)]
pub(super) struct WindowClock {
    /// Nanoseconds, never 0.
    window: u64,
    started: MonotonicNanos,
    ends: MonotonicNanos,
}

impl WindowClock {
    /// Begins the first window, now by both clocks; it ends at the next boundary, so it is shorter than the others.
    /// A window of no time is taken for one of a millisecond.
    pub(super) fn new(window: Duration, wall: WallNanos, now: MonotonicNanos) -> Self {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1_000_000);
        Self { window, started: now, ends: end_after(window, wall, now) }
    }

    /// Another length: the window in progress keeps its beginning, and ends at the next boundary of the new one.
    pub(super) fn set_window(&mut self, window: Duration, wall: WallNanos, now: MonotonicNanos) {
        *self = Self { started: self.started, ..Self::new(window, wall, now) };
    }

    /// When the window in progress is to end.
    pub(super) fn ends(&self) -> MonotonicNanos {
        self.ends
    }

    /// Whether it is to end by now.
    pub(super) fn is_over(&self, now: MonotonicNanos) -> bool {
        now >= self.ends
    }

    /// Ends the window in progress and begins the next one, now by both clocks; also before its time, at the end of it
    /// all or for another window length.
    ///
    /// The start is the wall clock's present reading less the duration: if the clock was stepped meanwhile it is right by
    /// the clock as it is now, and the next window begins where this one ends.
    pub(super) fn next(&mut self, wall: WallNanos, now: MonotonicNanos) -> Times {
        let duration = now.0.saturating_sub(self.started.0);
        let times = Times {
            started: WallNanos(wall.0.saturating_sub(duration)),
            duration: Duration::from_nanos(duration),
        };
        self.started = now;
        self.ends = end_after(self.window, wall, now);
        times
    }
}

/// The next boundary, as the monotonic clock will show it if nobody steps the wall clock until then.
fn end_after(window: u64, wall: WallNanos, now: MonotonicNanos) -> MonotonicNanos {
    let left = window - wall.0 % window;
    let is_sliver = left < window / SLIVER_DIVISOR;
    let left = if is_sliver { left.saturating_add(window) } else { left };
    MonotonicNanos(now.0.saturating_add(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3600 * SECOND;
    /// A full minute, far from 1970.
    const NOON: u64 = 1_800_000_000 * SECOND - (1_800_000_000 * SECOND) % (60 * SECOND);

    /// Both clocks: the monotonic one began when the wall clock said this.
    struct Clocks {
        wall: u64,
        monotonic: u64,
    }

    impl Clocks {
        fn at(wall: u64) -> Self {
            Self { wall, monotonic: 77 * SECOND }
        }

        fn now(&self) -> (WallNanos, MonotonicNanos) {
            (WallNanos(self.wall), MonotonicNanos(self.monotonic))
        }

        fn pass(&mut self, nanos: u64) {
            self.wall += nanos;
            self.monotonic += nanos;
        }
    }

    /// Ends a window when it is over, some milliseconds late, and tells its start and length: milliseconds after noon.
    fn end(windows: &mut WindowClock, clocks: &mut Clocks, late_millis: u64) -> (i64, u64) {
        assert!(!windows.is_over(MonotonicNanos(windows.ends().0 - 1)));
        clocks.pass(windows.ends().0 - clocks.monotonic + late_millis * 1_000_000);
        assert!(windows.is_over(clocks.now().1));
        let (wall, now) = clocks.now();
        let times = windows.next(wall, now);
        let millis = |nanos: u64| i64::try_from(nanos / 1_000_000).unwrap();
        (millis(times.started.0) - millis(NOON), u64::try_from(times.duration.as_millis()).unwrap())
    }

    fn begin(after_noon_millis: u64) -> (WindowClock, Clocks) {
        let clocks = Clocks::at(NOON + after_noon_millis * 1_000_000);
        let (wall, now) = clocks.now();
        (WindowClock::new(Duration::from_secs(15), wall, now), clocks)
    }

    #[test]
    fn windows_end_on_boundaries_and_the_first_is_shorter() {
        let (mut windows, mut clocks) = begin(4_000);
        assert_eq!(end(&mut windows, &mut clocks, 0), (4_000, 11_000));
        assert_eq!(end(&mut windows, &mut clocks, 0), (15_000, 15_000));
        assert_eq!(end(&mut windows, &mut clocks, 0), (30_000, 15_000));
    }

    #[test]
    fn being_late_does_not_add_up_and_a_sliver_is_joined_to_the_next() {
        let (mut windows, mut clocks) = begin(14_999);
        assert_eq!(end(&mut windows, &mut clocks, 40), (14_999, 15_041));
        assert_eq!(end(&mut windows, &mut clocks, 70), (30_040, 15_030));
        // The wall clock was slewed: it shows 2 ms less than was expected.
        clocks.wall -= 2_000_000;
        assert_eq!(end(&mut windows, &mut clocks, 0), (45_068, 14_930));
        assert_eq!(end(&mut windows, &mut clocks, 0), (59_998, 15_002));
    }

    #[test]
    fn another_length_keeps_what_was_sampled_in_the_window() {
        let (mut windows, mut clocks) = begin(0);
        clocks.pass(7 * SECOND);
        let (wall, now) = clocks.now();
        windows.set_window(Duration::from_secs(10), wall, now);
        assert_eq!(end(&mut windows, &mut clocks, 0), (0, 10_000));
        assert_eq!(end(&mut windows, &mut clocks, 0), (10_000, 10_000));
    }

    #[test]
    fn a_stall_over_boundaries_is_one_long_window() {
        let (mut windows, mut clocks) = begin(0);
        assert_eq!(end(&mut windows, &mut clocks, 40_000), (0, 55_000));
        assert_eq!(end(&mut windows, &mut clocks, 0), (55_000, 5_000));
    }

    #[test]
    fn a_clock_that_is_stepped_an_hour_makes_no_odd_window() {
        for step in [HOUR, HOUR + 7 * SECOND] {
            let hours = i64::try_from(step / 1_000_000).unwrap();
            let (mut windows, mut clocks) = begin(0);
            assert_eq!(end(&mut windows, &mut clocks, 0), (0, 15_000));
            clocks.pass(5 * SECOND);
            clocks.wall += step; // in the midst of a window
            let (started, duration) = end(&mut windows, &mut clocks, 0);
            assert_eq!((started, duration), (15_000 + hours, 15_000));
            let (started, duration) = end(&mut windows, &mut clocks, 0);
            assert_eq!((started, (started + i64::try_from(duration).unwrap()) % 15_000), (30_000 + hours, 0));
            assert!((1_500..=16_500).contains(&duration), "{duration}");
            clocks.wall -= step; // and back
            let (started, duration) = end(&mut windows, &mut clocks, 0);
            assert_eq!(duration, 15_000);
            let end_of_last = started + 15_000;
            let (started, duration) = end(&mut windows, &mut clocks, 0);
            assert_eq!((started, (started + i64::try_from(duration).unwrap()) % 15_000), (end_of_last, 0));
            assert!((1_500..=16_500).contains(&duration), "{duration}");
        }
    }

    #[test]
    fn a_wall_clock_before_1970_or_at_the_end_of_time_is_stood() {
        let mut windows = WindowClock::new(Duration::ZERO, WallNanos(0), MonotonicNanos(u64::MAX));
        let times = windows.next(WallNanos(0), MonotonicNanos(0));
        assert_eq!((times.started, times.duration), (WallNanos(0), Duration::ZERO));
        let mut windows = WindowClock::new(Duration::MAX, WallNanos(u64::MAX), MonotonicNanos(0));
        let times = windows.next(WallNanos(5), MonotonicNanos(9));
        assert_eq!((times.started, times.duration), (WallNanos(0), Duration::from_nanos(9)));
    }
}
