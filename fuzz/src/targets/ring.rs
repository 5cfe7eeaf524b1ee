//! Bytes as events of the kernel half's ring → samples and stacks.
//!
//! An event is its length in 2 bytes and itself; the ring gives each with its length too.

use profiler_user::collect::decode::{RingEvent, decode};

pub(crate) fn run(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((&length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(length)).min(behind.len());
        let (event, next) = behind.split_at(length);
        rest = next;
        match decode(event) {
            // A frame is two words.
            Some(RingEvent::Stack(stack)) => assert!(stack.frames.len() * 16 <= event.len()),
            Some(RingEvent::Sample(_)) | None => {}
        }
    }
}
