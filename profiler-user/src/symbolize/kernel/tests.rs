//! Made-up and real lists of kernel symbols → names, and the gaps that must stay unnamed.

use super::*;
use expect_test::{Expect, expect};

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

fn names_of(list: &str, wanted: &[u64]) -> Result<KernelNames, SymbolizeError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("kallsyms"), list).unwrap();
    let wanted: Vec<_> = wanted.iter().copied().map(KernelAddr).collect();
    read_kernel_names(&ProcFs::at(folder.path()), &wanted)
}

fn check(list: &str, wanted: &[u64], expected: Expect) {
    let KernelNames::Named(names) = names_of(list, wanted).unwrap() else { panic!("hidden") };
    let mut text = String::new();
    for (at, function) in wanted.iter().zip(names) {
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
fn neighbours_in_one_function_and_no_address_at_all() {
    let wanted: Vec<u64> = (0xffff_ffff_8100_0100..0xffff_ffff_8100_0105).collect();
    let KernelNames::Named(names) = names_of(LIST, &wanted).unwrap() else { panic!("hidden") };
    assert!(names.iter().all(|name| name.as_ref().is_some_and(|name| &*name.name == "__x64_sys_read")));
    assert_eq!(names_of(LIST, &[]).unwrap(), KernelNames::Named(Vec::new()));
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
    assert_eq!(names_of(&hidden, &[0xffff_ffff_8100_0100]).unwrap(), KernelNames::Hidden);
    assert_eq!(names_of("", &[1]).unwrap(), KernelNames::Hidden);
}

#[test]
fn lines_that_are_none_are_skipped() {
    let long = format!("ffffffff81000108 t {}\n", "x".repeat(5000));
    let list = format!("{LIST}\n\n \nnothing here\nffffffff81000110\nffffffff81000110 t\n{long}");
    check(&list, &[0xffff_ffff_8100_0120], expect!["ffffffff81000120 __x64_sys_read\n"]);
    let error = read_kernel_names(&ProcFs::at("/nonexistent"), &[]).unwrap_err();
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
    let at = KernelAddr(u64::from_str_radix(&line[..16], 16).unwrap() + 1);
    let names = read_kernel_names(&ProcFs::host(), &[at]).unwrap();
    let expected = KernelFunction { name: "ksys_read".into(), module: None };
    assert_eq!(names, KernelNames::Named(vec![Some(expected)]));
}
