//! Headers of tiny, damaged and real ELF files → the answers they must give.

use super::*;
use crate::elf::fixture::{Fixture, TinyElf};
use expect_test::{Expect, expect};

fn check(source: &(impl ReadAt + ?Sized), expected: Expect) {
    let text = match ElfHeaders::read(source) {
        Ok(headers) => {
            let id = headers.build_id().map_or("none".to_owned(), BuildId::to_string);
            let mut text = format!("build id {id}, hash {:016x}\n", headers.headers_hash());
            for segment in headers.segments() {
                let code = if segment.executable { " code" } else { "" };
                text += &format!(
                    "file {:#x}+{:#x} at {:#x}{code}\n",
                    segment.file_offset.0, segment.file_bytes, segment.vaddr.0
                );
            }
            text
        }
        Err(error) => format!("{error}\n"),
    };
    expected.assert_eq(&text);
}

#[test]
fn segments_build_id_and_hash_of_a_small_file() {
    let elf = TinyElf::new()
        .load(0x0, 0x400000, 0x1010, 4)
        .load(0x1010, 0x402010, 0x100, 5)
        .gnu_build_id(&[0xab, 1]);
    check(
        &*elf.bytes(),
        expect![[r#"
            build id ab01, hash 4cfa7202ed1cfe7f
            file 0x0+0x1010 at 0x400000
            file 0x1010+0x100 at 0x402010 code
        "#]],
    );
}

#[test]
fn two_segments_that_share_a_page_of_the_file_are_told_apart_by_offset_and_by_what_runs() {
    // Read-only data, code and data follow each other in one page of the file, three pages of memory.
    let elf = TinyElf::new()
        .load(0x0, 0x10000, 0x1100, 4)
        .load(0x1100, 0x22100, 0x200, 5)
        .load(0x1300, 0x33300, 0x100, 6)
        .bytes();
    let headers = ElfHeaders::read(&*elf).unwrap();
    assert_eq!(headers.code_vaddr(FileOffset(0x1100)), Some(ElfVaddr(0x22100)));
    assert_eq!(headers.code_vaddr(FileOffset(0x12ff)), Some(ElfVaddr(0x222ff)));
    for not_code in [0x0, 0x10ff, 0x1300, 0x13ff, 0x1400, u64::MAX] {
        assert_eq!(headers.code_vaddr(FileOffset(not_code)), None, "{not_code:#x}");
    }
}

#[test]
fn the_hash_tells_files_with_one_build_id_apart() {
    let elf = |unwind: &[u8]| {
        let bytes = TinyElf::new().load(0, 0, 0x1000, 5).gnu_build_id(b"same").unwind_header(unwind).bytes();
        ElfHeaders::read(&*bytes).unwrap().identity().clone()
    };
    assert_eq!(elf(b"one"), elf(b"one"));
    assert_eq!(elf(b"one").build_id, elf(b"two").build_id);
    assert_ne!(elf(b"one"), elf(b"two"));
}

#[test]
fn a_go_build_id_is_taken_only_if_there_is_no_gnu_one() {
    let go = TinyElf::new().note(b"Go\0\0", 4, b"abc/def-_1/xyz");
    check(
        &*go.bytes(),
        expect![[r#"
            build id abc/def-_1/xyz, hash 5e5b70678121117e
        "#]],
    );
    let both = TinyElf::new().note(b"Go\0\0", 4, b"abc").note(b"GNU\0", 3, &[1, 2, 3]);
    assert_eq!(ElfHeaders::read(&*both.bytes()).unwrap().build_id(), Some(&BuildId::Gnu([1, 2, 3].into())));
    let unprintable = TinyElf::new().note(b"Go\0\0", 4, b"a\nb");
    assert_eq!(ElfHeaders::read(&*unprintable.bytes()).unwrap().build_id(), None);
}

#[test]
fn what_is_no_elf_file_of_this_host_is_refused() {
    check(&b""[..], expect!["not an ELF file\n"]);
    check(&b"#!/bin/sh\n"[..], expect!["not an ELF file\n"]);
    check(&b"\x7fELF"[..], expect!["an ELF file of another byte order or version\n"]);
    check(
        &b"\x7fELF\x02\x01\x01"[..],
        expect!["ELF header at offset 0x0 with 64 bytes lies behind the file's end\n"],
    );
    let mut foreign = TinyElf::new().bytes();
    foreign[5] = 2;
    check(&*foreign, expect!["an ELF file of another byte order or version\n"]);
}

#[test]
fn hostile_headers_give_an_error_or_nothing() {
    let mut many = TinyElf::new().load(0, 0, 0x1000, 5).bytes();
    many[56..58].copy_from_slice(&u16::MAX.to_le_bytes());
    check(&*many, expect!["program headers: 65535 is more than 1024\n"]);

    let mut far = TinyElf::new().load(0, 0, 0x1000, 5).bytes();
    far[32..40].copy_from_slice(&(u64::MAX - 8).to_le_bytes());
    check(
        &*far,
        expect!["program headers at offset 0xfffffffffffffff7 with 56 bytes lies behind the file's end\n"],
    );

    let wraps = TinyElf::new().load(u64::MAX - 1, u64::MAX - 1, u64::MAX, 5).bytes();
    let headers = ElfHeaders::read(&*wraps).unwrap();
    assert_eq!(headers.code_vaddr(FileOffset(u64::MAX)), Some(ElfVaddr(u64::MAX)));
    assert_eq!(headers.code_vaddr(FileOffset(0)), None);
}

#[test]
fn a_file_cut_anywhere_never_panics() {
    let whole =
        TinyElf::new().load(0, 0x400000, 0x1000, 5).gnu_build_id(&[7; 20]).unwind_header(&[9; 64]).bytes();
    let complete = ElfHeaders::read(&*whole).unwrap().identity().clone();
    for length in 0..whole.len() {
        let cut = ElfHeaders::read(&whole[..length]);
        assert!(cut.is_err() || cut.unwrap().identity() != &complete, "{length} of {} bytes", whole.len());
    }
}

#[test]
fn any_byte_may_be_wrong() {
    let whole =
        TinyElf::new().load(0, 0x400000, 0x1000, 5).gnu_build_id(&[7; 20]).unwind_header(&[9; 64]).bytes();
    for at in 0..whole.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            if let Ok(headers) = ElfHeaders::read(&*bytes) {
                headers.code_vaddr(FileOffset(0x500));
            }
        }
    }
}

#[test]
fn a_sparse_file_of_four_gigabytes_costs_no_more_than_its_headers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    let elf = TinyElf::new().load(0, 0x400000, 4 << 30, 5).gnu_build_id(&[7; 20]);
    std::fs::write(&path, elf.unwind_header_at((4 << 30) - 4096, 4096).bytes()).unwrap();
    let file = File::options().write(true).read(true).open(&path).unwrap();
    file.set_len(4 << 30).unwrap();

    /// Counts what is read.
    struct Counted(File, std::cell::Cell<(usize, usize)>);
    impl ReadAt for Counted {
        fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
            let (calls, bytes) = self.1.get();
            self.1.set((calls + 1, bytes + into.len()));
            ReadAt::read_at(&self.0, into, at)
        }
    }
    let counted = Counted(file, std::cell::Cell::default());
    let headers = ElfHeaders::read(&counted).unwrap();
    assert_eq!(headers.code_vaddr(FileOffset((4 << 30) - 1)), Some(ElfVaddr(0x400000 + (4 << 30) - 1)));
    assert_eq!(counted.1.get(), (2, 8192));
}

#[test]
fn headers_of_a_compiled_program_agree_with_readelf() {
    let fixture =
        Fixture::compile("int main(void) { return 0; }", &["-no-pie", "-Wl,-Ttext-segment=0x10000000"]);
    let headers = ElfHeaders::read(&fixture.open()).unwrap();
    let readelf = fixture.tool("readelf", &["-n"]);
    let expected =
        readelf.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).unwrap().to_owned();
    assert_eq!(headers.build_id().unwrap().to_string(), expected);
    let code = headers.segments().iter().find(|segment| segment.executable).unwrap();
    assert_eq!(code.vaddr.0, 0x1000_0000 + code.file_offset.0);
}
