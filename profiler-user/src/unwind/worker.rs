//! Requests → rows, in a thread of low priority: never on the path of a sample.

use std::io;
use std::sync::Arc;

use super::queue::{Job, Made, RowQueue, WantedFile};
use super::{Budget, FileRows, UnwindError, read_rows, read_rows_with};
use crate::elf::{ElfHeaders, vdso};
use crate::host::ProcFs;
use crate::process::debug_files::{DebugFiles, OpenElf};

/// Behind what the host is for, but not starved by it.
const NICE: i32 = 10;

/// Starts the thread. It ends when the queue is closed.
pub(super) fn start(queue: Arc<RowQueue>, proc: ProcFs) -> io::Result<()> {
    let name = "rows".to_owned();
    let debug_files = DebugFiles::of_host(&proc).ok();
    let worker = Worker { queue, proc, debug_files };
    std::thread::Builder::new().name(name).spawn(move || worker.work()).map(|_detached| ())
}

struct Worker {
    queue: Arc<RowQueue>,
    proc: ProcFs,
    /// Where unwind information may lie that was split off; `None` without so much as a root folder.
    debug_files: Option<DebugFiles>,
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
            Job::File(file) => Some(self.rows_of(file)),
            Job::Vdso => {
                let image = vdso::image_of_this_process(&self.proc).ok().flatten()?;
                let headers = ElfHeaders::read(&*image).map_err(UnwindError::from);
                Some(headers.and_then(|headers| read_rows(&*image, &headers, Budget::default())))
            }
        }
    }

    fn rows_of(&self, file: &WantedFile) -> Result<FileRows, UnwindError> {
        let debug = self.debug_file_of(file);
        read_rows_with(&file.file, &file.headers, debug.as_ref(), Budget::default())
    }

    /// The file with what was split off, if anything was.
    fn debug_file_of(&self, file: &WantedFile) -> Option<OpenElf> {
        let elf = OpenElf::read(file.file.try_clone().ok()?).ok()?;
        if elf.sections.has_dwarf() {
            return None;
        }
        self.debug_files.as_ref()?.find(&elf, &file.path, file.root.as_deref())
    }
}

impl Drop for Worker {
    /// Also when it panics: nobody shall wait for it for ever.
    fn drop(&mut self) {
        self.queue.close();
    }
}
