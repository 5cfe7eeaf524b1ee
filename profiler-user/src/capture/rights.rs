//! What needs the rights to load programs, make maps and open perf events, while sampling goes on: behind a trait, so that
//! the daemon's broker can do it for a thread that has given them up.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::CaptureError;
use crate::collect::sideband::{CpuRing, SideBandError};
use crate::sample::{Hertz, RowBlockMap, SampleError, TickSource, Ticks, make_row_block};

/// Does it.
pub trait Rights: Send + Sync {
    /// Starts the ticks, or sets them to another rate. Gives the number of CPUs that tick.
    fn attach(&self, source: TickSource, rate: Hertz) -> Result<usize, SampleError>;
    /// Starts the ticks on CPUs that came online, and gives their numbers.
    fn follow_cpus(
        &self,
        source: TickSource,
        rate: Hertz,
        unseen: BTreeSet<u32>,
    ) -> Result<Vec<u32>, SampleError>;
    /// Stops the ticks.
    fn detach(&self);
    /// CPUs that tick.
    fn cpus(&self) -> BTreeSet<u32>;
    /// A new block for unwind rows.
    fn row_block(&self) -> Result<RowBlockMap, SampleError>;
    /// Process events of a CPU that came online; `None` if it has gone again.
    fn side_band(&self, cpu: u32) -> Result<Option<CpuRing>, SideBandError>;
}

/// Takes the programs, and does from then on what needs rights.
pub type TakeRights = Box<dyn FnOnce(Ticks) -> Result<Arc<dyn Rights>, CaptureError>>;

/// What a session is given on its way: where its rights are, and what its threads begin with.
pub struct Surroundings {
    /// Takes the programs, and does from then on what needs rights.
    pub rights: TakeRights,
    /// The first thing that the thread does that makes unwind rows.
    pub begin_rows_thread: Box<dyn FnOnce() + Send>,
}

impl Default for Surroundings {
    /// All threads keep the rights they have.
    fn default() -> Self {
        Self { rights: Box::new(|ticks| Ok(Arc::new(Here::new(ticks)))), begin_rows_thread: Box::new(|| {}) }
    }
}

/// Does it in the calling thread, which has the rights.
pub struct Here(Mutex<Ticks>);

impl Here {
    /// Over the programs in the kernel.
    pub fn new(ticks: Ticks) -> Self {
        Self(Mutex::new(ticks))
    }

    fn ticks(&self) -> MutexGuard<'_, Ticks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rights for Here {
    fn attach(&self, source: TickSource, rate: Hertz) -> Result<usize, SampleError> {
        self.ticks().attach(source, rate)
    }

    fn follow_cpus(
        &self,
        source: TickSource,
        rate: Hertz,
        unseen: BTreeSet<u32>,
    ) -> Result<Vec<u32>, SampleError> {
        self.ticks().follow_cpus(source, rate, &unseen)
    }

    fn detach(&self) {
        self.ticks().detach();
    }

    fn cpus(&self) -> BTreeSet<u32> {
        self.ticks().cpus()
    }

    fn row_block(&self) -> Result<RowBlockMap, SampleError> {
        make_row_block()
    }

    fn side_band(&self, cpu: u32) -> Result<Option<CpuRing>, SideBandError> {
        CpuRing::open(cpu)
    }
}
