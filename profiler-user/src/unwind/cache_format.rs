//! Rows of a file ↔ bytes that outlive the program. Pure; any bytes give rows that hold together, or an error.
//!
//! ```text
//!   magic 8 │ version 4 │ CRC-32 of what follows 4 │ bytes of identity, rules, pages, rows 4 × 4
//!   counts 5 × 8, 7 × 4 │ identity │ rules 12 each │ pages 8 each │ rows 4 each          little endian
//! ```
//!
//! The identity has the version of the program in it: another one may make other rows of the same file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use profiler_common::unwind_row::UnwindRow;
use profiler_common::unwind_rule::{Rule, Unsupported};

use super::compact::{FileRows, Page, RowStats};
use crate::elf::{BuildId, ElfHeaders};

/// To be changed with the layout of rows, rules, pages or of this file, and when the same program version makes other
/// rows than before.
const VERSION: u32 = 2;
const MAGIC: [u8; 8] = *b"\x89FKROWS\n";
/// Magic, version, checksum, four lengths.
const HEAD_BYTES: usize = 32;
const SUMMED_FROM: usize = 16;
const STATS_BYTES: usize = 5 * 8 + Unsupported::ALL.len() * 4;
const RULE_BYTES: usize = 12;
const PAGE_BYTES: usize = 8;
const ROW_BYTES: usize = 4;

const _: () = assert!(size_of::<Rule>() == RULE_BYTES && size_of::<UnwindRow>() == ROW_BYTES);

/// What makes two files the same one for rows that are kept on disk. Not a build id alone, which anybody can copy, nor
/// that and the headers, which anybody can copy too: size and owner belong to it, so that nobody can slip us rows for
/// another user's files. A file without a build id is known by its place and its last change, which nobody can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheKey {
    bytes: Vec<u8>,
    headers_hash: u64,
}

/// What a file system says of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileState {
    pub(super) bytes: u64,
    pub(super) owner: u32,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) changed: (i64, i64),
}

impl CacheKey {
    /// Of a file with these headers.
    pub fn new(headers: &ElfHeaders, file: &Metadata) -> Self {
        let (bytes, owner, device, inode) = (file.len(), file.uid(), file.dev(), file.ino());
        let changed = (file.ctime(), file.ctime_nsec());
        Self::of(headers, FileState { bytes, owner, device, inode, changed })
    }

    pub(super) fn of(headers: &ElfHeaders, file: FileState) -> Self {
        let identity = headers.identity();
        let headers_hash = identity.headers_hash;
        let mut bytes = env!("CARGO_PKG_VERSION").as_bytes().to_vec();
        bytes.push(0);
        bytes.extend(headers_hash.to_le_bytes());
        bytes.extend(file.bytes.to_le_bytes());
        bytes.extend(file.owner.to_le_bytes());
        match &identity.build_id {
            Some(BuildId::Gnu(id)) => {
                bytes.push(b'g');
                bytes.extend(&id[..]);
            }
            Some(BuildId::Go(id)) => {
                bytes.push(b'o');
                bytes.extend(id.as_bytes());
            }
            None => {
                bytes.push(b'i');
                bytes.extend([file.device, file.inode].into_iter().flat_map(u64::to_le_bytes));
                bytes.extend([file.changed.0, file.changed.1].into_iter().flat_map(i64::to_le_bytes));
            }
        }
        Self { bytes, headers_hash }
    }

    /// The name of its file. Two keys may share one; then only the last is kept.
    pub(super) fn file_name(&self) -> String {
        format!("{:016x}-{:08x}{ENDING}", self.headers_hash, crc32fast::hash(&self.bytes))
    }
}

/// How names of such files end.
pub(super) const ENDING: &str = ".rows";

/// The bytes of a file's rows.
pub(super) fn encode(key: &CacheKey, rows: &FileRows) -> Vec<u8> {
    let (rules, pages, all_rows) = rows.parts();
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0; 4]);
    for length in [key.bytes.len(), rules.len(), pages.len(), all_rows.len()] {
        bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }
    let stats = rows.stats();
    let counts =
        [stats.functions, stats.functions_outside_text, stats.functions_malformed, stats.tables_unusable];
    for count in counts {
        bytes.extend(u64::try_from(count).unwrap_or(u64::MAX).to_le_bytes());
    }
    bytes.extend(stats.text_bytes.to_le_bytes());
    stats.unsupported.iter().for_each(|count| bytes.extend(count.to_le_bytes()));
    bytes.extend(&key.bytes);
    rules.iter().for_each(|rule| bytes.extend(rule.to_bytes()));
    for page in pages {
        bytes.extend(page.number.to_le_bytes());
        bytes.extend(page.first_row.to_le_bytes());
    }
    for row in all_rows {
        bytes.extend(row.pc_in_page.to_le_bytes());
        bytes.extend(row.rule.to_le_bytes());
    }
    let sum = crc32fast::hash(bytes.get(SUMMED_FROM..).unwrap_or_default());
    bytes.iter_mut().skip(12).zip(sum.to_le_bytes()).for_each(|(to, from)| *to = from);
    bytes
}

/// Why bytes are not the rows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormatError {
    #[error("not a file of unwind rows")]
    NotRows,
    #[error("version {0}")]
    Version(u32),
    #[error("shorter or longer than it says")]
    Length,
    #[error("damaged")]
    Checksum,
    #[error("of another file")]
    OtherFile,
    #[error("{0} do not hold together")]
    Inconsistent(&'static str),
}

/// The rows of this file. What is allocated is no more than the bytes that are given.
pub(super) fn decode(key: &CacheKey, bytes: &[u8]) -> Result<FileRows, FormatError> {
    let mut reader = Reader(bytes);
    if reader.array::<8>()? != MAGIC {
        return Err(FormatError::NotRows);
    }
    let (version, sum) = (reader.u32()?, reader.u32()?);
    if version != VERSION {
        return Err(FormatError::Version(version));
    }
    let [identity, rules, pages, rows] =
        [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?].map(|length| length as usize);
    let length = [(rules, RULE_BYTES), (pages, PAGE_BYTES), (rows, ROW_BYTES)]
        .iter()
        .try_fold(HEAD_BYTES + STATS_BYTES + identity, |sum, (count, each)| {
            sum.checked_add(count.checked_mul(*each)?)
        });
    if length != Some(bytes.len()) {
        return Err(FormatError::Length);
    }
    if crc32fast::hash(bytes.get(SUMMED_FROM..).unwrap_or_default()) != sum {
        return Err(FormatError::Checksum);
    }
    let mut stats = reader.stats()?;
    (stats.rules, stats.pages, stats.rows) = (rules, pages, rows);
    if reader.bytes(identity)? != key.bytes {
        return Err(FormatError::OtherFile);
    }
    let rules = reader.each(rules, Rule::from_bytes)?;
    let pages = reader.each(pages, |[a, b, c, d, e, f, g, h]| Page {
        number: u32::from_le_bytes([a, b, c, d]),
        first_row: u32::from_le_bytes([e, f, g, h]),
    })?;
    let rows = reader.each(rows, |[a, b, c, d]| UnwindRow {
        pc_in_page: u16::from_le_bytes([a, b]),
        rule: u16::from_le_bytes([c, d]),
    })?;
    check(&rules, &pages, &rows)?;
    Ok(FileRows::new(rules, pages, rows, stats))
}

/// What whoever searches rows relies on.
fn check(rules: &[Rule], pages: &[Page], rows: &[UnwindRow]) -> Result<(), FormatError> {
    let ascend = |two: &[Page]| matches!(two, [a, b] if a.number < b.number && a.first_row < b.first_row);
    let first_row = pages.first().map_or(0, |page| page.first_row);
    if !pages.windows(2).all(ascend) || first_row != 0 || pages.is_empty() != rows.is_empty() {
        return Err(FormatError::Inconsistent("pages"));
    }
    let mut starts = pages.iter().map(|page| page.first_row as usize).peekable();
    let mut previous = None;
    for (index, row) in rows.iter().enumerate() {
        let begins_page = starts.next_if_eq(&index).is_some();
        let is_in_order =
            if begins_page { row.pc_in_page == 0 } else { previous.is_some_and(|at| at < row.pc_in_page) };
        if !is_in_order || usize::from(row.rule) >= rules.len() {
            return Err(FormatError::Inconsistent("rows"));
        }
        previous = Some(row.pc_in_page);
    }
    if starts.next().is_some() { Err(FormatError::Inconsistent("pages")) } else { Ok(()) }
}

/// Takes bytes from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(FormatError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(FormatError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    fn count(&mut self) -> Result<usize, FormatError> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| FormatError::Length)
    }

    fn stats(&mut self) -> Result<RowStats, FormatError> {
        let mut stats = RowStats {
            functions: self.count()?,
            functions_outside_text: self.count()?,
            functions_malformed: self.count()?,
            tables_unusable: self.count()?,
            text_bytes: u64::from_le_bytes(self.array()?),
            ..RowStats::default()
        };
        for count in &mut stats.unsupported {
            *count = self.u32()?;
        }
        Ok(stats)
    }

    fn each<const N: usize, T>(
        &mut self,
        count: usize,
        of: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, FormatError> {
        let bytes = self.bytes(count.checked_mul(N).ok_or(FormatError::Length)?)?;
        Ok(bytes.as_chunks().0.iter().map(|chunk| of(*chunk)).collect())
    }
}

#[cfg(test)]
mod tests;
