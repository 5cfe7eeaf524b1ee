//! A loaded program → ticks on every online CPU.

use aya::programs::ProgramError;
use aya::programs::perf_event::{
    HardwareEvent, PerfEventConfig, PerfEventLink, PerfEventScope, SamplePolicy, SoftwareEvent,
};

use super::{SampleError, Sampler};

/// Samples a second on each CPU: 1 to [`Hertz::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hertz(u32);

impl Hertz {
    /// More would distort what it measures.
    pub const MAX: u32 = 999;

    /// Checked: 1 to 999.
    pub fn new(hertz: u32) -> Option<Self> {
        (1..=Self::MAX).contains(&hertz).then_some(Self(hertz))
    }

    /// As a number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// Nanoseconds between two samples.
    pub fn period_nanos(self) -> u64 {
        1_000_000_000 / u64::from(self.0)
    }
}

/// What makes the clock tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TickSource {
    /// The kernel's per-CPU timer at a fixed period; runs everywhere.
    CpuClock,
    /// The CPU's cycle counter; the kernel adapts the period to the rate.
    Cycles,
}

/// Ticks on one CPU; dropping it stops them.
pub(super) struct Attachment(#[expect(dead_code, reason = "held for its drop")] PerfEventLink);

impl Sampler {
    /// Numbers of the CPUs that are online now.
    pub fn online_cpus() -> Result<Vec<u32>, SampleError> {
        aya::util::online_cpus().map_err(|(file, source)| SampleError::OnlineCpus { file, source })
    }

    /// Starts the ticks on every online CPU. A CPU that goes offline meanwhile is left out.
    /// Gives the number of CPUs that tick.
    pub fn attach(&mut self, source: TickSource, rate: Hertz) -> Result<usize, SampleError> {
        for cpu in Self::online_cpus()? {
            match self.attach_to(cpu, source, rate) {
                Ok(link) => self.attachments.push(Attachment(link)),
                Err(error) if os_error(&error) == Some(libc::ENODEV) => {}
                Err(error)
                    if source == TickSource::Cycles
                        && matches!(os_error(&error), Some(libc::ENOENT | libc::EOPNOTSUPP)) =>
                {
                    return Err(SampleError::NoHardwareCycles);
                }
                Err(error) => return Err(SampleError::Attach { cpu, source: Box::new(error) }),
            }
        }
        if self.attachments.is_empty() { Err(SampleError::NoCpu) } else { Ok(self.attachments.len()) }
    }

    /// Stops the ticks. What is in the ring stays there to be read.
    pub fn detach(&mut self) {
        self.attachments.clear();
    }

    fn attach_to(
        &mut self,
        cpu: u32,
        source: TickSource,
        rate: Hertz,
    ) -> Result<PerfEventLink, ProgramError> {
        let program = self.tick_program().map_err(|_| ProgramError::NotLoaded)?;
        let (config, policy) = match source {
            TickSource::CpuClock => (
                PerfEventConfig::Software(SoftwareEvent::CpuClock),
                SamplePolicy::Period(rate.period_nanos()),
            ),
            TickSource::Cycles => (
                PerfEventConfig::Hardware(HardwareEvent::CpuCycles),
                SamplePolicy::Frequency(u64::from(rate.get())),
            ),
        };
        let id = program.attach(config, PerfEventScope::AllProcessesOneCpu { cpu }, policy, false)?;
        program.take_link(id)
    }
}

/// The errno at the bottom of an error.
fn os_error(error: &ProgramError) -> Option<i32> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return io.raw_os_error();
        }
        source = cause.source();
    }
    None
}
