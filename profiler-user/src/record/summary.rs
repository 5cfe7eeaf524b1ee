//! A finished capture → the tables on stderr: where the time went, how complete the stacks are, where the
//! files are, what to type next.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use super::account;
use super::finish::Finished;
use super::live::say;
use super::stranger::shortened;
use crate::aggregate::profile::{Profile, SampledEvent, Space};
use crate::capture::Unwind;
use crate::collect::loss::Counts;
use crate::deliver::file::{Destination, Format, OutputReport};

/// Rows of each table.
const ROWS: usize = 10;

/// Prints all of it.
pub(super) fn print(console: &mut impl Write, finished: &Finished, unwind: Unwind) {
    let profile = &finished.profile;
    say(console, &headline(profile));
    if !profile.samples.is_empty() {
        say(console, "");
        functions(profile).iter().for_each(|line| say(console, line));
        say(console, "");
        processes(profile).iter().for_each(|line| say(console, line));
        say(console, "");
        account::in_short(&finished.completeness, unwind).iter().for_each(|line| say(console, line));
    }
    losses(&finished.counts).iter().for_each(|line| say(console, line));
    say(console, "");
    files(&finished.reports).iter().for_each(|line| say(console, line));
}

fn headline(profile: &Profile) -> String {
    let samples: u64 = profile.samples.iter().map(|sample| sample.count).sum();
    let seconds = profile.duration.as_secs_f64();
    if samples == 0 {
        return format!("no samples in {seconds:.1} s: nothing that was asked for used the CPU");
    }
    let weight: u64 = profile.samples.iter().map(|sample| sample.weight).sum();
    let amount = match profile.event {
        SampledEvent::CpuClock { .. } => format!("{:.2} s of CPU time", weight as f64 / 1e9),
        SampledEvent::Cycles { .. } => format!("{:.2} billion cycles", weight as f64 / 1e9),
    };
    format!("{samples} samples in {seconds:.1} s: {amount}")
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:5.1} %", if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 })
}

/// Functions by the time spent in themselves; "total" counts their callees too.
fn functions(profile: &Profile) -> Vec<String> {
    // By mapping too: two programs have a `main` each.
    let mut own: BTreeMap<(u32, Option<u32>), u64> = BTreeMap::new();
    let mut total: BTreeMap<(u32, Option<u32>), u64> = BTreeMap::new();
    let mut whole = 0;
    let locations = |stack: u32| profile.stacks.get(stack as usize).into_iter().flatten();
    for sample in &profile.samples {
        whole += sample.weight;
        let functions = locations(sample.stack)
            .filter_map(|&id| profile.locations.get(id as usize))
            .filter(|location| location.space != Space::Marker)
            .flat_map(|location| location.lines.iter().map(|line| (line.function, location.mapping)));
        let mut seen = HashSet::new();
        for (depth, function) in functions.enumerate() {
            if depth == 0 {
                *own.entry(function).or_default() += sample.weight;
            }
            if seen.insert(function) {
                *total.entry(function).or_default() += sample.weight;
            }
        }
    }
    let mut rows: Vec<((u32, Option<u32>), u64)> = own.into_iter().collect();
    rows.sort_by_key(|&(function, weight)| (std::cmp::Reverse(weight), function));
    let rows: Vec<[String; 4]> = rows
        .into_iter()
        .take(ROWS)
        .filter_map(|(id, weight)| {
            let function = profile.functions.get(id.0 as usize)?;
            let module = shortened(module(profile, id.1));
            let total = total.get(&id).copied().unwrap_or(0);
            Some([percent(weight, whole), percent(total, whole), shortened(&function.name), module])
        })
        .collect();
    let width = rows.iter().map(|[.., name, _]| name.chars().count()).max().unwrap_or(0);
    let mut lines = vec!["   self    total  function".to_owned()];
    lines.extend(
        rows.iter().map(|[own, total, name, module]| format!("{own}  {total}  {name:width$}  {module}")),
    );
    lines
}

/// The name of a mapping's file.
fn module(profile: &Profile, mapping: Option<u32>) -> &str {
    let path = mapping.and_then(|id| profile.mappings.get(id as usize)).map_or("", |mapping| &mapping.path);
    if path == "[kernel.kallsyms]" { "[kernel]" } else { path.rsplit('/').next().unwrap_or(path) }
}

fn processes(profile: &Profile) -> Vec<String> {
    let mut by_name: BTreeMap<&str, (u64, u64, HashSet<u32>)> = BTreeMap::new();
    let mut whole = 0;
    for sample in &profile.samples {
        let process = profile
            .threads
            .get(sample.thread as usize)
            .and_then(|thread| profile.processes.get(thread.process as usize));
        let Some(process) = process else { continue };
        whole += sample.weight;
        let row = by_name.entry(&process.executable_name).or_default();
        row.0 += sample.weight;
        row.1 += sample.count;
        row.2.insert(process.pid);
    }
    let mut rows: Vec<_> = by_name.into_iter().collect();
    rows.sort_by_key(|&(name, (weight, ..))| (std::cmp::Reverse(weight), name));
    let mut lines = vec!["  share  samples  process".to_owned()];
    lines.extend(rows.into_iter().take(ROWS).map(|(name, (weight, count, pids))| {
        let who = match pids.iter().next() {
            Some(pid) if pids.len() == 1 => format!("pid {pid}"),
            _ => format!("{} processes", pids.len()),
        };
        format!("{}  {count:7}  {}  {who}", percent(weight, whole), shortened(name))
    }));
    lines
}

fn losses(counts: &Counts) -> Vec<String> {
    counts.losses().map(|(cause, count)| format!("{count} {}", cause.words())).collect()
}

fn files(reports: &[OutputReport]) -> Vec<String> {
    let mut lines = Vec::new();
    for report in reports {
        match &report.result {
            Ok(bytes) => {
                let next = match report.target.destination {
                    Destination::File(_) => next_command(report.target.format, &report.target.to_string()),
                    Destination::Stdout | Destination::InPlace(_) => String::new(),
                };
                lines.push(format!("wrote {} ({}){next}", report.target, size(*bytes)));
            }
            Err(error) => {
                let cause =
                    std::error::Error::source(error).map_or(String::new(), |cause| format!(": {cause}"));
                lines.push(format!("error: {error}{cause}"));
            }
        }
    }
    lines
}

/// How to look at a file.
fn next_command(format: Format, path: &str) -> String {
    match format {
        Format::Pprof => format!("; look at it with: go tool pprof -http=: {path}"),
        Format::Folded => "; one line a stack, its count at the end".to_owned(),
        Format::Svg => "; open it in a web browser".to_owned(),
        Format::Firefox => "; drop it on profiler.firefox.com".to_owned(),
        Format::Speedscope => "; drop it on www.speedscope.app".to_owned(),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use expect_test::{Expect, expect};
    use profiler_common::outcome::Outcome;

    use super::*;
    use crate::aggregate::completeness::{BrokenOff, Completeness, EndedIn, Ending};
    use crate::deliver::file::{OutputError, Target, fixture};

    fn check(profile: Profile, completeness: Completeness, expected: &Expect) {
        let mut counts = Counts::default();
        counts.add(Outcome::Samples, 1_000);
        counts.add(Outcome::SampleRingFull, 3);
        let target = |path: &str, format| Target {
            given: PathBuf::from(path),
            format,
            destination: Destination::File(path.into()),
        };
        let failed =
            OutputError::Write { path: "b.svg".into(), source: std::io::ErrorKind::StorageFull.into() };
        let reports = vec![
            OutputReport { target: target("a.pb.gz", Format::Pprof), result: Ok(2_000) },
            OutputReport { target: target("b.svg", Format::Svg), result: Err(failed) },
        ];
        let mut text = Vec::new();
        print(&mut text, &Finished { profile, completeness, counts, reports }, Unwind::FramePointers);
        expected.assert_eq(&String::from_utf8(text).unwrap());
    }

    #[test]
    fn tables_losses_and_files() {
        let mut completeness = Completeness::default();
        let (python, planted): (Arc<str>, Arc<str>) = ("python3".into(), "\u{1b}[2J".into());
        let broken = |reason, file: &str| {
            Ending::BrokenOff(BrokenOff {
                reason,
                at: Some(EndedIn::File { name: file.into(), is_described: false }),
            })
        };
        completeness.add(&python, &broken(Outcome::FramePointerChainEnd, "libpython3.so"), 1);
        completeness.add(&python, &Ending::Root, 3);
        completeness.add(&planted, &broken(Outcome::FrameLimit, "\u{1b}[2J"), 1);
        check(
            fixture::nasty(),
            completeness,
            &expect![[r#"
            19 samples in 1.5 s: 0.19 s of CPU time

               self    total  function
             47.4 %   47.4 %  app::hot              app
             21.1 %   21.1 %  read                  [kernel]
              5.3 %   26.3 %  read                  libc.so.6
              5.3 %    5.3 %  read64                libc.so.6
              5.3 %    5.3 %  libc.so.6+0x1b00ff    libc.so.6
              5.3 %   26.3 %  do_syscall_64         [kernel]
              5.3 %    5.3 %  JS:*größe; app.js 12  [anon]
              5.3 %    5.3 %  JS:~other             [anon]

              share  samples  process
             89.5 %       17  app  2 processes
              5.3 %        1  kworker/0:1  pid 7
              5.3 %        1  we;ird�name 5  pid 300

            60.0 % of the user stacks reach their root (3 of 5).
              �[2J: 0.0 %; in the others the stack is deeper than the walker goes (�[2J)
                record with --unwind rows, which needs no frame pointers and goes deeper
              python3: 75.0 %; in the others the chain of frame pointers ended (libpython3.so)
            3 samples found the ring full

            wrote a.pb.gz (1 KiB); look at it with: go tool pprof -http=: a.pb.gz
            error: b.svg: not written: no storage space
        "#]],
        );
    }

    #[test]
    fn nothing_sampled_is_no_empty_table() {
        check(
            fixture::empty(),
            Completeness::default(),
            &expect![[r#"
            no samples in 1.5 s: nothing that was asked for used the CPU
            3 samples found the ring full

            wrote a.pb.gz (1 KiB); look at it with: go tool pprof -http=: a.pb.gz
            error: b.svg: not written: no storage space
        "#]],
        );
    }
}
