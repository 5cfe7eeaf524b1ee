//! The BPF ring → decoded events. Reads until the ring is empty; never waits.

use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, RingBuf};
use profiler_common::outcome::Outcome;

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
    /// Becomes readable when the kernel half finds the ring filled to its wake-up mark.
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
