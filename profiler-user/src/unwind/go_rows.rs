//! Frame sizes of Go functions → rows.
//!
//! ```text
//!   x86_64   CFA = sp + size + 8; return address below it; the caller's rbp below that once there is a frame
//!   arm64    CFA = sp + size; the return address at sp, the caller's x29 in the word below sp
//! ```
//!
//! Go keeps frame pointers, but a function without a frame has none, and would hide its caller.
//!
//! Functions that write the stack pointer (`systemstack`, `asmcgocall`) keep the goroutine's frame in the frame pointer
//! while they run on the thread's stack: from where they have a frame on, their rows go by it, and may lead to another
//! stack. Those that have no frame (`morestack`, on arm64 `mcall`) left their goroutine for good: Go's own profiles end
//! there too. On x86_64 `mcall` pushes its argument once it has left the goroutine, which is where its frame is largest.
//! `cgocallback` copies its frame to the stack that it goes to, so that its sizes hold.
//!
//! Up to Go 1.20 `systemstack` and `asmcgocall` had no frame on x86_64, and left the frame pointer of their caller as it
//! was. By it their caller's caller is found; the caller itself is not shown.

use profiler_common::unwind_rule::{Base, ReturnAddress, Rule, Saved, Unsupported};

use super::builder::Builder;
use super::error::UnwindError;
use super::go_pclntab::{GoFunction, GoTable, NAME_BYTES_MAX, flags};
use super::table_bytes::TableBytes;
use crate::elf::Machine;

/// A frame that the frame pointer points to, on whatever stack that is.
const X86_64_OTHER_STACK: Rule =
    Rule::register(Base::FramePointer, 16).with_fp(Saved::AtCfa(-2)).switching_stack();

/// Adds all functions of the table to the builder.
pub(super) fn read<B: TableBytes>(
    table: &GoTable<B>,
    machine: Machine,
    builder: &mut Builder,
) -> Result<(), UnwindError> {
    let limit = builder.budget().work_bytes;
    let too_large =
        |found| UnwindError::TooLarge { what: "bytes of names and ranges of frame sizes", found, limit };
    let mut work: u64 = 0;
    for function in (0..table.len()).filter_map(|number| table.function(number)) {
        // Many functions can share one long name, or one that has no end.
        let name = table.name(&function);
        let name_bytes = name.as_ref().map_or(NAME_BYTES_MAX, String::len);
        let name = name.as_deref().unwrap_or_default();
        let name = name.strip_suffix(".abi0").unwrap_or(name);
        work = work.saturating_add(u64::try_from(name_bytes).unwrap_or(u64::MAX));
        // The kernel makes a handler return to the very start of its restorer, which is looked up one byte earlier.
        let start = if is_restorer(name) { function.start.saturating_sub(1) } else { function.start };
        if builder.begin(start, function.end) {
            work = work.saturating_add(add(table, &function, name, machine, builder)?);
        }
        if work > limit {
            return Err(too_large(work));
        }
    }
    builder.seal();
    Ok(())
}

fn is_restorer(name: &str) -> bool {
    matches!(name, "runtime.sigreturn__sigaction" | "runtime.sigreturn")
}

/// Gives the number of ranges gone through.
fn add<B: TableBytes>(
    table: &GoTable<B>,
    function: &GoFunction,
    name: &str,
    machine: Machine,
    builder: &mut Builder,
) -> Result<u64, UnwindError> {
    let all_flags = table.flags(function);
    if is_restorer(name) {
        builder.row(function.start.saturating_sub(1), Rule::SIGNAL)?;
        return Ok(1);
    }
    // Go's own unwinder stops at a handler; ours goes on to what the signal interrupted.
    if all_flags & flags::TOP_FRAME != 0 && !matches!(name, "runtime.sigtramp" | "runtime.cgoSigtramp") {
        builder.row(function.start, Rule::END)?;
        return Ok(1);
    }
    let writes_sp = all_flags & flags::WRITES_STACK_POINTER != 0 && name != "runtime.cgocallback";
    if writes_sp && table.frame_sizes(function).all(|(_, size)| size == 0) {
        let comes_back = matches!(name, "runtime.systemstack" | "runtime.asmcgocall");
        let is_skipping = machine == Machine::X86_64 && comes_back;
        builder.row(function.start, if is_skipping { X86_64_OTHER_STACK } else { Rule::END })?;
        return Ok(1);
    }
    let is_mcall = name == "runtime.mcall" && machine == Machine::X86_64;
    let left_at = is_mcall.then(|| table.frame_sizes(function).map(|(_, size)| size).max()).flatten();
    let mut ranges = 0;
    let mut end = function.start;
    for (range, size) in table.frame_sizes(function) {
        ranges += 1;
        end = range.end;
        let rule = match machine {
            _ if left_at == Some(size) => Ok(Rule::END),
            Machine::X86_64 => x86_64(size, writes_sp),
            Machine::Arm64 => arm64(size, writes_sp),
        };
        builder.row(range.start, rule.unwrap_or_else(Rule::unsupported))?;
    }
    // Assembly without sizes: Go's own unwinder would give up here.
    if end < function.end {
        builder.row(end, Rule::GAP)?;
    }
    Ok(ranges + 1)
}

fn words(size: i32) -> Result<i16, Unsupported> {
    let words = if size >= 0 && size % 8 == 0 { i16::try_from(size / 8).ok() } else { None };
    words.ok_or(Unsupported::Range)
}

fn x86_64(size: i32, writes_sp: bool) -> Result<Rule, Unsupported> {
    if size == 0 {
        return Ok(Rule::register(Base::StackPointer, 8));
    }
    if writes_sp {
        return Ok(X86_64_OTHER_STACK);
    }
    let offset = size.checked_add(8).filter(|offset| *offset > 8).ok_or(Unsupported::Range)?;
    Ok(Rule::register(Base::StackPointer, offset).with_fp(Saved::AtCfa(-2)))
}

fn arm64(size: i32, writes_sp: bool) -> Result<Rule, Unsupported> {
    if size == 0 {
        return Ok(Rule::register(Base::StackPointer, 0).with_return_address(ReturnAddress::LinkRegister));
    }
    let down = words(size)?;
    let return_address = ReturnAddress::AtCfa(-down);
    if writes_sp {
        // x29 points to the word below the stack pointer that the function had before it changed it.
        let offset = size.checked_add(8).ok_or(Unsupported::Range)?;
        let rule = Rule::register(Base::FramePointer, offset).with_fp(Saved::AtFramePointer(0));
        return Ok(rule.with_return_address(return_address).switching_stack());
    }
    let fp = down.checked_add(1).ok_or(Unsupported::Range)?;
    Ok(Rule::register(Base::StackPointer, size)
        .with_fp(Saved::AtCfa(-fp))
        .with_return_address(return_address))
}
