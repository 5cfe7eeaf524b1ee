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

/// Beats that come at equal distances; those that come while nobody waits are one.
pub(super) struct Rounds(AsyncFd<OwnedFd>);

impl Rounds {
    /// The first comes at once, the others at this distance.
    #[expect(unsafe_code, reason = "tokio asks its callers to vouch for the file descriptor")]
    pub(super) fn every(interval: Duration) -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let interval = Timespec::try_from(interval).map_err(io::Error::other)?;
        let beat = Itimerspec { it_interval: interval, it_value: AT_ONCE };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &beat)?;
        // SAFETY: the AsyncFd owns the descriptor and closes it.
        let watched = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
        watched.map(Self).map_err(|error| error.into_parts().1)
    }

    /// Waits for the next. May be dropped while it waits, and loses no beat by that.
    pub(super) async fn next(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        // How many beats there were; reading it is what ends their being readable.
        let mut beats = [0; 8];
        match rustix::io::read(&self.0, &mut beats) {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => {} // a beat that was read before it was waited for
            Err(error) => return Err(error.into()),
        }
        ready.clear_ready();
        Ok(())
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
            let rounds = Rounds::every(interval).unwrap();
            for _ in 0..4 {
                rounds.next().await.unwrap();
            }
            // However busy the machine: never sooner, for none is told twice.
            assert!(clock.since(start) >= 3 * interval);
        });
    }
}
