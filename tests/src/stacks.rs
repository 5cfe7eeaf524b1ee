//! Stacks with counts, whatever file they came from, and the questions tests ask of them.
//!
//! A stack is matched by a *subsequence* of its frames, outermost first: what lies between, such as the
//! start code of a libc, is not the test's business.

use std::fmt;

use anyhow::{Result, ensure};

/// One distinct stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Name of the process.
    pub process: String,
    /// Outermost first.
    pub frames: Vec<String>,
    /// Samples that had it.
    pub count: u64,
}

impl Stack {
    /// Whether these frames occur in this order. A `*` at either end of a name stands for any text.
    pub fn has(&self, frames: &[&str]) -> bool {
        let mut rest = self.frames.iter();
        frames.iter().all(|pattern| rest.any(|frame| fits(pattern, frame)))
    }

    /// The innermost frame.
    pub fn leaf(&self) -> &str {
        self.frames.last().map_or("", String::as_str)
    }
}

pub(crate) fn fits(pattern: &str, frame: &str) -> bool {
    let open_start = pattern.strip_prefix('*');
    let rest = open_start.unwrap_or(pattern);
    let open_end = rest.strip_suffix('*');
    let text = open_end.unwrap_or(rest);
    match (open_start.is_some(), open_end.is_some()) {
        (false, false) => frame == text,
        (true, false) => frame.ends_with(text),
        (false, true) => frame.starts_with(text),
        (true, true) => frame.contains(text),
    }
}

/// All stacks of a profile, or of a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stacks(pub Vec<Stack>);

impl Stacks {
    /// Those of the processes of this name.
    pub fn of(&self, process: &str) -> Self {
        Self(self.0.iter().filter(|stack| stack.process == process).cloned().collect())
    }

    /// Samples in all.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|stack| stack.count).sum()
    }

    /// Samples whose stack has these frames in this order.
    pub fn count_with(&self, frames: &[&str]) -> u64 {
        self.0.iter().filter(|stack| stack.has(frames)).map(|stack| stack.count).sum()
    }

    /// Their share of all samples; 0 of nothing.
    pub fn share_of_stacks_with(&self, frames: &[&str]) -> f64 {
        ratio(self.count_with(frames), self.total())
    }

    /// Names of the processes.
    pub fn processes(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.iter().map(|stack| stack.process.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Fails, with the stacks, unless the share of stacks with these frames lies within sampling error of `expected`.
    pub fn ensure_share(&self, frames: &[&str], expected: f64) -> Result<()> {
        let (count, total) = (self.count_with(frames), self.total());
        ensure!(total >= 100, "{total} samples are too few to tell a share:\n{self}");
        let error = 4.0 * (expected * (1.0 - expected) / as_float(total)).sqrt();
        let share = ratio(count, total);
        ensure!(
            (share - expected).abs() <= error,
            "{frames:?} should have {expected:.2} ± {error:.3} of {total} samples and has {share:.3}:\n{self}"
        );
        Ok(())
    }

    /// Fails, with the stacks, unless at least this share of stacks has these frames.
    pub fn ensure_share_at_least(&self, frames: &[&str], least: f64) -> Result<()> {
        let (total, share) = (self.total(), self.share_of_stacks_with(frames));
        ensure!(total >= 20, "{total} samples are too few to tell a share:\n{self}");
        ensure!(
            share >= least,
            "{frames:?} should have {least:.2} of {total} samples and has {share:.3}:\n{self}"
        );
        Ok(())
    }

    /// Fails, with the stacks, if any stack has these frames.
    pub fn ensure_none(&self, frames: &[&str]) -> Result<()> {
        let count = self.count_with(frames);
        ensure!(count == 0, "{count} samples have {frames:?}:\n{self}");
        Ok(())
    }
}

impl fmt::Display for Stacks {
    /// The heaviest as folded text: what a failing test shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut heaviest: Vec<_> = self.0.iter().collect();
        heaviest.sort_by_key(|stack| std::cmp::Reverse(stack.count));
        writeln!(f, "{} samples, {} stacks, the heaviest:", self.total(), self.0.len())?;
        for stack in heaviest.iter().take(20) {
            writeln!(f, "{};{} {}", stack.process, stack.frames.join(";"), stack.count)?;
        }
        Ok(())
    }
}

/// Fails unless `measured` lies within `tolerance` (a share of it) of `expected`.
pub fn ensure_near(what: &str, measured: f64, expected: f64, tolerance: f64) -> Result<()> {
    ensure!(
        (measured - expected).abs() <= expected * tolerance,
        "{what}: {measured:.1} is not within {:.0} % of {expected:.1}",
        tolerance * 100.0
    );
    Ok(())
}

fn as_float(count: u64) -> f64 {
    // Counts of samples are far below 2^32; more would be a broken profile, and infinity shows it.
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { as_float(part) / as_float(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacks() -> Stacks {
        Stacks::from_folded("shop;main;sell;count 30\nshop;main;wait 10\nother;main 5\n").unwrap()
    }

    #[test]
    fn frames_match_as_a_subsequence() {
        let shop = stacks().of("shop");
        assert_eq!(shop.count_with(&["main", "count"]), 30);
        assert_eq!(shop.count_with(&["count", "main"]), 0);
        assert_eq!(shop.count_with(&["ma*", "*ai*"]), 10);
        assert_eq!(shop.total(), 40);
    }

    #[test]
    fn a_share_out_of_sampling_error_fails() {
        let many = Stacks::from_folded("p;a 700\np;b 300\n").unwrap();
        assert!(many.ensure_share(&["a"], 0.7).is_ok());
        assert!(many.ensure_share(&["a"], 0.63).is_err());
        assert!(stacks().ensure_share(&["main"], 1.0).is_err(), "too few samples");
    }
}
