//! A profile → gzipped pprof, streamed: pieces of a few hundred entries, never the whole message in memory.
//!
//! ```text
//!   values    samples/count, and cpu/nanoseconds (CPU clock) or cycles/count; for a database the latter alone
//!   period    cpu/nanoseconds with its length; cycles/count with length 0: there is no fixed one
//!   labels    process_executable_name, thread_name; numbers: pid, tid; for a database none; of series theirs
//!   mappings  the heaviest process' program first (tools print it as "File:"), kernel and the like last
//! ```
//!
//! Notes in a stack ([`Space::Marker`]) are locations without mapping and address.

use std::collections::HashMap;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::frames::{at, base_name};
use super::pprof_proto as proto;
use crate::aggregate::profile::{Line, Location, Profile, Sample, SampledEvent, Space};
use crate::attribute::labels::Labels;

/// Entries a piece holds before it is encoded.
const PIECE_ENTRIES: usize = 512;

/// Measured on 12,000 and 200,000 samples: a fifth to a third smaller than level 1 for a third more time;
/// level 6 takes another 5 % off for as much time again.
const COMPRESSION_LEVEL: u32 = 3;

/// Who will read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::deliver) enum Reader<'a> {
    /// Somebody with pprof's own tools: all that is known.
    Tools,
    /// A profile database, which makes a series of each kind of value and of each text label.
    Database,
    /// Somebody with pprof's own tools, of what came back from series: the labels of each process, by its index.
    Series(&'a [Labels]),
}

/// Encodes, compresses and writes. Gives the bytes before compression.
pub(in crate::deliver) fn write(
    profile: &Profile,
    reader: Reader<'_>,
    out: &mut dyn Write,
) -> io::Result<u64> {
    let mut encoder = Encoder {
        reader,
        plain_bytes: 0,
        strings: Strings::new(),
        piece: proto::Profile::default(),
        bytes: Vec::new(),
        out: GzEncoder::new(out, Compression::new(COMPRESSION_LEVEL)),
    };
    encoder.header(profile);
    let mapping_ids = encoder.mappings(profile)?;
    encoder.functions(profile)?;
    encoder.locations(profile, &mapping_ids)?;
    encoder.samples(profile)?;
    encoder.finish()
}

/// What becomes of an index as an id.
fn id(index: u32) -> u64 {
    u64::from(index) + 1
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

struct Encoder<'a, W: Write> {
    reader: Reader<'a>,
    plain_bytes: u64,
    strings: Strings<'a>,
    piece: proto::Profile,
    bytes: Vec<u8>,
    out: GzEncoder<W>,
}

impl<'a, W: Write> Encoder<'a, W> {
    fn value_type(&mut self, name: &'static str, unit: &'static str) -> proto::ValueType {
        proto::ValueType { r#type: self.strings.index(name), unit: self.strings.index(unit) }
    }

    fn header(&mut self, profile: &'a Profile) {
        let samples = (self.reader != Reader::Database).then(|| self.value_type("samples", "count"));
        let (weight, period) = match profile.event {
            SampledEvent::CpuClock { period_nanos } => (self.value_type("cpu", "nanoseconds"), period_nanos),
            SampledEvent::Cycles { .. } => (self.value_type("cycles", "count"), 0),
        };
        self.piece = proto::Profile {
            time_nanos: signed(profile.started_nanos),
            duration_nanos: i64::try_from(profile.duration.as_nanos()).unwrap_or(i64::MAX),
            period: signed(period),
            default_sample_type: weight.r#type,
            period_type: Some(weight.clone()),
            sample_type: samples.into_iter().chain([weight]).collect(),
            comment: profile.comments.iter().map(|comment| self.strings.index(comment)).collect(),
            ..proto::Profile::default()
        };
    }

    /// Writes the mappings; their ids by their index.
    fn mappings(&mut self, profile: &'a Profile) -> io::Result<Vec<u64>> {
        let known = what_is_known(profile);
        let mut ids = vec![0; profile.mappings.len()];
        for (position, index) in (0..).zip(main_first(profile)) {
            let mapping = at(&profile.mappings, index);
            let known = at(&known, index);
            ids[index as usize] = id(position);
            self.piece.mapping.push(proto::Mapping {
                id: id(position),
                memory_start: mapping.start,
                memory_limit: mapping.limit,
                file_offset: mapping.file_offset,
                filename: self.strings.index(&mapping.path),
                build_id: self.strings.index(&mapping.build_id),
                has_functions: known.functions,
                has_filenames: known.files,
                has_line_numbers: known.lines,
                has_inline_frames: known.inlined,
            });
            self.write_full_piece()?;
        }
        Ok(ids)
    }

    fn functions(&mut self, profile: &'a Profile) -> io::Result<()> {
        for (index, function) in (0..).zip(&profile.functions) {
            // Nobody sees mangled names in the database, and they are a quarter of what a Rust program's profiles take.
            let is_seen = self.reader != Reader::Database;
            let system_name = if is_seen { &function.system_name } else { &function.name };
            self.piece.function.push(proto::Function {
                id: id(index),
                name: self.strings.index(&function.name),
                system_name: self.strings.index(system_name),
                filename: self.strings.index(&function.file),
                start_line: i64::from(function.start_line),
            });
            self.write_full_piece()?;
        }
        Ok(())
    }

    fn locations(&mut self, profile: &'a Profile, mapping_ids: &[u64]) -> io::Result<()> {
        for (index, location) in (0..).zip(&profile.locations) {
            let mapping = location.mapping.filter(|_| location.space != Space::Marker);
            let line =
                |line: &Line| proto::Line { function_id: id(line.function), line: i64::from(line.line) };
            self.piece.location.push(proto::Location {
                id: id(index),
                mapping_id: mapping.map_or(0, |mapping| *at(mapping_ids, mapping)),
                address: if location.space == Space::Marker { 0 } else { location.address },
                line: location.lines.iter().map(line).collect(),
            });
            self.write_full_piece()?;
        }
        Ok(())
    }

    fn samples(&mut self, profile: &'a Profile) -> io::Result<()> {
        for sample in &profile.samples {
            let (value, label) = match self.reader {
                Reader::Tools => {
                    (vec![signed(sample.count), signed(sample.weight)], self.labels(profile, sample))
                }
                Reader::Series(labels) => {
                    let process = at(&profile.threads, sample.thread).process;
                    let labels = self.series_labels(at(labels, process));
                    (vec![signed(sample.count), signed(sample.weight)], labels)
                }
                Reader::Database => (vec![signed(sample.weight)], Vec::new()),
            };
            let stack = at(&profile.stacks, sample.stack);
            let location_id = stack.iter().map(|&location| id(location)).collect();
            self.piece.sample.push(proto::Sample { location_id, value, label });
            self.write_full_piece()?;
        }
        Ok(())
    }

    fn labels(&mut self, profile: &'a Profile, sample: &Sample) -> Vec<proto::Label> {
        let thread = at(&profile.threads, sample.thread);
        let process = at(&profile.processes, thread.process);
        let mut labels = Vec::with_capacity(4);
        labels.extend(self.text_label("process_executable_name", &process.executable_name));
        labels.extend(self.text_label("thread_name", &thread.name));
        labels.push(self.number_label("pid", process.pid));
        labels.push(self.number_label("tid", thread.tid));
        labels
    }

    fn series_labels(&mut self, labels: &'a Labels) -> Vec<proto::Label> {
        let label = |(name, value)| proto::Label {
            key: self.strings.index(name),
            str: self.strings.index(value),
            num: 0,
        };
        labels.iter().map(label).collect()
    }

    /// A label; none for an empty text, which readers would take for the number 0.
    fn text_label(&mut self, key: &'static str, text: &'a str) -> Option<proto::Label> {
        let str = self.strings.index(text);
        (str != 0).then(|| proto::Label { key: self.strings.index(key), str, num: 0 })
    }

    fn number_label(&mut self, key: &'static str, number: u32) -> proto::Label {
        proto::Label { key: self.strings.index(key), str: 0, num: i64::from(number) }
    }

    fn write_full_piece(&mut self) -> io::Result<()> {
        let piece = &self.piece;
        let entries = piece.mapping.len() + piece.function.len() + piece.location.len() + piece.sample.len();
        if entries < PIECE_ENTRIES { Ok(()) } else { self.write_piece() }
    }

    fn write_piece(&mut self) -> io::Result<()> {
        self.bytes.clear();
        self.piece.encode(&mut self.bytes).map_err(io::Error::other)?;
        self.piece = proto::Profile::default();
        self.plain_bytes = self.plain_bytes.saturating_add(self.bytes.len() as u64);
        self.out.write_all(&self.bytes)
    }

    fn finish(mut self) -> io::Result<u64> {
        self.write_piece()?;
        let strings = std::mem::take(&mut self.strings.all);
        for texts in strings.chunks(PIECE_ENTRIES) {
            self.piece.string_table = texts.iter().map(|&text| text.to_owned()).collect();
            self.write_piece()?;
        }
        self.out.finish()?.flush()?;
        Ok(self.plain_bytes)
    }
}

/// The string table: each text once, borrowed from the profile.
struct Strings<'a> {
    all: Vec<&'a str>,
    indices: HashMap<&'a str, i64>,
}

impl<'a> Strings<'a> {
    fn new() -> Self {
        Self { all: vec![""], indices: HashMap::from([("", 0)]) }
    }

    fn index(&mut self, text: &'a str) -> i64 {
        let Self { all, indices } = self;
        *indices.entry(text).or_insert_with(|| {
            all.push(text);
            signed(all.len() as u64 - 1)
        })
    }
}

/// The mappings' indices: the main program first, then other files by weight, then what is no file.
fn main_first(profile: &Profile) -> Vec<u32> {
    let mut mapping_weights = vec![0_u64; profile.mappings.len()];
    let mut process_weights = vec![0_u64; profile.processes.len()];
    for sample in &profile.samples {
        let process = at(&profile.threads, sample.thread).process;
        process_weights[process as usize] += sample.weight;
        let locations = at(&profile.stacks, sample.stack).iter().map(|&index| at(&profile.locations, index));
        if let Some(mapping) = locations.filter_map(|location| location.mapping).next() {
            mapping_weights[mapping as usize] += sample.weight;
        }
    }
    let heaviest =
        (0..).zip(&process_weights).max_by_key(|&(index, weight)| (weight, std::cmp::Reverse(index)));
    let program = heaviest.map(|(process, _): (u32, _)| &*at(&profile.processes, process).executable_name);
    let mut order: Vec<u32> = (0..).take(profile.mappings.len()).collect();
    order.sort_by_key(|&index| {
        let path = &at(&profile.mappings, index).path;
        let rank = match base_name(path) {
            _ if path.starts_with('[') || path.is_empty() => 2,
            name if Some(name) == program => 0,
            _ => 1,
        };
        (rank, std::cmp::Reverse(*at(&mapping_weights, index)))
    });
    order
}

/// What is known of the code in one mapping. True as soon as it is known of one address: a reader that
/// finds `false` looks the names up itself, and would put the nearest symbol where we know of none.
#[derive(Clone, Copy, Default)]
struct Known {
    functions: bool,
    files: bool,
    lines: bool,
    inlined: bool,
}

fn what_is_known(profile: &Profile) -> Vec<Known> {
    let mut all = vec![Known::default(); profile.mappings.len()];
    for location in &profile.locations {
        let Some(mapping) = location.mapping else { continue };
        let known = &mut all[mapping as usize];
        known.functions |= is_named(profile, location);
        known.files |=
            location.lines.iter().any(|line| !at(&profile.functions, line.function).file.is_empty());
        known.lines |= location.lines.iter().any(|line| line.line != 0);
        known.inlined |= location.lines.len() > 1;
    }
    all
}

/// Whether a symbol covers it: its function is not called `module+0xoffset`.
fn is_named(profile: &Profile, location: &Location) -> bool {
    let offset_in = |name: &str| {
        let module = base_name(&at(&profile.mappings, location.mapping?).path);
        let hexadecimal = name.strip_prefix(module)?.strip_prefix("+0x")?;
        hexadecimal.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())
    };
    location.lines.iter().any(|line| offset_in(&at(&profile.functions, line.function).name).is_none())
}
