//! A finished window ↔ the bytes of its file. Little-endian; only states and endpoints are ever written again.
//!
//! ```text
//!      0  head: magic 8, version 4, crc 4, sequence 8, run 8, started 8, duration 8, file bytes 8,
//!         profiles 4, host bytes 4, 64 bytes for later
//!    128  endpoints: 8 × (key 8, name length 1, name 55)       written in place, not under the checksum
//!    640  states: 8 × profiles × 1                             written in place, not under the checksum
//!         host
//!         records: profiles × (start 8, label bytes 4, pprof bytes 4, uncompressed 4, crc 4, samples 8, cpu 8)
//!         profiles × (labels: count 4, (name length 4, value length 4, name, value) …; pprof)
//! ```
//!
//! The head's checksum is over head, host and records; a record's over itself and its profile. As records are under the
//! head's, that one vouches for the whole file. A state is one byte and a write of one byte is never torn.
//!
//! `encode.rs` writes it, this file reads it. Any bytes give an answer: nothing panics, nothing is allocated beyond what the file has and the bounds below.
//! Opens no files.

mod encode;

use std::io;
use std::time::Duration;

use super::id::WindowId;
use super::state::{ENDPOINTS_MAX, Endpoint, EndpointKey, State};
use crate::attribute::labels::Labels;
use crate::deliver::finished::SeriesProfile;
use crate::host::WallNanos;

pub use encode::{Encoded, fits};

/// How every file begins.
pub const MAGIC: [u8; 8] = *b"FKWINDOW";
/// The format that is described above.
pub const VERSION: u32 = 1;
/// Profiles of one window.
pub const PROFILES_MAX: usize = 16_384;
/// Bytes of one profile, compressed.
pub const PPROF_BYTES_MAX: usize = 64 << 20;
/// Bytes of the labels of one profile; the database takes 30 of 3 KiB each.
pub const LABELS_BYTES_MAX: usize = 256 << 10;
/// Bytes of a host's name.
pub const HOST_BYTES_MAX: usize = 255;

const HEAD_BYTES: usize = 128;
const PLACE_BYTES: usize = 64;
const NAME_BYTES_MAX: usize = PLACE_BYTES - 9;
/// Where the endpoints are.
pub const PLACES_AT: usize = HEAD_BYTES;
/// Bytes of all endpoints.
pub const PLACES_BYTES: usize = ENDPOINTS_MAX * PLACE_BYTES;
const STATES_AT: usize = PLACES_AT + PLACES_BYTES;
const RECORD_BYTES: usize = 40;
/// Read at once: enough for some fifty profiles.
const FIRST_READ_BYTES: usize = 4096;

/// Why bytes are no window.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It begins otherwise.
    #[error("is no window of a spool")]
    NotAWindow,
    /// It is of another version of this program.
    #[error("has format {0}, this program knows {VERSION}")]
    Version(u32),
    /// It ends too early.
    #[error("is not whole: {bytes} bytes")]
    Short {
        /// How long it is.
        bytes: u64,
    },
    /// A number in it cannot be.
    #[error("is damaged: {what}")]
    Bounds {
        /// Which.
        what: &'static str,
    },
    /// Its bytes are not those that were written.
    #[error("is damaged: the checksum of {what} does not fit")]
    Checksum {
        /// Of what.
        what: &'static str,
    },
}

/// Bytes by position: a file, or memory.
pub trait ReadAt {
    /// Reads from there on; fewer bytes than asked for only at the end.
    fn read_at(&self, start: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for &[u8] {
    fn read_at(&self, start: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(start).ok().and_then(|start| self.get(start..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Ok(count)
    }
}

/// What a file says of one of its profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    start: u64,
    labels_bytes: u32,
    /// Size of the compressed pprof, bytes.
    pub pprof_bytes: u32,
    /// Size of the pprof before compression, bytes.
    pub uncompressed_bytes: u32,
    crc: u32,
    /// Samples in it.
    pub samples: u64,
    /// CPU time in it, nanoseconds.
    pub cpu_nanos: u64,
}

/// What a file says of itself, without its profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which window.
    pub id: WindowId,
    /// When it began.
    pub started: WallNanos,
    /// How long it was.
    pub duration: Duration,
    /// Size of the file.
    pub file_bytes: u64,
    /// `uname -n` of where it was made.
    pub host: String,
    /// Its profiles.
    pub records: Vec<Record>,
    /// Who its states are about.
    pub places: Places,
    /// A byte a profile, for each of the places.
    states: Vec<u8>,
}

impl Head {
    /// How far a profile has come with the endpoint at a place.
    pub fn state(&self, place: usize, profile: usize) -> State {
        let byte = place.checked_mul(self.records.len()).and_then(|at| self.states.get(at + profile));
        byte.map_or(State::Waiting, |byte| State::of_byte(*byte))
    }

    /// How far a profile has come with an endpoint; `None` if the file does not know that one.
    pub fn state_with(&self, endpoint: EndpointKey, profile: usize) -> Option<State> {
        self.places.find(endpoint).map(|place| self.state(place, profile))
    }
}

/// The endpoints that a file keeps states for, by place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(pub [Option<(EndpointKey, String)>; ENDPOINTS_MAX]);

impl Places {
    /// Of the bytes at [`PLACES_AT`].
    pub fn decode(bytes: &[u8]) -> Self {
        let mut places = Self::default();
        for (place, bytes) in places.0.iter_mut().zip(bytes.chunks_exact(PLACE_BYTES)) {
            let length = usize::from(bytes.get(8).copied().unwrap_or(0)).min(NAME_BYTES_MAX);
            let name = bytes.get(9..9 + length).unwrap_or_default();
            *place = EndpointKey::of_number(u64_at(bytes, 0))
                .map(|key| (key, String::from_utf8_lossy(name).into_owned()));
        }
        places
    }

    /// The place of an endpoint.
    pub fn find(&self, endpoint: EndpointKey) -> Option<usize> {
        self.0.iter().position(|place| place.as_ref().is_some_and(|(key, _)| *key == endpoint))
    }

    /// The bytes of one place.
    pub fn encode_one(endpoint: &Endpoint) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        let name = &endpoint.name[..endpoint.name.floor_char_boundary(NAME_BYTES_MAX)];
        let length = u8::try_from(name.len()).unwrap_or(0);
        let all = endpoint.key.number().to_le_bytes().into_iter().chain([length]).chain(name.bytes());
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        bytes
    }
}

/// Where the bytes of a place are.
pub fn place_at(place: usize) -> u64 {
    as_u64(PLACES_AT + place * PLACE_BYTES)
}

/// Where the states of a place begin, in a file of this many profiles.
pub fn states_at(place: usize, profiles: usize) -> u64 {
    as_u64(STATES_AT + place * profiles)
}

/// Reads what a file of this size says of itself; checks everything but the profiles.
pub fn read_head(file: &impl ReadAt, file_bytes: u64) -> Result<Head, FormatError> {
    let mut bytes = read_from(file, 0, FIRST_READ_BYTES)?;
    let short = || FormatError::Short { bytes: file_bytes };
    let fixed = bytes.get(..HEAD_BYTES);
    let magic = bytes.get(..MAGIC.len()).ok_or_else(short)?;
    if magic != MAGIC {
        // What a power cut leaves of a file is often its length and zeros.
        return Err(if magic.iter().all(|byte| *byte == 0) { short() } else { FormatError::NotAWindow });
    }
    let fixed: Vec<u8> = fixed.ok_or_else(short)?.to_vec();
    let version = u32_at(&fixed, 8);
    if version != VERSION {
        return Err(FormatError::Version(version));
    }
    let count = bounded(u32_at(&fixed, 56), PROFILES_MAX, "number of profiles")?;
    let host_bytes = bounded(u32_at(&fixed, 60), HOST_BYTES_MAX, "length of the host's name")?;
    let host_at = STATES_AT + ENDPOINTS_MAX * count;
    let records_at = host_at + host_bytes;
    let front_bytes = records_at + RECORD_BYTES * count;
    if u64_at(&fixed, 48) != file_bytes || as_u64(front_bytes) > file_bytes {
        return Err(short());
    }
    if bytes.len() < front_bytes {
        bytes = read_from(file, 0, front_bytes)?;
    }
    let part = |from: usize, to: usize| bytes.get(from..to).ok_or_else(short);
    let (host, records) = (part(host_at, records_at)?, part(records_at, front_bytes)?);
    if head_crc(&fixed, host, records) != u32_at(&fixed, 12) {
        return Err(FormatError::Checksum { what: "the head" });
    }
    Ok(Head {
        id: WindowId { sequence: u64_at(&fixed, 16), run: u64_at(&fixed, 24) },
        started: WallNanos(u64_at(&fixed, 32)),
        duration: Duration::from_nanos(u64_at(&fixed, 40)),
        file_bytes,
        host: String::from_utf8_lossy(host).into_owned(),
        records: decode_records(records, as_u64(front_bytes), file_bytes)?,
        places: Places::decode(part(PLACES_AT, STATES_AT)?),
        states: part(STATES_AT, host_at)?.to_vec(),
    })
}

/// Reads one of the profiles that a head tells of, from a file of this size.
pub fn read_profile(
    file: &impl ReadAt,
    file_bytes: u64,
    record: &Record,
) -> Result<SeriesProfile, FormatError> {
    let end =
        record.start.saturating_add(u64::from(record.labels_bytes)).saturating_add(record.pprof_bytes.into());
    if end > file_bytes {
        return Err(FormatError::Bounds { what: "place of a profile" });
    }
    let labels_bytes = bounded(record.labels_bytes, LABELS_BYTES_MAX, "length of labels")?;
    let pprof_bytes = bounded(record.pprof_bytes, PPROF_BYTES_MAX, "length of a profile")?;
    let mut labels = read_from(file, record.start, labels_bytes + pprof_bytes)?;
    if labels.len() != labels_bytes + pprof_bytes {
        return Err(FormatError::Short { bytes: record.start.saturating_add(as_u64(labels.len())) });
    }
    let pprof_gz = labels.split_off(labels_bytes);
    if record_crc(&encode_numbers(record), &labels, &pprof_gz) != record.crc {
        return Err(FormatError::Checksum { what: "a profile" });
    }
    Ok(SeriesProfile {
        labels: decode_labels(&labels).ok_or(FormatError::Bounds { what: "labels" })?,
        pprof_gz,
        uncompressed_bytes: record.uncompressed_bytes,
        samples: record.samples,
        cpu_nanos: record.cpu_nanos,
    })
}

/// Where the records begin: what is needed of a head to find its profiles again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordsAt(u32);

impl RecordsAt {
    /// In a file of this many profiles and this host's name.
    pub fn new(profiles: usize, host: &str) -> Self {
        let host_bytes = host.floor_char_boundary(HOST_BYTES_MAX);
        Self(as_u32(STATES_AT + ENDPOINTS_MAX * profiles + host_bytes))
    }
}

/// Reads one profile of a file of this size, whose head was read before but not kept.
pub fn read_profile_at(
    file: &impl ReadAt,
    file_bytes: u64,
    records_at: RecordsAt,
    index: usize,
) -> Result<SeriesProfile, FormatError> {
    let start = usize::try_from(records_at.0).unwrap_or(usize::MAX).saturating_add(RECORD_BYTES * index);
    let bytes = read_from(file, as_u64(start), RECORD_BYTES)?;
    if bytes.len() < RECORD_BYTES {
        return Err(FormatError::Short { bytes: as_u64(start.saturating_add(bytes.len())) });
    }
    read_profile(file, file_bytes, &decode_record(&bytes))
}

fn read_from(file: &impl ReadAt, start: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    let count = file.read_at(start, &mut buffer)?;
    buffer.truncate(count);
    Ok(buffer)
}

fn bounded(number: u32, most: usize, what: &'static str) -> Result<usize, FormatError> {
    usize::try_from(number).ok().filter(|number| *number <= most).ok_or(FormatError::Bounds { what })
}

fn head_crc(fixed: &[u8], host: &[u8], records: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for part in [fixed.get(..12), fixed.get(16..), Some(host), Some(records)] {
        crc.update(part.unwrap_or_default());
    }
    crc.finalize()
}

fn record_crc(numbers: &[u8], labels: &[u8], pprof_gz: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    [numbers, labels, pprof_gz].into_iter().for_each(|part| crc.update(part));
    crc.finalize()
}

/// All of a record but its checksum.
fn encode_numbers(record: &Record) -> Vec<u8> {
    let small = [record.labels_bytes, record.pprof_bytes, record.uncompressed_bytes];
    let large = [record.samples, record.cpu_nanos];
    let mut bytes = record.start.to_le_bytes().to_vec();
    bytes.extend(small.iter().flat_map(|number| number.to_le_bytes()));
    bytes.extend(large.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

fn decode_record(bytes: &[u8]) -> Record {
    Record {
        start: u64_at(bytes, 0),
        labels_bytes: u32_at(bytes, 8),
        pprof_bytes: u32_at(bytes, 12),
        uncompressed_bytes: u32_at(bytes, 16),
        crc: u32_at(bytes, 20),
        samples: u64_at(bytes, 24),
        cpu_nanos: u64_at(bytes, 32),
    }
}

/// Profiles lie one after the other, from the end of the front to the end of the file.
fn decode_records(bytes: &[u8], mut end: u64, file_bytes: u64) -> Result<Vec<Record>, FormatError> {
    let out_of_place = FormatError::Bounds { what: "place of a profile" };
    let mut records = Vec::with_capacity(bytes.len() / RECORD_BYTES);
    for bytes in bytes.chunks_exact(RECORD_BYTES) {
        let record = decode_record(bytes);
        if record.start != end {
            return Err(out_of_place);
        }
        end =
            end.saturating_add(u64::from(record.labels_bytes)).saturating_add(u64::from(record.pprof_bytes));
        records.push(record);
    }
    if end == file_bytes { Ok(records) } else { Err(out_of_place) }
}

fn decode_labels(mut bytes: &[u8]) -> Option<Labels> {
    fn take<'a>(bytes: &mut &'a [u8], count: u32) -> Option<&'a [u8]> {
        bytes.split_off(..usize::try_from(count).ok()?)
    }
    fn number(bytes: &mut &[u8]) -> Option<u32> {
        take(bytes, 4).map(|bytes| u32_at(bytes, 0))
    }
    let mut labels = Labels::default();
    for _ in 0..number(&mut bytes)? {
        let (name, value) = (number(&mut bytes)?, number(&mut bytes)?);
        let name = std::str::from_utf8(take(&mut bytes, name)?).ok()?;
        labels.set(name, std::str::from_utf8(take(&mut bytes, value)?).ok()?);
    }
    bytes.is_empty().then_some(labels)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u64::from_le_bytes)
}

/// Of what is bounded far below.
fn as_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
