//! Reads folded text: `process;outermost;…;leaf count`, a line a stack.

use anyhow::{Context, Result, ensure};

use crate::stacks::{Stack, Stacks};

impl Stacks {
    /// Every line must be a stack with a count; a stack must have a process and a frame.
    pub fn from_folded(text: &str) -> Result<Self> {
        text.lines().map(stack).collect::<Result<_>>().map(Self)
    }
}

fn stack(line: &str) -> Result<Stack> {
    let (names, count) = line.rsplit_once(' ').with_context(|| format!("no count: {line:?}"))?;
    let count = count.parse().with_context(|| format!("no count: {line:?}"))?;
    let mut names = names.split(';').map(str::to_owned);
    let process =
        names.next().filter(|name| !name.is_empty()).with_context(|| format!("no process: {line:?}"))?;
    let frames: Vec<_> = names.collect();
    ensure!(!frames.is_empty() && frames.iter().all(|frame| !frame.is_empty()), "an empty frame: {line:?}");
    Ok(Stack { process, frames, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_spaces() {
        let stacks = Stacks::from_folded("sh;operator new(unsigned long);f_[k] 12\n").unwrap();
        assert_eq!(stacks.0[0].frames, ["operator new(unsigned long)", "f_[k]"]);
        assert_eq!(stacks.0[0].count, 12);
    }

    #[test]
    fn broken_lines_are_refused() {
        for line in ["sh;main", "sh 3", ";main 3", "sh;;main 3", "sh;main x"] {
            assert!(Stacks::from_folded(line).is_err(), "{line}");
        }
    }
}
