//! Who may touch what: `/proc`, `/sys` and clocks through one file, aya in the stages at the kernel, hash maps in the
//! kernel half only where no tick can interrupt.

use super::tokens::{self, Kind, Token};
use super::{Finding, Source};

const USER: &str = "profiler-user/src/";
const KERNEL: &str = "profiler-ebpf/src/";
const HOST: &str = "profiler-user/src/host.rs";

/// Paths into `/proc` or `/sys` that may stand elsewhere: file, text, reason.
pub(super) const WORLD_EXCEPTIONS: [(&str, &str, &str); 2] = [
    ("profiler-user/src/doctor/evidence.rs", "/proc", "compares with a mount point, opens nothing"),
    (
        "profiler-user/src/process/files/opening.rs",
        "/proc/self/fd/{}",
        "opens the very file that was judged: a link of /proc itself",
    ),
];

/// Only `host.rs` has paths into `/proc` and `/sys`: everybody else gets them handed in, and a test hands in a folder.
/// A message may mention one: it has a blank before it or after it.
pub(super) fn only_host_opens_the_world(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with(USER) || source.path == HOST {
        return Vec::new();
    }
    let is_excepted =
        |text: &str| WORLD_EXCEPTIONS.iter().any(|&(path, own, _)| path == source.path && own == text);
    let message = "a path into /proc or /sys: ask host.rs for it";
    find(source, message, |tokens| match &tokens[0].kind {
        Kind::Text(text) => {
            ["/proc", "/sys"].iter().any(|folder| is_path_into(text, folder)) && !is_excepted(text)
        }
        _ => false,
    })
}

/// Whether the text has the folder as the start or the inside of a path, and not as a word of a sentence.
fn is_path_into(text: &str, folder: &str) -> bool {
    text.match_indices(folder).any(|(at, _)| {
        let begins_word = at > 0 && text[..at].ends_with([' ', '\t', '\n', '(', '`', '\'', '"']);
        let rest = &text[at + folder.len()..];
        (rest.is_empty() || rest.starts_with('/')) && !begins_word
    })
}

/// Only `host.rs` reads clocks.
pub(super) fn only_host_reads_clocks(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with(USER) || source.path == HOST {
        return Vec::new();
    }
    find(source, "reads a clock: host.rs owns them", |tokens| {
        tokens::starts_with(tokens, &["Instant", ":", ":", "now"])
            || tokens::starts_with(tokens, &["SystemTime", ":", ":", "now"])
            || tokens[0].is_word("clock_gettime")
    })
}

/// Only the stages that talk to the kernel know aya.
pub(super) fn only_the_kernel_stages_know_aya(source: &Source) -> Vec<Finding> {
    let kernel_stages = ["sample/", "collect/", "unwind/publish.rs"];
    let Some(inside) = source.path.strip_prefix(USER) else { return Vec::new() };
    if kernel_stages.iter().any(|place| inside.starts_with(place)) {
        return Vec::new();
    }
    find(source, "names aya: only sample/, collect/ and unwind/publish.rs do", |tokens| {
        tokens[0].is_word("aya") && !tokens::starts_with(&tokens[1..], &["="])
    })
}

/// In the kernel half only `lifecycle.rs` updates hash maps: a tick may come in NMI context, where their locks
/// may be held by what it interrupted.
pub(super) fn the_tick_updates_no_hash_map(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with(KERNEL) || source.path == "profiler-ebpf/src/lifecycle.rs" {
        return Vec::new();
    }
    find(source, "updates a map by key: only lifecycle.rs may, a tick runs in NMI context", |tokens| {
        let helpers = ["bpf_map_update_elem", "bpf_map_delete_elem"];
        tokens::starts_with(tokens, &[".", "insert", "("])
            || tokens::starts_with(tokens, &[".", "remove", "("])
            || helpers.iter().any(|helper| tokens[0].is_word(helper))
    })
}

/// A finding for each place whose tokens, from there to the end, the rule knows.
fn find(source: &Source, message: &str, is_wrong: impl Fn(&[Token]) -> bool) -> Vec<Finding> {
    let tokens = tokens::of_product(&source.path, &source.text);
    let places = (0..tokens.len()).filter(|&at| is_wrong(&tokens[at..]));
    places
        .map(|at| Finding { path: source.path.clone(), line: tokens[at].line, message: message.to_owned() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::lines;
    use super::*;

    fn check(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str, expected: &[usize]) {
        let findings = rule(&Source::of(path, text));
        assert_eq!(lines(&findings), expected, "{path}: {findings:?}");
    }

    #[test]
    fn paths_into_the_world_are_found_and_sentences_are_not() {
        let path = "profiler-user/src/process/mod.rs";
        let rule = only_host_opens_the_world;
        check(
            rule,
            path,
            "f(\"/proc\");\ng(\"/sys/kernel/btf\");\nh(format!(\"{root}/proc/{pid}\"));",
            &[1, 2, 3],
        );
        check(
            rule,
            path,
            "// \"/proc\"\nf(\"cannot read /proc/self\"); g(\"/processes /system /sys-x\");",
            &[],
        );
        check(rule, path, "#[cfg(test)] mod tests { const P: &str = \"/proc\"; }", &[]);
        check(rule, path, "f(\"/proc is hidden\");", &[]);
        let excepted = "f(\"/proc\");\ng(\"/proc/self\");";
        check(rule, "profiler-user/src/doctor/evidence.rs", excepted, &[2]);
        check(rule, HOST, "f(\"/proc\");", &[]);
        check(rule, "xtask/src/packages.rs", "f(\"/proc/self\");", &[]);
    }

    #[test]
    fn clocks_are_found() {
        let rule = only_host_reads_clocks;
        let text =
            "let a = Instant::now();\nlet b = std::time::SystemTime::now();\nrustix::time::clock_gettime(x);";
        check(rule, "profiler-user/src/record.rs", text, &[1, 2, 3]);
        check(rule, "profiler-user/src/record.rs", "clock.monotonic(); let now: Instant = then;", &[]);
        check(rule, HOST, text, &[]);
    }

    #[test]
    fn aya_outside_its_stages_is_found() {
        let rule = only_the_kernel_stages_know_aya;
        check(rule, "profiler-user/src/process/mod.rs", "use aya::maps::HashMap;\nuse aya_obj::x;", &[1]);
        check(rule, "profiler-user/src/unwind/cfi.rs", "fn f(m: &mut aya::maps::MapData) {}", &[1]);
        check(rule, "profiler-user/src/unwind/publish.rs", "use aya::maps::HashMap;", &[]);
        check(rule, "profiler-user/src/sample/attach.rs", "use aya::Ebpf;", &[]);
        check(rule, "profiler-user/src/collect/ring.rs", "use aya::maps::RingBuf;", &[]);
    }

    #[test]
    fn a_map_update_on_the_sample_path_is_found() {
        let rule = the_tick_updates_no_hash_map;
        check(rule, "profiler-ebpf/src/sample.rs", "MAP.insert(&k, &v, 0);\nMAP.remove(&k);", &[1, 2]);
        check(
            rule,
            "profiler-ebpf/src/unwind.rs",
            "\nunsafe { helpers::bpf_map_update_elem(m, k, v, 0) };",
            &[2],
        );
        check(
            rule,
            "profiler-ebpf/src/sample.rs",
            "// no .insert( here\nMAP.get(&k); SLOT.set(0, &v, 0);",
            &[],
        );
        check(rule, "profiler-ebpf/src/lifecycle.rs", "MAP.insert(&k, &v, 0);", &[]);
    }
}
