//! Profiles for tests: a small one with everything that could trip a format, and big random ones.

use std::time::Duration;

use crate::aggregate::profile::{
    Function, Line, Location, Mapping, Process, Profile, Sample, SampledEvent, Space, Thread, TimedSample,
};

/// 2026-11-22 00:15:30 UTC.
const STARTED_NANOS: u64 = 1_795_306_530_000_000_000;
/// 99 Hz.
const PERIOD_NANOS: u64 = 10_101_010;

/// A profile under construction.
struct Builder(Profile);

impl Builder {
    fn function(&mut self, name: &str, system_name: &str, file: &str, start_line: u32) -> u32 {
        let text = Into::into;
        let function =
            Function { name: text(name), system_name: text(system_name), file: text(file), start_line };
        push(&mut self.0.functions, function)
    }

    fn location(&mut self, mapping: Option<u32>, address: u64, space: Space, lines: &[(u32, u32)]) -> u32 {
        let lines = lines.iter().map(|&(function, line)| Line { function, line }).collect();
        push(&mut self.0.locations, Location { mapping, address, space, lines })
    }

    /// Samples a thread: at these moments (milliseconds after the start), each worth a period.
    fn sample(&mut self, thread: u32, stack: u32, at_millis: &[u64]) {
        let count = at_millis.len() as u64;
        self.0.samples.push(Sample { thread, stack, count, weight: count * PERIOD_NANOS });
        let timed = |millis: &u64| TimedSample {
            at_nanos: STARTED_NANOS + millis * 1_000_000,
            thread,
            stack,
            weight: PERIOD_NANOS,
        };
        self.0.timeline.get_or_insert_default().extend(at_millis.iter().map(timed));
    }
}

fn push<T>(table: &mut Vec<T>, entry: T) -> u32 {
    table.push(entry);
    u32::try_from(table.len() - 1).unwrap()
}

fn process(pid: u32, name: &str, started_millis: u64, ended_millis: Option<u64>) -> Process {
    let nanos = |millis| STARTED_NANOS + millis * 1_000_000;
    Process {
        pid,
        executable_name: name.into(),
        started_nanos: nanos(started_millis),
        ended_nanos: ended_millis.map(nanos),
    }
}

fn thread(process: u32, tid: u32, name: &str) -> Thread {
    Thread { process, tid, name: name.into() }
}

fn mapping(path: &str, build_id: &str, start: u64, limit: u64, file_offset: u64) -> Mapping {
    Mapping { path: path.into(), build_id: build_id.into(), start, limit, file_offset }
}

/// No processes, no samples; a time line if there is to be one.
pub(crate) fn empty() -> Profile {
    Profile {
        host: "web-1 <&> \u{1}\"é\"".into(),
        started_nanos: STARTED_NANOS,
        duration: Duration::from_millis(1500),
        event: SampledEvent::CpuClock { period_nanos: PERIOD_NANOS },
        processes: Vec::new(),
        threads: Vec::new(),
        mappings: Vec::new(),
        functions: Vec::new(),
        locations: Vec::new(),
        stacks: Vec::new(),
        samples: Vec::new(),
        timeline: Some(Vec::new()),
        comments: vec!["no samples were lost".into(), "stacks: 50 % whole -- see README".into()],
    }
}

/// Two processes of one name, one of which ends; a kernel thread; names with `;`, line ends, numbers and
/// non-ASCII; inlined functions; one function at two addresses; a note; addresses without symbol; a kernel
/// function that is called like a program's; code without a file at one address in two processes.
pub(crate) fn nasty() -> Profile {
    let mut b = Builder(empty());
    b.0.processes = vec![
        process(100, "app", 0, None),
        process(200, "app", 300, Some(900)),
        process(7, "kworker/0:1", 0, None),
        process(300, "we;ird\nname 5", 0, None),
    ];
    b.0.threads = vec![
        thread(0, 100, "app"),
        thread(0, 101, "wörker;1\n"),
        thread(1, 200, "app"),
        thread(2, 7, "kworker/0:1-events"),
        thread(3, 301, ""),
    ];
    b.0.mappings = vec![
        mapping("[kernel.kallsyms]", "", 0xffff_ffff_8100_0000, 0xffff_ffff_c100_0000, 0),
        mapping("/usr/lib/libc.so.6", "0011223344556677889900aabbccddeeff001122", 0x28000, 0x1b0000, 0x28000),
        mapping("/usr/bin/app", "ABCDEF0123", 0x40_1000, 0x40_9000, 0x1000),
        mapping("[anon]", "", 0x7f00_0000_0000, 0x7f00_0010_0000, 0),
    ];
    let main = b.function("main", "main", "/src/app.rs", 10);
    let run = b.function("app::run<[u8; 4]>", "_RNvCs_3app3run", "/src/app.rs", 20);
    let inlined = b.function("app::hot", "_RNvCs_3app3hot", "/src/hot.rs", 5);
    let read = b.function("read", "read", "", 0);
    let read64 = b.function("read64", "read64", "", 0);
    let unnamed = b.function("libc.so.6+0x1b00ff", "libc.so.6+0x1b00ff", "", 0);
    let syscall = b.function("do_syscall_64", "do_syscall_64", "", 0);
    let kernel_read = b.function("read", "read", "", 0);
    let jit = b.function("JS:*größe; app.js 12", "JS:*größe; app.js 12", "", 0);
    let other_jit = b.function("JS:~other", "JS:~other", "", 0);
    let note = b.function("[the chain of frame pointers ended]", "", "", 0);

    let at_main = b.location(Some(2), 0x40_1100, Space::User, &[(main, 12)]);
    let at_run = b.location(Some(2), 0x40_2200, Space::User, &[(inlined, 7), (run, 25)]);
    let at_run_again = b.location(Some(2), 0x40_2300, Space::User, &[(inlined, 9), (run, 26)]);
    let at_read = b.location(Some(1), 0x30000, Space::User, &[(read, 0)]);
    let at_read64 = b.location(Some(1), 0x31000, Space::User, &[(read64, 0)]);
    let at_unnamed = b.location(Some(1), 0x1b_00ff, Space::User, &[(unnamed, 0)]);
    let at_syscall = b.location(Some(0), 0xffff_ffff_8120_0000, Space::Kernel, &[(syscall, 0)]);
    let at_kernel_read = b.location(Some(0), 0xffff_ffff_c000_0123, Space::Kernel, &[(kernel_read, 0)]);
    let at_jit = b.location(Some(3), 0x7f00_0000_0040, Space::User, &[(jit, 0)]);
    let at_other_jit = b.location(Some(3), 0x7f00_0000_0040, Space::User, &[(other_jit, 0)]);
    let at_note = b.location(None, 0, Space::Marker, &[(note, 0)]);

    b.0.stacks = vec![
        vec![at_run, at_main],
        vec![at_run_again, at_main],
        vec![at_kernel_read, at_syscall, at_read, at_main],
        vec![at_read, at_main],
        vec![at_read64, at_main],
        vec![at_unnamed, at_note],
        vec![at_syscall],
        vec![at_jit, at_main],
        vec![at_other_jit, at_main],
    ];
    b.sample(0, 0, &[10, 20, 30, 700, 710]);
    b.sample(0, 1, &[40, 50, 720]);
    b.sample(1, 2, &[15, 25]);
    b.sample(2, 2, &[310, 320]);
    b.sample(2, 0, &[330]);
    b.sample(1, 3, &[35]);
    b.sample(1, 4, &[45]);
    b.sample(4, 5, &[1000]);
    b.sample(3, 6, &[5]);
    b.sample(0, 7, &[60]);
    b.sample(2, 8, &[340]);
    b.0.timeline.get_or_insert_default().sort_by_key(|sample| sample.at_nanos);
    b.0
}

/// The same with hardware cycles: weights that vary and a count that says little.
pub(crate) fn nasty_cycles() -> Profile {
    let mut profile = nasty();
    profile.event = SampledEvent::Cycles { rate_hz: 99 };
    for (sample, factor) in profile.samples.iter_mut().zip(1..) {
        sample.weight = factor * 1_000_000 * sample.count;
    }
    for sample in profile.timeline.iter_mut().flatten() {
        sample.weight = 30_000_000;
    }
    profile
}

/// Shape of a big profile.
pub(crate) struct Size {
    /// Single samples; at 99 Hz on two CPUs.
    pub(crate) samples: u32,
    /// Distinct stacks.
    pub(crate) stacks: u32,
    /// Locations a stack.
    pub(crate) depth: u32,
    /// Distinct functions.
    pub(crate) functions: u32,
}

/// A big profile with stacks that fork like a program's: the outer half has few forms, the inner half many.
pub(crate) fn big(size: &Size) -> Profile {
    let mut random = SplitMix(42);
    let mut b = Builder(empty());
    b.0.processes = (0..50).map(|i| process(1000 + i, &format!("service-{}", i % 40), 0, None)).collect();
    b.0.threads = (0..400)
        .map(|i| thread(i % 50, 1000 + i % 50 + 100 * (i / 50), &format!("worker-{}", i / 50)))
        .collect();
    b.0.mappings = (0..20)
        .map(|i| mapping(&format!("/usr/lib/lib{i}.so"), &format!("{i:040x}"), 0, 1 << 30, 0))
        .collect();
    for i in 0..size.functions {
        let name = format!("crate_{}::module_{}::Type<alloc::string::String>::function_{i}", i % 97, i % 31);
        let function = b.function(&name, &format!("_ZN{name}E"), &format!("/src/{}.rs", i % 997), i);
        let lines = [(function, i + 3), (function / 2, 7)];
        let lines = if i % 4 == 0 { &lines[..] } else { &lines[..1] };
        b.location(Some(i % 20), u64::from(i) * 64, Space::User, lines);
    }
    for _ in 0..size.stacks {
        let mut stack = Vec::new();
        let mut path = random.below(8);
        for depth in 0..size.depth {
            let forms = if depth < size.depth / 2 { 2 } else { 6 };
            path = path.wrapping_mul(31).wrapping_add(random.below(forms) * (depth % 7 / 6)) % size.functions;
            stack.push(path);
        }
        stack.push(random.below(size.functions));
        stack.reverse();
        b.0.stacks.push(stack);
    }
    let timed = (0..size.samples).map(|i| TimedSample {
        at_nanos: STARTED_NANOS + u64::from(i) * PERIOD_NANOS / 2,
        thread: random.skewed(400),
        stack: random.skewed(size.stacks),
        weight: PERIOD_NANOS,
    });
    let timed: Vec<_> = timed.collect();
    let sample = |timed: &TimedSample| Sample {
        thread: timed.thread,
        stack: timed.stack,
        count: 1,
        weight: timed.weight,
    };
    b.0.samples = timed.iter().map(sample).collect();
    b.0.timeline = Some(timed);
    b.0.duration = Duration::from_nanos(u64::from(size.samples) * PERIOD_NANOS / 2);
    b.0
}

/// Numbers that look random and are the same each time (splitmix64, Steele et al. 2014).
struct SplitMix(u64);

impl SplitMix {
    /// Small numbers more often, as a few threads do most of the work.
    fn skewed(&mut self, limit: u32) -> u32 {
        let limit = self.below(limit) + 1;
        self.below(limit)
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) % u64::from(limit)).unwrap()
    }
}
