//! Each kind of rule over hand-made stacks. The file's text lies at a linked address that is neither its offset in the
//! file nor where it runs, and the stack is somewhere else again.

extern crate std;
use super::*;
use crate::unwind_rule::Unsupported;
use std::collections::BTreeMap;

const STACK: u64 = 0x7ffd_1234_5000;
const CALLER: u64 = 0x7f3c_1a42_6123;
const ARM: Arch = Arch::Arm64 { address_mask: ARM64_ADDRESS_MASK };

fn regs() -> Regs {
    let pc = CodeAddr::Interrupted(RuntimeAddr(0x7f3c_1a40_0777));
    Regs { pc, sp: STACK, fp: STACK + 0x100, lr: 0, bx: 0xb0b }
}

fn returned(regs: Regs) -> Regs {
    Regs { pc: CodeAddr::Return(RuntimeAddr(0x7f3c_1a40_0777)), ..regs }
}

/// A stack with these words and no others.
fn run(arch: Arch, regs: Regs, rule: Rule, words: &[(u64, u64)]) -> StepOutcome {
    let memory: BTreeMap<u64, u64> = words.iter().copied().collect();
    let leaf = |number| (number != 0).then(|| STACK + 0x1000 + u64::from(number) * 0x100);
    let read = |at: RuntimeAddr| memory.get(&at.0).copied();
    step(arch, &regs, rule, leaf, read, |at| at.0 >> 40 == 0x7f)
}

fn x86(rule: Rule, words: &[(u64, u64)]) -> StepOutcome {
    run(Arch::X86_64, regs(), rule, words)
}

fn frame(sp: u64, fp: u64, bx: u64) -> StepOutcome {
    StepOutcome::Frame(Regs { pc: CodeAddr::Return(RuntimeAddr(CALLER)), sp, fp, lr: 0, bx })
}

const SP_16: Rule = Rule::register(Base::StackPointer, 16);

#[test]
fn a_cfa_from_sp_fp_and_bx_takes_the_return_address_below_it() {
    assert_eq!(x86(SP_16, &[(STACK + 8, CALLER)]), frame(STACK + 16, STACK + 0x100, 0xb0b));
    let from_fp = Rule::register(Base::FramePointer, 16).with_fp(Saved::AtCfa(-2));
    let words = [(STACK + 0x108, CALLER), (STACK + 0x100, 0xf00)];
    assert_eq!(x86(from_fp, &words), frame(STACK + 0x110, 0xf00, 0xb0b));

    let from_bx = Rule::register(Base::Bx, 24).with_bx(Saved::AtCfa(-3));
    let registers = Regs { bx: STACK + 0x40, ..regs() };
    let words = [(STACK + 0x50, CALLER), (STACK + 0x40, 77)];
    assert_eq!(run(Arch::X86_64, registers, from_bx, &words), frame(STACK + 0x58, STACK + 0x100, 77));
}

#[test]
fn registers_of_the_interrupted_frame_serve_it_only() {
    let rule = Rule::register(Base::Leaf(10), 0).with_fp(Saved::Leaf(9));
    let cfa = STACK + 0x1a00;
    assert_eq!(x86(rule, &[(cfa - 8, CALLER)]), frame(cfa, STACK + 0x1900, 0xb0b));
    let outcome = run(Arch::X86_64, returned(regs()), rule, &[(cfa - 8, CALLER)]);
    assert_eq!(outcome, StepOutcome::Stop(Outcome::CfaRegisterUnknown));
    let unknown = Rule::register(Base::Leaf(0), 0);
    assert_eq!(x86(unknown, &[]), StepOutcome::Stop(Outcome::CfaRegisterUnknown));

    let saved = SP_16.with_fp(Saved::Leaf(9));
    let outcome = run(Arch::X86_64, returned(regs()), saved, &[(STACK + 8, CALLER)]);
    assert_eq!(outcome, StepOutcome::Stop(Outcome::SavedRegisterRuleUnknown));
}

#[test]
fn vfork_keeps_its_return_address_in_a_register_and_no_frame() {
    let rule = Rule::register(Base::StackPointer, 0).with_return_address(ReturnAddress::Leaf(5));
    let StepOutcome::Frame(caller) = x86(rule, &[]) else { panic!() };
    assert_eq!((caller.pc, caller.sp), (CodeAddr::Return(RuntimeAddr(STACK + 0x1500)), STACK));
    let outcome = run(Arch::X86_64, returned(regs()), rule, &[]);
    assert_eq!(outcome, StepOutcome::Stop(Outcome::ReturnAddressRuleUnknown));
}

#[test]
fn an_aligned_stack_is_left_through_what_the_frame_keeps_of_it() {
    // GCC: the CFA is in the word below the frame pointer, and the caller's rbp at the frame pointer.
    let rule = Rule::memory(Base::FramePointer, -8, 0)
        .with_fp(Saved::AtFramePointer(0))
        .with_bx(Saved::AtFramePointer(-2));
    let (cfa, fp) = (STACK + 0x208, STACK + 0x100);
    let words = [(fp - 8, cfa), (cfa - 8, CALLER), (fp, 0xf00), (fp - 16, 0xbbb)];
    assert_eq!(x86(rule, &words), frame(cfa, 0xf00, 0xbbb));

    // OpenSSL: the old stack pointer lies in the frame, and the CFA is a word above it.
    let rule = Rule::memory(Base::StackPointer, 0x98, 1).with_fp(Saved::AtCfa(-3));
    let words = [(STACK + 0x98, cfa - 8), (cfa - 8, CALLER), (cfa - 24, 0xf01)];
    assert_eq!(x86(rule, &words), frame(cfa, 0xf01, 0xb0b));

    // And behind a number of as many words as a register says; the test's leaf registers are addresses.
    let rule = Rule::indexed(Base::Leaf(9), 8, 1);
    let at = STACK.wrapping_add((STACK + 0x1900).wrapping_mul(8)).wrapping_add(8);
    assert_eq!(x86(rule, &[(at, cfa - 8), (cfa - 8, CALLER)]), frame(cfa, STACK + 0x100, 0xb0b));
}

#[test]
fn a_popped_register_keeps_its_value_on_x86_64_and_not_on_arm64() {
    let rule = Rule::register(Base::StackPointer, 8).with_fp(Saved::AtCfa(-2)).with_bx(Saved::AtCfa(-3));
    let stale = [(STACK, CALLER), (STACK - 8, 0xbad), (STACK - 16, 0xbad)];
    assert_eq!(x86(rule, &stale), frame(STACK + 8, STACK + 0x100, 0xb0b));

    let rule = Rule::register(Base::StackPointer, 32)
        .with_fp(Saved::AtCfa(-5))
        .with_return_address(ReturnAddress::AtCfa(-4));
    let StepOutcome::Frame(caller) = run(ARM, regs(), rule, &[(STACK, CALLER), (STACK - 8, 0x600d)]) else {
        panic!()
    };
    assert_eq!((caller.fp, caller.sp), (0x600d, STACK + 32), "Go on arm64");
}

#[test]
fn stubs_push_one_word_from_a_byte_of_sixteen_on() {
    for (pc, pushed) in [(0x7f3c_1a40_0020, 0), (0x7f3c_1a40_002a, 0), (0x7f3c_1a40_002b, 8)] {
        let registers = Regs { pc: CodeAddr::Interrupted(RuntimeAddr(pc)), ..regs() };
        let outcome = run(Arch::X86_64, registers, Rule::plt(11), &[(STACK + pushed, CALLER)]);
        assert_eq!(outcome, frame(STACK + 8 + pushed, STACK + 0x100, 0xb0b), "{pc:#x}");
    }
}

#[test]
fn a_signal_frame_gives_every_register_and_an_exact_pc_on_any_stack() {
    let elsewhere = 0x1000;
    let words = [
        (STACK + 40 + 80, 0xf00),
        (STACK + 40 + 88, 0xbbb),
        (STACK + 40 + 120, elsewhere),
        (STACK + 40 + 128, CALLER),
    ];
    let expected =
        Regs { pc: CodeAddr::Interrupted(RuntimeAddr(CALLER)), sp: elsewhere, fp: 0xf00, lr: 0, bx: 0xbbb };
    assert_eq!(run(Arch::X86_64, returned(regs()), Rule::SIGNAL, &words), StepOutcome::Frame(expected));
    let words =
        [(STACK + 544, 0xf00), (STACK + 552, 0x1122), (STACK + 560, elsewhere), (STACK + 568, CALLER)];
    let expected = Regs { lr: 0x1122, bx: 0, ..expected };
    assert_eq!(run(ARM, returned(regs()), Rule::SIGNAL, &words), StepOutcome::Frame(expected));
    assert_eq!(x86(Rule::SIGNAL, &words[..1]), StepOutcome::Stop(Outcome::StackMemoryUnreadable));
}

#[test]
fn a_restorer_without_rows_is_known_by_its_code() {
    let pc = 0x7f3c_1a40_0777;
    let mut words = std::vec![
        (pc, 0x0f00_0000_0fc0_c748),
        (pc + 1, 0x050f_0000_000f_c0c7),
        (STACK + 40 + 80, 0xf00),
        (STACK + 40 + 88, 0xbbb),
        (STACK + 40 + 120, STACK + 0x4000),
        (STACK + 40 + 128, CALLER),
    ];
    let StepOutcome::Frame(caller) = run(Arch::X86_64, returned(regs()), Rule::GAP, &words) else { panic!() };
    assert_eq!((caller.pc, caller.sp), (CodeAddr::Interrupted(RuntimeAddr(CALLER)), STACK + 0x4000));
    words[1].1 = 0;
    let outcome = run(Arch::X86_64, returned(regs()), Rule::GAP, &words);
    assert_eq!(outcome, StepOutcome::Stop(Outcome::StackMemoryUnreadable), "a frame pointer, not readable");
}

#[test]
fn arm64_takes_the_link_register_of_the_first_frame_and_strips_its_code() {
    let registers = Regs { lr: 0x00a5_0000_0000_0000 | CALLER, ..regs() };
    let leaf = Rule::register(Base::StackPointer, 0).with_return_address(ReturnAddress::LinkRegister);
    let StepOutcome::Frame(caller) = run(ARM, registers, leaf, &[]) else { panic!() };
    assert_eq!((caller.pc, caller.sp), (CodeAddr::Return(RuntimeAddr(CALLER)), STACK));
    let outcome = run(ARM, returned(registers), leaf, &[]);
    assert_eq!(outcome, StepOutcome::Stop(Outcome::ReturnAddressRuleUnknown));

    let saved = Rule::register(Base::FramePointer, 48)
        .with_fp(Saved::AtCfa(-6))
        .with_return_address(ReturnAddress::AtCfa(-5));
    let fp = STACK + 0x100;
    let words = [(fp, 0xf00), (fp + 8, 0x00ff_0000_0000_0000 | CALLER)];
    let StepOutcome::Frame(caller) = run(ARM, registers, saved, &words) else { panic!() };
    assert_eq!((caller.pc, caller.fp), (CodeAddr::Return(RuntimeAddr(CALLER)), 0xf00));
}

#[test]
fn ends_and_reasons_end_the_walk() {
    assert_eq!(x86(Rule::END, &[]), StepOutcome::Root);
    assert_eq!(x86(SP_16, &[(STACK + 8, 0)]), StepOutcome::Root, "nothing is called from address 0");
    assert_eq!(x86(SP_16, &[]), StepOutcome::Stop(Outcome::StackMemoryUnreadable));
    for why in Unsupported::ALL {
        assert_eq!(x86(Rule::unsupported(why), &[]), StepOutcome::Stop(why.outcome()));
    }
}

#[test]
fn the_stack_pointer_grows_unless_the_rule_says_that_the_stack_changes() {
    for offset in [0, -16] {
        let at = STACK.wrapping_add_signed(i64::from(offset)) - 8;
        let outcome = x86(Rule::register(Base::StackPointer, offset), &[(at, CALLER)]);
        assert_eq!(outcome, StepOutcome::Stop(Outcome::StackPointerFell), "{offset}");
    }
    let goroutine = 0xc000_1234_0000;
    let rule = Rule::register(Base::FramePointer, 16).switching_stack();
    let registers = Regs { fp: goroutine, ..regs() };
    let outcome = run(Arch::X86_64, registers, rule, &[(goroutine + 8, CALLER)]);
    assert_eq!(outcome, frame(goroutine + 16, goroutine, 0xb0b));
}

#[test]
fn a_function_that_says_its_caller_was_interrupted_gives_an_exact_pc() {
    let StepOutcome::Frame(caller) = x86(SP_16.interrupting(), &[(STACK + 8, CALLER)]) else { panic!() };
    assert_eq!(caller.pc, CodeAddr::Interrupted(RuntimeAddr(CALLER)));
}

#[test]
fn without_a_row_only_a_plausible_frame_pointer_leads_on() {
    let fp = STACK + 0x100;
    let words = [(fp, fp + 0x40), (fp + 8, CALLER)];
    assert_eq!(x86(Rule::GAP, &words), frame(fp + 16, fp + 0x40, 0xb0b));

    let with_fp = |fp: u64, words: &[(u64, u64)]| run(Arch::X86_64, Regs { fp, ..regs() }, Rule::GAP, words);
    let at_sp = [(STACK, fp), (STACK + 8, CALLER)];
    assert_eq!(with_fp(STACK, &at_sp), frame(STACK + 16, fp, 0xb0b), "a function without locals");
    let stop = StepOutcome::Stop;
    assert_eq!(with_fp(0, &[]), stop(Outcome::FramePointerChainEnd));
    assert_eq!(with_fp(STACK - 8, &[]), stop(Outcome::FramePointerImplausible), "below the stack");
    assert_eq!(with_fp(fp + 4, &[]), stop(Outcome::FramePointerImplausible), "not aligned");
    assert_eq!(with_fp(fp, &[(fp, 1)]), stop(Outcome::StackMemoryUnreadable));
    assert_eq!(with_fp(fp, &[(fp, 1), (fp + 8, 0)]), stop(Outcome::FramePointerChainEnd));
    assert_eq!(with_fp(fp, &[(fp, 1), (fp + 8, 5)]), stop(Outcome::FramePointerImplausible), "no code there");
}

#[test]
fn no_registers_rule_or_memory_make_it_panic() {
    // A small generator (xorshift, Marsaglia 2003): the same numbers in each run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..if cfg!(miri) { 100 } else { 20_000 } {
        let bytes = [next(), next()].map(u64::to_le_bytes).concat();
        let base = [Base::StackPointer, Base::FramePointer, Base::Bx, Base::Leaf(bytes[0])]
            [usize::from(bytes[1] & 3)];
        let offset = i32::from_le_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
        let place = i16::from_le_bytes([bytes[6], bytes[7]]);
        let rule = match bytes[8] & 7 {
            0 => Rule::SIGNAL,
            1 => Rule::indexed(base, offset, bytes[9].cast_signed()),
            2 => Rule::plt(bytes[9].cast_signed()),
            3 => Rule::memory(base, offset, bytes[9].cast_signed()).with_fp(Saved::AtFramePointer(place)),
            4 => Rule::GAP,
            5 => Rule::register(base, offset).with_return_address(ReturnAddress::AtCfa(place)),
            _ => Rule::register(base, offset).with_fp(Saved::AtCfa(place)).with_bx(Saved::AtCfa(!place)),
        };
        let pc = CodeAddr::new(RuntimeAddr(next()), bytes[10] & 1 == 0);
        let registers = Regs { pc, sp: next(), fp: next(), lr: next(), bx: next() };
        let seed = next();
        for arch in [Arch::X86_64, ARM] {
            let read = |at: RuntimeAddr| (!at.0.is_multiple_of(7)).then_some(at.0 ^ seed);
            step(arch, &registers, rule, |number| Some(u64::from(number) ^ seed), read, |_| true);
        }
    }
}
