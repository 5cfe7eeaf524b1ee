//! What the reader is asked and what it answers, as it goes over the socket.
//!
//! ```text
//!   Request  linked addresses
//!   Answer   ranges in which one answer holds: those that were asked for, and the rest of their functions
//!              └─ texts by number: the calls of a function are in each of its ranges
//! ```
//!
//! The reader may be in a stranger's hands: numbers that mean nothing are empty texts, ranges that overlap or come in
//! disorder are for who takes them to sort out.

use std::collections::HashMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{CodeAt, Inlined, SourceLine};

/// What the reader is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Linked addresses, ascending.
    pub(super) at: Vec<u64>,
    /// Ranges that the answer may have beyond them.
    pub(super) ranges_max: usize,
}

/// A function somewhere in its code: name, file, line, line on which it begins. The first two are numbers of texts.
type Line = (u32, u32, u32, u32);

/// What the reader answers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Answer {
    texts: Vec<String>,
    /// First address, first address behind, and what is there: the function that holds the code first, then what was
    /// inlined into it. Nothing, if nothing is known.
    ranges: Vec<(u64, u64, Vec<Line>)>,
    /// CPU time that it took.
    pub(super) cpu_nanos: u64,
}

impl Answer {
    /// With these ranges, ascending; neighbours with equal answers become one.
    pub(super) fn new(ranges: impl Iterator<Item = (Range<u64>, Option<CodeAt>)>) -> Self {
        let (mut answer, mut numbers) = (Self::default(), HashMap::new());
        for (range, code) in ranges {
            let lines = code.map_or_else(Vec::new, |code| answer.lines(&code, &mut numbers));
            match answer.ranges.last_mut() {
                Some((_, end, before)) if *end == range.start && *before == lines => *end = range.end,
                _ => answer.ranges.push((range.start, range.end, lines)),
            }
        }
        answer
    }

    fn lines(&mut self, code: &CodeAt, numbers: &mut HashMap<String, u32>) -> Vec<Line> {
        let mut number = |text: &str| {
            if let Some(&known) = numbers.get(text) {
                return known;
            }
            let new = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
            self.texts.push(text.to_owned());
            numbers.insert(text.to_owned(), new);
            new
        };
        let mut line =
            |name: &str, at: &SourceLine, begin_line| (number(name), number(&at.file), at.line, begin_line);
        let holder = line(&code.name, &code.at, code.begin_line);
        let inlined = code.inlined.iter();
        let inlined = inlined.map(|inlined| line(&inlined.name, &inlined.at, inlined.begin_line));
        [holder].into_iter().chain(inlined).collect()
    }

    /// The ranges, in the order in which they were sent.
    pub(super) fn ranges(self) -> impl Iterator<Item = (Range<u64>, Option<CodeAt>)> {
        let Self { texts, ranges, .. } = self;
        let texts: Vec<std::sync::Arc<str>> = texts.into_iter().map(Into::into).collect();
        let text = move |number: u32| texts.get(number as usize).cloned().unwrap_or_default();
        ranges.into_iter().map(move |(start, end, lines)| {
            let at = |file, line| SourceLine { file: text(file), line };
            let code = lines.split_first().map(|(&(name, file, line, begin_line), inlined)| CodeAt {
                name: text(name),
                at: at(file, line),
                begin_line,
                inlined: (inlined.iter())
                    .map(|&(name, file, line, begin_line)| Inlined {
                        name: text(name),
                        at: at(file, line),
                        begin_line,
                    })
                    .collect(),
            });
            (start..end, code)
        })
    }
}
