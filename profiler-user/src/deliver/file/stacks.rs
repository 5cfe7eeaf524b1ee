//! A profile → distinct stacks of names, merged and sorted: what folded text and flame graphs are made of.
//!
//! ```text
//!   (function, space) ─▶ text, made safe ─▶ rank among all texts      a frame is its rank: 4 bytes
//!   stack             ─▶ ranks, outermost first, in one arena         comparing ranks = comparing texts
//!   (process name, stack) + value ─ sort ─ merge equals ─▶ lines
//! ```
//!
//! Two addresses of one function, and two processes of one name, become one here.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;

use super::frames::{FrameOf, at, outermost_first, suffix, width};
use crate::aggregate::profile::{Process, Profile, Sample, Space};

/// Stands for an empty name, which no reader of folded text expects.
const UNNAMED: &str = "[unnamed]";

/// One distinct stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StackLine {
    /// Rank of the process' name.
    pub(super) process: u32,
    /// Where its frames are in the arena.
    frames: Range<usize>,
    /// Sum of [`width`]s.
    pub(super) value: u64,
}

/// All distinct stacks of a profile.
#[derive(Debug)]
pub(super) struct StackLines<'a> {
    processes: Vec<Text<'a>>,
    texts: Vec<Text<'a>>,
    arena: Vec<u32>,
    lines: Vec<StackLine>,
}

/// A name as it is written.
#[derive(Debug)]
struct Text<'a> {
    name: Cow<'a, str>,
    space: Space,
}

impl<'a> StackLines<'a> {
    /// Merges and sorts: by process, then frame by frame from the outermost, a stack before those that go on.
    pub(super) fn of(profile: &'a Profile) -> Self {
        let mut names = Texts::default();
        let process_name = |process: &'a Process| names.intern(&process.executable_name, Space::User);
        let processes: Vec<u32> = profile.processes.iter().map(process_name).collect();
        let process_ranks = names.sort();

        let (texts, arena, ranges) = frames_of_stacks(profile);
        let line = |sample: &Sample| StackLine {
            process: *at(&process_ranks, *at(&processes, at(&profile.threads, sample.thread).process)),
            frames: at(&ranges, sample.stack).clone(),
            value: width(profile.event, sample),
        };
        let mut lines: Vec<StackLine> = profile.samples.iter().map(line).collect();
        merge(&arena, &mut lines);
        Self { processes: names.all, texts, arena, lines }
    }

    /// The stacks.
    pub(super) fn lines(&self) -> &[StackLine] {
        &self.lines
    }

    /// The frames of a stack, outermost first, as ranks.
    pub(super) fn frames(&self, line: &StackLine) -> &[u32] {
        &self.arena[line.frames.clone()]
    }

    /// The name of a stack's process.
    pub(super) fn process_name(&self, line: &StackLine) -> &str {
        &at(&self.processes, line.process).name
    }

    /// The name of the frame with this rank, with its suffix, and where it runs.
    pub(super) fn frame_name(&self, rank: u32) -> (&str, Space) {
        let text = at(&self.texts, rank);
        (&text.name, text.space)
    }

    /// Sum of all values.
    pub(super) fn total(&self) -> u64 {
        self.lines.iter().map(|line| line.value).fold(0, u64::saturating_add)
    }

    /// Sorts the stacks as the bytes of their written lines, as `LC_ALL=C sort` would, the values aside.
    ///
    /// It is another order: with `read` < `read64` < `read;x` a function's stacks are no neighbours.
    pub(super) fn sort_as_text(&mut self) {
        let Self { processes, texts, arena, lines } = self;
        let name = |line: &StackLine, depth: usize| -> Option<(&str, u8)> {
            let frames = &arena[line.frames.clone()];
            let name = match depth.checked_sub(1) {
                None => &at(processes, line.process).name,
                Some(frame) => &at(texts, *frames.get(frame)?).name,
            };
            Some((name, if depth == frames.len() { b' ' } else { b';' }))
        };
        lines.sort_by(|a, b| {
            let pairs = (0..).map(|depth| (name(a, depth), name(b, depth)));
            for (a, b) in pairs {
                match (a, b) {
                    (Some(a), Some(b)) if a == b => {}
                    // What follows a name on its line decides between it and one that begins with it.
                    (Some((a, a_next)), Some((b, b_next))) => {
                        return a.bytes().chain([a_next]).cmp(b.bytes().chain([b_next]));
                    }
                    (a, b) => return a.is_some().cmp(&b.is_some()),
                }
            }
            Ordering::Equal
        });
    }
}

/// All names, the frames of all stacks as their ranks, and where in there each stack is.
fn frames_of_stacks(profile: &Profile) -> (Vec<Text<'_>>, Vec<u32>, Vec<Range<usize>>) {
    let mut texts = Texts::default();
    let mut arena = Vec::new();
    let mut numbers = HashMap::new();
    let mut ranges = Vec::with_capacity(profile.stacks.len());
    for (stack, _) in (0..).zip(&profile.stacks) {
        let start = arena.len();
        for FrameOf { location, line } in outermost_first(profile, stack) {
            let name = || texts.intern(&at(&profile.functions, line.function).name, location.space);
            arena.push(*numbers.entry((line.function, location.space)).or_insert_with(name));
        }
        ranges.push(start..arena.len());
    }
    let ranks = texts.sort();
    arena.iter_mut().for_each(|text| *text = *at(&ranks, *text));
    (texts.all, arena, ranges)
}

/// Sorts by ranks and merges what is the same.
fn merge(arena: &[u32], lines: &mut Vec<StackLine>) {
    let key = |line: &StackLine| (line.process, &arena[line.frames.clone()]);
    lines.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    lines.dedup_by(|next, first| {
        let is_same = key(next) == key(first);
        if is_same {
            first.value = first.value.saturating_add(next.value);
        }
        is_same
    });
}

/// Distinct texts while they are collected.
#[derive(Default)]
struct Texts<'a> {
    all: Vec<Text<'a>>,
    numbers: HashMap<Cow<'a, str>, u32>,
}

impl<'a> Texts<'a> {
    fn intern(&mut self, name: &'a str, space: Space) -> u32 {
        let mut name = safe_name(name);
        if !suffix(space).is_empty() {
            name.to_mut().push_str(suffix(space));
        }
        let Self { all, numbers } = self;
        *numbers.entry(name).or_insert_with_key(|name| {
            let number = u32::try_from(all.len()).unwrap_or(u32::MAX);
            all.push(Text { name: name.clone(), space });
            number
        })
    }

    /// Sorts the texts and says at what rank each number now is.
    fn sort(&mut self) -> Vec<u32> {
        self.numbers = HashMap::new();
        let mut sorted: Vec<(u32, Text<'a>)> = (0..).zip(self.all.drain(..)).collect();
        sorted.sort_unstable_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        let mut ranks = vec![0; sorted.len()];
        for (rank, (number, _)) in (0..).zip(&sorted) {
            ranks[*number as usize] = rank;
        }
        self.all = sorted.into_iter().map(|(_, text)| text).collect();
        ranks
    }
}

/// A name that survives a line of folded text: no `;`, no line end or other control character, no white
/// space at its ends, not empty, and no number as its last word, which readers take for a second count.
fn safe_name(name: &str) -> Cow<'_, str> {
    // The last two are no characters of XML either.
    let is_bad = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    let name = name.trim_matches(|c: char| c.is_whitespace() || is_bad(c));
    if name.is_empty() {
        return Cow::Borrowed(UNNAMED);
    }
    let mut safe = Cow::Borrowed(name);
    if name.contains(|c| c == ';' || is_bad(c)) {
        let replace = |c| {
            if c == ';' {
                ':'
            } else if is_bad(c) {
                ' '
            } else {
                c
            }
        };
        safe = Cow::Owned(name.chars().map(replace).collect());
    }
    let number = safe.rfind(' ').filter(|&space| {
        let last_word = &safe[space + 1..];
        last_word.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    });
    if let Some(space) = number {
        safe.to_mut().replace_range(space..=space, "_");
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_line_of_text() {
        assert_eq!(safe_name("operator new(unsigned long)"), "operator new(unsigned long)");
        assert_eq!(safe_name("[u8; 8]::len"), "[u8: 8]::len");
        assert_eq!(safe_name(" a\nb\tc\u{7f} "), "a b c");
        assert_eq!(safe_name("worker 12"), "worker_12");
        assert_eq!(safe_name("worker 1.5"), "worker_1.5");
        assert_eq!(safe_name(""), UNNAMED);
        assert_eq!(safe_name("\n"), UNNAMED);
        assert_eq!(safe_name("名前"), "名前");
    }

    #[test]
    fn text_order_and_frame_order_differ_where_a_name_begins_another() {
        let text = |name: &'static str| Text { name: name.into(), space: Space::User };
        let processes = vec![text("p")];
        let texts = ["read", "read64", "x"].map(text).into();
        let arena = vec![0, 0, 2, 1];
        let line = |frames| StackLine { process: 0, frames, value: 1 };
        let lines = vec![line(0..1), line(1..3), line(3..4)];
        let mut stacks = StackLines { processes, texts, arena, lines };
        let written = |stacks: &StackLines<'_>| -> Vec<String> {
            let name = |rank: &u32| stacks.frame_name(*rank).0.to_owned();
            let join = |line| stacks.frames(line).iter().map(name).collect::<Vec<_>>().join(";");
            stacks.lines().iter().map(join).collect()
        };
        merge(&stacks.arena.clone(), &mut stacks.lines);
        assert_eq!(written(&stacks), ["read", "read;x", "read64"]);
        stacks.sort_as_text();
        assert_eq!(written(&stacks), ["read", "read64", "read;x"]);
    }
}
