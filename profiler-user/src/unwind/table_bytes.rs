//! A table in memory or in a file → copies of small parts of it.
//!
//! Of a file only the pieces around what was asked for last are kept, so that memory is 512 KiB whatever the table's
//! size. A byte that cannot be read is not there: files of strangers end where they like.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::elf::sections::Section;
use crate::elf::{ElfError, ReadAt, read_exactly, read_up_to};

/// Bytes that are copied out by their position.
pub(super) trait TableBytes {
    /// How many there are.
    fn length(&self) -> usize;

    /// Fills as much of `into` as there is from `at` on; the number of bytes filled.
    fn copy(&self, at: usize, into: &mut [u8]) -> usize;

    /// That many bytes, if they are all there.
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (self.copy(at, &mut bytes) == N).then_some(bytes)
    }
}

impl TableBytes for &[u8] {
    fn length(&self) -> usize {
        self.len()
    }

    fn copy(&self, at: usize, into: &mut [u8]) -> usize {
        let rest = self.get(at..).unwrap_or_default();
        into.iter_mut().zip(rest).map(|(to, from)| *to = *from).count()
    }
}

/// A part of a file.
pub(super) struct FileBytes<'a, S: ?Sized> {
    source: &'a S,
    at: u64,
    length: usize,
    /// Where each starts in the part, a multiple of [`PIECE_BYTES`]; the one that was used last is first.
    pieces: RefCell<VecDeque<(usize, Vec<u8>)>>,
}

/// Read at a time.
const PIECE_BYTES: usize = 16 << 10;
/// A search in Go's table of functions and what it leads to are in some ten places at a time.
const PIECES_MAX: usize = 32;

impl<'a, S: ReadAt + ?Sized> FileBytes<'a, S> {
    /// A section, which has to lie in the file to its last byte.
    pub(super) fn of_section(source: &'a S, what: &'static str, section: &Section) -> Result<Self, ElfError> {
        let (at, bytes) = (section.at, section.bytes);
        let cut_short = ElfError::Truncated { what, at, bytes };
        let Ok(length) = usize::try_from(bytes) else { return Err(cut_short) };
        if let Some(last) = bytes.checked_sub(1) {
            let last = at.checked_add(last).ok_or(cut_short)?;
            read_exactly(source, what, last, 1)?;
        }
        Ok(Self { source, at, length, pieces: RefCell::default() })
    }

    /// Without what is in front of a position.
    pub(super) fn starting_at(self, position: usize) -> Self {
        let position = position.min(self.length);
        Self {
            source: self.source,
            at: self.at.saturating_add(u64::try_from(position).unwrap_or(u64::MAX)),
            length: self.length - position,
            pieces: RefCell::default(),
        }
    }

    /// Copies out of one piece, which it reads if it is not kept.
    fn copy_near(&self, at: usize, into: &mut [u8]) -> usize {
        let start = at - at % PIECE_BYTES;
        let mut pieces = self.pieces.borrow_mut();
        match pieces.iter().position(|(kept, _)| *kept == start) {
            Some(0) => {}
            Some(position) => {
                if let Some(piece) = pieces.remove(position) {
                    pieces.push_front(piece);
                }
            }
            None => {
                let from = self.at.saturating_add(u64::try_from(start).unwrap_or(u64::MAX));
                let bytes = PIECE_BYTES.min(self.length - start);
                pieces.truncate(PIECES_MAX - 1);
                pieces.push_front((start, read_up_to(self.source, from, bytes).unwrap_or_default()));
            }
        }
        pieces.front().map_or(0, |(_, piece)| (&piece[..]).copy(at - start, into))
    }
}

impl<S: ReadAt + ?Sized> TableBytes for FileBytes<'_, S> {
    fn length(&self) -> usize {
        self.length
    }

    fn copy(&self, at: usize, into: &mut [u8]) -> usize {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty())
            && let Some(from) = at.checked_add(filled).filter(|from| *from < self.length)
        {
            let copied = self.copy_near(from, rest);
            if copied == 0 {
                break;
            }
            filled += copied;
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::elf;
    use profiler_common::address::ElfVaddr;
    use std::cell::Cell;
    use std::io;

    /// Counts what is read of it.
    struct Counted {
        bytes: Vec<u8>,
        read: Cell<usize>,
    }

    impl ReadAt for Counted {
        fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
            let read = self.bytes[..].read_at(into, at)?;
            self.read.set(self.read.get() + read);
            Ok(read)
        }
    }

    fn file(bytes: usize) -> Counted {
        let bytes = (0..bytes).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect();
        Counted { bytes, read: Cell::new(0) }
    }

    fn section(at: u64, bytes: u64) -> Section {
        Section {
            name: Box::default(),
            kind: elf::SHT_PROGBITS,
            flags: elf::SHF_ALLOC,
            vaddr: ElfVaddr(0),
            at,
            bytes,
            link: 0,
        }
    }

    #[test]
    fn parts_are_the_same_as_in_memory_wherever_pieces_end() {
        let file = file(3 * PIECE_BYTES);
        let length = 2 * PIECE_BYTES + 100;
        let part = FileBytes::of_section(&file, "part", &section(50, length as u64)).unwrap();
        let memory = &file.bytes[50..50 + length];
        for part in [
            &part,
            &FileBytes::of_section(&file, "part", &section(50 - 9, length as u64 + 9))
                .unwrap()
                .starting_at(9),
        ] {
            assert_eq!(part.length(), length);
            for at in (0..length + 50).step_by(37).chain([PIECE_BYTES - 1, PIECE_BYTES, usize::MAX]) {
                for bytes in [0, 1, 8, 100, PIECE_BYTES + 1] {
                    let (mut ours, mut theirs) = (vec![0; bytes], vec![0; bytes]);
                    let counts = (part.copy(at, &mut ours), memory.copy(at, &mut theirs));
                    assert_eq!((counts.0, ours), (counts.1, theirs), "{bytes} at {at}");
                }
            }
        }
        assert_eq!(part.array::<4>(length - 4), memory[length - 4..].first_chunk().copied());
        assert_eq!(part.array::<4>(length - 3), None);
    }

    #[test]
    fn what_was_used_is_kept_and_what_was_not_is_let_go() {
        let many = PIECES_MAX + 8;
        let file = file(many * PIECE_BYTES);
        let part = FileBytes::of_section(&file, "part", &section(0, (many * PIECE_BYTES) as u64)).unwrap();
        let first_byte_of = |piece: usize| part.array::<1>(piece * PIECE_BYTES).unwrap();
        for piece in 0..many {
            first_byte_of(0);
            first_byte_of(piece);
        }
        let all = many * PIECE_BYTES + 1;
        assert_eq!(file.read.get(), all, "each piece once, the first though all the others came after");
        assert_eq!(part.pieces.borrow().len(), PIECES_MAX);
        first_byte_of(1);
        assert_eq!(file.read.get(), all + PIECE_BYTES);
    }

    #[test]
    fn a_section_that_ends_behind_the_file_is_refused() {
        let file = file(100);
        let refused = |at, bytes| {
            FileBytes::of_section(&file, "part", &section(at, bytes)).err().map(|e| e.to_string())
        };
        assert_eq!(refused(0, 100), None);
        assert_eq!(refused(100, 0), None);
        let cut_short = "part at offset 0x64 with 1 bytes lies behind the file's end";
        assert_eq!(refused(0, 101).as_deref(), Some(cut_short));
        assert!(refused(u64::MAX, u64::MAX).is_some());
    }
}
