//! Made-up and real lists of kernel symbols → names, and the gaps that must stay unnamed.

use super::table::KernelFunction;
use super::*;
use expect_test::{Expect, expect};
use profiler_common::address::KernelAddr;

const LIST: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _text
ffffffff81000000 T _stext
ffffffff81000100 T __x64_sys_read
ffffffff81000200 t do_one
ffffffff81000200 W one
ffffffff81000300 T _etext
ffffffff81800000 D some_data
ffffffff82000000 T _sinittext
ffffffff82000010 t setup
ffffffff82000100 T _einittext
ffffffffc0201000 t nft_do_chain\t[nf_tables]
ffffffffc0203200 t nft_last\t[nf_tables]
ffffffffc0300000 d nft_data\t[nf_tables]
ffffffffc0100000 t first_of_another\t[another]
ffffffffc0400000 t bpf_prog_0123456789abcdef_on_tick\t[bpf]
ffffffffc0400080 t bpf_prog_fedcba9876543210_on_exit\t[bpf]
";

/// For each address the function and its module; `None` if the list is hidden.
fn names_of(list: &str, wanted: &[u64]) -> Option<Vec<Option<KernelFunction>>> {
    let table = KernelTable::read(list.as_bytes()).unwrap()?;
    Some(wanted.iter().map(|at| table.find(KernelAddr(*at)).1).collect())
}

fn check(list: &str, wanted: &[u64], expected: Expect) {
    let mut text = String::new();
    for (at, function) in wanted.iter().zip(names_of(list, wanted).unwrap()) {
        let function = match function {
            Some(KernelFunction { name, module: Some(module) }) => format!("{name} of {module}"),
            Some(KernelFunction { name, module: None }) => name.to_string(),
            None => "-".to_owned(),
        };
        text += &format!("{at:x} {function}\n");
    }
    expected.assert_eq(&text);
}

#[test]
fn each_address_gets_the_code_symbol_before_it() {
    check(
        LIST,
        &[0xffff_ffff_8100_0100, 0xffff_ffff_8100_01ff, 0xffff_ffff_8100_0200, 0xffff_ffff_8100_02ff],
        expect![[r#"
            ffffffff81000100 __x64_sys_read
            ffffffff810001ff __x64_sys_read
            ffffffff81000200 one
            ffffffff810002ff one
        "#]],
    );
}

#[test]
fn outside_the_kernels_and_its_modules_code_nothing_is_named() {
    check(
        LIST,
        &[
            0x10,
            0xffff_ffff_80ff_ffff,
            0xffff_ffff_8100_0300,
            0xffff_ffff_8180_0010,
            0xffff_ffff_8200_0020,
            0xffff_ffff_8200_0100,
            0xffff_ffff_c000_0000,
            u64::MAX,
        ],
        expect![[r#"
            10 -
            ffffffff80ffffff -
            ffffffff81000300 -
            ffffffff81800010 -
            ffffffff82000020 setup
            ffffffff82000100 -
            ffffffffc0000000 -
            ffffffffffffffff -
        "#]],
    );
}

#[test]
fn modules_end_where_the_next_symbol_is_not_their_code() {
    check(
        LIST,
        &[
            0xffff_ffff_c010_0fff,
            0xffff_ffff_c010_1000,
            0xffff_ffff_c020_2fff,
            0xffff_ffff_c020_3fff,
            0xffff_ffff_c020_4000,
            0xffff_ffff_c030_0010,
            0xffff_ffff_c040_0040,
            0xffff_ffff_c040_0fff,
            0xffff_ffff_c040_1000,
        ],
        expect![[r#"
            ffffffffc0100fff first_of_another of another
            ffffffffc0101000 -
            ffffffffc0202fff nft_do_chain of nf_tables
            ffffffffc0203fff nft_last of nf_tables
            ffffffffc0204000 -
            ffffffffc0300010 -
            ffffffffc0400040 bpf_prog_0123456789abcdef_on_tick of bpf
            ffffffffc0400fff bpf_prog_fedcba9876543210_on_exit of bpf
            ffffffffc0401000 -
        "#]],
    );
}

#[test]
fn neighbours_are_in_one_function() {
    let wanted: Vec<u64> = (0xffff_ffff_8100_0100..0xffff_ffff_8100_0105).collect();
    let names = names_of(LIST, &wanted).unwrap();
    assert!(names.iter().all(|name| name.as_ref().is_some_and(|name| &*name.name == "__x64_sys_read")));
}

#[test]
fn the_order_of_the_list_does_not_matter() {
    let wanted: Vec<u64> =
        LIST.lines().map(|line| u64::from_str_radix(&line[..16], 16).unwrap() + 8).collect();
    let mut wanted: Vec<u64> = wanted.into_iter().filter(|at| *at > 8).collect();
    wanted.sort_unstable();
    let reversed: String = LIST.lines().rev().map(|line| format!("{line}\n")).collect();
    assert_eq!(names_of(LIST, &wanted).unwrap(), names_of(&reversed, &wanted).unwrap());
}

#[test]
fn a_list_of_zeros_is_hidden() {
    let hidden: String = LIST.lines().map(|line| format!("0000000000000000{}\n", &line[16..])).collect();
    assert_eq!(names_of(&hidden, &[0xffff_ffff_8100_0100]), None);
    assert_eq!(names_of("", &[1]), None);
}

#[test]
fn lines_that_are_none_are_skipped() {
    let long = format!("ffffffff81000108 t {}\n", "x".repeat(5000));
    let list = format!("{LIST}\n\n \nnothing here\nffffffff81000110\nffffffff81000110 t\n{long}");
    check(&list, &[0xffff_ffff_8100_0120], expect!["ffffffff81000120 __x64_sys_read\n"]);
    let mut namer = KernelNamer::new("/nonexistent/kallsyms".into());
    let error = namer.names(&ProcFs::at("/nonexistent"), &[KernelAddr(1)], MonotonicNanos(0)).unwrap_err();
    assert_eq!(error.to_string(), "read /nonexistent/kallsyms");
}

#[test]
fn this_hosts_own_list_names_a_known_function() {
    let list = std::fs::read_to_string("/proc/kallsyms").unwrap();
    let Some(line) =
        list.lines().find(|line| line.ends_with(" ksys_read")).filter(|line| !line.starts_with("0000"))
    else {
        eprintln!("skipped: this kernel shows no addresses");
        return;
    };
    let at = u64::from_str_radix(&line[..16], 16).unwrap() + 1;
    let expected = KernelFunction { name: "ksys_read".into(), module: None };
    assert_eq!(names_of(&list, &[at]), Some(vec![Some(expected)]));
}

#[test]
fn every_answer_holds_in_its_range() {
    let table = KernelTable::read(LIST.as_bytes()).unwrap().unwrap();
    let mut at = 0;
    while at != u64::MAX {
        let (range, function) = table.find(KernelAddr(at));
        assert!(range.contains(&at), "{at:x} {range:x?}");
        assert_eq!(table.find(KernelAddr(range.end - 1)), (range.clone(), function));
        at = range.end;
    }
}

/// A host whose lists change.
struct Kernel {
    folder: tempfile::TempDir,
    namer: KernelNamer,
}

impl Kernel {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let namer = KernelNamer::new(folder.path().join("kallsyms"));
        Self { folder, namer }
    }

    fn write(&self, list: &str, modules: &str) {
        std::fs::write(self.folder.path().join("kallsyms"), list).unwrap();
        std::fs::write(self.folder.path().join("modules"), modules).unwrap();
    }

    fn name(&mut self, at: u64, second: u64) -> Option<String> {
        let (proc, now) = (ProcFs::at(self.folder.path()), MonotonicNanos((1_000 + second) * SECOND));
        let names = self.namer.names(&proc, &[KernelAddr(at)], now).unwrap()?;
        Some(names[0].first().map_or_else(String::new, |line| line.function.name.to_string()))
    }
}

const MODULE: &str = "nf_tables 1 0 - Live 0xffffffffc0200000\n";
const IN_MODULE: u64 = 0xffff_ffff_c020_1008;

#[test]
fn the_list_is_read_again_when_modules_come_and_go_but_not_for_the_kernel_itself() {
    let mut kernel = Kernel::new();
    kernel.write(LIST, MODULE);
    let core = 0xffff_ffff_8100_0208;
    assert_eq!(kernel.name(core, 0).as_deref(), Some("one"));
    assert_eq!(kernel.name(IN_MODULE, 1).as_deref(), Some("nft_do_chain"));
    let changed = LIST.replace("nft_do_chain", "new_chain").replace(" one", " two");
    // Used once more, nothing else.
    kernel.write(&changed, &MODULE.replace(" 0 ", " 7 "));
    assert_eq!(kernel.name(IN_MODULE, 100).as_deref(), Some("nft_do_chain"));
    kernel.write(&changed, &MODULE.replace("c0200000", "c0210000"));
    assert_eq!(kernel.name(core, 10_000).as_deref(), Some("one"), "whatever happened meanwhile");
    assert_eq!(kernel.name(IN_MODULE, 10_001).as_deref(), Some("new_chain"));
    kernel.write(LIST, MODULE);
    assert_eq!(kernel.name(IN_MODULE, 10_060).as_deref(), Some("new_chain"), "not twice in a minute");
    assert_eq!(kernel.name(IN_MODULE, 10_061).as_deref(), Some("nft_do_chain"));
    kernel.write(&changed, MODULE);
    assert_eq!(kernel.name(IN_MODULE, 10_660).as_deref(), Some("nft_do_chain"));
    assert_eq!(kernel.name(IN_MODULE, 10_661).as_deref(), Some("new_chain"), "BPF programs tell nobody");
}

#[test]
fn for_what_nobody_knows_the_list_is_read_more_and_more_seldom() {
    let mut kernel = Kernel::new();
    kernel.write(LIST, MODULE);
    let unknown = 0xffff_ffff_c0f0_0000;
    let known = LIST.to_owned() + "ffffffffc0f00000 t appeared\t[bpf]\n";
    assert_eq!(kernel.name(unknown, 0).as_deref(), Some(""));
    let mut reads = Vec::new();
    for second in 1..900 {
        let before = kernel.namer.read_at;
        kernel.name(unknown, second);
        if kernel.namer.read_at != before {
            reads.push(second);
        }
    }
    assert_eq!(reads, [60, 180, 420]);
    kernel.write(&known, MODULE);
    assert_eq!(kernel.name(unknown, 2_000).as_deref(), Some("appeared"));
}

#[test]
fn a_hidden_list_is_not_asked_for_all_the_time() {
    let mut kernel = Kernel::new();
    kernel.write("", "");
    assert_eq!(kernel.name(0xffff_ffff_8100_0208, 0), None);
    kernel.write(LIST, "");
    assert_eq!(kernel.name(0xffff_ffff_8100_0208, 599), None);
    assert_eq!(kernel.name(0xffff_ffff_8100_0208, 600).as_deref(), Some("one"));
}
