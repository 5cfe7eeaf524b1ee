//! A gzipped pprof of ours → the profile that it was written from, as far as it says: without threads and processes.
//!
//! For what comes back from the spool. Bytes may be damaged all the same: what does not fit together is an error, nothing
//! panics, and memory is bounded by what the profile says that it is before compression (some 70 times that at worst).

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use prost::Message;

use super::pprof_proto as proto;
use crate::aggregate::profile::{
    Function, Line, Location, Mapping, Process, Profile, Sample, SampledEvent, Space, Thread,
};

/// Larger ones are not read; the configuration allows no larger ones to be written.
const PLAIN_BYTES_MAX: u32 = 64 << 20;
/// As the kernel's mapping is called.
const KERNEL: &str = "[kernel.kallsyms]";

/// Why bytes are no profile of ours.
#[derive(Debug, thiserror::Error)]
pub enum PprofError {
    /// No gzip, or a broken one.
    #[error("decompress: {0}")]
    Gzip(#[from] std::io::Error),
    /// Of another size than it was said to be.
    #[error("it is not the {expected} bytes that it should be")]
    Size {
        /// What it should be.
        expected: u32,
    },
    /// No protobuf, or of another message.
    #[error("decode: {0}")]
    Decode(#[from] prost::DecodeError),
    /// It has no CPU time.
    #[error("it has no values of the type cpu/nanoseconds")]
    NoCpuTime,
    /// One thing refers to another that is not there.
    #[error("it refers to a {what} that it does not have")]
    Missing {
        /// What kind of thing.
        what: &'static str,
    },
}

/// Reads a pprof of this size before compression. All of its samples become those of this process.
///
/// # Errors
///
/// If it is not whole, or no profile of CPU time.
pub fn read(
    pprof_gz: &[u8],
    plain_bytes: u32,
    host: Arc<str>,
    process: Process,
) -> Result<Profile, PprofError> {
    if plain_bytes > PLAIN_BYTES_MAX {
        return Err(PprofError::Size { expected: PLAIN_BYTES_MAX });
    }
    let mut plain = Vec::new();
    GzDecoder::new(pprof_gz).take(u64::from(plain_bytes).saturating_add(1)).read_to_end(&mut plain)?;
    if u32::try_from(plain.len()).ok() != Some(plain_bytes) {
        return Err(PprofError::Size { expected: plain_bytes });
    }
    Decoder::new(proto::Profile::decode(plain.as_slice())?).profile(host, process)
}

struct Decoder {
    strings: Vec<Arc<str>>,
    pprof: proto::Profile,
}

impl Decoder {
    fn new(mut pprof: proto::Profile) -> Self {
        let strings = std::mem::take(&mut pprof.string_table).into_iter().map(Arc::from).collect();
        Self { strings, pprof }
    }

    fn profile(self, host: Arc<str>, process: Process) -> Result<Profile, PprofError> {
        let pprof = &self.pprof;
        let value = pprof.sample_type.iter().position(|of| {
            let texts = (self.text(of.r#type).ok(), self.text(of.unit).ok());
            matches!(&texts, (Some(name), Some(unit)) if (&**name, &**unit) == ("cpu", "nanoseconds"))
        });
        let value = value.ok_or(PprofError::NoCpuTime)?;
        let period_nanos = unsigned(pprof.period).max(1);
        let mapping_ids = numbers(pprof.mapping.iter().map(|mapping| mapping.id));
        let function_ids = numbers(pprof.function.iter().map(|function| function.id));
        let location_ids = numbers(pprof.location.iter().map(|location| location.id));
        let mappings =
            pprof.mapping.iter().map(|mapping| self.mapping(mapping)).collect::<Result<Vec<_>, _>>()?;
        let functions =
            pprof.function.iter().map(|function| self.function(function)).collect::<Result<_, _>>()?;
        let location = |of: &proto::Location| location(of, &mapping_ids, &function_ids, &mappings);
        let locations = pprof.location.iter().map(location).collect::<Result<_, _>>()?;
        let (mut stacks, mut samples) = (Vec::new(), Vec::new());
        for sample in &pprof.sample {
            let weight = sample.value.get(value).copied().map_or(0, unsigned);
            let stack: Vec<u32> = sample
                .location_id
                .iter()
                .map(|id| location_ids.get(id).copied().ok_or(PprofError::Missing { what: "location" }))
                .collect::<Result<_, _>>()?;
            if stack.is_empty() || weight == 0 {
                continue;
            }
            let count = (weight.saturating_add(period_nanos / 2) / period_nanos).max(1);
            let number = u32::try_from(stacks.len()).unwrap_or(u32::MAX);
            samples.push(Sample { thread: 0, stack: number, count, weight });
            stacks.push(stack);
        }
        Ok(Profile {
            host,
            started_nanos: unsigned(pprof.time_nanos),
            duration: Duration::from_nanos(unsigned(pprof.duration_nanos)),
            event: SampledEvent::CpuClock { period_nanos },
            processes: vec![process],
            threads: vec![Thread { process: 0, tid: 0, name: "".into() }],
            mappings,
            functions,
            locations,
            stacks,
            samples,
            timeline: None,
            comments: Vec::new(),
        })
    }

    fn text(&self, index: i64) -> Result<Arc<str>, PprofError> {
        let text = usize::try_from(index).ok().and_then(|index| self.strings.get(index));
        text.cloned().ok_or(PprofError::Missing { what: "text" })
    }

    fn mapping(&self, mapping: &proto::Mapping) -> Result<Mapping, PprofError> {
        Ok(Mapping {
            path: self.text(mapping.filename)?,
            build_id: self.text(mapping.build_id)?,
            start: mapping.memory_start,
            limit: mapping.memory_limit,
            file_offset: mapping.file_offset,
        })
    }

    fn function(&self, function: &proto::Function) -> Result<Function, PprofError> {
        Ok(Function {
            name: self.text(function.name)?,
            system_name: self.text(function.system_name)?,
            file: self.text(function.filename)?,
            start_line: u32::try_from(function.start_line).unwrap_or(0),
        })
    }
}

fn location(
    location: &proto::Location,
    mapping_ids: &HashMap<u64, u32>,
    function_ids: &HashMap<u64, u32>,
    mappings: &[Mapping],
) -> Result<Location, PprofError> {
    let missing = |what| PprofError::Missing { what };
    let mapping = match location.mapping_id {
        0 => None,
        id => Some(*mapping_ids.get(&id).ok_or(missing("mapping"))?),
    };
    let path =
        mapping.and_then(|index| mappings.get(usize::try_from(index).ok()?)).map(|mapping| &*mapping.path);
    let line = |line: &proto::Line| {
        let function = *function_ids.get(&line.function_id).ok_or(missing("function"))?;
        Ok(Line { function, line: u32::try_from(line.line).unwrap_or(0) })
    };
    let lines: Vec<Line> = location.line.iter().map(line).collect::<Result<_, PprofError>>()?;
    if lines.is_empty() {
        return Err(missing("line"));
    }
    let space = match path {
        None => Space::Marker,
        Some(KERNEL) => Space::Kernel,
        Some(_) => Space::User,
    };
    Ok(Location { mapping, address: location.address, space, lines })
}

/// Positions by id.
fn numbers(ids: impl Iterator<Item = u64>) -> HashMap<u64, u32> {
    ids.zip(0..).collect()
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::folded;
    use super::super::pprof::{self, Reader};
    use super::*;

    fn process() -> Process {
        Process { pid: 1, executable_name: "shop".into(), started_nanos: 0, ended_nanos: None }
    }

    fn written(profile: &Profile) -> (Vec<u8>, u32) {
        let mut bytes = Vec::new();
        let plain = pprof::write(profile, Reader::Database, &mut bytes).unwrap();
        (bytes, u32::try_from(plain).unwrap())
    }

    /// As folded text, all of one process.
    fn text(profile: &Profile) -> String {
        let mut profile = profile.clone();
        for process in &mut profile.processes {
            process.executable_name = "shop".into();
        }
        let mut text = Vec::new();
        folded::write(&profile, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let profile = fixture::nasty();
        let (bytes, plain) = written(&profile);
        let read = read(&bytes, plain, "host".into(), process()).unwrap();
        assert_eq!(text(&read), text(&profile));
        assert_eq!((read.started_nanos, read.duration), (profile.started_nanos, profile.duration));
        let weight = |profile: &Profile| profile.samples.iter().map(|sample| sample.weight).sum::<u64>();
        assert_eq!(weight(&read), weight(&profile));
        let mut paths: Vec<_> = read.mappings.iter().map(|mapping| (&mapping.path, mapping.start)).collect();
        let mut all: Vec<_> = profile.mappings.iter().map(|mapping| (&mapping.path, mapping.start)).collect();
        paths.sort();
        all.sort();
        assert_eq!(paths, all);
    }

    #[test]
    fn another_size_than_said_is_an_error() {
        let (bytes, plain) = written(&fixture::nasty());
        for wrong in [0, plain - 1, plain + 1, u32::MAX] {
            let error = read(&bytes, wrong, "".into(), process()).unwrap_err();
            assert!(matches!(error, PprofError::Size { .. }), "{error}");
        }
        assert!(read(&bytes[..bytes.len() / 2], plain, "".into(), process()).is_err());
        assert!(read(b"no gzip", plain, "".into(), process()).is_err());
    }

    #[test]
    fn what_refers_to_nothing_is_an_error() {
        let (bytes, _) = written(&fixture::nasty());
        let mut plain = Vec::new();
        GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
        let whole = proto::Profile::decode(plain.as_slice()).unwrap();
        let check = |damage: fn(&mut proto::Profile), expected: &str| {
            let mut pprof = whole.clone();
            damage(&mut pprof);
            let error = Decoder::new(pprof).profile("".into(), process()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(|pprof| pprof.location.clear(), "it refers to a location that it does not have");
        check(|pprof| pprof.function.clear(), "it refers to a function that it does not have");
        check(|pprof| pprof.mapping.clear(), "it refers to a mapping that it does not have");
        check(|pprof| pprof.location[0].line.clear(), "it refers to a line that it does not have");
        check(|pprof| pprof.function[0].name = -1, "it refers to a text that it does not have");
        check(|pprof| pprof.mapping[0].filename = 1 << 40, "it refers to a text that it does not have");
        check(|pprof| pprof.sample_type.clear(), "it has no values of the type cpu/nanoseconds");
    }
}
