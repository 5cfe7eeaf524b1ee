//! The address spaces that must never meet by accident, each with its own type.
//!
//! ```text
//!   RuntimeAddr ──mapping──▶ FileOffset ──load segment──▶ ElfVaddr ──symbol table──▶ name
//!   (one process)            (one file)                   (as linked)
//! ```
//!
//! Most binaries make two or all of these numbers equal, so a mix-up passes most tests: conversions
//! live on the types that know the difference (a mapping, a load segment) and may fail.

/// An address in the memory of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct RuntimeAddr(pub u64);

/// A position in a file, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct FileOffset(pub u64);

/// A virtual address as the linker wrote it into an ELF file (symbol values, program headers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ElfVaddr(pub u64);

/// An address in the kernel, as running (KASLR applied).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct KernelAddr(pub u64);

/// A code address together with how it got onto the stack.
///
/// An interrupted pc points at the instruction that was about to run. A return address points behind
/// the call, which may already be the next function or the next line; it is looked up one byte earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeAddr<A> {
    /// The instruction that the sample interrupted.
    Interrupted(A),
    /// The instruction after a call.
    Return(A),
}

impl<A> CodeAddr<A> {
    /// From an address and whether it is a return address.
    #[inline(always)]
    pub const fn new(at: A, is_return: bool) -> Self
    where
        A: Copy,
    {
        if is_return { CodeAddr::Return(at) } else { CodeAddr::Interrupted(at) }
    }
}

macro_rules! code_addr_lookup {
    ($($space:ident),*) => {$(
        impl CodeAddr<$space> {
            /// The address to look up: for a return address one byte earlier, inside the call instruction.
            #[inline(always)]
            pub const fn lookup(self) -> $space {
                match self {
                    CodeAddr::Interrupted(at) => at,
                    CodeAddr::Return(at) => $space(at.0.saturating_sub(1)),
                }
            }
        }
    )*};
}
code_addr_lookup!(RuntimeAddr, FileOffset, ElfVaddr, KernelAddr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_return_addresses_are_looked_up_one_byte_earlier() {
        assert_eq!(CodeAddr::Interrupted(RuntimeAddr(0x1000)).lookup(), RuntimeAddr(0x1000));
        assert_eq!(CodeAddr::Return(RuntimeAddr(0x1000)).lookup(), RuntimeAddr(0xfff));
        assert_eq!(CodeAddr::Return(FileOffset(0)).lookup(), FileOffset(0));
    }
}
