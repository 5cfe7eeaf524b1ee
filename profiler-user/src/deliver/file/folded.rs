//! A profile → folded text: `process;outermost;…;leaf value`, a line a distinct stack, sorted.
//!
//! Kernel functions end in `_[k]`. The value is [`width`](super::frames::width): samples of the CPU clock,
//! or cycles.

use std::io::{self, Write};

use super::stacks::StackLines;
use crate::aggregate::profile::Profile;

/// Writes it line by line.
pub(super) fn write(profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
    let mut stacks = StackLines::of(profile);
    stacks.sort_as_text();
    for line in stacks.lines() {
        out.write_all(stacks.process_name(line).as_bytes())?;
        for &frame in stacks.frames(line) {
            out.write_all(b";")?;
            out.write_all(stacks.frame_name(frame).0.as_bytes())?;
        }
        writeln!(out, " {}", line.value)?;
    }
    Ok(())
}
