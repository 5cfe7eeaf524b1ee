//! One stack frame as two 64-bit words, the form in which the kernel half writes and user space reads it.
//!
//! ```text
//!   word 0   kind : 6 │ flags : 2 │ value : 56        value: file handle, pointer, marker reason
//!   word 1   payload : 64                             native: file offset; kernel, unbacked: address
//! ```
//!
//! The stride is fixed, so a reader can skip kinds that it does not know. Kinds from 16 on belong to
//! interpreters and JITs, one per runtime; an unknown kind decodes to [`FrameKind::Unknown`], never to an error.

use crate::outcome::Outcome;

/// What a frame's words mean. The number is ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// 0: no frame; what a zeroed slot holds.
    End,
    /// 1: value = file handle, payload = file offset.
    Native,
    /// 2: payload = kernel address.
    Kernel,
    /// 3: payload = address in the sampled process; not yet, or never, tied to a file.
    Unbacked,
    /// 4: value = [`Outcome`]: why the walk ended here.
    Marker,
    /// 5: continues the slot before it.
    Extension,
    /// A kind that this version does not know.
    Unknown(u8),
}

impl FrameKind {
    /// The six bits that stand for this kind.
    #[inline(always)]
    pub const fn number(self) -> u8 {
        match self {
            Self::End => 0,
            Self::Native => 1,
            Self::Kernel => 2,
            Self::Unbacked => 3,
            Self::Marker => 4,
            Self::Extension => 5,
            Self::Unknown(number) => number & 63,
        }
    }

    /// The kind that six bits stand for.
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::End,
            1 => Self::Native,
            2 => Self::Kernel,
            3 => Self::Unbacked,
            4 => Self::Marker,
            5 => Self::Extension,
            other => Self::Unknown(other & 63),
        }
    }
}

/// Flag: the frame's address is a return address; look it up one byte earlier.
pub const FLAG_RETURN: u8 = 1;
/// Flag: value or payload means something in one process only.
pub const FLAG_PROCESS_BOUND: u8 = 2;

const VALUE_BITS: u32 = 56;
const VALUE_MASK: u64 = (1 << VALUE_BITS) - 1;

/// One frame. All bit patterns are valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Frame {
    tag: u64,
    payload: u64,
}

const _: () = assert!(size_of::<Frame>() == 16, "Frame is ABI");

impl Frame {
    /// A frame from its parts; `value` keeps its low 56 bits.
    #[inline(always)]
    pub const fn new(kind: FrameKind, flags: u8, value: u64, payload: u64) -> Self {
        let tag =
            ((kind.number() as u64) << 58) | (((flags & 3) as u64) << VALUE_BITS) | (value & VALUE_MASK);
        Self { tag, payload }
    }

    /// A frame from the two words of a ring event.
    #[inline(always)]
    pub const fn from_words(tag: u64, payload: u64) -> Self {
        Self { tag, payload }
    }

    /// Code in the kernel.
    #[inline(always)]
    pub const fn kernel(address: u64, is_return: bool) -> Self {
        Self::new(FrameKind::Kernel, if is_return { FLAG_RETURN } else { 0 }, 0, address)
    }

    /// Code at an address of the sampled process.
    #[inline(always)]
    pub const fn unbacked(address: u64, is_return: bool) -> Self {
        let flags = FLAG_PROCESS_BOUND | if is_return { FLAG_RETURN } else { 0 };
        Self::new(FrameKind::Unbacked, flags, 0, address)
    }

    /// Code in a file.
    #[inline(always)]
    pub const fn native(file: u32, offset: u64, is_return: bool) -> Self {
        Self::new(FrameKind::Native, if is_return { FLAG_RETURN } else { 0 }, file as u64, offset)
    }

    /// The place where a walk ended early, and why.
    #[inline(always)]
    pub const fn marker(reason: Outcome) -> Self {
        Self::new(FrameKind::Marker, 0, reason as u64, 0)
    }

    /// Word 0.
    #[inline(always)]
    pub const fn tag(self) -> u64 {
        self.tag
    }

    /// What the words mean.
    pub const fn kind(self) -> FrameKind {
        FrameKind::from_number((self.tag >> 58) as u8)
    }

    /// Whether the address is a return address.
    pub const fn is_return(self) -> bool {
        (self.tag >> VALUE_BITS) as u8 & FLAG_RETURN != 0
    }

    /// Whether the frame means something in one process only.
    pub const fn is_process_bound(self) -> bool {
        (self.tag >> VALUE_BITS) as u8 & FLAG_PROCESS_BOUND != 0
    }

    /// The 56-bit value of word 0.
    pub const fn value(self) -> u64 {
        self.tag & VALUE_MASK
    }

    /// Word 1.
    #[inline(always)]
    pub const fn payload(self) -> u64 {
        self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_survive_the_two_words() {
        let frame = Frame::new(FrameKind::Native, FLAG_RETURN, 0x00ab_cdef_0123_4567, u64::MAX);
        assert_eq!(frame.kind(), FrameKind::Native);
        assert!(frame.is_return() && !frame.is_process_bound());
        assert_eq!(frame.value(), 0x00ab_cdef_0123_4567);
        assert_eq!(frame.payload(), u64::MAX);
        assert_eq!(Frame::from_words(frame.tag(), frame.payload()), frame);
    }

    #[test]
    fn every_six_bit_kind_decodes_to_itself() {
        for number in 0..64 {
            let kind = FrameKind::from_number(number);
            assert_eq!(kind.number(), number);
            assert_eq!(Frame::new(kind, 3, VALUE_MASK, 0).kind(), kind);
        }
    }

    #[test]
    fn a_value_cannot_spill_into_flags_or_kind() {
        let frame = Frame::new(FrameKind::End, 0, u64::MAX, 0);
        assert_eq!(frame.kind(), FrameKind::End);
        assert!(!frame.is_return() && !frame.is_process_bound());
    }
}
