//! Code around an address in a procedure linkage table → the stub there, and where it jumps.
//!
//! ```text
//!   x86_64   [endbr64] [mov r11d, number] [bnd] jmp *slot(%rip) …        16 bytes, or 8 without what is optional
//!            [endbr64] push number, [bnd] jmp to the table's start       16 bytes, of a table whose jumps are elsewhere
//!   arm64    [bti c] adrp x16, ldr x17 of the slot, [add x16] [autia1716], br x17
//! ```
//!
//! These are the stubs of GNU ld, gold, lld and mold. What looks different is no stub, nor is the start of a table,
//! through which functions are looked up at their first call.

use profiler_common::address::ElfVaddr;

use crate::elf::Machine;

/// A stub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stub {
    pub(super) start: ElfVaddr,
    pub(super) target: Target,
}

/// How a stub knows where to jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// By the word at this address.
    Slot(ElfVaddr),
    /// By the relocation with this number in `.rela.plt`.
    Number(u32),
}

/// Code of one section around an address.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Where the section starts, which stubs are aligned to.
    pub(super) section: ElfVaddr,
    /// Where the bytes start; not before the section.
    pub(super) start: ElfVaddr,
    pub(super) bytes: Vec<u8>,
}

/// How far from an address a [`Window`] has to reach, on either side.
pub(super) const WINDOW_REACH_BYTES: u64 = 32;

impl Window {
    /// The stub that an address of this window lies in.
    pub(super) fn stub(&self, machine: Machine, at: ElfVaddr) -> Option<Stub> {
        match machine {
            Machine::X86_64 => self.x86_64(at.0),
            Machine::Arm64 => self.arm64(at.0),
        }
    }

    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let into = usize::try_from(at.checked_sub(self.start.0)?).ok()?;
        self.bytes.get(into..)?.first_chunk().copied()
    }

    fn x86_64(&self, at: u64) -> Option<Stub> {
        let into = at.checked_sub(self.section.0)?;
        let stub = |start, target| Stub { start: ElfVaddr(start), target };
        let wide = at - into % 16;
        if let Some(target) = self.wide(wide) {
            return Some(stub(wide, target));
        }
        let narrow = at - into % 8;
        self.narrow(narrow).map(|target| stub(narrow, target))
    }

    /// 16 bytes of x86_64.
    fn wide(&self, at: u64) -> Option<Target> {
        match self.bytes::<16>(at)? {
            // jmp *slot; push number; jmp
            [0xff, 0x25, _, _, _, _, 0x68, _, _, _, _, 0xe9, ..] => self.jump(at),
            // endbr64; jmp *slot
            [0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, ..] => self.jump(at.checked_add(4)?),
            // endbr64; bnd jmp *slot
            [0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, ..] => self.jump(at.checked_add(5)?),
            // endbr64; mov r11d, number; jmp *slot
            [0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0xbb, _, _, _, _, 0xff, 0x25, ..] => {
                self.jump(at.checked_add(10)?)
            }
            // [endbr64]; push number; [bnd] jmp
            [0xf3, 0x0f, 0x1e, 0xfa, 0x68, n0, n1, n2, n3, 0xe9, ..]
            | [0xf3, 0x0f, 0x1e, 0xfa, 0x68, n0, n1, n2, n3, 0xf2, 0xe9, ..]
            | [0x68, n0, n1, n2, n3, 0xf2, 0xe9, ..] => {
                Some(Target::Number(u32::from_le_bytes([n0, n1, n2, n3])))
            }
            _ => None,
        }
    }

    /// 8 bytes of x86_64.
    fn narrow(&self, at: u64) -> Option<Target> {
        match self.bytes(at)? {
            // jmp *slot; nop
            [0xff, 0x25, _, _, _, _, 0x66, 0x90] => self.jump(at),
            // bnd jmp *slot; nop
            [0xf2, 0xff, 0x25, _, _, _, _, 0x90] => self.jump(at.checked_add(1)?),
            _ => None,
        }
    }

    /// The slot of `jmp *slot(%rip)`, counted from the instruction's end.
    fn jump(&self, at: u64) -> Option<Target> {
        let [0xff, 0x25, distance @ ..] = self.bytes::<6>(at)? else { return None };
        let end = at.checked_add(6)?;
        Some(Target::Slot(ElfVaddr(end.wrapping_add_signed(i32::from_le_bytes(distance).into()))))
    }

    fn arm64(&self, at: u64) -> Option<Stub> {
        let at = at & !3;
        // The address may be that of the `bti` in front, of the `adrp`, or of one of up to four behind.
        let first = at.saturating_sub(4 * 4);
        let starts = (0..6).filter_map(|word| first.checked_add(4 * word));
        starts.filter_map(|adrp| self.arm64_from(adrp, at)).next()
    }

    fn word(&self, at: u64) -> Option<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    /// The stub whose `adrp` is at one address if another lies in it.
    fn arm64_from(&self, adrp: u64, at: u64) -> Option<Stub> {
        let page = adrp_x16(adrp, self.word(adrp)?)?;
        let slot = page.wrapping_add(u64::from(ldr_x17(self.word(adrp.checked_add(4)?)?)?));
        let before = adrp.checked_sub(4).and_then(|before| self.word(before).map(|word| (before, word)));
        let start = match before {
            Some((_, SAVE_LINK)) => return None,
            Some((before, BTI_C)) => before,
            _ => adrp,
        };
        for position in 2..5 {
            let end = adrp.checked_add(4 * position)?;
            match self.word(end)? {
                BRANCH if (start..=end).contains(&at) => {
                    return Some(Stub { start: ElfVaddr(start), target: Target::Slot(ElfVaddr(slot)) });
                }
                AUTHENTICATE => {}
                word if word & ADD_X16_MASK == ADD_X16 => {}
                _ => return None,
            }
        }
        None
    }
}

/// `bti c`.
const BTI_C: u32 = 0xd503_245f;
/// `stp x16, x30, [sp, #-16]!`: the first instruction of the table's start.
const SAVE_LINK: u32 = 0xa9bf_7bf0;
/// `autia1716`.
const AUTHENTICATE: u32 = 0xd503_219f;
/// `br x17`.
const BRANCH: u32 = 0xd61f_0220;
/// `add x16, x16, #…`.
const ADD_X16: u32 = 0x9100_0210;
const ADD_X16_MASK: u32 = 0xffc0_03ff;

/// The page that `adrp x16` at an address gives: 21 bits with sign, in pages of 4 KiB from its own.
fn adrp_x16(at: u64, word: u32) -> Option<u64> {
    if word & 0x9f00_001f != 0x9000_0010 {
        return None;
    }
    let pages = (word >> 5 & 0x7_ffff) << 2 | (word >> 29 & 3);
    // The sign goes to the top, and back.
    let pages = (pages << 11).cast_signed() >> 11;
    Some((at & !0xfff).wrapping_add_signed(i64::from(pages) << 12))
}

/// The offset of `ldr x17, [x16, #…]`, which counts words of 8 bytes.
fn ldr_x17(word: u32) -> Option<u32> {
    (word & 0xffc0_03ff == 0xf940_0211).then_some((word >> 10 & 0xfff) * 8)
}
