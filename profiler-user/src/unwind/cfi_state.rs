//! What unwind instructions say of a frame, as far as a walk needs it → a [`Rule`].
//!
//! Of all registers only the return address, the frame pointer and, on x86_64, rbx are followed.

use gimli::{CallFrameInstruction, CommonInformationEntry, Register, UnwindExpression, UnwindSection};
use profiler_common::unwind_rule::{Base, ReturnAddress, Rule, Saved, Unsupported};

use super::cfi::Slice;
use super::cfi_expression::{Form, form_of};
use crate::elf::Machine;

/// DWARF numbers of the registers that matter, from the psABI of each machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registers {
    pub(super) machine: Machine,
    sp: Register,
    fp: Register,
    bx: Option<Register>,
}

impl Registers {
    pub(super) fn of(machine: Machine) -> Self {
        match machine {
            Machine::X86_64 => {
                let (sp, fp) = (gimli::X86_64::RSP, gimli::X86_64::RBP);
                Self { machine, sp, fp, bx: Some(gimli::X86_64::RBX) }
            }
            Machine::Arm64 => Self { machine, sp: gimli::AArch64::SP, fp: gimli::AArch64::X29, bx: None },
        }
    }

    /// How a rule names a register.
    fn base(self, register: Register) -> Option<Base> {
        if register == self.sp {
            return Some(Base::StackPointer);
        }
        if register == self.fp {
            return Some(Base::FramePointer);
        }
        if Some(register) == self.bx {
            return Some(Base::Bx);
        }
        leaf(register).map(Base::Leaf)
    }
}

fn leaf(register: Register) -> Option<u8> {
    u8::try_from(register.0).ok().filter(|number| *number < 32)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cfa {
    Register(Register, i64),
    Expression(UnwindExpression<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Not said: unchanged.
    Unsaid,
    Undefined,
    Cfa(i64),
    Register(Register),
    Expression(UnwindExpression<usize>),
    /// A value that is computed, not loaded.
    Computed,
}

/// What an instruction asks of who holds the states.
pub(super) enum Changed {
    No,
    Remember,
    Restore,
}

/// What holds at one place of a function.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    registers: Registers,
    return_register: Register,
    data_align: i64,
    cfa: Option<Cfa>,
    return_address: Place,
    fp: Place,
    bx: Place,
}

impl State {
    /// Before any instruction.
    pub(super) fn new(cie: &CommonInformationEntry<Slice<'_>>, registers: Registers) -> Self {
        Self {
            registers,
            return_register: cie.return_address_register(),
            data_align: cie.data_alignment_factor(),
            cfa: None,
            return_address: Place::Unsaid,
            fp: Place::Unsaid,
            bx: Place::Unsaid,
        }
    }

    fn place(&mut self, register: Register) -> Option<&mut Place> {
        if register == self.return_register {
            Some(&mut self.return_address)
        } else if register == self.registers.fp {
            Some(&mut self.fp)
        } else if Some(register) == self.registers.bx {
            Some(&mut self.bx)
        } else {
            None
        }
    }

    fn set(&mut self, register: Register, to: Place) {
        if let Some(place) = self.place(register) {
            *place = to;
        }
    }

    /// Follows an instruction other than those that move on. `None`: it makes no sense here.
    pub(super) fn apply(
        &mut self,
        instruction: &CallFrameInstruction<usize>,
        initial: Option<&Self>,
    ) -> Option<Changed> {
        use CallFrameInstruction as I;
        let factored = |offset: i64| offset.wrapping_mul(self.data_align);
        match *instruction {
            I::DefCfa { register, offset } => {
                self.cfa = Some(Cfa::Register(register, i64::try_from(offset).ok()?))
            }
            I::DefCfaSf { register, factored_offset } => {
                self.cfa = Some(Cfa::Register(register, factored(factored_offset)));
            }
            I::DefCfaRegister { register } => {
                let Some(Cfa::Register(_, offset)) = self.cfa else { return None };
                self.cfa = Some(Cfa::Register(register, offset));
            }
            I::DefCfaOffset { offset } => {
                let Some(Cfa::Register(register, _)) = self.cfa else { return None };
                self.cfa = Some(Cfa::Register(register, i64::try_from(offset).ok()?));
            }
            I::DefCfaOffsetSf { factored_offset } => {
                let Some(Cfa::Register(register, _)) = self.cfa else { return None };
                self.cfa = Some(Cfa::Register(register, factored(factored_offset)));
            }
            I::DefCfaExpression { expression } => self.cfa = Some(Cfa::Expression(expression)),
            I::Undefined { register } => self.set(register, Place::Undefined),
            I::SameValue { register } => self.set(register, Place::Unsaid),
            I::Offset { register, factored_offset } => {
                let offset = factored(i64::try_from(factored_offset).ok()?);
                self.set(register, Place::Cfa(offset));
            }
            I::OffsetExtendedSf { register, factored_offset } => {
                let offset = factored(factored_offset);
                self.set(register, Place::Cfa(offset));
            }
            I::Register { dest_register, src_register } => {
                self.set(dest_register, Place::Register(src_register))
            }
            I::Expression { register, expression } => self.set(register, Place::Expression(expression)),
            I::ValOffset { register, .. }
            | I::ValOffsetSf { register, .. }
            | I::ValExpression { register, .. } => {
                self.set(register, Place::Computed);
            }
            I::Restore { register } => {
                let mut initial = *initial?;
                let before = initial.place(register).map(|place| *place);
                self.set(register, before.unwrap_or(Place::Unsaid));
            }
            I::RememberState => return Some(Changed::Remember),
            I::RestoreState => return Some(Changed::Restore),
            // Codes of return addresses are stripped by mask whether a row speaks of them or not.
            I::NegateRaState | I::ArgsSize { .. } | I::Nop => {}
            I::AdvanceLoc { .. } | I::SetLoc { .. } => return None,
            // Instructions of later versions of gimli: unknown, so nothing behind them can be believed.
            #[expect(unreachable_patterns, reason = "the enum may grow")]
            _ => return None,
        }
        Some(Changed::No)
    }

    /// The rule for this state.
    pub(super) fn rule<'a, S: UnwindSection<Slice<'a>>>(
        &self,
        section: &S,
        cie: &CommonInformationEntry<Slice<'a>>,
        is_signal: bool,
    ) -> Rule {
        if self.return_address == Place::Undefined {
            return Rule::END;
        }
        // A plain CFA in a "signal frame" of x86_64: its caller was interrupted, but the kernel made no frame.
        let is_kernels =
            self.registers.machine == Machine::Arm64 || matches!(self.cfa, Some(Cfa::Expression(_)));
        if is_signal && is_kernels {
            return Rule::SIGNAL;
        }
        let rule = match self.try_rule(section, cie) {
            Ok(rule) => rule,
            Err(why) => return Rule::unsupported(why),
        };
        if is_signal { rule.interrupting() } else { rule }
    }

    fn try_rule<'a, S: UnwindSection<Slice<'a>>>(
        &self,
        section: &S,
        cie: &CommonInformationEntry<Slice<'a>>,
    ) -> Result<Rule, Unsupported> {
        let form = |expression: UnwindExpression<usize>| {
            expression.get(section).ok().and_then(|expression| form_of(expression, cie.encoding()))
        };
        let rule = match self.cfa {
            Some(Cfa::Register(register, offset)) => {
                let base = self.registers.base(register).ok_or(Unsupported::CfaRegister)?;
                Rule::register(base, i32::try_from(offset).map_err(|_| Unsupported::Range)?)
            }
            Some(Cfa::Expression(expression)) => match form(expression) {
                Some(Form::Plt { from }) => Rule::plt(from),
                Some(Form::Memory { register, offset, addend }) => {
                    let base = self.registers.base(register).ok_or(Unsupported::CfaRegister)?;
                    let offset = i32::try_from(offset).map_err(|_| Unsupported::Range)?;
                    Rule::memory(base, offset, i8::try_from(words(addend)?).map_err(|_| Unsupported::Range)?)
                }
                Some(Form::Indexed { register, offset, addend }) => {
                    let index = self.registers.base(register).ok_or(Unsupported::CfaRegister)?;
                    let offset = i32::try_from(offset).map_err(|_| Unsupported::Range)?;
                    Rule::indexed(
                        index,
                        offset,
                        i8::try_from(words(addend)?).map_err(|_| Unsupported::Range)?,
                    )
                }
                Some(Form::Register { register, offset }) => {
                    let base = self.registers.base(register).ok_or(Unsupported::CfaRegister)?;
                    Rule::register(base, i32::try_from(offset).map_err(|_| Unsupported::Range)?)
                }
                None => return Err(Unsupported::CfaExpression),
            },
            None => return Err(Unsupported::Malformed),
        };
        let saved = |place: Place| match place {
            Place::Unsaid | Place::Undefined => Ok(Saved::Same),
            Place::Cfa(offset) => Ok(Saved::AtCfa(words(offset)?)),
            Place::Register(register) => leaf(register).map(Saved::Leaf).ok_or(Unsupported::SavedRegister),
            Place::Expression(expression) => match form(expression) {
                Some(Form::Register { register, offset }) if register == self.registers.fp => {
                    Ok(Saved::AtFramePointer(words(offset)?))
                }
                _ => Err(Unsupported::SavedRegister),
            },
            Place::Computed => Err(Unsupported::SavedRegister),
        };
        let rule = rule.with_fp(saved(self.fp)?);
        let at = self.return_address()?;
        Ok(match at {
            // Only ld.so's lazy binding needs rbx: where it cannot be told, it is taken for unchanged.
            ReturnAddress::BelowCfa => rule.with_bx(saved(self.bx).unwrap_or(Saved::Same)),
            _ => rule.with_return_address(at),
        })
    }

    fn return_address(&self) -> Result<ReturnAddress, Unsupported> {
        match (self.return_address, self.registers.machine) {
            (Place::Cfa(-8), Machine::X86_64) => Ok(ReturnAddress::BelowCfa),
            (Place::Cfa(offset), _) => Ok(ReturnAddress::AtCfa(words(offset)?)),
            (Place::Unsaid, Machine::Arm64) => Ok(ReturnAddress::LinkRegister),
            (Place::Register(register), _) => {
                leaf(register).map(ReturnAddress::Leaf).ok_or(Unsupported::ReturnAddress)
            }
            _ => Err(Unsupported::ReturnAddress),
        }
    }
}

/// Whole words of 8 bytes.
fn words(bytes: i64) -> Result<i16, Unsupported> {
    let words = if bytes % 8 == 0 { i16::try_from(bytes / 8).ok() } else { None };
    words.ok_or(Unsupported::Range)
}
