//! A loaded program → ticks on every online CPU.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::Ebpf;
use aya::maps::{MapData, ProgramArray};
use aya::programs::perf_event::{
    HardwareEvent, PerfEventConfig, PerfEventLink, PerfEventScope, SamplePolicy, SoftwareEvent,
};
use aya::programs::{PerfEvent, ProgramError};
use perf_event::events::{Event, Hardware, Software};
use perf_event::{Builder, Counter};

use super::SampleError;
use super::abilities::{Attaching, Choice};
use super::error::io_error;

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

/// Ticks of one CPU; dropping it stops them.
enum Tick {
    /// By a BPF link, which holds event and program.
    Link(#[expect(dead_code, reason = "held until it is dropped")] PerfEventLink),
    /// By the event, which holds the program.
    Event(#[expect(dead_code, reason = "held until it is dropped")] Counter),
}

/// The programs in the kernel, and the ticks that run them; dropping it stops and unloads them.
///
/// Only here the rights to load programs and to open perf events are needed.
pub struct Ticks {
    ebpf: Ebpf,
    /// The program that walks on, if there is one.
    _walk_on: Option<ProgramArray<MapData>>,
    choice: Choice,
    /// By CPU.
    ticks: BTreeMap<u32, Tick>,
}

impl Ticks {
    pub(super) fn load(
        ebpf: Ebpf,
        walk_on: Option<ProgramArray<MapData>>,
        choice: Choice,
    ) -> Result<Self, SampleError> {
        let mut ticks = Self { ebpf, _walk_on: walk_on, choice, ticks: BTreeMap::new() };
        let name = choice.program();
        let refused = |source| SampleError::Refused { program: name, source: Box::new(source) };
        ticks.program()?.load().map_err(refused)?;
        Ok(ticks)
    }

    fn program(&mut self) -> Result<&mut PerfEvent, SampleError> {
        let name = self.choice.program();
        match self.ebpf.program_mut(name).map(TryInto::try_into) {
            Some(Ok(program)) => Ok(program),
            _ => Err(SampleError::Missing { name }),
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
        self.ticks.retain(|cpu, _| online.contains(cpu));
        for cpu in online {
            self.attach_to(cpu, source, rate)?;
        }
        if self.ticks.is_empty() { Err(SampleError::NoCpu) } else { Ok(self.ticks.len()) }
    }

    /// Starts the ticks on CPUs that came online since, and forgets those that went. `unseen` ones went and came unseen, with
    /// ticks that are none any more. Gives the ones that came.
    pub fn follow_cpus(
        &mut self,
        source: TickSource,
        rate: Hertz,
        unseen: &BTreeSet<u32>,
    ) -> Result<Vec<u32>, SampleError> {
        let online = online_cpus()?;
        self.ticks.retain(|cpu, _| online.contains(cpu) && !unseen.contains(cpu));
        let come: Vec<u32> = online.into_iter().filter(|cpu| !self.ticks.contains_key(cpu)).collect();
        for &cpu in &come {
            self.attach_to(cpu, source, rate)?;
        }
        Ok(come)
    }

    /// CPUs that tick.
    pub fn cpus(&self) -> BTreeSet<u32> {
        self.ticks.keys().copied().collect()
    }

    /// Stops the ticks. What is in the ring stays there to be read.
    pub fn detach(&mut self) {
        self.ticks.clear();
    }

    fn attach_to(&mut self, cpu: u32, source: TickSource, rate: Hertz) -> Result<(), SampleError> {
        let attached = match self.choice.attaching {
            Attaching::Link => link(self.program()?, cpu, source, rate).map(Tick::Link).map_err(Into::into),
            Attaching::Ioctl => event(self.program()?, cpu, source, rate).map(Tick::Event),
        };
        let error: Box<dyn Error + Send + Sync> = match attached {
            Ok(tick) => {
                self.ticks.insert(cpu, tick);
                return Ok(());
            }
            Err(error) => error,
        };
        match io_error(&*error).and_then(io::Error::raw_os_error) {
            Some(libc::ENODEV) => Ok(()),
            Some(libc::ENOENT | libc::EOPNOTSUPP) if source == TickSource::Cycles => {
                Err(SampleError::NoHardwareCycles)
            }
            _ => Err(SampleError::Attach { cpu, source: error }),
        }
    }
}

fn link(
    program: &mut PerfEvent,
    cpu: u32,
    source: TickSource,
    rate: Hertz,
) -> Result<PerfEventLink, ProgramError> {
    let (config, policy) = match source {
        TickSource::CpuClock => {
            (PerfEventConfig::Software(SoftwareEvent::CpuClock), SamplePolicy::Period(rate.period_nanos()))
        }
        TickSource::Cycles => (
            PerfEventConfig::Hardware(HardwareEvent::CpuCycles),
            SamplePolicy::Frequency(u64::from(rate.get())),
        ),
    };
    let id = program.attach(config, PerfEventScope::AllProcessesOneCpu { cpu }, policy, false)?;
    program.take_link(id)
}

/// The same on kernels whose perf events take no link.
fn event(
    program: &PerfEvent,
    cpu: u32,
    source: TickSource,
    rate: Hertz,
) -> Result<Counter, Box<dyn Error + Send + Sync>> {
    let mut event = match source {
        TickSource::CpuClock => on_cpu(Software::CPU_CLOCK, cpu, |event| {
            event.sample_period(rate.period_nanos());
        }),
        TickSource::Cycles => on_cpu(Hardware::CPU_CYCLES, cpu, |event| {
            event.sample_frequency(u64::from(rate.get()));
        }),
    }?;
    event.set_bpf(program.fd()?.as_fd().as_raw_fd())?;
    event.enable()?;
    Ok(event)
}

/// An event over every process on a CPU, kernel and hypervisor included, that does not run yet.
fn on_cpu<E: Event>(event: E, cpu: u32, sampled: impl FnOnce(&mut Builder<'_>)) -> io::Result<Counter> {
    let cpu = usize::try_from(cpu).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut builder = Builder::new(event);
    builder.any_pid().one_cpu(cpu).include_kernel().include_hv();
    sampled(&mut builder);
    builder.build()
}

/// Numbers of the CPUs that are online now.
pub fn online_cpus() -> Result<Vec<u32>, SampleError> {
    aya::util::online_cpus().map_err(|(file, source)| SampleError::OnlineCpus { file, source })
}
