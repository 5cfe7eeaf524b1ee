//! DWARF expressions of unwind information → the few forms that occur.
//!
//! Counted over glibc, OpenSSL, HotSpot, Node.js, CPython, Perl, GCC and rustc: the linker's stubs (one a file), a CFA
//! that the frame keeps (stack alignment by GCC and by hand; OpenSSL's behind a number of some length), and a register saved relative to rbp (the same).

use gimli::{Encoding, Expression, Operation, Register};

use super::cfi::Slice;

/// What an expression means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `register + offset`
    Register { register: Register, offset: i64 },
    /// `*(register + offset) + addend`
    Memory { register: Register, offset: i64, addend: i64 },
    /// `*(rsp + 8·register + offset) + addend`
    Indexed { register: Register, offset: i64, addend: i64 },
    /// `rsp + 8 + (((rip & 15) >= from) << 3)`
    Plt { from: i8 },
}

/// Operations of the longest form, and one more.
const OPERATIONS_MAX: usize = 12;

/// The form of an expression; `None` for any other.
pub(super) fn form_of(expression: Expression<Slice<'_>>, encoding: Encoding) -> Option<Form> {
    let mut all = Vec::with_capacity(OPERATIONS_MAX);
    let mut operations = expression.operations(encoding);
    while let Some(operation) = operations.next().ok()? {
        if all.len() >= OPERATIONS_MAX {
            return None;
        }
        all.push(operation);
    }
    use Operation as O;
    match all.as_slice() {
        [O::RegisterOffset { register, offset, .. }] => {
            Some(Form::Register { register: *register, offset: *offset })
        }
        [O::RegisterOffset { register, offset, .. }, O::Deref { size: 8, space: false, .. }, rest @ ..] => {
            let addend = match rest {
                [] => 0,
                [O::PlusConstant { value }] => i64::try_from(*value).ok()?,
                [O::UnsignedConstant { value }, O::Plus] => i64::try_from(*value).ok()?,
                [O::SignedConstant { value }, O::Plus] => *value,
                _ => return None,
            };
            Some(Form::Memory { register: *register, offset: *offset, addend })
        }
        [
            O::RegisterOffset { register: gimli::X86_64::RSP, offset, .. },
            O::RegisterOffset { register, offset: 0, .. },
            O::UnsignedConstant { value: 8 },
            O::Mul,
            O::Plus,
            O::Deref { size: 8, space: false, .. },
            O::PlusConstant { value },
        ] => {
            let addend = i64::try_from(*value).ok()?;
            Some(Form::Indexed { register: *register, offset: *offset, addend })
        }
        [
            O::RegisterOffset { register: gimli::X86_64::RSP, offset: 8, .. },
            O::RegisterOffset { register: gimli::X86_64::RA, offset: 0, .. },
            O::UnsignedConstant { value: 15 },
            O::And,
            O::UnsignedConstant { value: from },
            O::Ge,
            O::UnsignedConstant { value: 3 },
            O::Shl,
            O::Plus,
        ] => i8::try_from(*from).ok().map(|from| Form::Plt { from }),
        _ => None,
    }
}
