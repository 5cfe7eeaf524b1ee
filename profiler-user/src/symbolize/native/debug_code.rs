//! Ranges of a file's code with what debug information says there, compact: a program has some hundred ranges in each
//! function, and few of them are ever asked for.
//!
//! ```text
//!   range ─▶ (calls, line)      16 bytes
//!              └─▶ functions around it, inlined ones last, each but the last with the line of its call: shared by the
//!                  ranges of one inlined call
//! ```

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::known::Texts;
use crate::symbolize::dwarf::{CodeAt, Inlined, SourceLine};
use crate::symbolize::spans::{Spans, entry_bytes};

/// Bytes of one file's ranges: 20,000 ranges, some 200 functions of a large program.
const BYTES_MAX: usize = 1 << 20;

/// A function, and a line in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Call {
    name: Arc<str>,
    file: Arc<str>,
    line: u32,
    begin_line: u32,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// Index of the calls; `None` where it is known that nothing is.
    calls: Option<u32>,
    line: u32,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct DebugCode {
    ranges: Spans<Known>,
    /// The last one's line is 0: it is the range's.
    calls: Vec<Arc<[Call]>>,
    numbers: HashMap<Arc<[Call]>, u32>,
    calls_bytes: usize,
}

impl DebugCode {
    /// What is at an address, and where this holds; `None` if nobody asked yet.
    pub(super) fn get(&self, at: u64) -> Option<(Range<u64>, Option<CodeAt>)> {
        let (range, known) = self.ranges.get(at)?;
        let calls = known.calls.and_then(|calls| self.calls.get(calls as usize));
        Some((range, calls.and_then(|calls| code_of(calls, known.line))))
    }

    /// Notes the answer for a range, at one of its addresses.
    pub(super) fn keep(&mut self, at: u64, range: Range<u64>, code: Option<&CodeAt>, texts: &mut Texts) {
        let known = match code {
            Some(code) => {
                let (calls, line) = calls_of(code, texts);
                Known { calls: Some(self.number(calls)), line }
            }
            None => Known { calls: None, line: 0 },
        };
        self.ranges.insert(at, range, known);
    }

    fn number(&mut self, calls: Arc<[Call]>) -> u32 {
        if let Some(&known) = self.numbers.get(&calls) {
            return known;
        }
        let number = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        // Its place in the list and in the map.
        self.calls_bytes += calls.len() * size_of::<Call>() + 5 * size_of::<Arc<[Call]>>();
        self.calls.push(Arc::clone(&calls));
        self.numbers.insert(calls, number);
        number
    }

    /// Ranges that there is room for.
    pub(super) fn room(&self) -> usize {
        BYTES_MAX.saturating_sub(self.bytes()) / entry_bytes::<Known>()
    }

    pub(super) fn bytes(&self) -> usize {
        self.ranges.len() * entry_bytes::<Known>() + self.calls_bytes
    }
}

/// The calls with the line of the innermost taken out.
fn calls_of(code: &CodeAt, texts: &mut Texts) -> (Arc<[Call]>, u32) {
    let mut call = |name: &Arc<str>, at: &SourceLine, begin_line| Call {
        name: texts.shared(name),
        file: texts.shared(&at.file),
        line: at.line,
        begin_line,
    };
    let mut calls = Vec::with_capacity(1 + code.inlined.len());
    calls.push(call(&code.name, &code.at, code.begin_line));
    for inlined in &code.inlined {
        calls.push(call(&inlined.name, &inlined.at, inlined.begin_line));
    }
    let line = calls.last_mut().map_or(0, |innermost| std::mem::take(&mut innermost.line));
    (calls.into(), line)
}

fn code_of(calls: &[Call], line: u32) -> Option<CodeAt> {
    let innermost = calls.len().checked_sub(1)?;
    let line_of = |number: usize, call: &Call| if number == innermost { line } else { call.line };
    let mut all = calls.iter().enumerate().map(|(number, call)| Inlined {
        name: Arc::clone(&call.name),
        at: SourceLine { file: Arc::clone(&call.file), line: line_of(number, call) },
        begin_line: call.begin_line,
    });
    let Inlined { name, at, begin_line } = all.next()?;
    Some(CodeAt { name, at, begin_line, inlined: all.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(names: &[&str], line: u32) -> CodeAt {
        let at = |line| SourceLine { file: "file.c".into(), line };
        let inlined = names.iter().skip(1).enumerate();
        let last = names.len() - 1;
        let line_of = |number: usize| if number == last { line } else { 10 };
        CodeAt {
            name: names[0].into(),
            at: at(line_of(0)),
            begin_line: 1,
            inlined: inlined
                .map(|(number, name)| Inlined {
                    name: (*name).into(),
                    at: at(line_of(number + 1)),
                    begin_line: 2,
                })
                .collect(),
        }
    }

    #[test]
    fn what_was_kept_comes_back_and_calls_are_shared() {
        let (mut kept, mut texts) = (DebugCode::default(), Texts::default());
        let said = [
            (0x10..0x14, Some(code(&["outer"], 11))),
            (0x14..0x18, Some(code(&["outer", "middle", "inner"], 21))),
            (0x18..0x20, Some(code(&["outer", "middle", "inner"], 22))),
            (0x20..0x21, None),
        ];
        for (range, code) in &said {
            kept.keep(range.start, range.clone(), code.as_ref(), &mut texts);
        }
        for (range, code) in said {
            assert_eq!(kept.get(range.end - 1), Some((range, code)));
        }
        assert_eq!(kept.get(0x21), None, "nobody asked");
        assert_eq!(kept.calls.len(), 2);
    }

    #[test]
    fn there_is_room_until_its_bytes_are_used() {
        let (mut kept, mut texts) = (DebugCode::default(), Texts::default());
        let before = kept.room();
        for at in 0..before as u64 {
            let line = u32::try_from(at).unwrap();
            kept.keep(at, at..at + 1, Some(&code(&["function"], line)), &mut texts);
        }
        assert!(before > 10_000 && kept.room() == 0 && kept.bytes() < BYTES_MAX + 1000);
    }
}
