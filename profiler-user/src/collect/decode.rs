//! The bytes of one ring event → a sample or a stack definition. Pure; any bytes give an answer.
//!
//! Layouts: `profiler_common::abi`. The ring is written by our own kernel half, so a mismatch means a
//! broken build; it is counted, not trusted.

use profiler_common::abi::{KIND_SAMPLE, KIND_STACK, SampleEvent, StackEvent};
use profiler_common::frame::Frame;
use profiler_common::outcome::Outcome;

use super::{RawSample, StackHash, Tgid, Tid};
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
    })
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
    let mut words = Words(slots);
    let frames: Box<[Frame]> =
        (0..count).map_while(|_| Some(Frame::from_words(words.u64()?, words.u64()?))).collect();
    (frames.len() == count).then_some(RawStack { hash, frames })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        };
        assert_eq!(decode(&sample_bytes()), Some(RingEvent::Sample(expected)));
    }

    #[test]
    fn a_definition_gives_its_frames_leaf_first() {
        let frames = [Frame::unbacked(0x1000, false), Frame::unbacked(0x2000, true)];
        let expected = RawStack { hash: StackHash(0xabcd), frames: frames.into() };
        assert_eq!(decode(&stack_bytes(2, &frames)), Some(RingEvent::Stack(expected)));
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
