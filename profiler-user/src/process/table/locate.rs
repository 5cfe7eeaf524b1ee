//! A frame of a sampled process → its place; opens each file, and the root folder of a process, when they are first
//! needed.

use std::collections::HashMap;
use std::sync::Arc;

use profiler_common::address::{CodeAddr, FileOffset, KernelAddr, RuntimeAddr};
use profiler_common::frame::{Frame, FrameKind};
use profiler_common::outcome::Outcome;

use super::{ProcessTable, Root};
use crate::collect::Tgid;
use crate::process::files::Opened;
use crate::process::mappings::{Backing, Mapping, Mappings, NamedFile};
use crate::process::namespace::ProcessRoot;
use crate::process::{FileId, Place, ProcessId};

impl ProcessTable {
    /// Whether there is no executable memory at a frame's address: then it is no frame, and the walk had
    /// lost its way before. Unknown processes have the benefit of the doubt.
    pub fn is_astray(&self, tgid: Tgid, frame: Frame) -> bool {
        let at = CodeAddr::new(RuntimeAddr(frame.payload()), frame.is_return()).lookup();
        let live = self.live.get(&tgid).filter(|live| live.is_known);
        frame.kind() == FrameKind::Unbacked && live.is_some_and(|live| live.mappings.find(at).is_none())
    }

    /// Where a frame of a sampled process lies; opens the file when it is met for the first time.
    pub fn locate(&mut self, tgid: Tgid, process: ProcessId, frame: Frame) -> Place {
        let is_return = frame.is_return();
        match frame.kind() {
            FrameKind::Kernel => {
                Place::Kernel(CodeAddr::new(KernelAddr(frame.payload()), is_return).lookup())
            }
            FrameKind::Unbacked => {
                let at = CodeAddr::new(RuntimeAddr(frame.payload()), is_return).lookup();
                self.locate_runtime(tgid, process, at)
            }
            FrameKind::Native => {
                let at = CodeAddr::new(FileOffset(frame.payload()), is_return).lookup();
                // The value is a file's number: we gave it to the walker.
                let Ok(file) = u32::try_from(frame.value()) else {
                    return Place::Marker(Outcome::MalformedEvent);
                };
                self.use_file(tgid, FileId(file));
                Place::File(FileId(file), at)
            }
            FrameKind::Marker => {
                let reason = u16::try_from(frame.value()).ok().and_then(Outcome::from_number);
                Place::Marker(reason.unwrap_or(Outcome::MalformedEvent))
            }
            _ => Place::Marker(Outcome::MalformedEvent),
        }
    }

    /// Whether a process was not seen to end.
    pub fn is_running(&self, tgid: Tgid) -> bool {
        self.live.get(&tgid).is_some_and(|live| !live.threads.is_empty())
    }

    /// The state of a process's mappings now, if they are known well enough.
    pub fn known_generation(&self, tgid: Tgid) -> Option<u64> {
        self.live.get(&tgid).filter(|live| live.is_known).map(|live| live.mappings_generation)
    }

    /// What is mapped in a process now, every file opened. Stays as it is whatever the process does next.
    pub fn pinned_mappings(&mut self, tgid: Tgid) -> Arc<Mappings> {
        let is_unopened = |mapping: &&Mapping| matches!(mapping.backing, Backing::Unopened(_));
        let mappings = self.mappings_of(tgid);
        let unopened: Vec<Mapping> = mappings.iter().filter(is_unopened).cloned().collect();
        if unopened.is_empty() {
            return mappings;
        }
        drop(mappings);
        // A process may map one file ten thousand times.
        let mut opened: HashMap<&NamedFile, Backing> = HashMap::new();
        for mapping in &unopened {
            let Backing::Unopened(named) = &mapping.backing else { continue };
            if let Some(backing) = opened.get(&**named) {
                self.resolve(tgid, mapping, backing.clone());
            } else {
                opened.insert(named, self.open(tgid, mapping, named));
            }
        }
        self.mappings_of(tgid)
    }

    fn mappings_of(&self, tgid: Tgid) -> Arc<Mappings> {
        self.live.get(&tgid).map(|live| Arc::clone(&live.mappings)).unwrap_or_default()
    }

    /// Where a frame lay, by mappings that were pinned at its time.
    pub fn locate_in(
        &mut self,
        mappings: &Mappings,
        tgid: Tgid,
        process: ProcessId,
        at: CodeAddr<RuntimeAddr>,
    ) -> Place {
        let at = at.lookup();
        match mappings.find(at) {
            Some(mapping) => self.place_in(mapping, &mapping.backing, tgid, process, at),
            None => self.in_process(tgid, process, at),
        }
    }

    fn open(&mut self, tgid: Tgid, mapping: &Mapping, named: &NamedFile) -> Backing {
        let backing = match self.files.open(&self.proc, tgid, mapping, named) {
            Opened::Elf(id) => Backing::File(id),
            Opened::Foreign(id) => Backing::Foreign(id),
            Opened::Unopenable(id) => {
                self.counts.add(Outcome::FileUnopenable, 1);
                Backing::File(id)
            }
        };
        self.resolve(tgid, mapping, backing.clone());
        backing
    }

    fn resolve(&mut self, tgid: Tgid, mapping: &Mapping, backing: Backing) {
        if let Some(live) = self.live.get_mut(&tgid) {
            Arc::make_mut(&mut live.mappings).resolve(mapping.start, backing);
        }
    }

    fn locate_runtime(&mut self, tgid: Tgid, process: ProcessId, at: RuntimeAddr) -> Place {
        let mapping = self.live.get(&tgid).and_then(|live| live.mappings.find(at)).cloned();
        let Some(mapping) = mapping else { return self.in_process(tgid, process, at) };
        let backing = match &mapping.backing {
            Backing::Unopened(named) => self.open(tgid, &mapping, named),
            known => known.clone(),
        };
        self.place_in(&mapping, &backing, tgid, process, at)
    }

    fn place_in(
        &mut self,
        mapping: &Mapping,
        backing: &Backing,
        tgid: Tgid,
        process: ProcessId,
        at: RuntimeAddr,
    ) -> Place {
        let offset: Option<FileOffset> = mapping.file_offset(at);
        match (backing, offset) {
            (&Backing::File(id), Some(offset)) => {
                self.use_file(tgid, id);
                Place::File(id, offset)
            }
            (&Backing::Foreign(id), Some(offset)) => {
                self.use_file(tgid, id);
                self.seek_root(tgid, process);
                Place::Foreign(id, offset, process, at)
            }
            (Backing::Vdso, Some(_)) => Place::Vdso(FileOffset(at.0 - mapping.start.0)),
            _ => self.in_process(tgid, process, at),
        }
    }

    fn in_process(&mut self, tgid: Tgid, process: ProcessId, at: RuntimeAddr) -> Place {
        self.seek_root(tgid, process);
        Place::Process(process, at)
    }

    /// Only the process itself can tell the names of code that it made (a perf map in its /tmp).
    fn seek_root(&mut self, tgid: Tgid, process: ProcessId) {
        let Some(sampled) = self.sampled_processes.get_mut(process.0 as usize) else { return };
        if !matches!(sampled.root, Root::NotNeeded) {
            return;
        }
        let held = self.live.get_mut(&tgid).map(|live| &mut live.root);
        if let Some(root @ Root::Open(_)) = &held {
            sampled.root = (**root).clone();
            return;
        }
        self.roots.retain(|root| root.strong_count() > 0);
        let has_room = self.roots.len() < self.roots_max;
        let root = has_room.then(|| ProcessRoot::of_process(&self.proc, tgid.0).ok()).flatten().map(Arc::new);
        self.roots.extend(root.as_ref().map(Arc::downgrade));
        sampled.root = root.map_or(Root::Unavailable, Root::Open);
        if let (Root::Open(_), Some(held)) = (&sampled.root, held) {
            *held = sampled.root.clone();
        }
    }
}
