//! A stream of bytes → its lines, each of bounded length.
//!
//! For text that a stranger writes: a file without a line end must not become one huge line in memory.

use std::io::{self, BufRead};

/// What [`next_line`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A whole line is in the buffer, without its line end.
    Whole,
    /// The line was longer than the bound and was skipped.
    TooLong,
    /// There are no more lines.
    End,
}

/// Reads the next line into `line`, which is emptied before.
pub(super) fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>, bytes_max: usize) -> io::Result<Line> {
    line.clear();
    let (mut fits, mut any) = (true, false);
    loop {
        let available = match reader.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = end.and_then(|end| available.get(..end)).unwrap_or(available);
        let at_end_of_file = available.is_empty();
        any |= !at_end_of_file;
        fits &= line.len().saturating_add(part.len()) <= bytes_max;
        if fits {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() || at_end_of_file {
            return Ok(match (any, fits) {
                (false, _) => Line::End,
                (true, true) => Line::Whole,
                (true, false) => Line::TooLong,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    #[test]
    fn lines_come_one_by_one_and_long_ones_are_skipped_whatever_the_buffer_holds() {
        for capacity in [1, 2, 3, 7, 64] {
            let mut reader = BufReader::with_capacity(capacity, &b"ab\n\nabcdef\nabcde\nlast"[..]);
            let mut line = Vec::new();
            let mut seen = Vec::new();
            loop {
                match next_line(&mut reader, &mut line, 5).unwrap() {
                    Line::End => break,
                    Line::TooLong => seen.push("(too long)".to_owned()),
                    Line::Whole => seen.push(String::from_utf8(line.clone()).unwrap()),
                }
            }
            assert_eq!(seen, ["ab", "", "(too long)", "abcde", "last"], "buffer of {capacity}");
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut reader = BufReader::new(io::repeat(b'x').take(10 << 20));
        let mut line = Vec::new();
        assert_eq!(next_line(&mut reader, &mut line, 100).unwrap(), Line::TooLong);
        assert!(line.capacity() <= 128);
        assert_eq!(next_line(&mut reader, &mut line, 100).unwrap(), Line::End);
    }
}
