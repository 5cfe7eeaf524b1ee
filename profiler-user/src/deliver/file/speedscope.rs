//! A profile → speedscope's JSON: a "sampled" profile for each process, the heaviest first.
//!
//! ```text
//!   shared.frames   {name, file, line}: a function; where its source is unknown, `file` is its module
//!   profiles[]      samples: [[frame, outermost first]], weights: [nanoseconds, or cycles without a unit]
//! ```
//!
//! Threads of a process are merged. Stacks are serialized as they are walked; only the list of frames is kept.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};
use std::rc::Rc;

use serde::{Serialize, Serializer};

use super::frames::at;
use crate::aggregate::profile::{Line, Location, Profile, SampledEvent};

/// Serializes it.
pub(super) fn write(profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
    let frames = FrameTable::of(profile);
    let file = File {
        schema: "https://www.speedscope.app/file-format-schema.json",
        exporter: concat!("flamekeeper ", env!("CARGO_PKG_VERSION")),
        name: &profile.host,
        active_profile_index: 0,
        profiles: processes(profile, &frames),
        shared: Shared { frames: &frames.all },
    };
    serde_json::to_writer(&mut *out, &file)?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    exporter: &'static str,
    name: &'a str,
    #[serde(rename = "activeProfileIndex")]
    active_profile_index: u32,
    shared: Shared<'a>,
    profiles: Vec<ProcessProfile<'a>>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: &'a [Frame<'a>],
}

#[derive(Serialize)]
struct Frame<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    file: &'a str,
    #[serde(skip_serializing_if = "is_unknown")]
    line: u32,
}

const fn is_unknown(line: &u32) -> bool {
    *line == 0
}

/// All frames, and which of them are at each location.
struct FrameTable<'a> {
    all: Vec<Frame<'a>>,
    /// By location; outermost first.
    at_locations: Vec<Vec<u32>>,
}

impl<'a> FrameTable<'a> {
    fn of(profile: &'a Profile) -> Self {
        let mut all = Vec::new();
        // A frame is a function and, where its source file is unknown, its module.
        let mut numbers = HashMap::new();
        let mut number = |location: &Location, line: &Line| {
            let function = at(&profile.functions, line.function);
            let mapping = location.mapping.filter(|_| function.file.is_empty());
            *numbers.entry((line.function, mapping)).or_insert_with(|| {
                let module = mapping.map(|mapping| &*at(&profile.mappings, mapping).path);
                let file = module.unwrap_or(&function.file);
                all.push(Frame { name: &function.name, file, line: function.start_line });
                u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
            })
        };
        let frames = |location: &Location| {
            location.lines.iter().rev().map(|line| number(location, line)).collect::<Vec<_>>()
        };
        let at_locations = profile.locations.iter().map(frames).collect();
        Self { all, at_locations }
    }
}

#[derive(Serialize)]
struct ProcessProfile<'a> {
    r#type: &'static str,
    name: String,
    unit: &'static str,
    #[serde(rename = "startValue")]
    start_value: u64,
    #[serde(rename = "endValue")]
    end_value: u64,
    samples: Samples<'a>,
    weights: Weights,
}

/// A process' distinct stacks, each with its weight.
type StackWeights = Vec<(u32, u64)>;

/// Their frames.
struct Samples<'a> {
    profile: &'a Profile,
    frames: &'a FrameTable<'a>,
    stacks: Rc<StackWeights>,
}

/// Their weights.
struct Weights(Rc<StackWeights>);

impl Serialize for Samples<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.stacks.iter().map(|&(stack, _)| Stack { of: self, stack }))
    }
}

struct Stack<'a> {
    of: &'a Samples<'a>,
    stack: u32,
}

impl Serialize for Stack<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Samples { profile, frames, .. } = self.of;
        let locations = at(&profile.stacks, self.stack).iter().rev();
        serializer.collect_seq(locations.flat_map(|&location| at(&frames.at_locations, location)))
    }
}

impl Serialize for Weights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(_, weight)| weight))
    }
}

/// A profile for each process that has samples. With none at all one that is empty: speedscope wants one.
fn processes<'a>(profile: &'a Profile, frames: &'a FrameTable<'a>) -> Vec<ProcessProfile<'a>> {
    let unit = match profile.event {
        SampledEvent::CpuClock { .. } => "nanoseconds",
        SampledEvent::Cycles { .. } => "none",
    };
    let of_process = |name, stacks: StackWeights| {
        let stacks = Rc::new(stacks);
        ProcessProfile {
            r#type: "sampled",
            name,
            unit,
            start_value: 0,
            end_value: stacks.iter().map(|(_, weight)| weight).sum(),
            samples: Samples { profile, frames, stacks: Rc::clone(&stacks) },
            weights: Weights(stacks),
        }
    };
    let sampled = profile.processes.iter().zip(stacks_of_processes(profile));
    let mut all: Vec<_> = sampled
        .filter(|(_, stacks)| !stacks.is_empty())
        .map(|(process, stacks)| {
            of_process(format!("{} (pid {})", process.executable_name, process.pid), stacks)
        })
        .collect();
    all.sort_by_key(|process| Reverse(process.end_value));
    if all.is_empty() {
        all.push(of_process("no samples".to_owned(), Vec::new()));
    }
    all
}

/// What the threads of each process did, merged; heaviest stack first.
fn stacks_of_processes(profile: &Profile) -> Vec<StackWeights> {
    let mut by_process: Vec<StackWeights> = vec![Vec::new(); profile.processes.len()];
    for sample in &profile.samples {
        let process = at(&profile.threads, sample.thread).process;
        by_process[process as usize].push((sample.stack, sample.weight));
    }
    for stacks in &mut by_process {
        stacks.sort_unstable();
        stacks.dedup_by(|next, first| {
            let is_same = next.0 == first.0;
            first.1 += if is_same { next.1 } else { 0 };
            is_same
        });
        stacks.sort_by_key(|&(_, weight)| Reverse(weight));
    }
    by_process
}
