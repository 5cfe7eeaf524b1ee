//! A hand-made blob whose offsets are known, the same blob broken in every byte, and the running kernel's own.

use super::*;
use crate::host::SysFs;

/// Writes BTF as the kernel does.
#[derive(Default)]
struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Writer {
    fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len();
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        u32::try_from(at).unwrap()
    }

    fn words(&mut self, words: &[u32]) {
        self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    /// Any type: `info` is kind << 24 | count, `extra` what follows the fixed part.
    fn push(&mut self, name: &str, kind: u32, count: u32, extra: &[u32]) {
        let name = self.name(name);
        self.words(&[name, kind << 24 | count, 8]);
        self.words(extra);
    }

    /// A struct or union of (name, type, offset word).
    fn aggregate(&mut self, name: &str, kind: u32, wide: bool, members: &[(&str, u32, u32)]) {
        let name = self.name(name);
        let flag = if wide { 1 << 31 } else { 0 };
        self.words(&[name, flag | kind << 24 | u32::try_from(members.len()).unwrap(), 64]);
        for (member, type_id, offset) in members {
            let member = self.name(member);
            self.words(&[member, *type_id, *offset]);
        }
    }

    fn finish(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&[VERSION, 0]);
        let types = u32::try_from(self.types.len()).unwrap();
        let strings = u32::try_from(self.strings.len()).unwrap();
        bytes.extend([MIN_HEADER_BYTES, 0, types, types, strings].iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }
}

/// One type of every kind, then a `task` with an anonymous union inside an anonymous struct.
fn every_kind() -> Writer {
    let mut writer = Writer::default();
    writer.push("int", 1, 0, &[32]); // 1
    writer.push("", 2, 0, &[]); // 2: pointer
    writer.push("", 3, 0, &[1, 1, 4]); // array
    writer.push("colour", 6, 2, &[0, 0, 0, 1]); // enumeration
    for kind in [7, 8, 9, 10, 11, 12, 16, 18] {
        writer.push("short", kind, 0, &[]);
    }
    writer.push("", 13, 2, &[0, 1, 0, 1]); // function prototype
    writer.push("variable", 14, 0, &[0]);
    writer.push(".data", 15, 1, &[1, 0, 4]);
    writer.push("tag", 17, 0, &[0]);
    writer.push("wide_enum", 19, 1, &[0, 1, 0]); // 17
    writer.aggregate("", KIND_UNION, false, &[("in_union", 1, 0), ("also_in_union", 1, 0)]); // 18
    writer.aggregate("", KIND_STRUCT, true, &[("before_union", 1, 0), ("", 18, 64)]); // 19
    writer.aggregate("task", 7, false, &[]); // a forward declaration of the same name
    let members =
        [("first", 1, 0), ("", 19, 128), ("one_bit", 1, 1 << 24 | 320), ("odd", 1, 321), ("last", 1, 384)];
    writer.aggregate("task", KIND_STRUCT, true, &members);
    writer
}

fn offset_in(bytes: &[u8], member: &str) -> Result<u32, BtfError> {
    Btf::parse(bytes)?.member_offsets("task", [&[member]]).map(|[offset]| offset)
}

#[test]
fn members_of_anonymous_structs_and_unions_count_from_the_outermost() {
    let bytes = every_kind().finish();
    let btf = Btf::parse(&bytes).unwrap();
    let names: [&[&str]; 6] =
        [&["first"], &["before_union"], &["in_union"], &["also_in_union"], &["last"], &["gone", "first"]];
    assert_eq!(btf.member_offsets("task", names), Ok([0, 16, 24, 24, 48, 0]));
}

#[test]
fn what_has_no_byte_offset_is_an_error() {
    let bytes = every_kind().finish();
    let (owner, member) = ("task".to_owned(), String::from);
    let bit_field = |name| BtfError::BitField { owner: owner.clone(), member: member(name) };
    assert_eq!(offset_in(&bytes, "one_bit"), Err(bit_field("one_bit")));
    assert_eq!(offset_in(&bytes, "odd"), Err(bit_field("odd")));
    let absent = BtfError::NoMember { owner: owner.clone(), member: member("fir") };
    assert_eq!(offset_in(&bytes, "fir"), Err(absent));
    let btf = Btf::parse(&bytes).unwrap();
    let no_struct = BtfError::NoStruct { name: "tas".to_owned() };
    assert_eq!(btf.member_offsets("tas", [&["first"]]), Err(no_struct));
}

#[test]
fn a_kind_of_the_future_hides_only_what_follows_it() {
    let mut writer = every_kind();
    writer.push("future", 31, 3, &[]);
    writer.aggregate("later", KIND_STRUCT, false, &[("first", 1, 0)]);
    let bytes = writer.finish();
    assert_eq!(offset_in(&bytes, "last"), Ok(48));
    let later = Btf::parse(&bytes).unwrap().member_offsets("later", [&["first"]]);
    assert_eq!(later, Err(BtfError::UnknownKind { id: 22, kind: 31 }));
}

#[test]
fn other_byte_orders_and_other_files_are_refused() {
    let mut swapped = every_kind().finish();
    swapped.swap(0, 1);
    let found = MAGIC.swap_bytes();
    assert_eq!(offset_in(&swapped, "first"), Err(BtfError::Header { found, version: VERSION }));
    assert!(matches!(offset_in(b"\x7fELF\x02\x01\x01\0", "first"), Err(BtfError::Header { .. })));
    assert!(matches!(offset_in(b"", "first"), Err(BtfError::Truncated { .. })));
}

#[test]
fn a_struct_that_contains_itself_ends() {
    let mut writer = Writer::default();
    writer.aggregate("task", KIND_STRUCT, false, &[("", 1, 0), ("", 1, 0)]);
    let too_many = BtfError::TooManyMembers { owner: "task".to_owned() };
    assert_eq!(offset_in(&writer.finish(), "first"), Err(too_many));
}

#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    let whole = every_kind().finish();
    for end in 0..whole.len() {
        assert!(offset_in(&whole[..end], "last").is_err(), "cut at {end}");
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut broken = whole.clone();
            broken[at] = value;
            // Any answer will do, as long as there is one.
            drop(offset_in(&broken, "in_union"));
        }
    }
}

#[test]
fn the_running_kernel_describes_its_tasks() {
    let Ok(bytes) = SysFs::host().bytes("kernel/btf/vmlinux", 64 << 20) else {
        println!("skipped: this kernel has no type information");
        return;
    };
    let btf = Btf::parse(&bytes).unwrap();
    let [state_or_info, pid, tgid, comm] = btf
        .member_offsets("task_struct", [&["thread_info", "__state", "state"], &["pid"], &["tgid"], &["comm"]])
        .unwrap();
    assert!(state_or_info < pid, "{state_or_info} {pid}");
    assert_eq!(tgid, pid + 4, "pid and tgid are neighbours since 2.6");
    assert!(comm > tgid, "{comm} {tgid}");
    for cut in [0, 8, 23, 24, 1000, bytes.len() / 2] {
        assert!(Btf::parse(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}
