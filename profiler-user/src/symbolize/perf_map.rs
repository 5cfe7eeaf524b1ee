//! `/tmp/perf-PID.map`, written by JIT compilers → names of compiled code, as the file grows.
//!
//! A line is `START SIZE NAME`, numbers in hexadecimal, addresses of the process that writes it. The file is
//! appended to while code is compiled, moved and thrown away, so of two lines for one address the later holds.
//!
//! ```text
//!   addresses ─▶ line that holds there: its position in the file      24 bytes a line; names stay in the file
//!                   └─▶ name, read when it is asked for
//! ```
//!
//! What was appended is read, nothing twice. A file that was written anew shows by its size, by the bytes before the place
//! where reading ended, or by a line that is no longer where it was; then all is forgotten. The file is a stranger's:
//! lines, names and work are bounded. Never opens the file (see `process::namespace`).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use profiler_common::address::RuntimeAddr;

use super::plain::plain_names;
use super::{NamedAddress, NamedLine};
use crate::elf::ReadAt;

/// The largest map that is worth reading, for `open_planted`: some 3 million functions.
pub const PERF_MAP_BYTES_MAX: u64 = 256 << 20;
/// V8 and the JVM write names of some KiB for generic code. Longer lines are skipped.
const LINE_BYTES_MAX: usize = 16 << 10;
/// Read for a name until its end is found: nearly all, all.
const LINE_READS: [usize; 2] = [512, LINE_BYTES_MAX];
/// Read at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Lines that hold somewhere: three times what a large JVM has. A map with more is read no further.
const LINES_MAX: usize = 1 << 18;
/// Bytes of names that are kept. Ten thousand addresses of a real program have one MiB.
const NAMES_BYTES_MAX: usize = 2 << 20;
/// Compared to tell whether a file was only appended to.
const TAIL_BYTES: usize = 64;

/// Where a process writes its map: `pid` as the process itself knows it.
pub fn perf_map_path(pid: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/perf-{pid}.map"))
}

/// What was read of a map.
#[derive(Debug, Default)]
pub struct PerfMap {
    /// By first address; none overlapping.
    lines: BTreeMap<u64, Line>,
    /// Where reading goes on: behind the last whole line.
    read_to: u64,
    /// The bytes before that.
    tail: Vec<u8>,
    /// The rest of a line that is too long is still to come.
    is_in_long_line: bool,
    /// By position of their lines.
    names: HashMap<u32, Arc<NamedAddress>>,
    names_bytes: usize,
    bad_lines: u64,
}

/// A line that holds from an address on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    bytes: u32,
    /// Where it is in the file.
    at: u32,
}

impl PerfMap {
    /// Reads up to `bytes_max` bytes of what was appended to a file that has `size` bytes now. Gives how many it read.
    pub fn catch_up(&mut self, file: &(impl ReadAt + ?Sized), size: u64, bytes_max: u64) -> io::Result<u64> {
        if size < self.read_to || !self.is_as_it_was(file)? {
            self.forget();
        }
        let end = size.min(PERF_MAP_BYTES_MAX).min(self.read_to.saturating_add(bytes_max));
        let started = self.read_to;
        let mut piece = vec![0; PIECE_BYTES];
        while self.read_to < end && self.lines.len() < LINES_MAX {
            let wanted = usize::try_from(end - self.read_to).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let into = piece.get_mut(..wanted).unwrap_or_default();
            let read = file.read_at(into, self.read_to)?;
            let bytes = into.get(..read).unwrap_or_default();
            let used = self.take_in(bytes);
            self.read_to = self.read_to.saturating_add(u64::try_from(used).unwrap_or(0));
            if used == 0 {
                break; // a line that is not whole yet
            }
        }
        Ok(self.read_to - started)
    }

    /// Whether the bytes before the place where reading ended are still the same.
    fn is_as_it_was(&self, file: &(impl ReadAt + ?Sized)) -> io::Result<bool> {
        let mut now = vec![0; self.tail.len()];
        let from = self.read_to.saturating_sub(u64::try_from(self.tail.len()).unwrap_or(0));
        let read = file.read_at(&mut now, from)?;
        Ok(now.get(..read) == Some(&self.tail[..]))
    }

    /// Takes whole lines; gives how many bytes they have.
    fn take_in(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let is_whole = line.ends_with(b"\n");
            let is_too_long = self.is_in_long_line || line.len() > LINE_BYTES_MAX;
            if !is_whole && !is_too_long {
                break;
            }
            let at = self.read_to.saturating_add(u64::try_from(used).unwrap_or(0));
            used += line.len();
            if !std::mem::replace(&mut self.is_in_long_line, is_too_long && !is_whole) {
                match parse(line).filter(|_| !is_too_long) {
                    Some(entry) => self.paint(&entry, u32::try_from(at).unwrap_or(u32::MAX)),
                    None => self.bad_lines += 1,
                }
            }
        }
        if let Some(taken) = bytes.get(..used).filter(|taken| !taken.is_empty()) {
            self.tail.extend_from_slice(taken.get(taken.len().saturating_sub(TAIL_BYTES)..).unwrap_or(taken));
            self.tail.drain(..self.tail.len().saturating_sub(TAIL_BYTES));
        }
        used
    }

    /// Notes that a line holds, and no longer those that held in its range.
    fn paint(&mut self, entry: &Entry<'_>, at: u32) {
        let (start, bytes) = (entry.start, u32::try_from(entry.bytes).unwrap_or(u32::MAX));
        let end = start.saturating_add(u64::from(bytes));
        let behind = |line: &Line, line_start: u64| {
            let rest = line_start.saturating_add(u64::from(line.bytes)).checked_sub(end)?;
            u32::try_from(rest).ok().filter(|rest| *rest > 0).map(|bytes| Line { bytes, ..*line })
        };
        if let Some((&before, line)) = self.lines.range_mut(..start).next_back()
            && u64::from(line.bytes) > start - before
        {
            let rest = behind(line, before);
            line.bytes = u32::try_from(start - before).unwrap_or(u32::MAX);
            if let Some(rest) = rest {
                self.lines.insert(end, rest);
            }
        }
        while let Some((&inside, &line)) = self.lines.range(start..end).next() {
            self.lines.remove(&inside);
            if let Some(rest) = behind(&line, inside) {
                self.lines.insert(end, rest);
            }
        }
        self.lines.insert(start, Line { bytes, at });
    }

    /// The names at addresses, in their order; empty where no line holds.
    pub fn names(
        &mut self,
        file: &(impl ReadAt + ?Sized),
        wanted: impl Iterator<Item = RuntimeAddr>,
    ) -> Vec<Arc<NamedAddress>> {
        if self.names_bytes > NAMES_BYTES_MAX {
            self.names.clear();
            self.names_bytes = 0;
        }
        let lines: Vec<(RuntimeAddr, Option<u32>)> = wanted.map(|at| (at, self.line_at(at))).collect();
        let mut unread: Vec<(u32, RuntimeAddr)> = (lines.iter())
            .filter_map(|(at, line)| Some(((*line)?, *at)))
            .filter(|(line, _)| !self.names.contains_key(line))
            .collect();
        unread.sort_unstable();
        unread.dedup_by_key(|(line, _)| *line);
        let Some(read) = self.read_names(file, &unread) else {
            self.forget(); // it was written anew; the next window reads it
            return vec![Arc::default(); lines.len()];
        };
        self.names.extend(unread.iter().map(|(line, _)| *line).zip(plain_names(&read)));
        let name = |line: Option<u32>| self.names.get(&line?).cloned();
        lines.into_iter().map(|(_, line)| name(line).unwrap_or_default()).collect()
    }

    fn line_at(&self, at: RuntimeAddr) -> Option<u32> {
        let (start, line) = self.lines.range(..=at.0).next_back()?;
        (at.0 - start < u64::from(line.bytes)).then_some(line.at)
    }

    /// The names in lines at these positions, each with an address that it holds for. `None` if there are others now.
    fn read_names(
        &mut self,
        file: &(impl ReadAt + ?Sized),
        lines: &[(u32, RuntimeAddr)],
    ) -> Option<Vec<Option<Arc<str>>>> {
        let mut names = Vec::with_capacity(lines.len());
        let mut bytes = vec![0; LINE_BYTES_MAX];
        for &(position, at) in lines {
            let line = read_line(file, u64::from(position), &mut bytes)?;
            let entry = parse(line)?;
            at.0.checked_sub(entry.start).filter(|into| *into < entry.bytes)?;
            let name: Arc<str> = String::from_utf8_lossy(entry.name).into();
            self.names_bytes += 2 * name.len() + size_of::<NamedAddress>() + size_of::<NamedLine>();
            names.push(Some(name));
            if self.names_bytes > 2 * NAMES_BYTES_MAX {
                names.resize(lines.len(), None);
                break;
            }
        }
        Some(names)
    }

    fn forget(&mut self) {
        *self = Self::default();
    }

    /// Lines that say nothing: malformed, empty or too long.
    pub fn bad_lines(&self) -> u64 {
        self.bad_lines
    }

    /// Lines that hold somewhere: what its memory goes by.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }
}

/// A whole line, with its end.
fn read_line<'a>(file: &(impl ReadAt + ?Sized), at: u64, bytes: &'a mut [u8]) -> Option<&'a [u8]> {
    for length in LINE_READS {
        let read = file.read_at(bytes.get_mut(..length)?, at).ok()?;
        let end = bytes.get(..read)?.iter().position(|byte| *byte == b'\n');
        if let Some(end) = end {
            return bytes.get(..=end);
        }
    }
    None
}

struct Entry<'a> {
    start: u64,
    bytes: u64,
    name: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let (start, bytes) = (hexadecimal(words.next()?)?, hexadecimal(words.next()?)?);
    let name = words.next()?.trim_ascii();
    // No function has 4 GiB.
    let is_sensible = u32::try_from(bytes).is_ok_and(|bytes| bytes > 0);
    (is_sensible && !name.is_empty()).then_some(Entry { start, bytes, name })
}

/// A number with or without `0x`.
fn hexadecimal(word: &[u8]) -> Option<u64> {
    let digits = word.strip_prefix(b"0x").unwrap_or(word);
    // `from_str_radix` would take a sign.
    let digits = digits.first().filter(|digit| digit.is_ascii_hexdigit()).and(Some(digits))?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests;
