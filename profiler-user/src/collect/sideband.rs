//! The kernel's own records of mmap, comm, fork and exit, one ring a CPU: a dummy software event that
//! counts nothing and reports everything.
//!
//! Only executable mappings are reported. Rings are as large as the per-user allowance permits
//! (kernel.perf_event_mlock_kb): when another profiler has spent it, ours get smaller, not refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use perf_event::events::Software;
use perf_event::{Builder, Clock, SampleFlag, Sampler};

use super::process_event::{ProcessEvent, decode};
use crate::host::MonotonicNanos;

/// The largest ring that fits the default allowance of 516 KiB a CPU (kernel.perf_event_mlock_kb).
const RING_BYTES_MAX: usize = 512 << 10;
/// Smaller than this is not worth having: 64 KiB already loses records at 1,250 exec a second.
const RING_BYTES_MIN: usize = 16 << 10;

/// By which the clock of perf events and ours may differ between two looks: a tick of the slowest kernels, ten times.
const CLOCKS_DIFFER_BY: Duration = Duration::from_millis(100);

/// Why there are no process events.
#[derive(Debug, thiserror::Error)]
pub enum SideBandError {
    /// perf_event_open failed.
    #[error("open the kernel's process events on CPU {cpu}: {source}")]
    Open {
        /// The CPU.
        cpu: u32,
        /// Why.
        source: io::Error,
    },
    /// Not even the smallest ring could be mapped.
    #[error("map a ring for the kernel's process events on CPU {cpu}: {source}")]
    Ring {
        /// The CPU.
        cpu: u32,
        /// Why.
        source: io::Error,
    },
}

/// The process events of one CPU.
pub struct CpuRing {
    ring: Sampler,
    bytes: usize,
    on_time: OnTime,
}

impl CpuRing {
    /// Opens and starts it. `None` if the CPU is offline.
    pub fn open(cpu: u32) -> Result<Option<Self>, SideBandError> {
        Self::open_within(cpu, RING_BYTES_MAX)
    }

    fn open_within(cpu: u32, ring_bytes_max: usize) -> Result<Option<Self>, SideBandError> {
        match open_cpu(cpu, ring_bytes_max) {
            Ok((ring, bytes)) => Ok(Some(Self { ring, bytes, on_time: OnTime::default() })),
            Err(SideBandError::Open { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the event was taken off its CPU since it was last asked, or before: then its time stands still. The kernel does that
    /// to all events of a CPU that goes offline, and does not put them back (perf_event_exit_cpu in kernel/events/core.c).
    fn is_off(&mut self, now: MonotonicNanos) -> bool {
        let told = self.ring.as_counter_mut().read_full().ok().and_then(|data| data.time_enabled());
        told.is_some_and(|on| self.on_time.has_stood_still(now, on))
    }
}

/// How long an event had been on when it was last asked, and when that was.
#[derive(Default)]
struct OnTime(Option<(MonotonicNanos, Duration)>);

impl OnTime {
    /// Whether it was not on all the time between two calls.
    fn has_stood_still(&mut self, now: MonotonicNanos, on: Duration) -> bool {
        let Some((then, before)) = self.0.replace((now, on)) else { return false };
        let passed = Duration::from_nanos(now.0.saturating_sub(then.0));
        on.saturating_sub(before) + CLOCKS_DIFFER_BY < passed
    }
}

/// The process events of all CPUs.
pub struct SideBand {
    rings: BTreeMap<u32, CpuRing>,
    /// CPUs that went before their ring could be opened.
    missing: BTreeSet<u32>,
    smallest_ring_bytes: usize,
}

impl SideBand {
    /// Opens and starts a ring on each of these CPUs. A CPU that went offline is left out.
    pub fn open(cpus: impl IntoIterator<Item = u32>) -> Result<Self, SideBandError> {
        let mut side_band =
            Self { rings: BTreeMap::new(), missing: BTreeSet::new(), smallest_ring_bytes: RING_BYTES_MAX };
        for cpu in cpus {
            let ring = CpuRing::open_within(cpu, side_band.smallest_ring_bytes)?;
            side_band.add(cpu, ring);
        }
        Ok(side_band)
    }

    /// Takes the ring of a CPU that came online, in the place of the one from before it went; none if it has gone again.
    pub fn add(&mut self, cpu: u32, ring: Option<CpuRing>) {
        let Some(ring) = ring else {
            self.missing.insert(cpu);
            return;
        };
        self.smallest_ring_bytes = self.smallest_ring_bytes.min(ring.bytes);
        self.rings.insert(cpu, ring);
        self.missing.remove(&cpu);
    }

    /// CPUs that went offline, also if they have come back: what happens on them is not seen. One that goes right before a call is
    /// told by the next.
    pub fn unseen(&mut self, now: MonotonicNanos) -> BTreeSet<u32> {
        let off = self.rings.iter_mut().filter_map(|(&cpu, ring)| ring.is_off(now).then_some(cpu));
        off.chain(self.missing.iter().copied()).collect()
    }

    /// Bytes of the smallest ring, if it is smaller than wished: more process events may be lost.
    pub fn reduced_ring_bytes(&self) -> Option<usize> {
        (self.smallest_ring_bytes < RING_BYTES_MAX).then_some(self.smallest_ring_bytes)
    }

    /// Hands over all that is there, CPU by CPU. Records of one CPU are in order of time.
    pub fn drain(&mut self, mut handle: impl FnMut(ProcessEvent)) {
        for ring in self.rings.values_mut() {
            while let Some(record) = ring.ring.next_record() {
                if let Some(event) = decode(record.ty(), record.misc(), &record.to_contiguous()) {
                    handle(event);
                }
            }
        }
    }
}

fn open_cpu(cpu: u32, ring_bytes_max: usize) -> Result<(Sampler, usize), SideBandError> {
    // Kernels before 5.12 do not know the build-id form of MMAP2 and refuse it.
    let opened = open_event(cpu, true).or_else(|error| {
        if error.raw_os_error() == Some(libc::EINVAL) { open_event(cpu, false) } else { Err(error) }
    });
    let mut bytes = ring_bytes_max;
    let mut counter = opened.map_err(|source| SideBandError::Open { cpu, source })?;
    loop {
        match counter.sampled(bytes) {
            Ok(mut ring) => {
                ring.as_counter_mut().enable().map_err(|source| SideBandError::Open { cpu, source })?;
                return Ok((ring, bytes));
            }
            Err(source) if bytes <= RING_BYTES_MIN => return Err(SideBandError::Ring { cpu, source }),
            Err(_) => bytes /= 2,
        }
        counter = open_event(cpu, true)
            .or_else(|_| open_event(cpu, false))
            .map_err(|source| SideBandError::Open { cpu, source })?;
    }
}

fn open_event(cpu: u32, build_ids: bool) -> io::Result<perf_event::Counter> {
    let mut builder = Builder::new(Software::DUMMY);
    builder
        .any_pid()
        .one_cpu(cpu as usize)
        .sample(SampleFlag::TID | SampleFlag::TIME | SampleFlag::CPU)
        .sample_id_all(true)
        .mmap(true)
        .mmap2(true)
        .comm(true)
        .comm_exec(true)
        .task(true)
        .build_id(build_ids)
        .clockid(Clock::MONOTONIC)
        // We read by time; a wake-up at each record would cost more than the record.
        .wakeup_watermark(RING_BYTES_MAX);
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_was_taken_off_stands_still() {
        let mut on_time = OnTime::default();
        let mut look = |now: u64, on: u64| {
            on_time.has_stood_still(MonotonicNanos(now * 1_000_000), Duration::from_millis(on))
        };
        assert!(!look(7_000, 2_000), "the first look");
        assert!(!look(12_000, 7_000));
        assert!(!look(17_000, 11_950), "the clocks differ a little");
        assert!(look(22_000, 13_000), "off after a second");
        assert!(look(27_000, 13_000), "and still");
        assert!(!look(27_050, 13_000), "too soon to tell");
        assert!(!look(27_100, 12_000) && !look(26_000, 13_000), "and nothing panics");
    }
}
