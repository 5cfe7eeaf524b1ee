//! All findings → verdict, exit code, JSON.

use serde::Serialize;

use super::finding::{Finding, State};
use super::text;

/// One check and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// Stable name, for programs.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// The outcome.
    #[serde(flatten)]
    pub finding: Finding,
}

/// What `flamekeeper doctor` found on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Release of the running kernel.
    pub kernel: String,
    /// As Rust names it, such as `x86_64`.
    pub architecture: &'static str,
    /// In the order to show them in.
    pub checks: Vec<CheckResult>,
}

/// The JSON document. Grows by new fields and new checks; what is there keeps its meaning.
#[derive(Serialize)]
struct Document<'report> {
    /// Of this document's form.
    version: u32,
    verdict: State,
    exit_code: u8,
    summary: String,
    kernel: &'report str,
    architecture: &'report str,
    checks: &'report [CheckResult],
}

impl Report {
    /// The worst state of all checks.
    pub fn verdict(&self) -> State {
        self.checks.iter().map(|check| check.finding.state).max().unwrap_or(State::Ok)
    }

    /// 0: nothing is lost. 1: profiling works, with losses. 2: nothing can be sampled.
    pub fn exit_code(&self) -> u8 {
        match self.verdict() {
            State::Ok => 0,
            State::Limited => 1,
            State::Missing => 2,
        }
    }

    /// One sentence that names what is not as it should be.
    pub fn summary(&self) -> String {
        let verdict = self.verdict();
        let worst = self.checks.iter().filter(|check| check.finding.state == verdict);
        let names = worst.map(|check| check.title).collect::<Vec<_>>().join(", ");
        match verdict {
            State::Ok => "ok: this host can be profiled in full".to_owned(),
            State::Limited => format!("limited: profiling works, but something is lost: {names}"),
            State::Missing => format!("cannot profile this host: {names}"),
        }
    }

    /// Aligned columns for a terminal `width` columns wide, with ANSI colours if asked for; ends with a newline.
    pub fn to_text(&self, width: usize, color: bool) -> String {
        text::render(self, width, color)
    }

    /// One JSON object over several lines; ends with a newline.
    pub fn to_json(&self) -> String {
        let document = Document {
            version: 1,
            verdict: self.verdict(),
            exit_code: self.exit_code(),
            summary: self.summary(),
            kernel: &self.kernel,
            architecture: self.architecture,
            checks: &self.checks,
        };
        // Serializing strings and numbers to memory has no way to fail.
        serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
    }
}
