//! Who is profiled: asked when a process's sample comes, before anything is built for it.

use crate::collect::{RawSample, Tgid};
use crate::process::ProcessId;
use crate::process::table::ProcessTable;

/// Says which processes are wanted.
pub trait Admission {
    /// Whether a sampled process is wanted. Asked with every sample, so that what is known is answered by a look-up.
    fn admits(&mut self, sample: &RawSample, process: ProcessId, processes: &ProcessTable) -> bool;

    /// A process has ended a while ago, and its id may come again.
    fn forget(&mut self, tgid: Tgid);
}

/// Everybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everyone;

impl Admission for Everyone {
    fn admits(&mut self, _: &RawSample, _: ProcessId, _: &ProcessTable) -> bool {
        true
    }

    fn forget(&mut self, _: Tgid) {}
}
