//! The bytes of one ring event → a sample or a stack definition. Pure; any bytes give an answer.
//!
//! Layouts: `profiler_common::abi`. The ring is written by our own kernel half, so a mismatch means a
//! broken build; it is counted, not trusted.

use profiler_common::abi::{
    KIND_SAMPLE, KIND_SNAPSHOT, KIND_STACK, LEAF_FRAMES, ROOT_FRAMES, SNAPSHOT_BYTES_MAX, SNAPSHOT_CUT,
    SNAPSHOT_FAULT, SampleEvent, SnapshotEvent, StackEvent, stack_slot,
};
use profiler_common::address::RuntimeAddr;
use profiler_common::frame::Frame;
use profiler_common::outcome::Outcome;

use super::{RawSample, StackEnd, StackHash, StackSnapshot, Tgid, Tid};
use crate::host::MonotonicNanos;

/// A stack's frames, leaf first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawStack {
    /// Its identity.
    pub hash: StackHash,
    /// Its frames.
    pub frames: Box<[Frame]>,
}

/// One event of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingEvent {
    /// A tick.
    Sample(RawSample),
    /// A stack that was met for the first time.
    Stack(RawStack),
}

/// Decodes one event; `None` if the bytes are none of this version.
pub fn decode(bytes: &[u8]) -> Option<RingEvent> {
    match *bytes.first()? {
        KIND_SAMPLE => sample(bytes).map(RingEvent::Sample),
        KIND_STACK => stack(bytes).map(RingEvent::Stack),
        KIND_SNAPSHOT => snapshot(bytes).map(RingEvent::Sample),
        _ => None,
    }
}

/// Reads integers one after the other.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
    fn u8(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }
    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_ne_bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }
}

fn sample(bytes: &[u8]) -> Option<RawSample> {
    if bytes.len() < size_of::<SampleEvent>() {
        return None;
    }
    let mut words = Words(bytes);
    let _kind = words.u8()?;
    let user_outcome = Outcome::from_number(u16::from(words.u8()?))?;
    let cpu = words.u16()?;
    let exec_id = words.u32()?;
    Some(RawSample {
        at: MonotonicNanos(words.u64()?),
        tgid: Tgid(words.u32()?),
        tid: Tid(words.u32()?),
        start_time: words.u64()?,
        exec_id,
        cpu,
        kernel_stack: stack_hash(words.u64()?),
        user_stack: stack_hash(words.u64()?),
        user_outcome,
        weight: words.u64()?,
        snapshot: None,
    })
}

/// A sample and what follows it in a snapshot.
fn snapshot(bytes: &[u8]) -> Option<RawSample> {
    let (header, stack) = bytes.split_at_checked(size_of::<SnapshotEvent>())?;
    let (sample_bytes, rest) = header.split_at_checked(size_of::<SampleEvent>())?;
    let mut words = Words(rest);
    let mut registers = [0; 32];
    for register in &mut registers {
        *register = words.u64()?;
    }
    let pc = RuntimeAddr(words.u64()?);
    let stopped_at = Some(words.u64()?).filter(|&at| at != 0).map(RuntimeAddr);
    let length = usize::try_from(words.u32()?).ok().filter(|&length| length <= SNAPSHOT_BYTES_MAX)?;
    let end = match words.u32()? {
        flags if flags & SNAPSHOT_FAULT != 0 => StackEnd::NotResident,
        flags if flags & SNAPSHOT_CUT != 0 => StackEnd::Cut,
        _ => StackEnd::Base,
    };
    let stack = stack.get(..length)?.into();
    let snapshot = Some(Box::new(StackSnapshot { registers, pc, stopped_at, stack, end }));
    Some(RawSample { snapshot, ..sample(sample_bytes)? })
}

fn stack_hash(hash: u64) -> Option<StackHash> {
    (hash != 0).then_some(StackHash(hash))
}

fn stack(bytes: &[u8]) -> Option<RawStack> {
    let (header, slots) = bytes.split_at_checked(size_of::<StackEvent>())?;
    let mut words = Words(header);
    let _kind_and_flags = words.u16()?;
    let count = usize::from(words.u16()?);
    let _exec_id = words.u32()?;
    let hash = stack_hash(words.u64()?)?;
    let (_time, _tgid) = (words.u64()?, words.u32()?);
    let left_out = words.u32()?;
    let mut words = Words(slots);
    let mut frames: Vec<Frame> =
        (0..count).map_while(|_| Some(Frame::from_words(words.u64()?, words.u64()?))).collect();
    if left_out > 0 {
        let root =
            frames.get_mut(LEAF_FRAMES as usize..).filter(|root| root.len() == ROOT_FRAMES as usize)?;
        let first = stack_slot(left_out.checked_add(LEAF_FRAMES)?) - LEAF_FRAMES;
        root.rotate_left(first as usize);
        frames.insert(LEAF_FRAMES as usize, Frame::marker(Outcome::FramesLeftOut));
    }
    (frames.len() >= count).then_some(RawStack { hash, frames: frames.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler_common::frame::FrameKind;

    /// A sample as the kernel half lays it out on this machine.
    fn sample_bytes() -> Vec<u8> {
        let mut bytes = vec![KIND_SAMPLE, 3];
        bytes.extend(7u16.to_ne_bytes());
        bytes.extend(1u32.to_ne_bytes());
        bytes.extend(1_000u64.to_ne_bytes());
        bytes.extend(42u32.to_ne_bytes());
        bytes.extend(43u32.to_ne_bytes());
        bytes.extend(500u64.to_ne_bytes());
        bytes.extend(0u64.to_ne_bytes());
        bytes.extend(0xabcd_u64.to_ne_bytes());
        bytes.extend(10_101_010u64.to_ne_bytes());
        bytes
    }

    fn stack_bytes(claimed: u16, frames: &[Frame]) -> Vec<u8> {
        let mut bytes = vec![KIND_STACK, 0];
        bytes.extend(claimed.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(0xabcd_u64.to_ne_bytes());
        bytes.extend([0; 24]);
        for frame in frames {
            bytes.extend(frame.tag().to_ne_bytes());
            bytes.extend(frame.payload().to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn every_field_of_a_sample_is_where_the_abi_says() {
        let expected = RawSample {
            at: MonotonicNanos(1_000),
            tgid: Tgid(42),
            tid: Tid(43),
            start_time: 500,
            exec_id: 1,
            cpu: 7,
            kernel_stack: None,
            user_stack: Some(StackHash(0xabcd)),
            user_outcome: Outcome::FramePointerChainEnd,
            weight: 10_101_010,
            snapshot: None,
        };
        assert_eq!(decode(&sample_bytes()), Some(RingEvent::Sample(expected)));
    }

    #[test]
    fn a_definition_gives_its_frames_leaf_first() {
        let frames = [Frame::unbacked(0x1000, false), Frame::unbacked(0x2000, true)];
        let expected = RawStack { hash: StackHash(0xabcd), frames: frames.into() };
        assert_eq!(decode(&stack_bytes(2, &frames)), Some(RingEvent::Stack(expected)));
    }

    /// The same with 12 bytes of stack, as a snapshot.
    fn snapshot_bytes(claimed: u32, flags: u32) -> Vec<u8> {
        let mut bytes = sample_bytes();
        bytes[0] = KIND_SNAPSHOT;
        (100..132u64).for_each(|register| bytes.extend(register.to_ne_bytes()));
        bytes.extend(0x5555_u64.to_ne_bytes());
        bytes.extend(0x6666_u64.to_ne_bytes());
        bytes.extend(claimed.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(*b"twelve bytes");
        bytes
    }

    #[test]
    fn a_snapshot_is_a_sample_with_registers_and_stack() {
        let Some(RingEvent::Sample(sample)) = decode(&snapshot_bytes(12, SNAPSHOT_CUT)) else { panic!() };
        assert_eq!(sample.tgid, Tgid(42));
        let snapshot = sample.snapshot.unwrap();
        assert_eq!((snapshot.registers[0], snapshot.registers[31]), (100, 131));
        assert_eq!((snapshot.pc, snapshot.end), (RuntimeAddr(0x5555), StackEnd::Cut));
        assert_eq!(snapshot.stopped_at, Some(RuntimeAddr(0x6666)));
        assert_eq!(*snapshot.stack, *b"twelve bytes");
        let end = |flags| match decode(&snapshot_bytes(12, flags)) {
            Some(RingEvent::Sample(sample)) => sample.snapshot.unwrap().end,
            other => panic!("{other:?}"),
        };
        assert_eq!(end(0), StackEnd::Base);
        assert_eq!(end(SNAPSHOT_CUT | SNAPSHOT_FAULT), StackEnd::NotResident);
    }

    #[test]
    fn a_snapshot_that_claims_more_than_it_has_is_refused() {
        assert_eq!(decode(&snapshot_bytes(13, 0)), None);
        let whole = snapshot_bytes(12, 0);
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), None, "cut at {len}");
        }
        let mut long = snapshot_bytes(u32::try_from(SNAPSHOT_BYTES_MAX).unwrap() + 8, 0);
        long.resize(40_000, 0);
        assert_eq!(decode(&long), None);
    }

    /// What the kernel half leaves in its slots of a stack with this many frames.
    fn deep_stack_bytes(depth: u32) -> Vec<u8> {
        let kept = (LEAF_FRAMES + ROOT_FRAMES) as usize;
        let mut slots = vec![Frame::default(); kept];
        for frame in 0..depth {
            slots[stack_slot(frame) as usize] = Frame::native(1, u64::from(frame), frame > 0);
        }
        let mut bytes = stack_bytes(u16::try_from(kept).unwrap(), &slots);
        let left_out = depth - LEAF_FRAMES - ROOT_FRAMES;
        bytes[28..32].copy_from_slice(&left_out.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_stack_that_is_too_deep_keeps_leaf_and_root_in_order() {
        for depth in [960, 961, 1_000, 1_024, 1_025, 2_048] {
            let Some(RingEvent::Stack(stack)) = decode(&deep_stack_bytes(depth)) else { panic!("{depth}") };
            let is_marker = |frame: &&Frame| frame.kind() == FrameKind::Marker;
            assert_eq!(stack.frames.iter().filter(is_marker).count(), usize::from(depth > 960));
            let numbers: Vec<u64> =
                stack.frames.iter().filter(|frame| !is_marker(frame)).map(|f| f.payload()).collect();
            let depth = u64::from(depth);
            let expected: Vec<u64> = (0..896).chain(depth - 64..depth).collect();
            assert_eq!(numbers, expected);
        }
    }

    #[test]
    fn what_is_cut_short_or_unknown_is_refused() {
        let whole = sample_bytes();
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), None, "cut at {len}");
        }
        assert_eq!(decode(&stack_bytes(3, &[Frame::kernel(1, false)])), None);
        assert_eq!(decode(&[9; 100]), None);
        let mut unknown_outcome = whole;
        unknown_outcome[1] = 250;
        assert_eq!(decode(&unknown_outcome), None);
    }
}
