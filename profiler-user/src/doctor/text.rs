//! A report → aligned columns.
//!
//! ```text
//!   limited  CAP_SYSLOG              not held
//!            cost: functions of the kernel show as addresses
//!            cure: run it as root, or give the program its capabilities once:
//!              $ sudo flamekeeper …
//! ```
//!
//! What several checks in a row share is printed once, under the last of them.

use super::finding::{Finding, State};
use super::report::{CheckResult, Report};

const STATE_COLUMNS: usize = 9;
const TITLE_COLUMNS: usize = 24;
/// Narrower than this, columns make no sense any more.
const MIN_WIDTH: usize = 60;
/// Longer lines are hard to read.
const MAX_WIDTH: usize = 110;

/// The whole report.
pub(super) fn render(report: &Report, width: usize, color: bool) -> String {
    let width = width.clamp(MIN_WIDTH, MAX_WIDTH);
    let mut out = String::new();
    for (index, check) in report.checks.iter().enumerate() {
        let next = report.checks.get(index + 1).map(|next| &next.finding);
        render_found(&mut out, check, width, color);
        render_why(&mut out, &check.finding, next, width);
    }
    out.push('\n');
    let summary = wrapped(&report.summary(), width, "", "  ");
    out.push_str(&painted(&summary, report.verdict(), color));
    out.push('\n');
    out
}

fn render_found(out: &mut String, check: &CheckResult, width: usize, color: bool) {
    let finding = &check.finding;
    let word = format!("{:STATE_COLUMNS$}", finding.state.word());
    let title = format!("{:STATE_COLUMNS$}{:TITLE_COLUMNS$}", "", check.title);
    let line = wrapped(&finding.found, width, &title, &" ".repeat(STATE_COLUMNS + TITLE_COLUMNS));
    // Painted after the lines were laid out: colours have no width.
    out.push_str(&painted(&word, finding.state, color));
    out.push_str(line.get(STATE_COLUMNS..).unwrap_or_default());
    out.push('\n');
}

/// Cost and cure, without what the next check says too.
fn render_why(out: &mut String, finding: &Finding, next: Option<&Finding>, width: usize) {
    let margin = " ".repeat(STATE_COLUMNS);
    let hang = format!("{margin}      ");
    let next_cure = next.map(|next| (&next.cure, &next.commands));
    let shares_cure = next_cure == Some((&finding.cure, &finding.commands));
    let shares_cost = shares_cure && next.is_some_and(|next| next.cost == finding.cost);
    if let Some(cost) = finding.cost.as_ref().filter(|_| !shares_cost) {
        out.push_str(&wrapped(cost, width, &format!("{margin}cost: "), &hang));
        out.push('\n');
    }
    if let Some(cure) = finding.cure.as_ref().filter(|_| !shares_cure) {
        out.push_str(&wrapped(cure, width, &format!("{margin}cure: "), &hang));
        out.push('\n');
        // Never wrapped: they are there to be copied.
        finding.commands.iter().for_each(|command| out.push_str(&format!("{margin}  $ {command}\n")));
    }
}

fn painted(text: &str, state: State, color: bool) -> String {
    let code = match state {
        State::Ok => 32,
        State::Limited => 33,
        State::Missing => 31,
    };
    if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Breaks at spaces; the first line begins with `first`, the others with `rest`. No newline at the end.
fn wrapped(text: &str, width: usize, first: &str, rest: &str) -> String {
    let mut out = first.to_owned();
    let mut column = first.chars().count();
    let mut at_start = true;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !at_start && column + 1 + length > width {
            out.push('\n');
            out.push_str(rest);
            column = rest.chars().count();
            at_start = true;
        }
        if !at_start {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
        at_start = false;
    }
    out
}
