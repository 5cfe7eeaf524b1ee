//! A profile with its time line → the Firefox Profiler's processed format (profiler.firefox.com, "Load a
//! profile from file").
//!
//! The crate that knows the format keeps names and modules of frames, but neither source lines nor the
//! depth of inlining. So the function that holds the code is a frame in its library, under the address;
//! what is inlined there follows as frames with nothing but a name; notes in a stack likewise.
//!
//! A thread's CPU use is drawn from what each sample says of the time since the one before. Samples are
//! only taken on a CPU, so empty ones mark when a thread began to run again after it had slept, and when
//! its process began and ended:
//!
//! ```text
//!   ○─────────○──────●──────●─────────────────────○──────●──────────○
//!     slept       ran    ran         slept            ran    slept         ○ empty, no CPU time
//! ```

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fxprof_processed_profile as fx;
use fxprof_processed_profile::debugid::DebugId;

use super::frames::{at, base_name};
use crate::aggregate::profile::{Location, Mapping, Process, Profile, SampledEvent, Space, TimedSample};

/// Converts and serializes.
pub(super) fn write(profile: &Profile, timeline: &[TimedSample], out: &mut dyn Write) -> io::Result<()> {
    let mut converter = Converter::new(profile);
    for (thread, samples) in by_thread(profile, timeline) {
        converter.thread(thread, &samples);
    }
    if let Some((_, heaviest)) = converter.heaviest_thread {
        converter.fx.add_initial_selected_thread(heaviest);
    }
    serde_json::to_writer(&mut *out, &converter.fx)?;
    out.write_all(b"\n")
}

/// The samples of each thread that has some, by time.
fn by_thread<'a>(profile: &Profile, timeline: &'a [TimedSample]) -> Vec<(u32, Vec<&'a TimedSample>)> {
    let mut all: Vec<(u32, Vec<&TimedSample>)> =
        (0..).take(profile.threads.len()).map(|thread| (thread, Vec::new())).collect();
    for sample in timeline {
        all[sample.thread as usize].1.push(sample);
    }
    all.retain(|(_, samples)| !samples.is_empty());
    all.iter_mut().for_each(|(_, samples)| samples.sort_by_key(|sample| sample.at_nanos));
    all
}

struct Converter<'a> {
    profile: &'a Profile,
    fx: fx::Profile,
    interval_nanos: u64,
    user: fx::CategoryHandle,
    kernel: fx::CategoryHandle,
    libraries: Vec<Library>,
    processes: Vec<Option<fx::ProcessHandle>>,
    /// The one that is shown first, with its weight.
    heaviest_thread: Option<(u64, fx::ThreadHandle)>,
}

/// A mapping as the format knows it: addresses are 32 bits, from a base.
struct Library {
    handle: fx::LibraryHandle,
    base: u64,
    symbols: Arc<fx::SymbolTable>,
}

/// What was made of the profile's tables for one thread: the format shares nothing between threads.
#[derive(Default)]
struct OfThread {
    frames: HashMap<u32, Vec<fx::FrameHandle>>,
    stacks: HashMap<u32, Option<fx::StackHandle>>,
}

impl<'a> Converter<'a> {
    fn new(profile: &'a Profile) -> Self {
        let interval_nanos = match profile.event {
            SampledEvent::CpuClock { period_nanos } => period_nanos,
            SampledEvent::Cycles { rate_hz } => 1_000_000_000 / u64::from(rate_hz.max(1)),
        };
        let start = Duration::from_nanos(profile.started_nanos);
        let mut fx = fx::Profile::new(
            &format!("flamekeeper on {}", profile.host),
            fx::ReferenceTimestamp::from_duration_since_unix_epoch(start),
            fx::SamplingInterval::from_nanos(interval_nanos),
        );
        fx.set_os_name("Linux");
        // Every frame has the best name that we could find: nothing is to be looked up any more.
        fx.set_symbolicated(true);
        let user = fx.add_category("User", fx::CategoryColor::Yellow);
        let kernel = fx.add_category("Kernel", fx::CategoryColor::Blue);
        let libraries = libraries(profile, &mut fx);
        let processes = vec![None; profile.processes.len()];
        Self { profile, fx, interval_nanos, user, kernel, libraries, processes, heaviest_thread: None }
    }

    fn time(&self, at_nanos: u64) -> fx::Timestamp {
        fx::Timestamp::from_nanos_since_reference(at_nanos.saturating_sub(self.profile.started_nanos))
    }

    fn process(&mut self, index: u32) -> fx::ProcessHandle {
        if let Some(handle) = *at(&self.processes, index) {
            return handle;
        }
        let Process { pid, executable_name, started_nanos, ended_nanos } = at(&self.profile.processes, index);
        let handle = self.fx.add_process(executable_name, *pid, self.time(*started_nanos));
        if let Some(end) = *ended_nanos {
            self.fx.set_process_end_time(handle, self.time(end));
        }
        self.processes[index as usize] = Some(handle);
        handle
    }

    fn thread(&mut self, index: u32, samples: &[&TimedSample]) {
        let thread = at(&self.profile.threads, index);
        let process = at(&self.profile.processes, thread.process);
        let handle = self.process(thread.process);
        let is_main = thread.tid == process.pid;
        let handle = self.fx.add_thread(handle, thread.tid, self.time(process.started_nanos), is_main);
        if !thread.name.is_empty() {
            self.fx.set_thread_name(handle, &thread.name);
        }
        if let Some(end) = process.ended_nanos {
            self.fx.set_thread_end_time(handle, self.time(end));
        }
        let weight = samples.iter().map(|sample| sample.weight).sum();
        if self.heaviest_thread.is_none_or(|(heaviest, _)| heaviest < weight) {
            self.heaviest_thread = Some((weight, handle));
        }
        self.samples(handle, samples, self.lifetime(process));
    }

    /// From when to when samples of a process could be taken.
    fn lifetime(&self, process: &Process) -> Range<u64> {
        let Profile { started_nanos, duration, .. } = self.profile;
        let end = started_nanos.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        process.started_nanos.max(*started_nanos)..process.ended_nanos.unwrap_or(end).min(end)
    }

    fn samples(&mut self, thread: fx::ThreadHandle, samples: &[&TimedSample], lifetime: Range<u64>) {
        let mut known = OfThread::default();
        // Where nothing is, the viewer would say that data is missing.
        let mut before = lifetime.start;
        self.idle(thread, lifetime.start);
        for sample in samples {
            let (cpu_nanos, count) = match self.profile.event {
                SampledEvent::CpuClock { period_nanos } => {
                    (sample.weight, sample.weight / period_nanos.max(1))
                }
                // Cycles are no time; a sample stands for about an interval of it.
                SampledEvent::Cycles { .. } => (self.interval_nanos, 1),
            };
            let began = sample.at_nanos.saturating_sub(cpu_nanos);
            // A timer's jitter is no sleep.
            if before.saturating_add(self.interval_nanos / 2) < began {
                self.idle(thread, began);
            }
            let time = self.time(sample.at_nanos);
            let stack = self.stack(thread, &mut known, sample.stack);
            let count = i32::try_from(count.max(1)).unwrap_or(i32::MAX);
            self.fx.add_sample(thread, time, stack, fx::CpuDelta::from_nanos(cpu_nanos), count);
            before = sample.at_nanos;
        }
        if before < lifetime.end {
            self.idle(thread, lifetime.end);
        }
    }

    /// Nothing ran until then.
    fn idle(&mut self, thread: fx::ThreadHandle, until_nanos: u64) {
        self.fx.add_sample(thread, self.time(until_nanos), None, fx::CpuDelta::ZERO, 0);
    }

    fn stack(
        &mut self,
        thread: fx::ThreadHandle,
        known: &mut OfThread,
        index: u32,
    ) -> Option<fx::StackHandle> {
        if let Some(&handle) = known.stacks.get(&index) {
            return handle;
        }
        let mut handle = None;
        for &location in at(&self.profile.stacks, index).iter().rev() {
            let frames = known.frames.entry(location).or_insert_with(|| self.frames(thread, location));
            for &frame in &*frames {
                handle = Some(self.fx.intern_stack(thread, handle, frame));
            }
        }
        known.stacks.insert(index, handle);
        handle
    }

    /// The frames of a location, outermost first.
    fn frames(&mut self, thread: fx::ThreadHandle, index: u32) -> Vec<fx::FrameHandle> {
        let location = at(&self.profile.locations, index);
        let category = match location.space {
            Space::User => self.user,
            Space::Kernel => self.kernel,
            Space::Marker => fx::CategoryHandle::OTHER,
        };
        let mut address = self.address_in_library(location);
        let mut frames = Vec::with_capacity(location.lines.len());
        for line in location.lines.iter().rev() {
            let name = &at(&self.profile.functions, line.function).name;
            let frame = match address.take() {
                Some((library, relative)) => {
                    fx::Frame::RelativeAddressFromInstructionPointer(library, relative)
                }
                None => fx::Frame::Label(self.fx.intern_string(name)),
            };
            let flags = fx::FrameFlags::empty();
            let frame = fx::FrameInfo { frame, category_pair: category.into(), flags };
            frames.push(self.fx.intern_frame(thread, frame));
        }
        frames
    }

    /// Where a location is in its library, if the library then gives it its name. It does not where two
    /// processes have different code at one address that no file is behind.
    fn address_in_library(&self, location: &Location) -> Option<(fx::LibraryHandle, u32)> {
        let library = at(&self.libraries, location.mapping?);
        let address = relative(library.base, location)?;
        let outer = at(&self.profile.functions, location.lines.last()?.function);
        let is_named = library.symbols.lookup(address)?.name == *outer.name;
        is_named.then_some((library.handle, address))
    }
}

fn relative(base: u64, location: &Location) -> Option<u32> {
    u32::try_from(location.address.checked_sub(base)?).ok()
}

/// Mappings as libraries, with the names of the addresses that were sampled in them.
fn libraries(profile: &Profile, fx: &mut fx::Profile) -> Vec<Library> {
    let mut sampled: Vec<Vec<&Location>> = vec![Vec::new(); profile.mappings.len()];
    for location in &profile.locations {
        if let Some(mapping) = location.mapping {
            sampled[mapping as usize].push(location);
        }
    }
    let library = |(mapping, locations): (&Mapping, _)| {
        // ELF addresses mostly fit; what does not (the kernel, memory without a file) counts from its start.
        let base = if u32::try_from(mapping.limit).is_ok() { 0 } else { mapping.start };
        let symbols = Arc::new(symbols(profile, base, locations));
        let name = base_name(&mapping.path).to_owned();
        let handle = fx.add_lib(fx::LibraryInfo {
            debug_name: name.clone(),
            name,
            path: mapping.path.to_string(),
            debug_path: mapping.path.to_string(),
            debug_id: debug_id(&mapping.build_id).unwrap_or_default(),
            code_id: Some(mapping.build_id.to_string()).filter(|id| !id.is_empty()),
            arch: None,
            symbol_table: Some(Arc::clone(&symbols)),
        });
        Library { handle, base, symbols }
    };
    profile.mappings.iter().zip(sampled).map(library).collect()
}

/// The functions of sampled addresses. One begins where it was first seen and goes on until the next: true
/// for every address that is looked up, and all that is known without the symbols' own bounds.
fn symbols(profile: &Profile, base: u64, mut locations: Vec<&Location>) -> fx::SymbolTable {
    locations.sort_by_key(|location| location.address);
    let outer = |location: &Location| location.lines.last().map(|line| line.function);
    locations.dedup_by(|next, first| outer(next) == outer(first));
    let symbol = |location: &Location| {
        let name = at(&profile.functions, outer(location)?).name.to_string();
        Some(fx::Symbol { address: relative(base, location)?, size: None, name })
    };
    fx::SymbolTable::new(locations.into_iter().filter_map(symbol).collect())
}

/// A build id's first 16 bytes as a debug id, as Breakpad makes it of ELF files; shorter ones end in zeros.
fn debug_id(build_id: &str) -> Option<DebugId> {
    let mut guid = [0; 16];
    let digits = build_id.as_bytes().chunks_exact(2);
    if build_id.is_empty() || !digits.remainder().is_empty() {
        return None;
    }
    for (byte, digits) in guid.iter_mut().zip(digits) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    DebugId::from_guid_age(&guid, 0).ok()
}
