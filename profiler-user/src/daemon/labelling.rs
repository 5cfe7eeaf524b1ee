//! Who is profiled, and under which labels: the daemon's [`Admission`].
//!
//! A process is attributed when its first sample comes, before anything is built for it; its labels are read again at each
//! cut, when what is known of its container may be more.

use std::sync::Arc;

use crate::attribute::labels::Labels;
use crate::capture::admission::Admission;
use crate::capture::segment::Segment;
use crate::collect::Tgid;
use crate::process::ProcessId;
use crate::process::table::ProcessTable;

/// See above.
#[derive(Debug, Default)]
pub(super) struct Labelling {
    /// By process id, of the segment that goes on.
    admitted: Vec<bool>,
}

impl Labelling {
    /// The labels of a segment's processes by their ids. The next segment begins.
    pub(super) fn of_segment(&mut self, segment: &Segment) -> Vec<Arc<Labels>> {
        self.admitted.clear();
        let labels = |name: &str| Arc::new([("service_name", name)].into_iter().collect());
        segment.sampled.processes.iter().map(|process| labels(&process.executable_name)).collect()
    }
}

impl Admission for Labelling {
    fn admits(&mut self, process: ProcessId, _: &ProcessTable) -> bool {
        self.admitted.get(process.0 as usize).copied().unwrap_or(true)
    }

    fn forget(&mut self, _: Tgid) {}
}
