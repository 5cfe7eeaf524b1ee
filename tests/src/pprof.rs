//! Reads pprof: gunzip, then the messages of the public `profile.proto`, then names instead of indices.
//!
//! The field numbers are typed here once more on purpose: a wrong one in the product must not read itself back.
//! Every index is checked, so a dangling one is a failed test.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, ensure};
use prost::Message;

use crate::stacks::{Stack, Stacks};

pub(crate) mod message {
    //! `profile.proto`, as far as tests look.

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Profile {
        #[prost(message, repeated, tag = "1")]
        pub(crate) sample_type: Vec<ValueType>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) sample: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) mapping: Vec<Mapping>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) location: Vec<Location>,
        #[prost(message, repeated, tag = "5")]
        pub(crate) function: Vec<Function>,
        #[prost(string, repeated, tag = "6")]
        pub(crate) string_table: Vec<String>,
        #[prost(int64, tag = "9")]
        pub(crate) time_nanos: i64,
        #[prost(int64, tag = "10")]
        pub(crate) duration_nanos: i64,
        #[prost(message, optional, tag = "11")]
        pub(crate) period_type: Option<ValueType>,
        #[prost(int64, tag = "12")]
        pub(crate) period: i64,
        #[prost(int64, repeated, tag = "13")]
        pub(crate) comment: Vec<i64>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct ValueType {
        #[prost(int64, tag = "1")]
        pub(crate) r#type: i64,
        #[prost(int64, tag = "2")]
        pub(crate) unit: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Sample {
        #[prost(uint64, repeated, tag = "1")]
        pub(crate) location_id: Vec<u64>,
        #[prost(int64, repeated, tag = "2")]
        pub(crate) value: Vec<i64>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) label: Vec<Label>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct Label {
        #[prost(int64, tag = "1")]
        pub(crate) key: i64,
        #[prost(int64, tag = "2")]
        pub(crate) str: i64,
        #[prost(int64, tag = "3")]
        pub(crate) num: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct Mapping {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) memory_start: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) memory_limit: u64,
        #[prost(int64, tag = "5")]
        pub(crate) filename: i64,
        #[prost(int64, tag = "6")]
        pub(crate) build_id: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Location {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(uint64, tag = "2")]
        pub(crate) mapping_id: u64,
        #[prost(uint64, tag = "3")]
        pub(crate) address: u64,
        #[prost(message, repeated, tag = "4")]
        pub(crate) line: Vec<Line>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct Line {
        #[prost(uint64, tag = "1")]
        pub(crate) function_id: u64,
        #[prost(int64, tag = "2")]
        pub(crate) line: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct Function {
        #[prost(uint64, tag = "1")]
        pub(crate) id: u64,
        #[prost(int64, tag = "2")]
        pub(crate) name: i64,
        #[prost(int64, tag = "3")]
        pub(crate) system_name: i64,
        #[prost(int64, tag = "4")]
        pub(crate) filename: i64,
        #[prost(int64, tag = "5")]
        pub(crate) start_line: i64,
    }
}

/// One function at one place, as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameView {
    /// Name for people.
    pub name: String,
    /// Name as the linker knows it.
    pub system_name: String,
    /// Source file, or empty.
    pub file: String,
    /// Line in it, or 0.
    pub line: i64,
    /// Line where the function begins, or 0.
    pub start_line: i64,
}

/// One sample with its indices resolved.
#[derive(Clone, Debug)]
pub struct PprofSample {
    /// A list a location, leaf location first; in it the innermost inlined function first.
    pub locations: Vec<Vec<FrameView>>,
    /// File names of the locations' mappings, empty where there is none.
    pub mapping_files: Vec<String>,
    /// Values by sample type.
    pub values: Vec<i64>,
    /// Labels of text.
    pub labels: BTreeMap<String, String>,
    /// Labels of numbers.
    pub numbers: BTreeMap<String, i64>,
}

/// A profile, resolved.
#[derive(Clone, Debug)]
pub struct Pprof {
    /// Type and unit of each value of a sample.
    pub sample_types: Vec<(String, String)>,
    /// Type and unit of the period.
    pub period_type: (String, String),
    /// One sample in so many of them.
    pub period: i64,
    /// Wall clock of the start, nanoseconds since 1970.
    pub time_nanos: i64,
    /// How long was sampled.
    pub duration_nanos: i64,
    /// Remarks about the capture.
    pub comments: Vec<String>,
    /// File name and build id of each mapping.
    pub mappings: Vec<(String, String)>,
    /// All samples.
    pub samples: Vec<PprofSample>,
}

/// Looks indices up; each failure says what dangles.
struct Tables<'a> {
    profile: &'a message::Profile,
    functions: BTreeMap<u64, &'a message::Function>,
    locations: BTreeMap<u64, &'a message::Location>,
    mappings: BTreeMap<u64, &'a message::Mapping>,
}

impl Tables<'_> {
    fn text(&self, index: i64) -> Result<String> {
        let text = usize::try_from(index).ok().and_then(|index| self.profile.string_table.get(index));
        text.cloned().with_context(|| format!("string {index} is not in the table"))
    }

    fn value_type(&self, of: message::ValueType) -> Result<(String, String)> {
        Ok((self.text(of.r#type)?, self.text(of.unit)?))
    }

    fn frame(&self, line: &message::Line) -> Result<FrameView> {
        let id = line.function_id;
        let function = self.functions.get(&id).with_context(|| format!("function {id} is missing"))?;
        Ok(FrameView {
            name: self.text(function.name)?,
            system_name: self.text(function.system_name)?,
            file: self.text(function.filename)?,
            line: line.line,
            start_line: function.start_line,
        })
    }

    fn sample(&self, sample: &message::Sample) -> Result<PprofSample> {
        let (mut locations, mut mapping_files) = (Vec::new(), Vec::new());
        for id in &sample.location_id {
            let location = self.locations.get(id).with_context(|| format!("location {id} is missing"))?;
            locations.push(location.line.iter().map(|line| self.frame(line)).collect::<Result<_>>()?);
            mapping_files.push(match location.mapping_id {
                0 => String::new(),
                id => {
                    let mapping =
                        self.mappings.get(&id).with_context(|| format!("mapping {id} is missing"))?;
                    ensure!(
                        (mapping.memory_start..mapping.memory_limit).contains(&location.address),
                        "{:#x} lies outside of {}, mapped at {:#x}..{:#x}",
                        location.address,
                        self.text(mapping.filename)?,
                        mapping.memory_start,
                        mapping.memory_limit
                    );
                    self.text(mapping.filename)?
                }
            });
        }
        let (mut labels, mut numbers) = (BTreeMap::new(), BTreeMap::new());
        for label in &sample.label {
            let key = self.text(label.key)?;
            if label.str != 0 {
                labels.insert(key, self.text(label.str)?);
            } else {
                numbers.insert(key, label.num);
            }
        }
        Ok(PprofSample { locations, mapping_files, values: sample.value.clone(), labels, numbers })
    }
}

impl Pprof {
    /// Reads a gzipped profile and resolves every index in it.
    pub fn from_gzip(bytes: &[u8]) -> Result<Self> {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).context("gunzip")?;
        let profile = message::Profile::decode(plain.as_slice()).context("decode the messages")?;
        ensure!(profile.string_table.first().is_some_and(String::is_empty), "string 0 is not empty");
        let tables = Tables {
            profile: &profile,
            functions: profile.function.iter().map(|function| (function.id, function)).collect(),
            locations: profile.location.iter().map(|location| (location.id, location)).collect(),
            mappings: profile.mapping.iter().map(|mapping| (mapping.id, mapping)).collect(),
        };
        ensure!(!tables.functions.contains_key(&0) && !tables.locations.contains_key(&0), "an id is 0");
        ensure!(tables.locations.len() == profile.location.len(), "a location's id is used twice");
        let mapping =
            |mapping: &message::Mapping| Ok((tables.text(mapping.filename)?, tables.text(mapping.build_id)?));
        Ok(Self {
            sample_types: profile
                .sample_type
                .iter()
                .map(|of| tables.value_type(*of))
                .collect::<Result<_>>()?,
            period_type: tables.value_type(profile.period_type.unwrap_or_default())?,
            period: profile.period,
            time_nanos: profile.time_nanos,
            duration_nanos: profile.duration_nanos,
            comments: profile.comment.iter().map(|&index| tables.text(index)).collect::<Result<_>>()?,
            mappings: profile.mapping.iter().map(mapping).collect::<Result<_>>()?,
            samples: profile.sample.iter().map(|sample| tables.sample(sample)).collect::<Result<_>>()?,
        })
    }

    /// Its samples as stacks, each inlined function a frame; the count is the first value.
    pub fn stacks(&self) -> Stacks {
        Stacks(self.samples.iter().map(PprofSample::stack).collect())
    }

    /// The samples of one process.
    pub fn samples_of(&self, pid: u32) -> Vec<&PprofSample> {
        self.samples.iter().filter(|sample| sample.numbers.get("pid") == Some(&i64::from(pid))).collect()
    }

    /// The same as stacks.
    pub fn stacks_of(&self, pid: u32) -> Stacks {
        Stacks(self.samples_of(pid).into_iter().map(PprofSample::stack).collect())
    }
}

impl PprofSample {
    /// Process, frames outermost first, count.
    pub fn stack(&self) -> Stack {
        let frames = self.locations.iter().flatten().rev().map(|frame| frame.name.clone()).collect();
        let process = self.labels.get("process_executable_name").cloned().unwrap_or_default();
        Stack { process, frames, count: self.count() }
    }

    /// The first value.
    pub fn count(&self) -> u64 {
        self.values.first().and_then(|&count| u64::try_from(count).ok()).unwrap_or(0)
    }
}
