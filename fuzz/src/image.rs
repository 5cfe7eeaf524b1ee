//! Sections → the smallest ELF file that has them, and 16 MiB of text that is all hole.
//!
//! ```text
//!   ELF header │ PT_LOAD r-x │ section 1 │ section 2 │ … │ names │ section headers
//! ```

/// Where the text begins, as linked; its headers say [`TEXT_BYTES`] whatever the file holds.
pub const TEXT_START: u64 = 0x40_0000;
/// How long the text is.
pub const TEXT_BYTES: u64 = 16 << 20;
/// Where sections are linked, one after the other, each this far behind the one before.
pub const SECTIONS_START: u64 = 0x200_0000;
const SECTION_DISTANCE: u64 = 0x100_0000;

const HEADER_BYTES: u16 = 64;
const PROGRAM_HEADER_BYTES: u16 = 56;
const SECTION_HEADER_BYTES: u16 = 64;

/// Whose code the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// `EM_X86_64`
    X86_64,
    /// `EM_AARCH64`
    Arm64,
}

/// A section: its name, its flags (`SHF_COMPRESSED` is 0x800) and its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// With its dot.
    pub name: &'a str,
    /// `sh_flags`
    pub flags: u64,
    /// As they lie in the file.
    pub bytes: &'a [u8],
}

/// The file.
pub fn with_sections(machine: Machine, sections: &[Section<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    let body_at = u64::from(HEADER_BYTES + PROGRAM_HEADER_BYTES);
    let mut names = vec![0];
    // The first section header is nobody's.
    let mut headers = vec![0; usize::from(SECTION_HEADER_BYTES)];
    let mut vaddr = SECTIONS_START;
    for section in sections {
        let at = body_at + length(&body);
        body.extend_from_slice(section.bytes);
        push_section(
            &mut headers,
            &mut names,
            section.name,
            1,
            section.flags,
            vaddr,
            at,
            length(section.bytes),
        );
        vaddr += SECTION_DISTANCE;
    }
    let names_at = body_at + length(&body);
    let names_bytes = length(&names) + length(b".shstrtab\0");
    push_section(&mut headers, &mut names, ".shstrtab", 3, 0, 0, names_at, names_bytes);

    let headers_at = names_at + length(&names);
    let count = u16::try_from(sections.len() + 2).unwrap_or(u16::MAX);
    let mut file = file_header(machine, headers_at, count);
    push_program(&mut file);
    file.extend(body);
    file.extend(names);
    file.extend(headers);
    file
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn file_header(machine: Machine, sections_at: u64, sections: u16) -> Vec<u8> {
    let number: u16 = match machine {
        Machine::X86_64 => 62,
        Machine::Arm64 => 183,
    };
    let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    header.extend([3u16.to_le_bytes(), number.to_le_bytes()].concat());
    header.extend(1u32.to_le_bytes());
    for word in [0, u64::from(HEADER_BYTES), sections_at] {
        header.extend(word.to_le_bytes());
    }
    header.extend(0u32.to_le_bytes());
    for half in [HEADER_BYTES, PROGRAM_HEADER_BYTES, 1, SECTION_HEADER_BYTES, sections, sections - 1] {
        header.extend(half.to_le_bytes());
    }
    header
}

/// `PT_LOAD`, readable and executable.
fn push_program(file: &mut Vec<u8>) {
    file.extend([1u32.to_le_bytes(), 5u32.to_le_bytes()].concat());
    for word in [0, TEXT_START, TEXT_START, TEXT_BYTES, TEXT_BYTES, 0x1000] {
        file.extend(word.to_le_bytes());
    }
}

#[expect(clippy::too_many_arguments, reason = "the fields of a section header, in their order")]
fn push_section(
    headers: &mut Vec<u8>,
    names: &mut Vec<u8>,
    name: &str,
    kind: u32,
    flags: u64,
    vaddr: u64,
    at: u64,
    bytes: u64,
) {
    headers.extend(u32::try_from(names.len()).unwrap_or(u32::MAX).to_le_bytes());
    names.extend(name.bytes().chain([0]));
    headers.extend(kind.to_le_bytes());
    for word in [flags, vaddr, at, bytes] {
        headers.extend(word.to_le_bytes());
    }
    headers.extend([0; 8]);
    for word in [1u64, 0] {
        headers.extend(word.to_le_bytes());
    }
}
