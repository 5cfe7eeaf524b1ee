//! Places and their names → locations, functions and mappings of a profile, each once.

use std::collections::HashMap;
use std::sync::Arc;

use super::profile::{Function, Line, Location, Mapping, Space};
use crate::elf::ElfHeaders;
use crate::process::files::CodeFile;
use crate::process::{FileId, Place};
use crate::symbolize::{NamedAddress, NamedFunction, NamedLine};
use profiler_common::address::FileOffset;
use profiler_common::outcome::Outcome;

/// Builds the three tables.
pub(super) struct Locations<'a> {
    files: &'a HashMap<FileId, Arc<CodeFile>>,
    pub(super) locations: Vec<Location>,
    pub(super) functions: Vec<Function>,
    pub(super) mappings: Vec<Mapping>,
    function_ids: HashMap<Function, u32>,
    mapping_ids: HashMap<MappingKey, u32>,
    marker_ids: HashMap<Arc<str>, u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum MappingKey {
    /// By its address as linked; none for what lies outside of all segments.
    Segment(FileId, Option<u64>),
    Kernel,
    Vdso,
    Memory,
}

impl<'a> Locations<'a> {
    pub(super) fn new(files: &'a HashMap<FileId, Arc<CodeFile>>) -> Self {
        Self {
            files,
            locations: Vec::new(),
            functions: Vec::new(),
            mappings: Vec::new(),
            function_ids: HashMap::new(),
            mapping_ids: HashMap::new(),
            marker_ids: HashMap::new(),
        }
    }

    /// Adds a place and gives its index.
    pub(super) fn add(&mut self, place: Place, name: Option<&NamedAddress>) -> u32 {
        match place {
            Place::Marker(reason) => self.marker(marker_text(reason)),
            Place::Kernel(at) => {
                let mapping = self.bare_mapping(MappingKey::Kernel, "[kernel.kallsyms]", u64::MAX);
                self.code(mapping, at.0, Space::Kernel, name, || format!("[kernel]+{:#x}", at.0))
            }
            Place::Vdso(at) => {
                let mapping = self.bare_mapping(MappingKey::Vdso, "[vdso]", u64::MAX);
                self.code(mapping, at.0, Space::User, name, || format!("[vdso]+{:#x}", at.0))
            }
            Place::Process(_, at) => {
                let mapping = self.bare_mapping(MappingKey::Memory, "[anon]", u64::MAX);
                self.code(mapping, at.0, Space::User, name, || format!("[anon]+{:#x}", at.0))
            }
            Place::File(id, offset) | Place::Foreign(id, offset, ..) => self.in_file(id, offset, name),
        }
    }

    fn in_file(&mut self, id: FileId, offset: FileOffset, name: Option<&NamedAddress>) -> u32 {
        let Some(file) = self.files.get(&id) else { return self.marker("[file unknown]".into()) };
        let vaddr = file.elf.as_ref().and_then(|elf| elf.code_vaddr(offset));
        let mapping = self.file_mapping(id, file, offset);
        let module = crate::process::scan::file_name(file.path.as_os_str());
        // Outside every segment there is no address as linked; the offset says as much.
        let address = vaddr.map_or(offset.0, |vaddr| vaddr.0);
        self.code(mapping, address, Space::User, name, || format!("{module}+{address:#x}"))
    }

    /// A note in a stack.
    pub(super) fn marker(&mut self, text: Arc<str>) -> u32 {
        if let Some(&known) = self.marker_ids.get(&text) {
            return known;
        }
        let function = self.function(Function {
            name: Arc::clone(&text),
            system_name: Arc::clone(&text),
            file: "".into(),
            start_line: 0,
        });
        let lines = vec![Line { function, line: 0 }];
        let id =
            push(&mut self.locations, Location { mapping: None, address: 0, space: Space::Marker, lines });
        self.marker_ids.insert(text, id);
        id
    }

    fn code(
        &mut self,
        mapping: u32,
        address: u64,
        space: Space,
        name: Option<&NamedAddress>,
        unnamed: impl FnOnce() -> String,
    ) -> u32 {
        let named = name.map(Vec::as_slice).unwrap_or_default();
        let lines = if named.is_empty() {
            let name: Arc<str> = unnamed().into();
            let function =
                NamedFunction { name: Arc::clone(&name), system_name: name, file: "".into(), start_line: 0 };
            vec![self.line(&NamedLine { function, line: 0 })]
        } else {
            named.iter().map(|line| self.line(line)).collect()
        };
        push(&mut self.locations, Location { mapping: Some(mapping), address, space, lines })
    }

    fn line(&mut self, named: &NamedLine) -> Line {
        let NamedFunction { name, system_name, file, start_line } = named.function.clone();
        Line { function: self.function(Function { name, system_name, file, start_line }), line: named.line }
    }

    fn function(&mut self, function: Function) -> u32 {
        if let Some(&known) = self.function_ids.get(&function) {
            return known;
        }
        let id = push(&mut self.functions, function.clone());
        self.function_ids.insert(function, id);
        id
    }

    fn file_mapping(&mut self, id: FileId, file: &CodeFile, offset: FileOffset) -> u32 {
        let segment = file.elf.as_ref().and_then(|elf| elf.code_segment(offset));
        let key = MappingKey::Segment(id, segment.map(|segment| segment.vaddr.0));
        if let Some(&known) = self.mapping_ids.get(&key) {
            return known;
        }
        let (start, size, file_offset) = segment
            .map_or((0, u64::MAX, 0), |segment| (segment.vaddr.0, segment.file_bytes, segment.file_offset.0));
        let mapping = Mapping {
            path: file.path.to_string_lossy().into(),
            build_id: file
                .elf
                .as_ref()
                .and_then(ElfHeaders::build_id)
                .map_or_else(|| "".into(), |id| id.to_string().into()),
            start,
            limit: start.saturating_add(size),
            file_offset,
        };
        self.add_mapping(key, mapping)
    }

    fn bare_mapping(&mut self, key: MappingKey, path: &str, limit: u64) -> u32 {
        if let Some(&known) = self.mapping_ids.get(&key) {
            return known;
        }
        self.add_mapping(
            key,
            Mapping { path: path.into(), build_id: "".into(), start: 0, limit, file_offset: 0 },
        )
    }

    fn add_mapping(&mut self, key: MappingKey, mapping: Mapping) -> u32 {
        let id = push(&mut self.mappings, mapping);
        self.mapping_ids.insert(key, id);
        id
    }
}

/// How a walk's end is shown in a stack.
pub(super) fn marker_text(reason: Outcome) -> Arc<str> {
    match reason {
        Outcome::NoUserMemory => "[exiting or in exec]".into(), // nothing is missing
        Outcome::FramesLeftOut => "[frames left out]".into(),   // and the root is there
        other => format!("[incomplete: {}]", other.words()).into(),
    }
}

fn push<T>(table: &mut Vec<T>, value: T) -> u32 {
    table.push(value);
    u32::try_from(table.len() - 1).unwrap_or(u32::MAX)
}
