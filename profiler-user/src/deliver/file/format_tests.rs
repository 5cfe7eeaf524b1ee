//! Every format over the small nasty profile, checked as text, and against what its readers rely on.

use std::collections::HashSet;

use expect_test::{Expect, expect};
use serde_json::Value;

use super::fixture::{Size, big, empty, nasty, nasty_cycles};
use super::format::{EncodeError, Format};
use crate::aggregate::profile::Profile;

fn encoded(profile: &Profile, format: Format) -> String {
    let mut bytes = Vec::new();
    format.encode(profile, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn check(profile: &Profile, format: Format, expected: &Expect) {
    expected.assert_eq(&encoded(profile, format).replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn folded_text() {
    check(
        &nasty(),
        Format::Folded,
        &expect![[r#"
        app;main;JS:*größe: app.js_12 1
        app;main;JS:~other 1
        app;main;app::run<[u8: 4]>;app::hot 9
        app;main;read 1
        app;main;read64 1
        app;main;read;do_syscall_64_[k];read_[k] 4
        kworker/0:1;do_syscall_64_[k] 1
        we:ird name_5;[the chain of frame pointers ended];libc.so.6+0x1b00ff 1
    "#]],
    );
}

#[test]
fn folded_text_of_cycles_counts_cycles() {
    check(
        &nasty_cycles(),
        Format::Folded,
        &expect![[r#"
        app;main;JS:*größe: app.js_12 10000000
        app;main;JS:~other 11000000
        app;main;app::run<[u8: 4]>;app::hot 16000000
        app;main;read 6000000
        app;main;read64 7000000
        app;main;read;do_syscall_64_[k];read_[k] 14000000
        kworker/0:1;do_syscall_64_[k] 9000000
        we:ird name_5;[the chain of frame pointers ended];libc.so.6+0x1b00ff 8000000
    "#]],
    );
}

#[test]
fn folded_lines_are_sorted_and_distinct() {
    let text = encoded(&big(&Size { samples: 3000, stacks: 500, depth: 12, functions: 300 }), Format::Folded);
    let stacks: Vec<&str> = text.lines().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    assert!(stacks.is_sorted());
    assert_eq!(stacks.iter().collect::<HashSet<_>>().len(), stacks.len());
    let total: u64 = text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
    assert_eq!(total, 3000);
}

#[test]
fn speedscope_json() {
    check(
        &nasty(),
        Format::Speedscope,
        &expect![[r#"
            {"$schema":"https://www.speedscope.app/file-format-schema.json","exporter":"flamekeeper VERSION","name":"web-1 <&> \u0001\"é\"","activeProfileIndex":0,"shared":{"frames":[{"name":"main","file":"/src/app.rs","line":10},{"name":"app::run<[u8; 4]>","file":"/src/app.rs","line":20},{"name":"app::hot","file":"/src/hot.rs","line":5},{"name":"read","file":"/usr/lib/libc.so.6"},{"name":"read64","file":"/usr/lib/libc.so.6"},{"name":"libc.so.6+0x1b00ff","file":"/usr/lib/libc.so.6"},{"name":"do_syscall_64","file":"[kernel.kallsyms]"},{"name":"read","file":"[kernel.kallsyms]"},{"name":"JS:*größe; app.js 12","file":"[anon]"},{"name":"JS:~other","file":"[anon]"},{"name":"[the chain of frame pointers ended]"}]},"profiles":[{"type":"sampled","name":"app (pid 100)","unit":"nanoseconds","startValue":0,"endValue":131313130,"samples":[[0,1,2],[0,1,2],[0,3,6,7],[0,3],[0,4],[0,8]],"weights":[50505050,30303030,20202020,10101010,10101010,10101010]},{"type":"sampled","name":"app (pid 200)","unit":"nanoseconds","startValue":0,"endValue":40404040,"samples":[[0,3,6,7],[0,1,2],[0,9]],"weights":[20202020,10101010,10101010]},{"type":"sampled","name":"kworker/0:1 (pid 7)","unit":"nanoseconds","startValue":0,"endValue":10101010,"samples":[[6]],"weights":[10101010]},{"type":"sampled","name":"we;ird\nname 5 (pid 300)","unit":"nanoseconds","startValue":0,"endValue":10101010,"samples":[[10,5]],"weights":[10101010]}]}
        "#]],
    );
}

#[test]
fn speedscope_cycles_have_no_unit() {
    let json: Value = serde_json::from_str(&encoded(&nasty_cycles(), Format::Speedscope)).unwrap();
    assert_eq!(json["profiles"][0]["unit"], "none");
}

#[test]
fn a_profile_without_samples_is_a_valid_file_in_every_format() {
    check(&empty(), Format::Folded, &expect![[r#""#]]);
    check(
        &empty(),
        Format::Svg,
        &expect![[r#"
        <svg version="1.1" width="1200" height="60" xmlns="http://www.w3.org/2000/svg">
        <rect width="100%" height="100%" fill="white"/>
        <text x="600" y="35" text-anchor="middle" font-family="monospace">CPU time on web-1 &lt;&amp;&gt;  "é": no samples in 1.5 s</text>
        </svg>
    "#]],
    );
    check(
        &empty(),
        Format::Speedscope,
        &expect![[r#"
            {"$schema":"https://www.speedscope.app/file-format-schema.json","exporter":"flamekeeper VERSION","name":"web-1 <&> \u0001\"é\"","activeProfileIndex":0,"shared":{"frames":[]},"profiles":[{"type":"sampled","name":"no samples","unit":"nanoseconds","startValue":0,"endValue":0,"samples":[],"weights":[]}]}
        "#]],
    );
    let json: Value = serde_json::from_str(&encoded(&empty(), Format::Firefox)).unwrap();
    assert_eq!(json["threads"], serde_json::json!([]));
    super::pprof_tests::decoded(&empty());
}

#[test]
fn firefox_without_a_timeline_is_refused() {
    let profile = Profile { timeline: None, ..nasty() };
    let refused = Format::Firefox.encode(&profile, &mut Vec::new());
    assert!(matches!(refused, Err(EncodeError::NoTimeline { format: Format::Firefox })));
}

/// A thread's samples with their stacks, as the Firefox Profiler would show them.
fn firefox_thread(json: &Value, thread: &Value) -> String {
    let columns = |table: &str, column: &str| thread[table][column].as_array().unwrap().clone();
    for (table, names) in [
        ("samples", &["stack", "timeDeltas", "weight", "threadCPUDelta"][..]),
        ("stackTable", &["prefix", "frame"]),
        ("frameTable", &["address", "category", "func", "nativeSymbol", "line"]),
        ("funcTable", &["name", "resource", "fileName"]),
        ("resourceTable", &["lib", "name", "type"]),
        ("nativeSymbols", &["address", "libIndex", "name"]),
    ] {
        let length = thread[table]["length"].as_u64().unwrap();
        names.iter().for_each(|name| assert_eq!(columns(table, name).len() as u64, length, "{table}.{name}"));
    }
    let entry = |table: &str, column: &str, index: &Value| {
        thread[table][column][usize::try_from(index.as_u64().unwrap()).unwrap()].clone()
    };
    let string = |index: &Value| {
        let index = usize::try_from(index.as_u64().unwrap()).unwrap();
        thread["stringArray"][index].as_str().unwrap().to_owned()
    };
    let frame_text = |frame: &Value| {
        let func = entry("frameTable", "func", frame);
        let mut text = string(&entry("funcTable", "name", &func));
        let category = entry("frameTable", "category", frame).as_u64().unwrap();
        let category =
            json["meta"]["categories"][usize::try_from(category).unwrap()]["name"].as_str().unwrap();
        text.push_str(&format!(" {category}"));
        let resource = entry("funcTable", "resource", &func);
        if resource.as_i64() != Some(-1) {
            let address = entry("frameTable", "address", frame).as_u64().unwrap();
            text.push_str(&format!(" {}+{address:#x}", string(&entry("resourceTable", "name", &resource))));
        }
        text
    };
    let mut written = format!(
        "{} pid {} tid {} main {} process {} {} to {}\n",
        thread["name"],
        thread["pid"],
        thread["tid"],
        thread["isMainThread"],
        thread["processName"],
        thread["processStartupTime"],
        thread["processShutdownTime"],
    );
    let mut time = 0.0;
    let (deltas, stacks) = (columns("samples", "timeDeltas"), columns("samples", "stack"));
    let (weights, cpu) = (columns("samples", "weight"), columns("samples", "threadCPUDelta"));
    for (((delta, stack), weight), cpu) in deltas.iter().zip(&stacks).zip(&weights).zip(&cpu) {
        time += delta.as_f64().unwrap();
        let mut frames = Vec::new();
        let mut stack = stack.clone();
        while !stack.is_null() {
            frames.push(frame_text(&entry("stackTable", "frame", &stack)));
            stack = entry("stackTable", "prefix", &stack);
        }
        frames.reverse();
        written.push_str(&format!("  {time:.1} ms, cpu {cpu} µs, {weight}: {}\n", frames.join(" > ")));
    }
    written
}

fn firefox_text(profile: &Profile) -> String {
    let json: Value = serde_json::from_str(&encoded(profile, Format::Firefox)).unwrap();
    let mut written = format!("{}\n", json["meta"]);
    json["libs"].as_array().unwrap().iter().for_each(|library| written.push_str(&format!("{library}\n")));
    for thread in json["threads"].as_array().unwrap() {
        written.push_str(&firefox_thread(&json, thread));
    }
    written
}

#[test]
fn firefox_threads_and_libraries() {
    expect![[r#"
        {"categories":[{"color":"grey","name":"Other","subcategories":["Other"]},{"color":"yellow","name":"User","subcategories":["Other"]},{"color":"blue","name":"Kernel","subcategories":["Other"]}],"debug":false,"extensions":{"baseURL":[],"id":[],"length":0,"name":[]},"initialSelectedThreads":[0],"interval":10.10101,"markerSchema":[],"oscpu":"Linux","pausedRanges":[],"preprocessedProfileVersion":55,"processType":0,"product":"flamekeeper on web-1 <&> \u0001\"é\"","sampleUnits":{"eventDelay":"ms","threadCPUDelta":"µs","time":"ms"},"sourceCodeIsNotOnSearchfox":true,"startTime":1795306530000.0,"symbolicated":true,"usesOnlyOneStackType":true,"version":24}
        {"arch":null,"breakpadId":"01EFCDAB0023000000000000000000000","codeId":"ABCDEF0123","debugName":"app","debugPath":"/usr/bin/app","name":"app","path":"/usr/bin/app"}
        {"arch":null,"breakpadId":"000000000000000000000000000000000","codeId":null,"debugName":"[anon]","debugPath":"[anon]","name":"[anon]","path":"[anon]"}
        {"arch":null,"breakpadId":"3322110055447766889900AABBCCDDEE0","codeId":"0011223344556677889900aabbccddeeff001122","debugName":"libc.so.6","debugPath":"/usr/lib/libc.so.6","name":"libc.so.6","path":"/usr/lib/libc.so.6"}
        {"arch":null,"breakpadId":"000000000000000000000000000000000","codeId":null,"debugName":"[kernel.kallsyms]","debugPath":"[kernel.kallsyms]","name":"[kernel.kallsyms]","path":"[kernel.kallsyms]"}
        "app" pid "100" tid "100" main true process "app" 0.0 to null
          0.0 ms, cpu 0 µs, 0: 
          10.0 ms, cpu 10101 µs, 1: main User app+0x401100 > app::run<[u8; 4]> User app+0x402200 > app::hot User
          20.0 ms, cpu 10101 µs, 1: main User app+0x401100 > app::run<[u8; 4]> User app+0x402200 > app::hot User
          30.0 ms, cpu 10101 µs, 1: main User app+0x401100 > app::run<[u8; 4]> User app+0x402200 > app::hot User
          40.0 ms, cpu 10101 µs, 1: main User app+0x401100 > app::run<[u8; 4]> User app+0x402300 > app::hot User
          50.0 ms, cpu 10101 µs, 1: main User app+0x401100 > app::run<[u8; 4]> User app+0x402300 > app::hot User
          60.0 ms, cpu 10101 µs, 1: main User app+0x401100 > JS:*größe; app.js 12 User [anon]+0x40
          689.9 ms, cpu 0 µs, 0: 
          700.0 ms, cpu 10101 µs, 1: main User app+0x401100 > app::run<[u8; 4]> User app+0x402200 > app::hot User
          710.0 ms, cpu 10101 µs, 1: main User app+0x401100 > app::run<[u8; 4]> User app+0x402200 > app::hot User
          720.0 ms, cpu 10101 µs, 1: main User app+0x401100 > app::run<[u8; 4]> User app+0x402300 > app::hot User
          1500.0 ms, cpu 0 µs, 0: 
        "wörker;1\n" pid "100" tid "101" main false process "app" 0.0 to null
          0.0 ms, cpu 0 µs, 0: 
          15.0 ms, cpu 10101 µs, 1: main User app+0x401100 > read User libc.so.6+0x30000 > do_syscall_64 Kernel [kernel.kallsyms]+0x200000 > read Kernel [kernel.kallsyms]+0x3f000123
          25.0 ms, cpu 10101 µs, 1: main User app+0x401100 > read User libc.so.6+0x30000 > do_syscall_64 Kernel [kernel.kallsyms]+0x200000 > read Kernel [kernel.kallsyms]+0x3f000123
          35.0 ms, cpu 10101 µs, 1: main User app+0x401100 > read User libc.so.6+0x30000
          45.0 ms, cpu 10101 µs, 1: main User app+0x401100 > read64 User libc.so.6+0x31000
          1500.0 ms, cpu 0 µs, 0: 
        "Thread <301>" pid "300" tid "301" main false process "we;ird\nname 5" 0.0 to null
          0.0 ms, cpu 0 µs, 0: 
          989.9 ms, cpu 0 µs, 0: 
          1000.0 ms, cpu 10101 µs, 1: [the chain of frame pointers ended] Other > libc.so.6+0x1b00ff User libc.so.6+0x1b00ff
          1500.0 ms, cpu 0 µs, 0: 
        "kworker/0:1" pid "7" tid "7" main true process "kworker/0:1" 0.0 to null
          0.0 ms, cpu 0 µs, 0: 
          5.0 ms, cpu 10101 µs, 1: do_syscall_64 Kernel [kernel.kallsyms]+0x200000
          1500.0 ms, cpu 0 µs, 0: 
        "app" pid "200" tid "200" main true process "app" 300.0 to 900.0
          300.0 ms, cpu 0 µs, 0: 
          310.0 ms, cpu 10101 µs, 1: main User app+0x401100 > read User libc.so.6+0x30000 > do_syscall_64 Kernel [kernel.kallsyms]+0x200000 > read Kernel [kernel.kallsyms]+0x3f000123
          320.0 ms, cpu 10101 µs, 1: main User app+0x401100 > read User libc.so.6+0x30000 > do_syscall_64 Kernel [kernel.kallsyms]+0x200000 > read Kernel [kernel.kallsyms]+0x3f000123
          330.0 ms, cpu 10101 µs, 1: main User app+0x401100 > app::run<[u8; 4]> User app+0x402200 > app::hot User
          340.0 ms, cpu 10101 µs, 1: main User app+0x401100 > JS:~other User
          900.0 ms, cpu 0 µs, 0: 
    "#]].assert_eq(&firefox_text(&nasty()));
}

#[test]
fn firefox_cycles_count_as_an_interval_each() {
    let json: Value = serde_json::from_str(&encoded(&nasty_cycles(), Format::Firefox)).unwrap();
    assert_eq!(json["threads"][0]["samples"]["weight"][1], 1);
    assert_eq!(json["threads"][0]["samples"]["threadCPUDelta"][1], 10_101);
}

/// The boxes of a flame graph, as their tooltips say them, with their colour.
fn boxes(svg: &str) -> Vec<String> {
    let one = |g: &str| {
        let title = g.split_once("<title>")?.1.split_once("</title>")?.0;
        let fill = g.split_once("fill=\"")?.1.split_once('"')?.0;
        Some(format!("{title} {fill}"))
    };
    svg.split("<g>").filter_map(one).collect()
}

#[test]
fn flame_graph_boxes() {
    let svg = encoded(&nasty(), Format::Svg);
    assert_eq!(svg, encoded(&nasty(), Format::Svg), "the same profile gives the same bytes");
    expect![[r#"
        JS:*größe: app.js_12 (1 samples, 5.26%) rgb(252,201,100)
        JS:~other (1 samples, 5.26%) rgb(245,163,72)
        app::run&lt;[u8: 4]&gt; (9 samples, 47.37%) rgb(254,211,107)
        app::hot (9 samples, 47.37%) rgb(248,177,82)
        read (5 samples, 26.32%) rgb(253,204,102)
        do_syscall_64 (4 samples, 21.05%) rgb(142,187,240)
        read (4 samples, 21.05%) rgb(169,206,248)
        app (17 samples, 89.47%) rgb(155,208,154)
        main (17 samples, 89.47%) rgb(254,210,106)
        read64 (1 samples, 5.26%) rgb(254,214,109)
        kworker/0:1 (1 samples, 5.26%) rgb(171,218,168)
        do_syscall_64 (1 samples, 5.26%) rgb(142,187,240)
        all (19 samples, 100%) rgb(217,217,217)
        we:ird name_5 (1 samples, 5.26%) rgb(183,225,178)
        [the chain of frame pointers ended] (1 samples, 5.26%) rgb(210,210,210)
        libc.so.6+0x1b00ff (1 samples, 5.26%) rgb(246,170,77)"#]]
    .assert_eq(&boxes(&svg).join("\n"));
}

#[test]
fn flame_graph_text_is_escaped() {
    let svg = encoded(&nasty(), Format::Svg);
    let title = svg.split_once(r#"id="title""#).unwrap().1.split_once("</text>").unwrap().0;
    expect![[r#" fill="rgb(0,0,0)" x="50.0000%" y="24.00">CPU time on web-1 &lt;&amp;&gt;  &quot;é&quot;"#]]
        .assert_eq(title);
    let subtitle = svg.split_once(r#"id="subtitle""#).unwrap().1.split_once("</text>").unwrap().0;
    expect![[r#" x="50.0000%" y="48.00">19 samples at 99 Hz in 1.5 s = 0.2 s of CPU time · green: process, yellow: program, blue: kernel"#]].assert_eq(subtitle);
    let notes = svg.split_once("NOTES: ").unwrap().1.split_once("-->").unwrap().0;
    expect!["no samples were lost; stacks: 50 % whole - - see README"].assert_eq(notes);
}

#[test]
fn flame_graph_leaves_out_what_could_not_be_seen_and_keeps_the_total() {
    let mut profile = nasty();
    let rare = profile.samples.len() - 1;
    profile.samples[0].count = 1_000_000;
    profile.samples[rare].count = 1;
    let svg = encoded(&profile, Format::Svg);
    assert!(boxes(&svg).iter().any(|tip| tip.starts_with("all (1,000,014 samples, 100%)")), "{svg}");
    assert!(!svg.contains("JS:~other"));
    assert!(svg.contains("app::hot"));
}
