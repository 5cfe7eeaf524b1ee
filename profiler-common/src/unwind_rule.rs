//! What must be done to get from one frame to its caller, in 12 bytes.
//!
//! A rule says where the CFA is (the stack pointer of the caller), and where the frame keeps the return address, the
//! caller's frame pointer and, on x86_64, its rbx. Real files have some hundred distinct rules each (glibc 381,
//! Node.js 149, rustc's driver 1,114 on x86_64). What no rule can hold has its reason as a rule.

use crate::outcome::Outcome;

/// How a frame's CFA, the stack pointer of its caller, is found. The numbers are ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RuleKind {
    /// Nobody said anything of this address. Zero, so that memory never written says so too.
    Gap = 0,
    /// The outermost frame: its return address is declared undefined.
    End = 1,
    /// Something was said that no rule can hold: see [`Unsupported`].
    Unsupported = 2,
    /// `CFA = base + offset`
    Register = 3,
    /// `CFA = *(base + offset) + 8·addend`
    Memory = 4,
    /// `CFA = sp + 8`, and 8 more from byte `addend` of each 16 on: the linker's stubs, which push one word.
    Plt = 5,
    /// The kernel's return from a signal handler: registers lie in its frame at `sp`.
    Signal = 6,
    /// `CFA = *(sp + 8·base + offset) + 8·addend`: OpenSSL keeps the old stack pointer behind a number as long as the key.
    Indexed = 7,
}

/// What no rule can hold, or could not be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Unsupported {
    /// A CFA by an expression of an unknown form.
    CfaExpression = 0,
    /// A CFA from a register that is not kept.
    CfaRegister = 1,
    /// A number too large for the rule's field.
    Range = 2,
    /// A return address in an unknown place.
    ReturnAddress = 3,
    /// A frame pointer, or rbx, in an unknown place.
    SavedRegister = 4,
    /// More distinct rules than the table holds, or than one file may add to it.
    TooManyRules = 5,
    /// The instructions of this function could not be read.
    Malformed = 6,
}

impl Unsupported {
    /// Each of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::CfaExpression,
        Self::CfaRegister,
        Self::Range,
        Self::ReturnAddress,
        Self::SavedRegister,
        Self::TooManyRules,
        Self::Malformed,
    ];

    /// How a walk ends that meets it.
    #[inline(always)]
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::CfaExpression => Outcome::CfaExpressionUnknown,
            Self::CfaRegister => Outcome::CfaRegisterUnknown,
            Self::Range => Outcome::RuleOutOfRange,
            Self::ReturnAddress => Outcome::ReturnAddressRuleUnknown,
            Self::SavedRegister => Outcome::SavedRegisterRuleUnknown,
            Self::TooManyRules => Outcome::TooManyRules,
            Self::Malformed => Outcome::UnwindInfoMalformed,
        }
    }

    #[inline(always)]
    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::CfaExpression,
            1 => Self::CfaRegister,
            2 => Self::Range,
            3 => Self::ReturnAddress,
            4 => Self::SavedRegister,
            5 => Self::TooManyRules,
            _ => Self::Malformed,
        }
    }
}

/// A register that a CFA is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Base {
    /// rsp, or sp.
    StackPointer,
    /// rbp, or x29.
    FramePointer,
    /// rbx (x86_64): ld.so's lazy binding keeps its frame there.
    Bx,
    /// Any other, by its DWARF number below 32: known in the interrupted frame only.
    Leaf(u8),
}

/// Where a caller's register lies. Offsets are in words of 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Saved {
    /// Unchanged by this frame.
    Same,
    /// In memory at `CFA + 8·n`.
    AtCfa(i16),
    /// In memory at `frame pointer + 8·n`: functions that align their stack.
    AtFramePointer(i16),
    /// In the register of this DWARF number, in the interrupted frame only (setjmp, longjmp).
    Leaf(u8),
}

/// Where the return address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReturnAddress {
    /// At `CFA − 8`, as `call` leaves it.
    BelowCfa,
    /// At `CFA + 8·n`; the place of rbx in the rule is taken by it.
    AtCfa(i16),
    /// Still in arm64's link register.
    LinkRegister,
    /// In the register of this DWARF number, in the interrupted frame only (vfork).
    Leaf(u8),
}

const SAME: u8 = 0;
const AT_CFA: u8 = 1;
const AT_FRAME_POINTER: u8 = 2;
const BELOW_CFA: u8 = 0;
const LINK_REGISTER: u8 = 2;
const LEAF: u8 = 3;
const BX_SHIFT: u32 = 2;
const RETURN_SHIFT: u32 = 4;
const HOW_MASK: u8 = 3;
const SWITCHES_STACK: u8 = 1 << 6;
const INTERRUPTED: u8 = 1 << 7;

const BASE_STACK_POINTER: u8 = 0;
const BASE_FRAME_POINTER: u8 = 1;
const BASE_BX: u8 = 2;
const BASE_LEAF: u8 = 32;
const LEAF_REGISTER_MASK: u8 = 31;

/// How to get from a frame to its caller.
///
/// ```text
///   byte 0 kind │ 1 base │ 2 how: fp 2, bx 2, return address 2, switches stack 1, caller was interrupted 1
///        3 addend │ 4..8 offset │ 8..10 fp offset │ 10..12 offset of bx or of the return address
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Rule {
    kind: u8,
    base: u8,
    how: u8,
    addend: i8,
    offset: i32,
    fp_words: i16,
    other_words: i16,
}

impl Rule {
    /// See [`RuleKind::Gap`].
    pub const GAP: Self = Self::of_kind(RuleKind::Gap, 0);
    /// See [`RuleKind::End`].
    pub const END: Self = Self::of_kind(RuleKind::End, 0);
    /// See [`RuleKind::Signal`].
    pub const SIGNAL: Self = Self::of_kind(RuleKind::Signal, 0);

    const fn of_kind(kind: RuleKind, addend: i8) -> Self {
        Self { kind: kind as u8, base: 0, how: 0, addend, offset: 0, fp_words: 0, other_words: 0 }
    }

    /// See [`RuleKind::Unsupported`].
    pub const fn unsupported(why: Unsupported) -> Self {
        Self::of_kind(RuleKind::Unsupported, why as i8)
    }

    /// See [`RuleKind::Plt`]; `from` is the byte of 16 behind the push.
    pub const fn plt(from: i8) -> Self {
        Self::of_kind(RuleKind::Plt, from)
    }

    /// `CFA = base + offset`, everything else unchanged, the return address below the CFA.
    pub const fn register(base: Base, offset: i32) -> Self {
        let mut rule = Self::of_kind(RuleKind::Register, 0);
        rule.base = base_number(base);
        rule.offset = offset;
        rule
    }

    /// `CFA = *(base + offset) + 8·addend_words`, everything else unchanged, the return address below the CFA.
    pub const fn memory(base: Base, offset: i32, addend_words: i8) -> Self {
        let mut rule = Self::of_kind(RuleKind::Memory, addend_words);
        rule.base = base_number(base);
        rule.offset = offset;
        rule
    }

    /// `CFA = *(sp + 8·index + offset) + 8·addend_words`, everything else unchanged, the return address below the CFA.
    pub const fn indexed(index: Base, offset: i32, addend_words: i8) -> Self {
        let mut rule = Self::memory(index, offset, addend_words);
        rule.kind = RuleKind::Indexed as u8;
        rule
    }

    /// The same, with the caller's frame pointer there.
    pub const fn with_fp(mut self, saved: Saved) -> Self {
        let (how, words) = saved_parts(saved);
        self.how = (self.how & !HOW_MASK) | how;
        self.fp_words = words;
        self
    }

    /// The same, with the caller's rbx there. Not together with [`ReturnAddress::AtCfa`] or [`ReturnAddress::Leaf`].
    pub const fn with_bx(mut self, saved: Saved) -> Self {
        let (how, words) = saved_parts(saved);
        self.how = (self.how & !(HOW_MASK << BX_SHIFT)) | (how << BX_SHIFT);
        self.other_words = words;
        self
    }

    /// The same, with the return address there.
    pub const fn with_return_address(mut self, at: ReturnAddress) -> Self {
        let (how, words) = match at {
            ReturnAddress::BelowCfa => (BELOW_CFA, self.other_words),
            ReturnAddress::AtCfa(words) => (AT_CFA, words),
            ReturnAddress::LinkRegister => (LINK_REGISTER, self.other_words),
            ReturnAddress::Leaf(number) => (LEAF, (number & LEAF_REGISTER_MASK) as i16),
        };
        self.how = (self.how & !(HOW_MASK << RETURN_SHIFT)) | (how << RETURN_SHIFT);
        self.other_words = words;
        self
    }

    /// The same, where the caller may lie on another stack, at a lower address.
    pub const fn switching_stack(mut self) -> Self {
        self.how |= SWITCHES_STACK;
        self
    }

    /// The same, where the caller did not call but was interrupted: its pc is exact.
    pub const fn interrupting(mut self) -> Self {
        self.how |= INTERRUPTED;
        self
    }

    /// Its parts one after the other, numbers in little endian: for files that outlive the program.
    pub fn to_bytes(self) -> [u8; 12] {
        let [a, b, c, d] = self.offset.to_le_bytes();
        let ([e, f], [g, h]) = (self.fp_words.to_le_bytes(), self.other_words.to_le_bytes());
        let [addend] = self.addend.to_le_bytes();
        [self.kind, self.base, self.how, addend, a, b, c, d, e, f, g, h]
    }

    /// The rule of such bytes. Any bytes are a rule; which ones make sense is not asked here.
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        let [kind, base, how, addend, a, b, c, d, e, f, g, h] = bytes;
        Self {
            kind,
            base,
            how,
            addend: i8::from_le_bytes([addend]),
            offset: i32::from_le_bytes([a, b, c, d]),
            fp_words: i16::from_le_bytes([e, f]),
            other_words: i16::from_le_bytes([g, h]),
        }
    }

    /// How the CFA is found; numbers of no kind are gaps.
    #[inline(always)]
    pub const fn kind(self) -> RuleKind {
        match self.kind {
            1 => RuleKind::End,
            2 => RuleKind::Unsupported,
            3 => RuleKind::Register,
            4 => RuleKind::Memory,
            5 => RuleKind::Plt,
            6 => RuleKind::Signal,
            7 => RuleKind::Indexed,
            _ => RuleKind::Gap,
        }
    }

    /// For [`RuleKind::Register`], [`RuleKind::Memory`] and [`RuleKind::Indexed`].
    #[inline(always)]
    pub const fn base(self) -> Base {
        match self.base {
            BASE_STACK_POINTER => Base::StackPointer,
            BASE_FRAME_POINTER => Base::FramePointer,
            BASE_BX => Base::Bx,
            number => Base::Leaf(number & LEAF_REGISTER_MASK),
        }
    }

    /// Bytes added to the base, as a word that wraps.
    #[inline(always)]
    pub const fn offset(self) -> u64 {
        self.offset as i64 as u64
    }

    /// For [`RuleKind::Memory`] and [`RuleKind::Indexed`]: words added to what was read. For [`RuleKind::Plt`]: byte behind the push.
    #[inline(always)]
    pub const fn addend(self) -> i8 {
        self.addend
    }

    /// For [`RuleKind::Unsupported`].
    #[inline(always)]
    pub const fn why_unsupported(self) -> Unsupported {
        Unsupported::from_number(self.addend as u8)
    }

    /// Where the caller's frame pointer is.
    #[inline(always)]
    pub const fn fp(self) -> Saved {
        saved_from(self.how & HOW_MASK, self.fp_words)
    }

    /// Where the caller's rbx is.
    #[inline(always)]
    pub const fn bx(self) -> Saved {
        saved_from((self.how >> BX_SHIFT) & HOW_MASK, self.other_words)
    }

    /// Where the return address is.
    #[inline(always)]
    pub const fn return_address(self) -> ReturnAddress {
        match (self.how >> RETURN_SHIFT) & HOW_MASK {
            BELOW_CFA => ReturnAddress::BelowCfa,
            AT_CFA => ReturnAddress::AtCfa(self.other_words),
            LINK_REGISTER => ReturnAddress::LinkRegister,
            _ => ReturnAddress::Leaf(leaf_number(self.other_words)),
        }
    }

    /// Whether the caller may lie on another stack.
    #[inline(always)]
    pub const fn switches_stack(self) -> bool {
        self.how & SWITCHES_STACK != 0
    }

    /// Whether the caller was interrupted, and did not call.
    #[inline(always)]
    pub const fn is_interrupting(self) -> bool {
        self.how & INTERRUPTED != 0
    }
}

#[inline(always)]
const fn base_number(base: Base) -> u8 {
    match base {
        Base::StackPointer => BASE_STACK_POINTER,
        Base::FramePointer => BASE_FRAME_POINTER,
        Base::Bx => BASE_BX,
        Base::Leaf(number) => BASE_LEAF | (number & LEAF_REGISTER_MASK),
    }
}

#[inline(always)]
const fn saved_parts(saved: Saved) -> (u8, i16) {
    match saved {
        Saved::Same => (SAME, 0),
        Saved::AtCfa(words) => (AT_CFA, words),
        Saved::AtFramePointer(words) => (AT_FRAME_POINTER, words),
        Saved::Leaf(number) => (LEAF, (number & LEAF_REGISTER_MASK) as i16),
    }
}

#[inline(always)]
const fn saved_from(how: u8, words: i16) -> Saved {
    match how {
        AT_CFA => Saved::AtCfa(words),
        AT_FRAME_POINTER => Saved::AtFramePointer(words),
        LEAF => Saved::Leaf(leaf_number(words)),
        _ => Saved::Same,
    }
}

#[inline(always)]
const fn leaf_number(words: i16) -> u8 {
    words.to_le_bytes()[0] & LEAF_REGISTER_MASK
}

const _: () = assert!(size_of::<Rule>() == 12, "Rule is ABI: no hidden padding");

#[cfg(feature = "user")]
mod pod {
    //! All bit patterns are valid for this type and it has no padding, which is what `Pod` asks.
    #![expect(
        unsafe_code,
        reason = "aya::Pod is an unsafe trait; the impl is one line over an asserted layout"
    )]

    // SAFETY: repr(C), integers only, size asserted above to have no padding.
    unsafe impl aya::Pod for super::Rule {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_rule_survive_their_packing() {
        let places = [Saved::Same, Saved::AtCfa(-2), Saved::AtFramePointer(i16::MIN), Saved::Leaf(10)];
        for base in [Base::StackPointer, Base::FramePointer, Base::Bx, Base::Leaf(0), Base::Leaf(31)] {
            for fp in places {
                for bx in places {
                    let rule = Rule::memory(base, -24, -1).with_fp(fp).with_bx(bx);
                    assert_eq!((rule.base(), rule.fp(), rule.bx()), (base, fp, bx));
                    assert_eq!(rule.return_address(), ReturnAddress::BelowCfa);
                    assert_eq!((rule.offset() as i64, rule.addend()), (-24, -1));
                }
                for at in [ReturnAddress::AtCfa(-3), ReturnAddress::LinkRegister, ReturnAddress::Leaf(5)] {
                    let rule = Rule::register(base, 16).with_fp(fp).with_return_address(at);
                    assert_eq!((rule.fp(), rule.return_address()), (fp, at));
                }
            }
        }
        let rule = Rule::register(Base::FramePointer, 16).switching_stack();
        assert!(rule.switches_stack() && !rule.is_interrupting());
        assert!(rule.interrupting().is_interrupting());
    }

    #[test]
    fn bytes_of_a_rule_are_the_same_everywhere() {
        let rule = Rule::memory(Base::Leaf(10), -24, -1).with_fp(Saved::AtCfa(-2)).with_bx(Saved::Leaf(5));
        let bytes = [4, 42, 1 | 3 << 2, 255, 232, 255, 255, 255, 254, 255, 5, 0];
        assert_eq!(rule.to_bytes(), bytes);
        assert_eq!(Rule::from_bytes(bytes), rule);
    }

    #[test]
    fn memory_never_written_is_a_gap_and_reasons_survive() {
        assert_eq!(Rule::default(), Rule::GAP);
        assert_eq!(Rule::GAP.kind(), RuleKind::Gap);
        for why in Unsupported::ALL {
            let rule = Rule::unsupported(why);
            assert_eq!((rule.kind(), rule.why_unsupported()), (RuleKind::Unsupported, why));
        }
    }
}
