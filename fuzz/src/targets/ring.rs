//! Bytes as events of the kernel half's ring → samples and stacks; and snapshots of stacks → frames.
//!
//! An event is its length in 2 bytes and itself; the ring gives each with its length too.

use profiler_common::abi::WALKED_FRAMES_MAX;
use profiler_common::address::RuntimeAddr;
use profiler_common::unwind_rule::{Base, Rule, Saved};
use profiler_user::collect::StackSnapshot;
use profiler_user::collect::decode::{RingEvent, decode};
use profiler_user::unwind::offline::{Code, RuleAt, unwind};

pub(crate) fn run(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((&length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(length)).min(behind.len());
        let (event, next) = behind.split_at(length);
        rest = next;
        match decode(event) {
            // A frame is two words; a marker may be added, which is less than what the event begins with.
            Some(RingEvent::Stack(stack)) => assert!(stack.frames.len() * 16 <= event.len()),
            Some(RingEvent::Sample(sample)) => {
                if let Some(snapshot) = sample.snapshot {
                    check(&snapshot, event.len());
                }
            }
            None => {}
        }
    }
}

fn check(snapshot: &StackSnapshot, event_bytes: usize) {
    assert!(snapshot.stack.len() < event_bytes);
    let frames = match unwind(snapshot, &mut AnyCode) {
        Ok(unwound) => unwound.frames,
        Err(waits) => waits.so_far.frames,
    };
    assert!(frames.len() <= WALKED_FRAMES_MAX as usize, "{} frames", frames.len());
}

/// Code whose rule is chosen by its address, so that the bytes choose it.
struct AnyCode;

impl Code for AnyCode {
    type Waiting = ();

    fn rule(&mut self, at: RuntimeAddr) -> RuleAt<()> {
        let [low, offset, ..] = at.0.to_le_bytes();
        let offset = i32::from(offset) - 64;
        RuleAt::Rule(match low % 10 {
            0 => return RuleAt::Waits(()),
            1 => return RuleAt::NoMapping,
            2 => Rule::GAP,
            3 => Rule::END,
            4 => Rule::SIGNAL,
            5 => Rule::memory(Base::StackPointer, offset, -1),
            6 => Rule::register(Base::Leaf(low >> 3), offset),
            7 => Rule::register(Base::FramePointer, 16).with_fp(Saved::AtCfa(-2)).switching_stack(),
            _ => Rule::register(Base::StackPointer, offset + 72),
        })
    }

    fn word(&mut self, at: RuntimeAddr) -> Option<u64> {
        // The code of a return from a signal handler is among what is found.
        (at.0 & 1 == 0).then_some(0x0f00_0000_0fc0_c748)
    }
}
