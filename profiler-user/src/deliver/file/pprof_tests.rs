//! pprof, read back: as a message, by the checks that pprof itself makes, and by `go tool pprof`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use expect_test::expect;
use prost::Message;

use super::fixture::{Size, big, nasty, nasty_cycles};
use super::format::Format;
use super::pprof_proto as proto;
use crate::aggregate::profile::Profile;

/// Encodes, unpacks, decodes, and checks what every reader relies on.
pub(super) fn decoded(profile: &Profile) -> proto::Profile {
    let mut packed = Vec::new();
    Format::Pprof.encode(profile, &mut packed).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    let decoded = proto::Profile::decode(&bytes[..]).unwrap();
    check_valid(&decoded);
    decoded
}

fn distinct_ids(ids: impl Iterator<Item = u64>) -> HashSet<u64> {
    let ids: Vec<u64> = ids.collect();
    let set: HashSet<u64> = ids.iter().copied().collect();
    assert!(set.len() == ids.len() && !set.contains(&0));
    set
}

fn check_valid(p: &proto::Profile) {
    assert_eq!(p.string_table[0], "");
    assert_eq!(p.string_table.iter().collect::<HashSet<_>>().len(), p.string_table.len(), "each text once");
    let text = |index: i64| assert!(usize::try_from(index).unwrap() < p.string_table.len());
    let mappings = distinct_ids(p.mapping.iter().map(|mapping| mapping.id));
    let functions = distinct_ids(p.function.iter().map(|function| function.id));
    let locations = distinct_ids(p.location.iter().map(|location| location.id));
    p.mapping.iter().for_each(|m| [m.filename, m.build_id].into_iter().for_each(text));
    p.function.iter().for_each(|f| [f.name, f.system_name, f.filename].into_iter().for_each(text));
    p.comment.iter().copied().for_each(text);
    p.sample_type.iter().chain(&p.period_type).for_each(|t| [t.r#type, t.unit].into_iter().for_each(text));
    for location in &p.location {
        assert!(location.mapping_id == 0 || mappings.contains(&location.mapping_id));
        assert!(location.line.iter().all(|line| functions.contains(&line.function_id)));
    }
    for sample in &p.sample {
        assert_eq!(sample.value.len(), p.sample_type.len());
        assert!(sample.location_id.iter().all(|id| locations.contains(id)));
        sample.label.iter().for_each(|l| [l.key, l.str].into_iter().for_each(text));
        assert!(sample.label.iter().all(|l| (l.str == 0) != (l.num == 0)), "text or number, not both");
    }
}

/// As text: a line a mapping, a sample.
fn text(p: &proto::Profile) -> String {
    let text = |index: i64| p.string_table[usize::try_from(index).unwrap()].as_str();
    let kind = |t: &proto::ValueType| format!("{}/{}", text(t.r#type), text(t.unit));
    let mut out = String::new();
    let kinds: Vec<_> = p.sample_type.iter().map(kind).collect();
    let period = p.period_type.as_ref().map(kind).unwrap_or_default();
    writeln!(
        out,
        "{} by default {}; every {} {period}",
        kinds.join(" "),
        text(p.default_sample_type),
        p.period
    )
    .unwrap();
    writeln!(out, "from {} for {}", p.time_nanos, p.duration_nanos).unwrap();
    p.comment.iter().for_each(|&comment| writeln!(out, "# {}", text(comment)).unwrap());
    for m in &p.mapping {
        let flags = [m.has_functions, m.has_filenames, m.has_line_numbers, m.has_inline_frames];
        let flags: String =
            flags.iter().zip("NFLI".chars()).map(|(on, c)| if *on { c } else { '-' }).collect();
        let (path, build_id) = (text(m.filename), text(m.build_id));
        writeln!(
            out,
            "{:#x}-{:#x} at {:#x} {path} {build_id:?} {flags}",
            m.memory_start, m.memory_limit, m.file_offset
        )
        .unwrap();
    }
    let function = |id: u64| p.function.iter().find(|f| f.id == id).unwrap();
    for sample in &p.sample {
        write!(out, "{:?}", sample.value).unwrap();
        for label in &sample.label {
            let value = if label.str == 0 { label.num.to_string() } else { format!("{:?}", text(label.str)) };
            write!(out, " {}={value}", text(label.key)).unwrap();
        }
        for id in &sample.location_id {
            let location = p.location.iter().find(|location| location.id == *id).unwrap();
            let mapping = p.mapping.iter().find(|m| m.id == location.mapping_id);
            let mapping = mapping.map_or("none", |m| text(m.filename));
            write!(out, "\n    {mapping} {:#x}", location.address).unwrap();
            for line in &location.line {
                let f = function(line.function_id);
                write!(out, " | {} {}:{}", text(f.name), text(f.filename), line.line).unwrap();
            }
        }
        out.push('\n');
    }
    out
}

#[test]
fn a_profile_comes_back_whole() {
    expect![[r#"
        samples/count cpu/nanoseconds by default cpu; every 10101010 cpu/nanoseconds
        from 1795306530000000000 for 1500000000
        # no samples were lost
        # stacks: 50 % whole -- see README
        0x401000-0x409000 at 0x1000 /usr/bin/app "ABCDEF0123" NFLI
        0x28000-0x1b0000 at 0x28000 /usr/lib/libc.so.6 "0011223344556677889900aabbccddeeff001122" N---
        0xffffffff81000000-0xffffffffc1000000 at 0x0 [kernel.kallsyms] "" N---
        0x7f0000000000-0x7f0000100000 at 0x0 [anon] "" N---
        [5, 50505050] process_executable_name="app" thread_name="app" pid=100 tid=100
            /usr/bin/app 0x402200 | app::hot /src/hot.rs:7 | app::run<[u8; 4]> /src/app.rs:25
            /usr/bin/app 0x401100 | main /src/app.rs:12
        [3, 30303030] process_executable_name="app" thread_name="app" pid=100 tid=100
            /usr/bin/app 0x402300 | app::hot /src/hot.rs:9 | app::run<[u8; 4]> /src/app.rs:26
            /usr/bin/app 0x401100 | main /src/app.rs:12
        [2, 20202020] process_executable_name="app" thread_name="wörker;1\n" pid=100 tid=101
            [kernel.kallsyms] 0xffffffffc0000123 | read :0
            [kernel.kallsyms] 0xffffffff81200000 | do_syscall_64 :0
            /usr/lib/libc.so.6 0x30000 | read :0
            /usr/bin/app 0x401100 | main /src/app.rs:12
        [2, 20202020] process_executable_name="app" thread_name="app" pid=200 tid=200
            [kernel.kallsyms] 0xffffffffc0000123 | read :0
            [kernel.kallsyms] 0xffffffff81200000 | do_syscall_64 :0
            /usr/lib/libc.so.6 0x30000 | read :0
            /usr/bin/app 0x401100 | main /src/app.rs:12
        [1, 10101010] process_executable_name="app" thread_name="app" pid=200 tid=200
            /usr/bin/app 0x402200 | app::hot /src/hot.rs:7 | app::run<[u8; 4]> /src/app.rs:25
            /usr/bin/app 0x401100 | main /src/app.rs:12
        [1, 10101010] process_executable_name="app" thread_name="wörker;1\n" pid=100 tid=101
            /usr/lib/libc.so.6 0x30000 | read :0
            /usr/bin/app 0x401100 | main /src/app.rs:12
        [1, 10101010] process_executable_name="app" thread_name="wörker;1\n" pid=100 tid=101
            /usr/lib/libc.so.6 0x31000 | read64 :0
            /usr/bin/app 0x401100 | main /src/app.rs:12
        [1, 10101010] process_executable_name="we;ird\nname 5" pid=300 tid=301
            /usr/lib/libc.so.6 0x1b00ff | libc.so.6+0x1b00ff :0
            none 0x0 | [the chain of frame pointers ended] :0
        [1, 10101010] process_executable_name="kworker/0:1" thread_name="kworker/0:1-events" pid=7 tid=7
            [kernel.kallsyms] 0xffffffff81200000 | do_syscall_64 :0
        [1, 10101010] process_executable_name="app" thread_name="app" pid=100 tid=100
            [anon] 0x7f0000000040 | JS:*größe; app.js 12 :0
            /usr/bin/app 0x401100 | main /src/app.rs:12
        [1, 10101010] process_executable_name="app" thread_name="app" pid=200 tid=200
            [anon] 0x7f0000000040 | JS:~other :0
            /usr/bin/app 0x401100 | main /src/app.rs:12
    "#]]
    .assert_eq(&text(&decoded(&nasty())));
}

#[test]
fn cycles_have_no_period() {
    let decoded = decoded(&nasty_cycles());
    expect!["samples/count cycles/count by default cycles; every 0 cycles/count"]
        .assert_eq(text(&decoded).lines().next().unwrap());
}

#[test]
fn functions_have_all_their_names() {
    let decoded = decoded(&nasty());
    let text = |index: i64| decoded.string_table[usize::try_from(index).unwrap()].as_str();
    let f = decoded.function.iter().find(|f| text(f.name) == "app::hot").unwrap();
    assert_eq!((text(f.system_name), text(f.filename), f.start_line), ("_RNvCs_3app3hot", "/src/hot.rs", 5));
}

#[test]
fn pieces_make_a_whole() {
    // More entries of every kind than one piece holds.
    let profile = big(&Size { samples: 5000, stacks: 2000, depth: 10, functions: 3000 });
    let decoded = decoded(&profile);
    assert_eq!(decoded.sample.len(), 5000);
    assert_eq!(decoded.location.len(), profile.locations.len());
    assert_eq!(decoded.function.len(), profile.functions.len());
    assert_eq!(decoded.mapping.len(), profile.mappings.len());
}

/// What `go tool pprof` prints of a profile; nothing, with a loud word, where there is no Go.
fn go_tool_pprof(profile: &Profile, arguments: &[&str]) -> Option<String> {
    let is_there =
        Command::new("go").arg("version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    if !is_there {
        eprintln!("SKIPPED: no `go` on this machine, so `go tool pprof` has not read the profile");
        return None;
    }
    let mut file = tempfile::Builder::new().suffix(".pb.gz").tempfile().unwrap();
    Format::Pprof.encode(profile, file.as_file_mut()).unwrap();
    file.flush().unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new("go");
    command.args(["tool", "pprof"]).args(arguments).arg(file.path());
    // It keeps copies of what it reads there.
    command.env("PPROF_TMPDIR", home.path()).env("TZ", "UTC");
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{}", text(output.stderr));
    Some(text(output.stdout))
}

#[test]
fn go_tool_pprof_reads_it() {
    let Some(top) = go_tool_pprof(&nasty(), &["-top", "-nodecount=20"]) else { return };
    expect![[r#"
        File: app
        Build ID: ABCDEF0123
        no samples were lost
        stacks: 50 % whole -- see README
        Type: cpu
        Time: 2026-11-22 00:15:30 UTC
        Duration: 1.50s, Total samples = 191.92ms (12.79%)
        Showing nodes accounting for 191.92ms, 100% of 191.92ms total
              flat  flat%   sum%        cum   cum%
           90.91ms 47.37% 47.37%    90.91ms 47.37%  app::hot (inline)
           50.51ms 26.32% 73.68%    50.51ms 26.32%  read
           10.10ms  5.26% 78.95%    10.10ms  5.26%  JS:*größe; app.js 12
           10.10ms  5.26% 84.21%    10.10ms  5.26%  JS:~other
           10.10ms  5.26% 89.47%    50.51ms 26.32%  do_syscall_64
           10.10ms  5.26% 94.74%    10.10ms  5.26%  libc.so.6+0x1b00ff
           10.10ms  5.26%   100%    10.10ms  5.26%  read64
                 0     0%   100%    10.10ms  5.26%  [the chain of frame pointers ended]
                 0     0%   100%    90.91ms 47.37%  app::run<[u8; 4]>
                 0     0%   100%   171.72ms 89.47%  main
    "#]]
    .assert_eq(&top);
    let raw = go_tool_pprof(&nasty(), &["-raw"]).unwrap_or_default();
    let labels: Vec<&str> =
        raw.lines().map(str::trim).filter(|line| line.contains("thread_name:[wörker;1")).collect();
    assert_eq!(labels.len(), 3, "{raw}");
    let tags = go_tool_pprof(&nasty(), &["-tags"]).unwrap_or_default();
    assert!(tags.contains("process_executable_name: Total") && tags.contains("pid: Total"), "{tags}");
    let comments = go_tool_pprof(&nasty(), &["-comments"]).unwrap_or_default();
    assert!(comments.contains("no samples were lost"), "{comments}");
}

#[test]
fn go_tool_pprof_reads_cycles() {
    let Some(top) = go_tool_pprof(&nasty_cycles(), &["-top"]) else { return };
    assert!(top.contains("Type: cycles"), "{top}");
}
