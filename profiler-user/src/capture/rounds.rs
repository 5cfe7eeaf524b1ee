//! The beat of a capture: a timer of the kernel's, as something to wait for.
//!
//! tokio's own timers hang in a wheel of 64 ms: one of 100 ms wakes the thread twice, first only to be hung
//! elsewhere, and is set anew by a write to tokio's own event descriptor. Such wake-ups were a fifth of what a
//! capture costs. This one wakes once, and is set once.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The least that a timer can be set to: zero would mean never.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1 };

/// The first beat after something urgent. Each one after it takes twice as long, until they come as ever.
const HURRIED: Duration = Duration::from_millis(2);

/// Beats that come at equal distances; those that come while nobody waits are one.
pub(super) struct Rounds {
    timer: AsyncFd<OwnedFd>,
    interval: Duration,
    /// The distance to the next beat, while that is less than the interval.
    hurry: Option<Duration>,
}

impl Rounds {
    /// The first comes at once, the others at this distance.
    #[expect(unsafe_code, reason = "tokio asks its callers to vouch for the file descriptor")]
    pub(super) fn every(interval: Duration) -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let distance = Timespec::try_from(interval).map_err(io::Error::other)?;
        let beat = Itimerspec { it_interval: distance, it_value: AT_ONCE };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &beat)?;
        // SAFETY: the AsyncFd owns the descriptor and closes it.
        let watched = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
        let timer = watched.map_err(|error| error.into_parts().1)?;
        Ok(Self { timer, interval, hurry: None })
    }

    /// Something new is better looked at soon, and again: the next beats come sooner. While they do, nothing changes.
    pub(super) fn hurry(&mut self) -> io::Result<()> {
        if self.hurry.is_some() { Ok(()) } else { self.set(HURRIED) }
    }

    /// Sets the next beat, and goes back to the interval behind it.
    fn set(&mut self, distance: Duration) -> io::Result<()> {
        self.hurry = (distance < self.interval).then_some(distance);
        let distance = distance.min(self.interval);
        let [interval, next] = [self.interval, distance].map(Timespec::try_from);
        let beat = Itimerspec {
            it_interval: interval.map_err(io::Error::other)?,
            it_value: next.map_err(io::Error::other)?,
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &beat)?;
        Ok(())
    }

    /// Waits for the next. May be dropped while it waits, and loses no beat by that.
    pub(super) async fn next(&mut self) -> io::Result<()> {
        let mut ready = self.timer.readable().await?;
        // How many beats there were; reading it is what ends their being readable.
        let mut beats = [0; 8];
        match rustix::io::read(self.timer.get_ref(), &mut beats) {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => {} // a beat that was read before it was waited for
            Err(error) => return Err(error.into()),
        }
        ready.clear_ready();
        match self.hurry {
            Some(distance) => self.set(distance * 2),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Clock;

    #[test]
    fn beats_are_an_interval_apart() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let (clock, interval) = (Clock::host(), Duration::from_millis(3));
            let start = clock.monotonic();
            let mut rounds = Rounds::every(interval).unwrap();
            for _ in 0..4 {
                rounds.next().await.unwrap();
            }
            // However busy the machine: never sooner, for none is told twice.
            assert!(clock.since(start) >= 3 * interval);
        });
    }

    #[test]
    fn after_something_urgent_beats_come_sooner_and_slow_down() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let mut rounds = Rounds::every(Duration::from_millis(10)).unwrap();
            rounds.next().await.unwrap();
            let mut distances = Vec::new();
            rounds.hurry().unwrap();
            for _ in 0..4 {
                distances.push(rounds.hurry.map(|distance| distance.as_millis()));
                rounds.hurry().unwrap(); // changes nothing while it lasts
                rounds.next().await.unwrap();
                if rounds.hurry.is_none() {
                    break;
                }
            }
            assert_eq!(distances, [Some(2), Some(4), Some(8)]);
        });
    }
}
