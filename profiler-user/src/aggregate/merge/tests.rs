//! Two profiles with numbers of their own → one, as folded text.

use std::fmt::Write;
use std::time::Duration;

use expect_test::{Expect, expect};

use super::*;
use crate::aggregate::profile::Space;

/// A profile of one process, with these stacks (root first) and how often each was met. Its tables are in the order of
/// `shift`, so that equal things have other numbers in other profiles.
fn profile(pid: u32, name: &str, shift: usize, stacks: &[(&[&str], u64)]) -> Profile {
    let mut names: Vec<&str> = stacks.iter().flat_map(|(stack, _)| stack.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    let by = shift % names.len();
    names.rotate_left(by);
    let index = |name: &str| u32::try_from(names.iter().position(|known| *known == name).unwrap()).unwrap();
    let function = |name: &&str| Function {
        name: (*name).into(),
        system_name: (*name).into(),
        file: "".into(),
        start_line: 1,
    };
    let location = |name: &&str| Location {
        mapping: Some(0),
        address: u64::from(name.as_bytes()[0]),
        space: Space::User,
        lines: vec![Line { function: index(name), line: 3 }],
    };
    let sample =
        |(stack, &(_, count)): (u32, &(&[&str], u64))| Sample { thread: 0, stack, count, weight: count * 10 };
    Profile {
        host: "host".into(),
        started_nanos: 5,
        duration: Duration::from_secs(1),
        event: SampledEvent::CpuClock { period_nanos: 10 },
        processes: vec![Process { pid, executable_name: name.into(), started_nanos: 1, ended_nanos: None }],
        threads: vec![Thread { process: 0, tid: pid, name: name.into() }],
        mappings: vec![Mapping {
            path: "/bin/app".into(),
            build_id: "ab".into(),
            start: 0,
            limit: 9,
            file_offset: 0,
        }],
        functions: names.iter().map(function).collect(),
        locations: names.iter().map(location).collect(),
        stacks: stacks
            .iter()
            .map(|(stack, _)| stack.iter().rev().map(|name| index(name)).collect())
            .collect(),
        samples: (0..).zip(stacks).map(sample).collect(),
        timeline: None,
        comments: Vec::new(),
    }
}

fn merged(keep: Keep, profiles: &[Profile]) -> Profile {
    let mut merger = Merger::new(keep);
    for profile in profiles {
        merger.begin();
        profile.samples.iter().for_each(|sample| merger.add(profile, sample));
    }
    let event = SampledEvent::CpuClock { period_nanos: 10 };
    merger.finish(Span { host: "host".into(), started_nanos: 5, duration: Duration::from_secs(2), event })
}

fn check(profile: &Profile, expected: &Expect) {
    let mut text = String::new();
    for sample in &profile.samples {
        let thread = &profile.threads[sample.thread as usize];
        let process = &profile.processes[thread.process as usize];
        let name = |id: &u32| {
            let line = profile.locations[*id as usize].lines[0];
            &*profile.functions[line.function as usize].name
        };
        let stack: Vec<&str> = profile.stacks[sample.stack as usize].iter().rev().map(name).collect();
        let Sample { count, weight, .. } = sample;
        writeln!(
            text,
            "{} {} {}: {} {count}×{weight}",
            process.executable_name,
            process.pid,
            thread.tid,
            stack.join(";")
        )
        .unwrap();
    }
    expected.assert_eq(&text);
}

fn two() -> [Profile; 2] {
    [
        profile(7, "app", 0, &[(&["main", "burn"], 3), (&["main", "idle"], 1)]),
        profile(8, "app", 2, &[(&["main", "burn"], 2), (&["main", "zip", "burn"], 9)]),
    ]
}

#[test]
fn equal_stacks_of_equal_programs_are_one() {
    let merged = merged(Keep::Executables, &two());
    check(
        &merged,
        &expect![[r#"
            app 0 0: main;zip;burn 9×90
            app 0 0: main;burn 5×50
            app 0 0: main;idle 1×10
        "#]],
    );
    assert_eq!((merged.functions.len(), merged.locations.len(), merged.mappings.len()), (4, 4, 1));
}

#[test]
fn threads_are_kept_apart_if_wished() {
    check(
        &merged(Keep::Threads, &two()),
        &expect![[r#"
            app 8 8: main;zip;burn 9×90
            app 7 7: main;burn 3×30
            app 8 8: main;burn 2×20
            app 7 7: main;idle 1×10
        "#]],
    );
}

#[test]
fn a_sample_without_its_stack_is_left_out() {
    let [mut first, _] = two();
    first.samples[0].stack = 99;
    first.samples[1].thread = 99;
    assert!(merged(Keep::Threads, &[first]).samples.is_empty());
}
