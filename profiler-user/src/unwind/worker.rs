//! Requests → rows, in a thread of low priority: never on the path of a sample.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::cache::{CacheKey, RowCache};
use super::queue::{Job, Made, RowQueue, RowsWork, WantedFile};
use super::{Budget, FileRows, UnwindError, read_rows, read_rows_with};
use crate::elf::{ElfHeaders, vdso};
use crate::host::{Clock, ProcFs};
use crate::process::debug_files::{DebugFiles, OpenElf};

/// Behind what the host is for, but not starved by it.
const NICE: i32 = 10;

/// Fewer are made within 0.2 ms, and most files have fewer.
const KEPT_ROWS_MIN: usize = 2048;

/// Starts the thread. It ends when the queue is closed.
pub(super) fn start(
    queue: Arc<RowQueue>,
    proc: ProcFs,
    clock: Clock,
    cache: Option<RowCache>,
    begin: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let debug_files = DebugFiles::of_host(&proc).ok();
    let worker = Worker { queue, proc, clock, debug_files, cache, done: RowsWork::default() };
    let work = || {
        begin();
        worker.work();
    };
    std::thread::Builder::new().name("rows".to_owned()).spawn(work).map(|_detached| ())
}

struct Worker {
    queue: Arc<RowQueue>,
    proc: ProcFs,
    /// Where unwind information may lie that was split off; `None` without so much as a root folder.
    debug_files: Option<DebugFiles>,
    clock: Clock,
    cache: Option<RowCache>,
    done: RowsWork,
}

impl Worker {
    fn work(mut self) {
        // A thread of higher priority does the same, only less politely.
        let _as_it_is = rustix::process::nice(NICE);
        while let Some((key, job)) = self.queue.next() {
            let reused = self.done.reused;
            let made = self.make(&job);
            self.done.made += u64::from(self.done.reused == reused);
            self.done.cpu = self.clock.thread_cpu();
            self.queue.finish(key, made, self.done);
        }
    }

    fn make(&mut self, job: &Job) -> Made {
        match job {
            Job::File(file) => Some(self.rows_of(file)),
            Job::Vdso => {
                let image = vdso::image_of_this_process(&self.proc).ok().flatten()?;
                let headers = ElfHeaders::read(&*image).map_err(UnwindError::from);
                Some(headers.and_then(|headers| read_rows(&*image, &headers, Budget::default())))
            }
        }
    }

    fn rows_of(&mut self, file: &WantedFile) -> Result<FileRows, UnwindError> {
        // A debug file may come and go, so what was made with one is not kept for the next time.
        if let Some(debug) = self.debug_file_of(file) {
            return read_rows_with(&file.file, &file.headers, Some(&debug), Budget::default());
        }
        self.rows_of_itself(&file.file, &file.headers)
    }

    /// The file with what was split off, if anything was.
    fn debug_file_of(&self, file: &WantedFile) -> Option<OpenElf> {
        let elf = OpenElf::read(file.file.try_clone().ok()?).ok()?;
        if elf.sections.has_dwarf() {
            return None;
        }
        self.debug_files.as_ref()?.find(&elf, &file.path, file.root.as_deref())
    }

    fn rows_of_itself(&mut self, file: &File, headers: &ElfHeaders) -> Result<FileRows, UnwindError> {
        let make = || read_rows(file, headers, Budget::default());
        let Some(cache) = &mut self.cache else { return make() };
        let Ok(metadata) = file.metadata() else { return make() };
        let key = CacheKey::new(headers, &metadata);
        if let Some(rows) = cache.load(&key) {
            self.done.reused += 1;
            return Ok(rows);
        }
        let rows = make()?;
        if rows.stats().rows >= KEPT_ROWS_MIN {
            cache.keep(&key, &rows);
        }
        Ok(rows)
    }
}

impl Drop for Worker {
    /// Also when it panics: nobody shall wait for it for ever.
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::fixture::Fixture;
    use crate::unwind::cache::CACHE_BYTES_MAX;

    #[test]
    fn rows_that_were_made_once_come_from_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let cache = || RowCache::open(&folder.path().join("rows"), CACHE_BYTES_MAX).unwrap();
        let worker = |cache| Worker {
            queue: Arc::default(),
            proc: ProcFs::host(),
            clock: Clock::host(),
            debug_files: None,
            cache,
            done: RowsWork::default(),
        };
        let program = Fixture::compile("int main(void) { return 0; }", &["-static"]);
        let file = program.open();
        let headers = ElfHeaders::read(&file).unwrap();
        let mut first = worker(Some(cache()));
        let made = first.rows_of_itself(&file, &headers).unwrap();
        let key = CacheKey::new(&headers, &file.metadata().unwrap());
        assert_eq!(cache().load(&key).unwrap(), made);
        // Others in their place, so that it shows where they come from.
        let small = Fixture::compile("int main(void) { return 0; }", &[]);
        let others = ElfHeaders::read(&small.open()).unwrap();
        let others = read_rows(&small.open(), &others, Budget::default()).unwrap();
        cache().keep(&key, &others);
        let mut second = worker(Some(cache()));
        assert_eq!(second.rows_of_itself(&file, &headers).unwrap(), others);
        assert_eq!((first.done.reused, second.done.reused), (0, 1));
        let without = worker(None).rows_of_itself(&file, &headers);
        assert_eq!(without.unwrap(), made);
    }
}
