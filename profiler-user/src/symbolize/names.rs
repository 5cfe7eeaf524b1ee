//! All places of a window → their names: each file, the kernel, the vdso and each perf map is read once.
//!
//! Places come unsorted and each once; the readers want them sorted, by file. What could not be read
//! leaves its places unnamed and is counted.

use std::collections::{BTreeMap, HashMap};
use std::io::BufReader;
use std::sync::Arc;

use profiler_common::address::{FileOffset, KernelAddr, RuntimeAddr};
use profiler_common::outcome::Outcome;

use super::demangle::demangle_all;
use super::dwarf::DebugReader;
use super::kernel::{KernelNames, read_kernel_names};
use super::native::{NativeFile, NativeNamer};
use super::perf_map::{perf_map_path, read_perf_map};
use super::vdso::VdsoImage;
use super::{NamedAddress, NamedFunction, NamedLine};
use crate::collect::loss::Counts;
use crate::host::{MonotonicNanos, ProcFs};
use crate::process::debug_files::DebugFiles;
use crate::process::files::CodeFile;
use crate::process::namespace::{FinalLink, ProcessRoot};
use crate::process::table::{Root, Sampled};
use crate::process::{FileId, Place, ProcessId};

/// A perf map of a large JVM has some 10 MiB.
const PERF_MAP_BYTES_MAX: u64 = 256 << 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Names {
    /// Places that have names.
    pub by_place: HashMap<Place, Arc<NamedAddress>>,
    /// What could not be read.
    pub counts: Counts,
}

/// Names windows, one after the other.
#[derive(Debug)]
pub struct Namer {
    proc: ProcFs,
    /// `None` without so much as a root folder to look for debug files in.
    native: Option<NativeNamer>,
}

impl Namer {
    /// Over the host's files. Debug information is read by this very program, started again as
    /// [`super::dwarf::READER_ARGUMENT`] says.
    pub fn new(proc: &ProcFs) -> Self {
        Self::with_reader(proc, DebugReader::this_program(proc))
    }

    /// The same with another program as the reader of debug information.
    pub(super) fn with_reader(proc: &ProcFs, reader: DebugReader) -> Self {
        let native = DebugFiles::of_host(proc).ok().map(|files| NativeNamer::new(files, reader));
        Self { proc: proc.clone(), native }
    }

    /// Names the places of a window, each of them once, of which `sampled` tells files and processes.
    pub fn name(&mut self, places: &[Place], sampled: &Sampled, _now: MonotonicNanos) -> Names {
        let sorted = Sorted::from(places);
        let mut names = Names::default();
        for (id, offsets) in sorted.files {
            match &self.native {
                Some(native) => {
                    names.native(native, id, sampled.files.get(&id).map(|file| &**file), &offsets);
                }
                None => names.counts.add(Outcome::FileUnreadable, 1),
            }
        }
        names.kernel(&sorted.kernel, &self.proc);
        names.vdso(&sorted.vdso, &self.proc);
        for (id, addresses) in sorted.processes {
            if let Some(process) = sampled.processes.get(id.0 as usize)
                && let Root::Open(root) = &process.root
            {
                names.perf_map(root, &addresses);
            }
        }
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
    fn native(&mut self, namer: &NativeNamer, id: FileId, file: Option<&CodeFile>, offsets: &[FileOffset]) {
        let open = file.and_then(|file| Some((file, file.file.as_ref()?)));
        let Some((file, open)) = open else {
            // What could not be opened at all was counted then; this one was one too many to keep open.
            self.counts.add(Outcome::FileUnreadable, u64::from(file.is_some_and(|file| file.elf.is_some())));
            return;
        };
        let native = NativeFile { file: open, path: &file.path, process: file.root.as_deref() };
        match namer.name(native, offsets) {
            Ok(found) => {
                self.counts.add(Outcome::DebugInfoUnusable, u64::try_from(found.problems.len()).unwrap_or(0));
                let named = offsets.iter().zip(found.addresses).filter(|(_, name)| !name.is_empty());
                self.by_place.extend(named.map(|(&at, name)| (Place::File(id, at), Arc::new(name))));
            }
            Err(_damaged) => self.counts.add(Outcome::FileUnreadable, 1),
        }
    }

    fn kernel(&mut self, addresses: &[KernelAddr], proc: &ProcFs) {
        if addresses.is_empty() {
            return;
        }
        match read_kernel_names(proc, addresses) {
            Ok(KernelNames::Named(found)) => {
                for (&at, function) in addresses.iter().zip(found) {
                    if let Some(function) = function {
                        self.by_place.insert(Place::Kernel(at), plain(function.name));
                    }
                }
            }
            Ok(KernelNames::Hidden) | Err(_) => self.counts.add(Outcome::KernelNamesHidden, 1),
        }
    }

    fn vdso(&mut self, offsets: &[FileOffset], proc: &ProcFs) {
        if offsets.is_empty() {
            return;
        }
        let image = VdsoImage::of_this_process(proc);
        let Ok(found) = image.and_then(|image| image.map_or(Ok(Vec::new()), |image| image.names(offsets)))
        else {
            self.counts.add(Outcome::FileUnreadable, 1);
            return;
        };
        for (&at, name) in offsets.iter().zip(found) {
            if let Some(name) = name {
                self.by_place.insert(Place::Vdso(at), plain(name));
            }
        }
    }

    /// Names that the process wrote down itself. Most processes with code in memory wrote none.
    fn perf_map(&mut self, root: &ProcessRoot, places: &[(RuntimeAddr, Place)]) {
        let path = perf_map_path(root.innermost_pid());
        let Ok(file) = root.open_planted(&path, FinalLink::Refuse, PERF_MAP_BYTES_MAX) else { return };
        let addresses: Vec<RuntimeAddr> = places.iter().map(|&(at, _)| at).collect();
        let Ok(map) = read_perf_map(BufReader::with_capacity(64 << 10, file), &addresses) else {
            self.counts.add(Outcome::FileUnreadable, 1);
            return;
        };
        for (&(_, place), name) in places.iter().zip(map.names) {
            if let Some(name) = name {
                self.by_place.insert(place, plain(name));
            }
        }
    }
}

/// A name without lines; demangled if the writer left that to us.
fn plain(system_name: Arc<str>) -> Arc<NamedAddress> {
    let name =
        demangle_all(std::slice::from_ref(&system_name)).pop().unwrap_or_else(|| Arc::clone(&system_name));
    let function = NamedFunction { name, system_name, file: "".into(), start_line: 0 };
    Arc::new(vec![NamedLine { function, line: 0 }])
}
