//! All places of a window → their names: each file, the kernel, the vdso and each perf map is read once.
//!
//! Places come unsorted and each once; the readers want them sorted, by file. What could not be read
//! leaves its places unnamed and is counted.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use profiler_common::address::{FileOffset, KernelAddr, RuntimeAddr};
use profiler_common::outcome::Outcome;

use super::NamedAddress;
use super::dwarf::DebugReader;
use super::kernel::KernelNamer;
use super::known_files::KnownFiles;
use super::native::{KnownFile, NativeFile, NativeNamer};
use super::perf_maps::PerfMaps;
use super::plain::plain_names;
use super::reader_budget::ReaderBudget;
use super::vdso::VdsoImage;
use crate::collect::loss::Counts;
use crate::host::{MonotonicNanos, ProcFs};
use crate::process::debug_files::DebugFiles;
use crate::process::files::CodeFile;
use crate::process::table::{Root, Sampled};
use crate::process::{FileId, Place, ProcessId};

/// What readers of debug information may take at first: that of some large libraries (libc's takes 0.15 s).
const READER_FULL: Duration = Duration::from_secs(1);
/// And later, of one CPU: 0.05 %.
const READER_NANOS_A_SECOND: u64 = 500_000;

/// What was found.
#[derive(Debug, Default)]
pub struct Names {
    /// Places that have names.
    pub by_place: HashMap<Place, Arc<NamedAddress>>,
    /// What could not be read.
    pub counts: Counts,
    /// Places whose names will say more in later windows: there was no time to read debug information.
    pub waiting: usize,
}

/// Names windows, one after the other.
#[derive(Debug)]
pub struct Namer {
    proc: ProcFs,
    /// `None` without so much as a root folder to look for debug files in.
    native: Option<NativeNamer>,
    files: KnownFiles,
    budget: ReaderBudget,
    kernel: KernelNamer,
    /// The same as long as the kernel runs.
    vdso: Option<VdsoImage>,
    perf_maps: PerfMaps,
}

impl Namer {
    /// For one window, which is to be complete. Debug information is read by this very program, started again as
    /// [`super::dwarf::READER_ARGUMENT`] says.
    pub fn of_one_window(proc: &ProcFs) -> Self {
        let reader = DebugReader::this_program(proc);
        let kernel = KernelNamer::new(proc.path("kallsyms"));
        Self::with_reader(proc, kernel, reader, ReaderBudget::unlimited(), PerfMaps::of_one_window())
    }

    /// For windows without end: reading debug information is limited to a share of the time, so that names may say less
    /// at first than in later windows.
    ///
    /// `kernel_symbols` is the kernel's list of its functions, where it is hidden at its own place.
    pub fn of_many_windows(proc: &ProcFs, kernel_symbols: Option<PathBuf>) -> Self {
        let budget = ReaderBudget::limited(READER_FULL, READER_NANOS_A_SECOND);
        let kernel = KernelNamer::new(kernel_symbols.unwrap_or_else(|| proc.path("kallsyms")));
        Self::with_reader(proc, kernel, DebugReader::this_program(proc), budget, PerfMaps::of_many_windows())
    }

    fn with_reader(
        proc: &ProcFs,
        kernel: KernelNamer,
        reader: DebugReader,
        budget: ReaderBudget,
        perf_maps: PerfMaps,
    ) -> Self {
        let native = DebugFiles::of_host(proc).ok().map(|files| NativeNamer::new(files, reader));
        let vdso = VdsoImage::of_this_process(proc).ok().flatten();
        Self { proc: proc.clone(), native, files: KnownFiles::default(), budget, kernel, vdso, perf_maps }
    }

    /// Forgets what is known of files and perf maps; it is read again when it is asked for.
    pub fn empty_caches(&mut self) {
        self.files = KnownFiles::default();
        self.perf_maps.forget();
    }

    /// What is kept of the names in files takes so much, more or less.
    pub fn cache_bytes(&self) -> usize {
        self.files.bytes()
    }

    /// Names the places of a window, each of them once, of which `sampled` tells files and processes.
    pub fn name(&mut self, places: &[Place], sampled: &Sampled, now: MonotonicNanos) -> Names {
        let sorted = Sorted::from(places);
        let mut names = Names::default();
        self.budget.fill(now);
        self.files.begin(now);
        for (id, offsets) in sorted.files {
            let known = self.files.get(id);
            match &self.native {
                Some(native) => {
                    let file = sampled.files.get(&id).map(|file| &**file);
                    names.native(native, known, &mut self.budget, id, file, &offsets);
                }
                None => names.counts.add(Outcome::FileUnreadable, 1),
            }
        }
        self.files.make_room();
        names.kernel(&sorted.kernel, &mut self.kernel, &self.proc, now);
        names.vdso(&sorted.vdso, self.vdso.as_ref());
        self.perf_maps.begin(now);
        for (id, addresses) in sorted.processes {
            if let Some(process) = sampled.processes.get(id.0 as usize)
                && let Root::Open(root) = &process.root
            {
                let wanted = addresses.iter().map(|(at, _)| *at);
                match self.perf_maps.names(process.key, root, wanted) {
                    Some(Ok(found)) => names.plain(addresses.iter().map(|(_, place)| *place), found),
                    Some(Err(_)) => names.counts.add(Outcome::FileUnreadable, 1),
                    None => {}
                }
            }
        }
        self.perf_maps.make_room();
        names
    }
}

/// Places by where they are read, each list ascending.
#[derive(Debug, Default)]
struct Sorted {
    files: BTreeMap<FileId, Vec<FileOffset>>,
    kernel: Vec<KernelAddr>,
    vdso: Vec<FileOffset>,
    /// With the place that each address stands for.
    processes: BTreeMap<ProcessId, Vec<(RuntimeAddr, Place)>>,
}

impl Sorted {
    fn from(places: &[Place]) -> Self {
        let mut places = places.to_vec();
        // The order of `Place` is by kind, then by file or process, then by address.
        places.sort_unstable();
        let mut sorted = Self::default();
        for place in places {
            match place {
                Place::File(file, at) => sorted.files.entry(file).or_default().push(at),
                Place::Kernel(at) => sorted.kernel.push(at),
                Place::Vdso(at) => sorted.vdso.push(at),
                Place::Process(process, at) | Place::Foreign(.., process, at) => {
                    sorted.processes.entry(process).or_default().push((at, place));
                }
                Place::Marker(_) => {}
            }
        }
        // Foreign files come before memory.
        sorted.processes.values_mut().for_each(|addresses| addresses.sort_unstable());
        sorted
    }
}

impl Names {
    fn native(
        &mut self,
        namer: &NativeNamer,
        known: &mut KnownFile,
        budget: &mut ReaderBudget,
        id: FileId,
        file: Option<&CodeFile>,
        offsets: &[FileOffset],
    ) {
        // What is no ELF file was counted when it could not be opened.
        let Some(file) = file.filter(|file| file.elf.is_some()) else { return };
        let native = NativeFile { file: file.file.as_ref(), path: &file.path, process: file.root.as_deref() };
        match namer.name(native, known, offsets, budget) {
            Ok(found) => {
                self.counts.add(Outcome::DebugInfoUnusable, u64::try_from(found.problems.len()).unwrap_or(0));
                self.waiting += found.waiting;
                let named = offsets.iter().zip(found.addresses).filter(|(_, name)| !name.is_empty());
                self.by_place.extend(named.map(|(&at, name)| (Place::File(id, at), name)));
            }
            Err(_damaged) => self.counts.add(Outcome::FileUnreadable, 1),
        }
    }

    fn plain(&mut self, places: impl Iterator<Item = Place>, names: Vec<Arc<NamedAddress>>) {
        self.by_place.extend(places.zip(names).filter(|(_, name)| !name.is_empty()));
    }

    fn kernel(
        &mut self,
        addresses: &[KernelAddr],
        namer: &mut KernelNamer,
        proc: &ProcFs,
        now: MonotonicNanos,
    ) {
        if addresses.is_empty() {
            return;
        }
        match namer.names(proc, addresses, now) {
            Ok(Some(names)) => self.plain(addresses.iter().map(|at| Place::Kernel(*at)), names),
            Ok(None) | Err(_) => self.counts.add(Outcome::KernelNamesHidden, 1),
        }
    }

    fn vdso(&mut self, offsets: &[FileOffset], image: Option<&VdsoImage>) {
        if offsets.is_empty() {
            return;
        }
        match image.map(|image| image.names(offsets)) {
            Some(Ok(found)) => {
                self.plain(offsets.iter().map(|at| Place::Vdso(*at)), plain_names(&found));
            }
            Some(Err(_)) | None => self.counts.add(Outcome::FileUnreadable, 1),
        }
    }
}
