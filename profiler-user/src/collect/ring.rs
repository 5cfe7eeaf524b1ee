//! The BPF ring → decoded events. Reads until the ring is empty; never waits.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, RingBuf};
use profiler_common::outcome::Outcome;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::decode::{RingEvent, decode};
use super::loss::Counts;

/// The reading end of the ring of samples.
pub struct SampleRing {
    ring: RingBuf<MapData>,
}

impl SampleRing {
    /// The ring that `sample` loaded.
    pub fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }

    /// The ring as something to wait for: readable once the kernel half finds it filled to its wake-up mark.
    #[expect(unsafe_code, reason = "tokio asks its callers to vouch for the file descriptor")]
    pub fn watched(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor belongs to the map inside, which lives and keeps it open as long as the
        // AsyncFd that owns both.
        let watched = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) };
        watched.map_err(|error| error.into_parts().1)
    }

    /// Hands over all that is there.
    pub fn drain(&mut self, counts: &mut Counts, mut handle: impl FnMut(RingEvent)) {
        while let Some(bytes) = self.ring.next() {
            match decode(&bytes) {
                Some(event) => handle(event),
                None => counts.add(Outcome::MalformedEvent, 1),
            }
        }
    }
}

impl AsRawFd for SampleRing {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
