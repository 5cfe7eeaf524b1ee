//! Rows → a table for a terminal: columns as wide as what is in them, the last one cut at the edge.

use super::document::{Document, Row};
use crate::deliver::serve::harmless;
use crate::host::WallNanos;

const COLUMNS: usize = 8;
const TITLES: [&str; COLUMNS] = [
    "SERVICE",
    "PID",
    "SAMPLES",
    "WHOLE",
    "LANGUAGE",
    "NAMED BY",
    "EXECUTABLE",
    "LABELS, OR WHY NOT SAMPLED",
];
/// Numbers stand at the right.
const IS_NUMBER: [bool; COLUMNS] = [false, true, true, true, false, false, false, false];
/// Longer ones are cut where lines are; the last column has what is left.
const CHARS_MAX: [usize; COLUMNS] = [36, 10, 12, 7, 8, 14, 36, usize::MAX];
const GAP: &str = "  ";

/// The table, and a line of what it shows.
pub(super) fn set(document: &Document, now: WallNanos, width: Option<usize>) -> String {
    let rows: Vec<[String; COLUMNS]> =
        document.targets.iter().map(|row| cells(row, width.is_some())).collect();
    let titles = TITLES.map(str::to_owned);
    let mut chars = [0; COLUMNS];
    for row in rows.iter().chain([&titles]) {
        for (width, cell) in chars.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in [&titles].into_iter().chain(&rows) {
        out.push_str(&line(row, chars, width));
        out.push('\n');
    }
    out.push_str(&summary(document, now));
    out
}

fn cells(row: &Row, is_cut: bool) -> [String; COLUMNS] {
    let complete = row.complete_permille.map(|permille| format!("{}.{} %", permille / 10, permille % 10));
    let cells = [
        row.service.clone(),
        row.pid.to_string(),
        row.samples.to_string(),
        complete.unwrap_or_default(),
        row.language.clone(),
        row.rule.clone(),
        row.executable.clone(),
        remark(row),
    ];
    let mut limits = CHARS_MAX.into_iter();
    cells.map(|cell| {
        let cell = if cell.is_empty() { "-".to_owned() } else { harmless(&cell) };
        let limit = limits.next().filter(|_| is_cut).unwrap_or(usize::MAX);
        cut(&cell, limit)
    })
}

/// What has no column of its own.
fn remark(row: &Row) -> String {
    if let Some(why) = &row.dropped {
        return format!("not sampled: {why}");
    }
    let others = row.labels.iter().filter(|(name, _)| !matches!(&***name, "service_name" | "language"));
    others.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

fn line(cells: &[String; COLUMNS], chars: [usize; COLUMNS], width: Option<usize>) -> String {
    let columns = cells.iter().zip(chars).zip(IS_NUMBER).map(|((cell, chars), is_number)| {
        if is_number { format!("{cell:>chars$}") } else { format!("{cell:<chars$}") }
    });
    let line = columns.collect::<Vec<_>>().join(GAP);
    cut(line.trim_end(), width.unwrap_or(usize::MAX))
}

fn summary(document: &Document, now: WallNanos) -> String {
    let all = document.targets.len();
    let dropped = document.targets.iter().filter(|row| row.dropped.is_some()).count();
    let mut text = format!("\n{} sampled, {dropped} not", all - dropped);
    if document.left_out > 0 {
        text.push_str(&format!(", {} more with fewer samples not listed", document.left_out));
    }
    match document.taken_at_unix_ms {
        0 => text.push_str("; nothing has been sampled yet"),
        taken_at => {
            let age_seconds = (now.0 / 1_000_000).saturating_sub(taken_at) / 1_000;
            text.push_str(&format!("; as of {age_seconds} s ago"));
        }
    }
    text + "\n"
}
