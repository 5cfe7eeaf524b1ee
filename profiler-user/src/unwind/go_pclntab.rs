//! Go's table of functions, "pclntab" → functions with their frame sizes, names, files and lines.
//!
//! ```text
//!   header ─ offsets ─▶ function table   (entry, where its record is), sorted
//!                       record           name, frame sizes, files, lines: offsets into
//!                       names · pc tables · file indexes · file names
//!   pc table            (value difference, code bytes) as varints until the function's end
//! ```
//!
//! Written by Go's linker into every program, also a stripped one, and read by its own runtime. The layouts are those
//! of Go 1.16, 1.18 and 1.20, told apart by the header's first word; the first two fields of the header say the rest.
//! Any bytes give an answer: each read is checked, and pc tables are followed within a function only.

use std::ops::Range;

use profiler_common::address::ElfVaddr;

use super::error::UnwindError;
use super::table_bytes::TableBytes;

/// The two layouts of records, and where addresses are counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// Go 1.16 and 1.17: absolute addresses, 8 bytes each.
    Go16,
    /// Go 1.18 and 1.19: 4 bytes, from the start of the text.
    Go18,
    /// Go 1.20 and later: the same, with the line on which a function starts.
    Go20,
}

/// A function of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GoFunction {
    /// First byte.
    pub(super) start: u64,
    /// Behind the last byte: where the next function starts.
    pub(super) end: u64,
    record: usize,
}

/// The table, checked so far that its parts lie inside it.
#[derive(Clone, Debug)]
pub(super) struct GoTable<B> {
    bytes: B,
    version: Version,
    quantum: u64,
    text_start: u64,
    functions: usize,
    names: usize,
    file_indexes: usize,
    files: usize,
    pc_tables: usize,
    function_table: usize,
}

/// Bytes of the header that are the same in all versions.
const COUNTS_AT: usize = 8;
const WORD: usize = 8;
/// Names of functions and files: generics have some KiB.
pub(super) const NAME_BYTES_MAX: usize = 4096;
/// Nearly all names are shorter, and take one read of that.
const NAME_BYTES_USUAL: usize = 96;
/// Ranges of a function that a look-up goes through. Large functions have some ten thousand.
const RANGES_MAX: usize = 1 << 18;
/// A value and a number of bytes take two varints of five bytes.
const VARINT_BYTES_MAX: u32 = 5;
/// Read of a pc table at a time; most take less.
const PC_TABLE_READ_BYTES: usize = 32;

/// `PCDATA_InlTreeIndex` of internal/abi/symtab.go: positions in the tree of inlined calls, -1 for none.
const INLINE_TREE: u32 = 2;

/// Where the header keeps the start of the text, if it does: `None` for versions that have absolute addresses.
pub(super) const TEXT_START_AT: u64 = 8 + 2 * 8;

fn version_of(table: &[u8]) -> Option<Version> {
    match u32::from_ne_bytes(*table.first_chunk()?) {
        0xffff_fffa => Some(Version::Go16),
        0xffff_fff0 => Some(Version::Go18),
        0xffff_fff1 => Some(Version::Go20),
        _ => None,
    }
}

/// Whether these bytes are the beginning of a table for this machine: its version, two zeros, the least size of an
/// instruction, and the size of an address.
pub(super) fn begins_table(bytes: &[u8]) -> bool {
    version_of(bytes).is_some() && matches!(bytes.get(4..8), Some([0, 0, 1 | 4, 8]))
}

impl<B: TableBytes> GoTable<B> {
    /// `text_start` is asked for where addresses are counted from it; it is given what the header says, which is 0
    /// where that is left to a relocation or, from Go 1.26 on, to another structure.
    pub(super) fn parse(bytes: B, text_start: impl FnOnce(u64) -> Option<u64>) -> Result<Self, UnwindError> {
        let bad = |why| UnwindError::GoTable { why };
        let (mut first, length) = ([0; COUNTS_AT], bytes.length());
        bytes.copy(0, &mut first);
        let version = version_of(&first).ok_or(bad("of an unknown version"))?;
        if !begins_table(&first) {
            return Err(bad("of another machine"));
        }
        let [.., quantum, _] = first;
        let word = |index: usize| {
            let word = bytes.array(COUNTS_AT + index * WORD).map(u64::from_ne_bytes);
            word.ok_or(bad("cut short"))
        };
        // Functions, files, [start of text], then five offsets.
        let first_offset = if version == Version::Go16 { 2 } else { 3 };
        let offset = |index: usize| {
            let offset = word(first_offset + index)?;
            let offset = usize::try_from(offset).ok().filter(|offset| *offset <= length);
            offset.ok_or(bad("has parts outside of it"))
        };
        let functions = usize::try_from(word(0)?).map_err(|_| bad("has too many functions"))?;
        let [names, file_indexes, files, pc_tables, function_table] =
            [offset(0)?, offset(1)?, offset(2)?, offset(3)?, offset(4)?];
        let entry_bytes = if version == Version::Go16 { 16 } else { 8 };
        let room = length - function_table;
        if functions >= room / entry_bytes {
            return Err(bad("has more functions than bytes for them"));
        }
        let text_start = match version {
            Version::Go16 => 0,
            _ => text_start(word(2)?).ok_or(bad("says nowhere what its addresses are counted from"))?,
        };
        let quantum = u64::from(quantum);
        Ok(Self {
            bytes,
            version,
            quantum,
            text_start,
            functions,
            names,
            file_indexes,
            files,
            pc_tables,
            function_table,
        })
    }

    fn word_at(&self, at: usize) -> Option<u64> {
        self.bytes.array(at).map(u64::from_ne_bytes)
    }

    fn half_at(&self, at: usize) -> Option<u32> {
        self.bytes.array(at).map(u32::from_ne_bytes)
    }

    /// Functions in the order of the table.
    pub(super) fn len(&self) -> usize {
        self.functions
    }

    /// A function by its number; `None` where the table makes no sense.
    pub(super) fn function(&self, number: usize) -> Option<GoFunction> {
        if number >= self.functions {
            return None;
        }
        let (start, record) = self.entry(number)?;
        let (end, _) = self.entry(number + 1)?;
        let record = self.function_table.checked_add(usize::try_from(record).ok()?)?;
        (start < end && record < self.bytes.length()).then_some(GoFunction { start, end, record })
    }

    /// Address and record of an entry. The last one is the end of the text, and has no record.
    fn entry(&self, number: usize) -> Option<(u64, u64)> {
        if self.version == Version::Go16 {
            let at = self.function_table + number * 16;
            return Some((self.word_at(at)?, self.word_at(at + WORD).unwrap_or(0)));
        }
        let at = self.function_table + number * 8;
        let start = self.text_start.checked_add(u64::from(self.half_at(at)?))?;
        Some((start, self.half_at(at + 4).map_or(0, u64::from)))
    }

    /// The function around an address.
    pub(super) fn find(&self, at: ElfVaddr) -> Option<GoFunction> {
        let (mut low, mut high) = (0, self.functions);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle)?.0 <= at.0 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.function(low.checked_sub(1)?).filter(|function| at.0 < function.end)
    }

    /// A 4-byte field of a record, counted from the name on.
    fn field(&self, function: &GoFunction, index: usize) -> Option<u32> {
        let name_at = if self.version == Version::Go16 { 8 } else { 4 };
        self.half_at(function.record.checked_add(name_at + index * 4)?)
    }

    fn offset(&self, part: usize, by: u32) -> Option<usize> {
        part.checked_add(usize::try_from(by).ok()?)
    }

    /// The name as the linker knows it; `None` if it is not text.
    pub(super) fn name(&self, function: &GoFunction) -> Option<String> {
        self.text(self.offset(self.names, self.field(function, 0)?)?)
    }

    fn text(&self, at: usize) -> Option<String> {
        let mut near = [0; NAME_BYTES_USUAL];
        let filled = self.bytes.copy(at, &mut near);
        if let Some(found) = first_text(near.get(..filled)?) {
            return found;
        }
        let mut near = vec![0; NAME_BYTES_MAX];
        let filled = self.bytes.copy(at, &mut near);
        first_text(near.get(..filled)?).flatten()
    }

    /// The line on which the function starts, where the version says so.
    pub(super) fn start_line(&self, function: &GoFunction) -> Option<u32> {
        if self.version == Version::Go20 { self.field(function, 8) } else { None }
    }

    /// See [`flags`].
    pub(super) fn flags(&self, function: &GoFunction) -> u8 {
        // Function id and flags follow the last field.
        let fields = if self.version == Version::Go20 { 9 } else { 8 };
        let name_at = if self.version == Version::Go16 { 8 } else { 4 };
        let at = function.record.saturating_add(name_at + fields * 4 + 1);
        self.bytes.array(at).map_or(0, |[flags]| flags)
    }

    /// Sizes of the frame without the return address, by ranges of code.
    pub(super) fn frame_sizes(&self, function: &GoFunction) -> PcTable<'_, B> {
        self.pc_table(function, 3)
    }

    fn pc_table(&self, function: &GoFunction, field: usize) -> PcTable<'_, B> {
        let at = self.field(function, field).filter(|at| *at != 0);
        let at = at.and_then(|at| self.offset(self.pc_tables, at));
        PcTable {
            bytes: &self.bytes,
            at: at.unwrap_or(usize::MAX),
            near: [0; PC_TABLE_READ_BYTES],
            near_from: 0,
            near_end: 0,
            pc: function.start,
            end: function.end,
            value: -1,
            quantum: self.quantum,
            is_first: true,
        }
    }

    fn value_at(&self, function: &GoFunction, field: usize, at: ElfVaddr) -> Option<i32> {
        let mut values = self.pc_table(function, field).take(RANGES_MAX);
        values.find(|(range, _)| range.contains(&at.0)).map(|(_, value)| value)
    }

    /// The source line of an address within the function.
    pub(super) fn line(&self, function: &GoFunction, at: ElfVaddr) -> Option<u32> {
        self.value_at(function, 5, at).and_then(|line| u32::try_from(line).ok())
    }

    /// Whether the code at an address was inlined: then file and line are those of the inlined function.
    pub(super) fn is_inlined(&self, function: &GoFunction, at: ElfVaddr) -> bool {
        let tables = self.field(function, 6).unwrap_or(0);
        // Behind the last field, and a word with the function's id and flags, come the tables of the compiler's choice.
        let first = if self.version == Version::Go20 { 10 } else { 9 };
        tables > INLINE_TREE
            && self.value_at(function, first + INLINE_TREE as usize, at).is_some_and(|i| i >= 0)
    }

    /// The source file of an address within the function.
    pub(super) fn file(&self, function: &GoFunction, at: ElfVaddr) -> Option<String> {
        let number = u32::try_from(self.value_at(function, 4, at)?).ok()?;
        let index = self.field(function, 7)?.checked_add(number)?;
        let at = self.offset(self.file_indexes, index.checked_mul(4)?)?;
        let offset = self.half_at(at).filter(|offset| *offset != u32::MAX)?;
        self.text(self.offset(self.files, offset)?)
    }
}

/// Bits of a function's flags.
pub(super) mod flags {
    /// The outermost frame of a stack.
    pub(in crate::unwind) const TOP_FRAME: u8 = 1;
    /// Writes the stack pointer, so that frame sizes do not hold all the way.
    pub(in crate::unwind) const WRITES_STACK_POINTER: u8 = 2;
}

/// What stands before the first zero, `None` without one; within, `None` if that is no text.
fn first_text(bytes: &[u8]) -> Option<Option<String>> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some(bytes.get(..end).and_then(|text| std::str::from_utf8(text).ok()).map(str::to_owned))
}

/// Ranges of code with a value each.
pub(super) struct PcTable<'a, B> {
    bytes: &'a B,
    /// Behind the bytes that are near.
    at: usize,
    near: [u8; PC_TABLE_READ_BYTES],
    /// Of those, which are still to be read.
    near_from: usize,
    near_end: usize,
    pc: u64,
    end: u64,
    value: i32,
    quantum: u64,
    is_first: bool,
}

impl<B: TableBytes> PcTable<'_, B> {
    fn byte(&mut self) -> Option<u8> {
        if self.near_from == self.near_end {
            self.near_end = self.bytes.copy(self.at, &mut self.near);
            self.near_from = 0;
            self.at = self.at.saturating_add(self.near_end);
        }
        let byte = self.near.get(..self.near_end)?.get(self.near_from).copied()?;
        self.near_from += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0;
        for position in 0..VARINT_BYTES_MAX {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl<B: TableBytes> Iterator for PcTable<'_, B> {
    type Item = (Range<u64>, i32);

    fn next(&mut self) -> Option<Self::Item> {
        if self.pc >= self.end {
            return None;
        }
        let difference = self.varint()?;
        if difference == 0 && !self.is_first {
            return None;
        }
        self.is_first = false;
        // Zigzag: the lowest bit is the sign.
        let difference = (difference >> 1).cast_signed() ^ -(difference & 1).cast_signed();
        self.value = self.value.wrapping_add(difference);
        let bytes = u64::from(self.varint()?).saturating_mul(self.quantum);
        let from = self.pc;
        self.pc = from.saturating_add(bytes).min(self.end);
        Some((from..self.pc, self.value))
    }
}
