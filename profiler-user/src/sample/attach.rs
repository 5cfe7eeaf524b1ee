//! A loaded program → ticks on every online CPU.

use std::collections::{BTreeMap, BTreeSet};

use aya::Ebpf;
use aya::programs::perf_event::{
    HardwareEvent, PerfEventConfig, PerfEventLink, PerfEventScope, SamplePolicy, SoftwareEvent,
};
use aya::programs::{PerfEvent, ProgramError};

use super::SampleError;

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

/// The programs in the kernel, and the ticks that run them; dropping it stops and unloads them.
///
/// Only here the rights to load programs and to open perf events are needed.
pub struct Ticks {
    ebpf: Ebpf,
    /// By CPU; dropping a link stops its ticks.
    links: BTreeMap<u32, PerfEventLink>,
}

impl Ticks {
    pub(super) fn load(ebpf: Ebpf) -> Result<Self, SampleError> {
        let mut ticks = Self { ebpf, links: BTreeMap::new() };
        let program = ticks.program()?;
        program
            .load()
            .map_err(|source| SampleError::Refused { program: "on_tick", source: Box::new(source) })?;
        Ok(ticks)
    }

    fn program(&mut self) -> Result<&mut PerfEvent, SampleError> {
        match self.ebpf.program_mut("on_tick").map(TryInto::try_into) {
            Some(Ok(program)) => Ok(program),
            _ => Err(SampleError::Missing { name: "on_tick" }),
        }
    }

    /// Starts the ticks on every online CPU, or sets them to another rate. A CPU that goes offline meanwhile is left out.
    /// Gives the number of CPUs that tick.
    ///
    /// Another rate means new events: the kernel goes on to tell a timer's first period with each sample after it was changed
    /// (`last_period` of a software event, kernel/events/core.c), and samples are weighed by it. A CPU loses the time since
    /// its last tick by that, half a period on average.
    pub fn attach(&mut self, source: TickSource, rate: Hertz) -> Result<usize, SampleError> {
        let online = online_cpus()?;
        self.links.retain(|cpu, _| online.contains(cpu));
        for cpu in online {
            self.attach_to(cpu, source, rate)?;
        }
        if self.links.is_empty() { Err(SampleError::NoCpu) } else { Ok(self.links.len()) }
    }

    /// Starts the ticks on CPUs that came online since, and forgets those that went. `silent` ones went and came unseen, with
    /// ticks that are none any more. Gives the ones that came.
    pub fn follow_cpus(
        &mut self,
        source: TickSource,
        rate: Hertz,
        silent: &BTreeSet<u32>,
    ) -> Result<Vec<u32>, SampleError> {
        let online = online_cpus()?;
        self.links.retain(|cpu, _| online.contains(cpu) && !silent.contains(cpu));
        let come: Vec<u32> = online.into_iter().filter(|cpu| !self.links.contains_key(cpu)).collect();
        for &cpu in &come {
            self.attach_to(cpu, source, rate)?;
        }
        Ok(come)
    }

    /// CPUs that tick.
    pub fn cpus(&self) -> BTreeSet<u32> {
        self.links.keys().copied().collect()
    }

    /// Stops the ticks. What is in the ring stays there to be read.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    fn attach_to(&mut self, cpu: u32, source: TickSource, rate: Hertz) -> Result<(), SampleError> {
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
        let scope = PerfEventScope::AllProcessesOneCpu { cpu };
        let program = self.program()?;
        match program.attach(config, scope, policy, false).and_then(|id| program.take_link(id)) {
            Ok(link) => {
                self.links.insert(cpu, link);
                Ok(())
            }
            Err(error) if os_error(&error) == Some(libc::ENODEV) => Ok(()),
            Err(error)
                if source == TickSource::Cycles
                    && matches!(os_error(&error), Some(libc::ENOENT | libc::EOPNOTSUPP)) =>
            {
                Err(SampleError::NoHardwareCycles)
            }
            Err(error) => Err(SampleError::Attach { cpu, source: Box::new(error) }),
        }
    }
}

/// Numbers of the CPUs that are online now.
pub fn online_cpus() -> Result<Vec<u32>, SampleError> {
    aya::util::online_cpus().map_err(|(file, source)| SampleError::OnlineCpus { file, source })
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
