//! The contents of a spool → a table for people.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use bytesize::ByteSize;

use super::contents::{Contents, ShownProfile, ShownWindow};
use crate::deliver::spool::state::{EndpointKey, State};
use crate::host::WallNanos;

/// Other files that are named.
const OTHERS_MAX: usize = 10;
/// Between columns.
const GAP: &str = "  ";
/// Columns of numbers, before those of endpoints.
const NUMBERS: usize = 6;

pub(super) fn render(contents: &Contents) -> String {
    let mut text = headline(contents);
    if !contents.windows.is_empty() {
        text.push('\n');
        rows(contents, &mut text);
    }
    others(contents, &mut text);
    text
}

fn headline(contents: &Contents) -> String {
    let path = contents.path.display();
    let left_out = match contents.left_out {
        0 => String::new(),
        count => format!(" ({count} not selected)"),
    };
    let (Some(first), Some(last)) = (
        contents.windows.iter().min_by_key(|window| window.started),
        contents.windows.iter().max_by_key(|window| window.started),
    ) else {
        return format!("{path}: no windows{left_out}\n");
    };
    let sum = |of: fn(&ShownWindow) -> u64| contents.windows.iter().map(of).fold(0, u64::saturating_add);
    let cpu = contents.windows.iter().map(ShownWindow::cpu).fold(Duration::ZERO, Duration::saturating_add);
    let ended =
        WallNanos(last.started.0.saturating_add(u64::try_from(last.duration.as_nanos()).unwrap_or(0)));
    let mut hosts: Vec<&str> = contents.windows.iter().map(|window| window.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    format!(
        "{path}: {} of {}, {}{left_out}\n{} of CPU time in {}, {} to {} UTC\n",
        plural(contents.windows.len(), "window"),
        hosts.join(", "),
        size(sum(|window| window.file_bytes)),
        seconds(cpu),
        plural(usize::try_from(sum(ShownWindow::samples)).unwrap_or(usize::MAX), "sample"),
        time(first.started),
        time(ended),
    )
}

fn rows(contents: &Contents, text: &mut String) {
    let titles = ["STARTED (UTC)", "DURATION", "PROFILES", "SAMPLES", "CPU TIME", "SIZE"].map(str::to_owned);
    let names = contents.endpoints.iter().map(|(_, name)| name.to_owned());
    let mut rows: Vec<Vec<String>> = vec![titles.into_iter().chain(names).collect()];
    let mut labels: Vec<Option<String>> = vec![None];
    for window in &contents.windows {
        rows.push(window_row(window, &contents.endpoints));
        labels.push(None);
        for profile in window.profiles.iter().filter(|profile| profile.labels.is_some()) {
            rows.push(profile_row(profile, &contents.endpoints));
            labels.push(profile.labels.as_ref().map(ToString::to_string));
        }
    }
    let columns = rows.first().map_or(0, Vec::len);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| columns_of(cell)).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for (row, labels) in rows.iter().zip(labels) {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let blanks = " ".repeat(width.saturating_sub(columns_of(cell)));
            let is_number = (1..NUMBERS).contains(&column);
            let (before, after) = if is_number { (blanks.as_str(), "") } else { ("", blanks.as_str()) };
            let gap = if column == 0 { "" } else { GAP };
            line.push_str(&[gap, before, cell.as_str(), after].concat());
        }
        if let Some(labels) = labels {
            line.push_str(GAP);
            line.push_str(&labels);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn window_row(window: &ShownWindow, endpoints: &[(EndpointKey, String)]) -> Vec<String> {
    let numbers = [
        time(window.started),
        seconds(window.duration),
        window.profiles.len().to_string(),
        window.samples().to_string(),
        seconds(window.cpu()),
        size(window.file_bytes),
    ];
    let states = endpoints.iter().map(|(key, _)| match window.states(*key).as_slice() {
        [] => "-".to_owned(),
        [(state, _)] => name(*state).to_owned(),
        several => several
            .iter()
            .map(|(state, count)| format!("{count} {}", name(*state)))
            .collect::<Vec<_>>()
            .join(", "),
    });
    numbers.into_iter().chain(states).collect()
}

fn profile_row(profile: &ShownProfile, endpoints: &[(EndpointKey, String)]) -> Vec<String> {
    let numbers = [
        String::new(),
        String::new(),
        String::new(),
        profile.samples.to_string(),
        seconds(Duration::from_nanos(profile.cpu_nanos)),
        size(u64::from(profile.bytes)),
    ];
    let state = |key: &EndpointKey| profile.states.iter().find(|(known, _)| known == key);
    let states =
        endpoints.iter().map(|(key, _)| state(key).map_or("-", |(_, state)| name(*state)).to_owned());
    numbers.into_iter().chain(states).collect()
}

fn others(contents: &Contents, text: &mut String) {
    if contents.others.is_empty() {
        return;
    }
    let _infallible = writeln!(
        text,
        "\n{} in the folder:",
        match contents.others.len() {
            1 => "1 thing that is no readable window".to_owned(),
            count => format!("{count} things that are no readable windows"),
        }
    );
    for (name, why) in contents.others.iter().take(OTHERS_MAX) {
        let _infallible = writeln!(text, "{GAP}{}: {why}", name.escape_debug());
    }
    if contents.others.len() > OTHERS_MAX {
        let _infallible = writeln!(text, "{GAP}and {} more", contents.others.len() - OTHERS_MAX);
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::Waiting | State::Sending => "waiting",
        State::Delivered => "delivered",
        State::TooOld => "too old",
        State::Poisoned => "poisoned",
        State::Refused => "refused",
        State::Damaged => "damaged",
        State::NotForIt => "not for it",
    }
}

fn columns_of(text: &str) -> usize {
    text.chars().count()
}

pub(super) fn plural(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

pub(super) fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// `2026-11-22 10:15:00`
pub(super) fn time(at: WallNanos) -> String {
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(at.0)).to_string();
    text.trim_end_matches('Z').replace('T', " ")
}
