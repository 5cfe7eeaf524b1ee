//! Requests → rows, in a thread of low priority: never on the path of a sample.

use std::io;
use std::sync::Arc;

use super::queue::{Job, Made, RowQueue};
use super::{Budget, UnwindError, read_rows};
use crate::elf::{ElfHeaders, vdso};
use crate::host::ProcFs;

/// Behind what the host is for, but not starved by it.
const NICE: i32 = 10;

/// Starts the thread. It ends when the queue is closed.
pub(super) fn start(queue: Arc<RowQueue>, proc: ProcFs) -> io::Result<()> {
    let name = "rows".to_owned();
    std::thread::Builder::new().name(name).spawn(move || Worker { queue, proc }.work()).map(|_detached| ())
}

struct Worker {
    queue: Arc<RowQueue>,
    proc: ProcFs,
}

impl Worker {
    fn work(self) {
        // A thread of higher priority does the same, only less politely.
        let _as_it_is = rustix::process::nice(NICE);
        while let Some((key, job)) = self.queue.next() {
            self.queue.finish(key, self.make(&job));
        }
    }

    fn make(&self, job: &Job) -> Made {
        match job {
            Job::File(file, headers) => Some(read_rows(file, headers, Budget::default())),
            Job::Vdso => {
                let image = vdso::image_of_this_process(&self.proc).ok().flatten()?;
                let headers = ElfHeaders::read(&*image).map_err(UnwindError::from);
                Some(headers.and_then(|headers| read_rows(&*image, &headers, Budget::default())))
            }
        }
    }
}

impl Drop for Worker {
    /// Also when it panics: nobody shall wait for it for ever.
    fn drop(&mut self) {
        self.queue.close();
    }
}
