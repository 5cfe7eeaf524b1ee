//! Lines of a guest's console → results of its tests.
//!
//! ```text
//!   VM: test record-static ok seconds=9.1 complete=99.87 verified=31002 nanos=5120 samples=812 | words
//! ```

use std::collections::BTreeMap;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Failed,
    /// The guest cannot be asked, and said why.
    Untested,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Untested => "untested",
        }
    }
}

/// A test in a guest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TestResult {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    figures: BTreeMap<String, String>,
    pub(super) words: String,
}

impl TestResult {
    /// The guest itself, when it did not come to its tests' end.
    pub(super) fn broken(words: String) -> Self {
        Self { name: "guest".to_owned(), verdict: Verdict::Failed, figures: BTreeMap::new(), words }
    }

    /// A figure as the guest wrote it; `-`: it has none.
    pub(super) fn figure(&self, key: &str) -> &str {
        self.figures.get(key).map_or("-", String::as_str)
    }

    /// All of them, by name.
    pub(super) fn figures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.figures.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn read(line: &str) -> Option<Self> {
        let (head, words) = line.strip_prefix("VM: test ")?.split_once(" |")?;
        let mut parts = head.split(' ');
        let name = parts.next()?.to_owned();
        let verdict = match parts.next()? {
            "ok" => Verdict::Passed,
            "untested" => Verdict::Untested,
            _ => Verdict::Failed,
        };
        let figures = parts.filter_map(|part| part.split_once('='));
        let figures = figures.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Some(Self { name, verdict, figures, words: words.trim().to_owned() })
    }
}

/// All that a guest's console tells. A guest that ended before its tests is a failure of its own.
pub(super) fn read(lines: &[String], exit: Option<i32>) -> Vec<TestResult> {
    let mut results: Vec<TestResult> = lines.iter().filter_map(|line| TestResult::read(line)).collect();
    let failed = results.iter().any(|result| result.verdict == Verdict::Failed);
    match exit {
        Some(0) if !results.is_empty() => {}
        Some(_) if failed => {}
        Some(code) => results.push(TestResult::broken(format!("its tests ended with {code}"))),
        None => {
            let last = lines.iter().rev().find(|line| !line.trim().is_empty());
            let last = last.map_or("nothing", String::as_str);
            results.push(TestResult::broken(format!("it did not come to its end; last it said: {last}")));
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_is_a_test() {
        let console = lines("noise\nVM: test leaks ok seconds=4.0 verified=9 | two | three\nVM: exit 0");
        let results = read(&console, Some(0));
        assert_eq!(results.len(), 1);
        let leaks = &results[0];
        assert_eq!(
            (leaks.name.as_str(), leaks.verdict, leaks.words.as_str()),
            ("leaks", Verdict::Passed, "two | three")
        );
        assert_eq!((leaks.figure("verified"), leaks.figure("nanos")), ("9", "-"));
    }

    #[test]
    fn a_guest_that_says_nothing_or_stops_halfway_has_failed() {
        let console = lines("VM: test leaks ok seconds=4.0 | \nKernel panic");
        assert_eq!(
            read(&console, None).last().unwrap().words,
            "it did not come to its end; last it said: Kernel panic"
        );
        assert_eq!(read(&[], Some(0)).last().unwrap().verdict, Verdict::Failed);
        assert_eq!(read(&console, Some(127)).len(), 2);
    }
}
