//! The kernel's description of its own types (BTF) → where the members of one struct are.
//!
//! ```text
//!   ┌ header ───────────────┬─ types ───────────────────────────────┬─ strings ────────────┐
//!   │ magic, both sections' │ id 1: name, info, size|type, extra…   │ \0task_struct\0tgid\0 │
//!   │ offset and length     │ id 2: …      (length depends on kind) │                      │
//!   └───────────────────────┴───────────────────────────────────────┴──────────────────────┘
//! ```
//!
//! Layout: the kernel's Documentation/bpf/btf.rst and include/uapi/linux/btf.h. One walk over the types,
//! no copy of them. Never opens a file, and never panics or loops on hostile bytes.

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// `BTF_VERSION`.
const VERSION: u8 = 1;
/// The header up to and with the length of the strings; a longer one is a newer kernel's.
const MIN_HEADER_BYTES: u32 = 24;
/// `struct btf_type`: name, info, size or type.
const TYPE_BYTES: usize = 12;
/// `struct btf_member`: name, type, offset in bits.
const MEMBER_BYTES: usize = 12;
/// Nested anonymous structs and unions below the struct asked for; compilers stop far earlier.
const MAX_DEPTH: u32 = 16;
/// Members looked at for one struct, nested ones included: ten times what a task_struct has.
const MAX_MEMBERS: usize = 4096;

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;

/// Why type information could not be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// The file ends inside something that it announced.
    #[error("type information ends early: {what} at byte {at}")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Offset in the section, bytes.
        at: usize,
    },
    /// Not BTF, or that of the other byte order.
    #[error("not type information of this byte order: magic {found:#06x}, version {version}")]
    Header {
        /// The magic number found.
        found: u16,
        /// The version found.
        version: u8,
    },
    /// Kinds have different lengths, so nothing after an unknown one can be read; what comes before it still is.
    #[error("type {id} is of kind {kind}, which this version does not know")]
    UnknownKind {
        /// Number of the type, from 1.
        id: usize,
        /// Its kind.
        kind: u32,
    },
    /// No full definition of the struct.
    #[error("the kernel describes no struct {name}")]
    NoStruct {
        /// The struct asked for.
        name: String,
    },
    /// The struct has no such member.
    #[error("struct {owner} has no member {member}")]
    NoMember {
        /// The struct.
        owner: String,
        /// The member asked for.
        member: String,
    },
    /// The member is there but does not begin on a byte.
    #[error("{owner}.{member} is a bit field")]
    BitField {
        /// The struct.
        owner: String,
        /// The member asked for.
        member: String,
    },
    /// More members, or deeper nesting, than any real struct.
    #[error("struct {owner} has more members than this version reads")]
    TooManyMembers {
        /// The struct.
        owner: String,
    },
}

/// Parsed type information, borrowed from the file's bytes.
#[derive(Debug)]
pub struct Btf<'bytes> {
    types: &'bytes [u8],
    strings: &'bytes [u8],
    /// Where each type begins in `types`; its number minus one is the index.
    starts: Vec<u32>,
    /// What stopped the walk before the section's end: a kind of a newer kernel.
    stopped: Option<BtfError>,
}

/// One entry of the type section.
#[derive(Clone, Copy)]
struct Type<'bytes> {
    name: u32,
    kind: u32,
    /// Of a struct or union, bytes; of others its type.
    bytes: u32,
    /// Struct or union: a member's offset word holds its width in bits above its offset.
    wide_offsets: bool,
    /// The members, if the kind has any.
    members: &'bytes [u8],
}

/// One member of a struct or union.
#[derive(Clone, Copy)]
struct Member {
    name: u32,
    type_id: u32,
    bit_offset: u64,
    is_bit_field: bool,
}

fn u32_at(bytes: &[u8], at: usize, what: &'static str) -> Result<u32, BtfError> {
    let word = at.checked_add(4).and_then(|end| bytes.get(at..end)).and_then(|word| word.try_into().ok());
    word.map(u32::from_ne_bytes).ok_or(BtfError::Truncated { what, at })
}

fn section<'bytes>(
    body: &'bytes [u8],
    at: u32,
    length: u32,
    what: &'static str,
) -> Result<&'bytes [u8], BtfError> {
    let truncated = || BtfError::Truncated { what, at: usize::try_from(at).unwrap_or(usize::MAX) };
    let start = usize::try_from(at).map_err(|_| truncated())?;
    let end =
        usize::try_from(length).ok().and_then(|length| start.checked_add(length)).ok_or_else(truncated)?;
    body.get(start..end).ok_or_else(truncated)
}

/// Kind and number of members of a type's `info` word. The bits left unused between them are zero and are read as
/// part of each number, so that a kernel that comes to use them is not misread.
fn kind_and_count(info: u32) -> (u32, usize) {
    (info >> 24 & 0x7f, usize::try_from(info & 0xff_ffff).unwrap_or(usize::MAX))
}

/// Bytes that follow a type's fixed part, by kind and `vlen` (btf.rst, "Type Encoding").
fn extra_bytes(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        // Pointer, forward declaration, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7..=12 | 16 | 18 => 0,
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        // Array.
        3 => 12,
        // Struct, union, data section, 64-bit enumeration.
        KIND_STRUCT | KIND_UNION | 15 | 19 => count.checked_mul(MEMBER_BYTES)?,
        // Enumeration, function prototype.
        6 | 13 => count.checked_mul(8)?,
        _ => return None,
    })
}

impl<'bytes> Btf<'bytes> {
    /// Checks the header and finds where each type begins.
    pub fn parse(bytes: &'bytes [u8]) -> Result<Self, BtfError> {
        let truncated = BtfError::Truncated { what: "header", at: 0 };
        let &[magic0, magic1, version, _flags, ..] = bytes else { return Err(truncated) };
        let magic = u16::from_ne_bytes([magic0, magic1]);
        if magic != MAGIC || version != VERSION {
            return Err(BtfError::Header { found: magic, version });
        }
        let header_bytes = Some(u32_at(bytes, 4, "header")?).filter(|length| *length >= MIN_HEADER_BYTES);
        let body_start = header_bytes.and_then(|length| usize::try_from(length).ok());
        let body = body_start.and_then(|at| bytes.get(at..)).ok_or(truncated)?;
        let types = section(body, u32_at(bytes, 8, "header")?, u32_at(bytes, 12, "header")?, "types")?;
        let strings = section(body, u32_at(bytes, 16, "header")?, u32_at(bytes, 20, "header")?, "strings")?;
        let mut btf = Self { types, strings, starts: Vec::with_capacity(types.len() / 32), stopped: None };
        btf.index()?;
        Ok(btf)
    }

    fn index(&mut self) -> Result<(), BtfError> {
        let mut at = 0;
        while at < self.types.len() {
            let (kind, count) = kind_and_count(u32_at(self.types, at + 4, "type")?);
            let Some(extra) = extra_bytes(kind, count) else {
                self.stopped = Some(BtfError::UnknownKind { id: self.starts.len() + 1, kind });
                return Ok(());
            };
            self.starts.push(u32::try_from(at).map_err(|_| BtfError::Truncated { what: "type", at })?);
            at += TYPE_BYTES + extra;
        }
        if at == self.types.len() { Ok(()) } else { Err(BtfError::Truncated { what: "type", at }) }
    }

    /// Byte offsets of members of the struct, in the order asked for. Members of nested anonymous structs and
    /// unions count as the struct's own, as in C. Of several spellings of a member the first that exists is taken.
    pub fn member_offsets<const N: usize>(
        &self,
        owner: &str,
        spellings: [&[&str]; N],
    ) -> Result<[u32; N], BtfError> {
        let owner_type = self.expect_struct(owner)?;
        let members = self.flattened(owner, owner_type)?;
        let mut offsets = [0; N];
        for (offset, names) in offsets.iter_mut().zip(spellings) {
            *offset = self.offset_of(owner, &members, names)?;
        }
        Ok(offsets)
    }

    /// Bytes of the struct.
    pub fn struct_bytes(&self, name: &str) -> Result<u32, BtfError> {
        self.expect_struct(name).map(|found| found.bytes)
    }

    fn expect_struct(&self, name: &str) -> Result<Type<'bytes>, BtfError> {
        self.struct_named(name).ok_or_else(|| {
            self.stopped.clone().unwrap_or_else(|| BtfError::NoStruct { name: name.to_owned() })
        })
    }

    fn offset_of(&self, owner: &str, members: &[Member], names: &[&str]) -> Result<u32, BtfError> {
        let found =
            names.iter().find_map(|name| members.iter().find(|member| self.is_named(member.name, name)));
        let text = |name: &&str| (*name).to_owned();
        let member = || names.first().map(text).unwrap_or_default();
        let found = found.ok_or_else(|| BtfError::NoMember { owner: owner.to_owned(), member: member() })?;
        let byte_offset = (!found.is_bit_field && found.bit_offset % 8 == 0).then_some(found.bit_offset / 8);
        byte_offset
            .and_then(|offset| u32::try_from(offset).ok())
            .ok_or_else(|| BtfError::BitField { owner: owner.to_owned(), member: member() })
    }

    fn struct_named(&self, name: &str) -> Option<Type<'bytes>> {
        let types = self.starts.iter().filter_map(|start| self.type_at(*start));
        let mut structs = types.filter(|found| found.kind == KIND_STRUCT && !found.members.is_empty());
        structs.find(|found| self.is_named(found.name, name))
    }

    fn type_at(&self, start: u32) -> Option<Type<'bytes>> {
        let bytes = self.types.get(usize::try_from(start).ok()?..)?;
        let info = u32_at(bytes, 4, "type").ok()?;
        let (kind, count) = kind_and_count(info);
        let has_members = kind == KIND_STRUCT || kind == KIND_UNION;
        let members_end = TYPE_BYTES + if has_members { count * MEMBER_BYTES } else { 0 };
        Some(Type {
            name: u32_at(bytes, 0, "type").ok()?,
            kind,
            bytes: u32_at(bytes, 8, "type").ok()?,
            wide_offsets: info >> 31 == 1,
            members: bytes.get(TYPE_BYTES..members_end)?,
        })
    }

    fn type_by_id(&self, id: u32) -> Option<Type<'bytes>> {
        let index = usize::try_from(id).ok()?.checked_sub(1)?;
        self.starts.get(index).and_then(|start| self.type_at(*start))
    }

    fn is_named(&self, at: u32, name: &str) -> bool {
        let rest = usize::try_from(at).ok().and_then(|at| self.strings.get(at..));
        let rest = rest.and_then(|rest| rest.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    /// Named members of a struct and of the anonymous ones inside it, offsets counted from the outermost.
    fn flattened(&self, owner: &str, outermost: Type<'bytes>) -> Result<Vec<Member>, BtfError> {
        let too_many = || BtfError::TooManyMembers { owner: owner.to_owned() };
        let mut named = Vec::new();
        let mut pending = vec![(outermost, 0_u64, 0_u32)];
        let mut seen = 0_usize;
        while let Some((holder, base, depth)) = pending.pop() {
            for bytes in holder.members.chunks_exact(MEMBER_BYTES) {
                seen += 1;
                if seen > MAX_MEMBERS || depth > MAX_DEPTH {
                    return Err(too_many());
                }
                let mut member = member_of(bytes, holder.wide_offsets)?;
                member.bit_offset += base;
                if member.name != 0 {
                    named.push(member);
                } else if let Some(inner) = self.type_by_id(member.type_id)
                    && (inner.kind == KIND_STRUCT || inner.kind == KIND_UNION)
                {
                    pending.push((inner, member.bit_offset, depth + 1));
                }
            }
        }
        Ok(named)
    }
}

fn member_of(bytes: &[u8], wide_offsets: bool) -> Result<Member, BtfError> {
    let offset = u32_at(bytes, 8, "member")?;
    let (bit_offset, width) = if wide_offsets { (offset & 0xff_ffff, offset >> 24) } else { (offset, 0) };
    Ok(Member {
        name: u32_at(bytes, 0, "member")?,
        type_id: u32_at(bytes, 4, "member")?,
        bit_offset: u64::from(bit_offset),
        is_bit_field: width != 0,
    })
}

#[cfg(test)]
mod tests;
