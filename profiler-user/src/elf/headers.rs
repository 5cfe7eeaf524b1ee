//! First bytes of an ELF file → load segments, build id, identity.
//!
//! ```text
//!   ELF header ─▶ program headers ─▶ PT_LOAD           FileOffset → ElfVaddr
//!                              ├───▶ PT_NOTE           build id
//!                              └───▶ PT_GNU_EH_FRAME ─▶ headers hash
//! ```
//!
//! Read at first sight of every mapped file, so it costs a handful of reads of a few KiB, whatever the
//! file's size. Every size is bounded before memory is taken; hostile bytes give an error. Never maps a file
//! into memory: its owner could cut it short under us.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::pod;
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader};
use profiler_common::address::{ElfVaddr, FileOffset};

use super::error::ElfError;
use super::fnv::Fnv1a;

/// Bytes that can be read at an offset: a file, or an image in memory such as the vdso.
pub trait ReadAt {
    /// Fills as much of `into` as there is from offset `at` on; the number of bytes filled.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, into, at)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = rest.len().min(into.len());
        into.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Ok(count)
    }
}

/// Reads up to `bytes` bytes at `at`; fewer at the file's end.
pub(crate) fn read_up_to(
    source: &(impl ReadAt + ?Sized),
    at: u64,
    bytes: usize,
) -> Result<Vec<u8>, ElfError> {
    let mut buffer = vec![0; bytes];
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let from = at.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match source.read_at(rest, from) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(ElfError::Read { at, bytes, source }),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// Reads all of a part of the file whose size was bounded by the caller.
pub(crate) fn read_exactly(
    source: &(impl ReadAt + ?Sized),
    what: &'static str,
    at: u64,
    bytes: u64,
) -> Result<Vec<u8>, ElfError> {
    let truncated = ElfError::Truncated { what, at, bytes };
    let Ok(wanted) = usize::try_from(bytes) else { return Err(truncated) };
    let read = read_up_to(source, at, wanted)?;
    if read.len() == wanted { Ok(read) } else { Err(truncated) }
}

/// What the linker stamped a file with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BuildId {
    /// `NT_GNU_BUILD_ID`, 1 to 64 bytes, usually 20. Shown in lower-case hexadecimal.
    Gnu(Box<[u8]>),
    /// Go's own note, printable text of at most 256 bytes. Shown as it is.
    Go(Box<str>),
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildId::Gnu(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            BuildId::Go(text) => f.write_str(text),
        }
    }
}

/// A part of the file that is loaded into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadSegment {
    /// Where it lies in the file.
    pub file_offset: FileOffset,
    /// Where the linker put it.
    pub vaddr: ElfVaddr,
    /// Bytes of it in the file.
    pub file_bytes: u64,
    /// Whether code may run there.
    pub executable: bool,
}

impl LoadSegment {
    /// The address of a byte of the file, if this segment loads it.
    pub fn elf_vaddr(&self, at: FileOffset) -> Option<ElfVaddr> {
        let into = at.0.checked_sub(self.file_offset.0)?;
        (into < self.file_bytes).then(|| self.vaddr.0.checked_add(into)).flatten().map(ElfVaddr)
    }
}

/// What a file's code runs on, as far as stacks can be walked there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// `EM_X86_64` in a 64-bit file.
    X86_64,
    /// `EM_AARCH64` in a 64-bit file.
    Arm64,
}

/// What makes two files the same one for unwind rows and names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// The GNU build id, else the Go one. `None`: files with the same hash may still differ.
    pub build_id: Option<BuildId>,
    /// See [`ElfHeaders::headers_hash`].
    pub headers_hash: u64,
}

/// The headers of an ELF file.
#[derive(Clone, Debug)]
pub struct ElfHeaders {
    is_64_bit: bool,
    endian: Endianness,
    segments: Vec<LoadSegment>,
    identity: FileIdentity,
    sections: SectionTable,
    machine: Option<Machine>,
    entry: ElfVaddr,
    unwind_header: Option<LoadSegment>,
}

/// Where the section headers lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SectionTable {
    pub(crate) at: u64,
    pub(crate) count: u16,
    pub(crate) names_index: u16,
}

/// The first read: header, program headers and notes of most files lie in the first page.
const FIRST_READ_BYTES: usize = 4096;
/// Real files have some 15; the kernel itself loads none whose headers take more than 64 KiB.
const PROGRAM_HEADERS_MAX: u16 = 1024;
/// Real files have 2 or 3.
const NOTE_SEGMENTS_MAX: usize = 16;
/// Notes of real files take less than 1 KiB.
const NOTES_BYTES_MAX: u64 = 16 << 10;
/// How much of the unwind table header goes into the hash: 8,000 functions.
const UNWIND_HEADER_BYTES_MAX: u64 = 64 << 10;

impl ElfHeaders {
    /// Reads the headers: two to six reads, 100 KiB at most. Files of the host's byte order only.
    pub fn read(source: &(impl ReadAt + ?Sized)) -> Result<Self, ElfError> {
        let start = read_up_to(source, 0, FIRST_READ_BYTES)?;
        if start.get(..4) != Some(&elf::ELFMAG) {
            return Err(ElfError::NotElf);
        }
        match start.get(4).copied().map(elf::FileClass) {
            Some(elf::ELFCLASS64) => read_headers::<FileHeader64<Endianness>>(source, &start),
            Some(elf::ELFCLASS32) => read_headers::<FileHeader32<Endianness>>(source, &start),
            _ => Err(ElfError::ForeignElf),
        }
    }

    /// Segments in the order of the file's headers.
    pub fn segments(&self) -> &[LoadSegment] {
        &self.segments
    }

    /// The segment that code at a file offset is loaded by. Linkers let a page of the file serve several
    /// segments, so only executable ones are asked, and by the exact offset.
    pub fn code_segment(&self, at: FileOffset) -> Option<&LoadSegment> {
        self.segments.iter().find(|segment| segment.executable && segment.elf_vaddr(at).is_some())
    }

    /// The linked address of code at a file offset.
    pub fn code_vaddr(&self, at: FileOffset) -> Option<ElfVaddr> {
        self.code_segment(at)?.elf_vaddr(at)
    }

    /// The GNU build id, else the Go one.
    pub fn build_id(&self) -> Option<&BuildId> {
        self.identity.build_id.as_ref()
    }

    /// 64-bit FNV-1a over class and byte order, machine, the program headers as they lie in the file, and the
    /// first 64 KiB of the `PT_GNU_EH_FRAME` segment. The same on every host and in every version.
    ///
    /// It tells files apart whose build id was copied by mistake or kept over a post-processing step. It is no
    /// defence against somebody who copies these headers too.
    pub fn headers_hash(&self) -> u64 {
        self.identity.headers_hash
    }

    /// Build id and hash together.
    pub fn identity(&self) -> &FileIdentity {
        &self.identity
    }

    /// What its code runs on; `None` for any other.
    pub fn machine(&self) -> Option<Machine> {
        self.machine
    }

    /// Where the program starts; 0 in a library.
    pub fn entry(&self) -> ElfVaddr {
        self.entry
    }

    /// `PT_GNU_EH_FRAME`: the search table over `.eh_frame`, which says where that is also when section headers are gone.
    pub(crate) fn unwind_header(&self) -> Option<&LoadSegment> {
        self.unwind_header.as_ref()
    }

    pub(crate) fn is_64_bit(&self) -> bool {
        self.is_64_bit
    }

    pub(crate) fn endian(&self) -> Endianness {
        self.endian
    }

    pub(crate) fn section_table(&self) -> SectionTable {
        self.sections
    }
}

fn read_headers<H: FileHeader<Endian = Endianness>>(
    source: &(impl ReadAt + ?Sized),
    start: &[u8],
) -> Result<ElfHeaders, ElfError> {
    let Ok((header, _)) = pod::from_bytes::<H>(start) else {
        let bytes = u64::try_from(size_of::<H>()).unwrap_or(u64::MAX);
        return Err(ElfError::Truncated { what: "ELF header", at: 0, bytes });
    };
    let endian = header.endian().map_err(|_| ElfError::ForeignElf)?;
    if !header.is_supported() || endian != Endianness::default() {
        return Err(ElfError::ForeignElf);
    }
    let table = program_header_bytes::<H>(source, start, header, endian)?;
    let count = table.len() / size_of::<H::ProgramHeader>();
    let programs = pod::slice_from_bytes::<H::ProgramHeader>(&table, count).map_or(&[][..], |(all, _)| all);

    let mut hash = Fnv1a::new();
    hash.update(&[header.e_ident().class.0, header.e_ident().data.0]);
    hash.update(&header.e_machine(endian).0.to_le_bytes());
    hash.update(&table);
    let unwind_header = programs.iter().find(|program| program.p_type(endian) == elf::PT_GNU_EH_FRAME);
    if let Some(unwind) = unwind_header {
        let bytes = unwind.p_filesz(endian).into().min(UNWIND_HEADER_BYTES_MAX);
        hash.update(&part(source, start, unwind.p_offset(endian).into(), bytes)?);
    }
    Ok(ElfHeaders {
        is_64_bit: header.is_type_64(),
        endian,
        segments: programs.iter().filter_map(|program| load_segment(program, endian)).collect(),
        identity: FileIdentity {
            build_id: find_build_id::<H>(source, start, programs, endian)?,
            headers_hash: hash.finish(),
        },
        sections: SectionTable {
            at: header.e_shoff(endian).into(),
            count: if usize::from(header.e_shentsize(endian)) == size_of::<H::SectionHeader>() {
                header.e_shnum(endian)
            } else {
                0
            },
            names_index: header.e_shstrndx(endian).0,
        },
        machine: match header.e_machine(endian) {
            elf::EM_X86_64 if header.is_type_64() => Some(Machine::X86_64),
            elf::EM_AARCH64 if header.is_type_64() => Some(Machine::Arm64),
            _ => None,
        },
        entry: ElfVaddr(header.e_entry(endian).into()),
        unwind_header: unwind_header.map(|program| segment(program, endian)),
    })
}

fn program_header_bytes<'a, H: FileHeader<Endian = Endianness>>(
    source: &(impl ReadAt + ?Sized),
    start: &'a [u8],
    header: &H,
    endian: Endianness,
) -> Result<Cow<'a, [u8]>, ElfError> {
    let (at, count) = (header.e_phoff(endian).into(), header.e_phnum(endian));
    if count > PROGRAM_HEADERS_MAX {
        let (found, limit) = (u64::from(count), u64::from(PROGRAM_HEADERS_MAX));
        return Err(ElfError::TooLarge { what: "program headers", found, limit });
    }
    // An entry of another size is a format that nobody loads.
    if count == 0 || usize::from(header.e_phentsize(endian)) != size_of::<H::ProgramHeader>() {
        return Ok(Cow::Borrowed(&[]));
    }
    let bytes = u64::from(count) * u64::try_from(size_of::<H::ProgramHeader>()).unwrap_or(0);
    let table = part(source, start, at, bytes)?;
    if u64::try_from(table.len()).is_ok_and(|read| read == bytes) {
        Ok(table)
    } else {
        Err(ElfError::Truncated { what: "program headers", at, bytes })
    }
}

/// Bytes of the file, out of the first read where that holds them. Fewer at the file's end.
fn part<'a>(
    source: &(impl ReadAt + ?Sized),
    start: &'a [u8],
    at: u64,
    bytes: u64,
) -> Result<Cow<'a, [u8]>, ElfError> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let held = usize::try_from(at).ok().and_then(|at| start.get(at..at.checked_add(bytes)?));
    match held {
        Some(held) => Ok(Cow::Borrowed(held)),
        None => read_up_to(source, at, bytes).map(Cow::Owned),
    }
}

fn load_segment<P: ProgramHeader<Endian = Endianness>>(
    program: &P,
    endian: Endianness,
) -> Option<LoadSegment> {
    (program.p_type(endian) == elf::PT_LOAD).then(|| segment(program, endian))
}

fn segment<P: ProgramHeader<Endian = Endianness>>(program: &P, endian: Endianness) -> LoadSegment {
    LoadSegment {
        file_offset: FileOffset(program.p_offset(endian).into()),
        vaddr: ElfVaddr(program.p_vaddr(endian).into()),
        file_bytes: program.p_filesz(endian).into(),
        executable: program.p_flags(endian).contains(elf::PF_X),
    }
}

fn find_build_id<H: FileHeader<Endian = Endianness>>(
    source: &(impl ReadAt + ?Sized),
    start: &[u8],
    programs: &[H::ProgramHeader],
    endian: Endianness,
) -> Result<Option<BuildId>, ElfError> {
    let mut go = None;
    let notes = programs.iter().filter(|program| program.p_type(endian) == elf::PT_NOTE);
    for program in notes.take(NOTE_SEGMENTS_MAX) {
        let bytes = program.p_filesz(endian).into().min(NOTES_BYTES_MAX);
        let data = part(source, start, program.p_offset(endian).into(), bytes)?;
        let Ok(mut notes) = NoteIterator::<H>::new(endian, program.p_align(endian), &data) else { continue };
        // A note that does not parse ends its segment: what follows has no known start.
        while let Ok(Some(note)) = notes.next() {
            let description = note.desc();
            if note.name() == elf::ELF_NOTE_GNU
                && note.n_type(endian) == elf::NT_GNU_BUILD_ID
                && (1..=64).contains(&description.len())
            {
                return Ok(Some(BuildId::Gnu(description.into())));
            }
            if note.name() == elf::ELF_NOTE_GO
                && note.n_type(endian) == elf::NT_GO_BUILD_ID
                && (1..=256).contains(&description.len())
            {
                let text = std::str::from_utf8(description).ok();
                go = text
                    .filter(|text| text.chars().all(|c| c.is_ascii_graphic()))
                    .map(|text| BuildId::Go(text.into()));
            }
        }
    }
    Ok(go)
}

#[cfg(test)]
mod tests;
