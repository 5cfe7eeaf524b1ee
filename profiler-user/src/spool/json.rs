//! The contents of a spool → JSON, an object; times in RFC 3339, durations in seconds, sizes in bytes.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::contents::{Contents, ShownProfile, ShownWindow};
use crate::deliver::spool::state::{EndpointKey, State};
use crate::host::WallNanos;

pub(super) fn write(contents: &Contents, out: &mut dyn Write) -> io::Result<()> {
    let endpoints =
        contents.endpoints.iter().map(|(key, name)| json!({"key": key.to_string(), "name": name}));
    let others = contents.others.iter().map(|(name, why)| json!({"name": name, "why": why}));
    let whole = json!({
        "spool": contents.path,
        "endpoints": endpoints.collect::<Vec<_>>(),
        "windows": contents.windows.iter().map(|of| window(of, &contents.endpoints)).collect::<Vec<_>>(),
        "windows_left_out": contents.left_out,
        "other_files": others.collect::<Vec<_>>(),
    });
    serde_json::to_writer_pretty(&mut *out, &whole)?;
    writeln!(out)
}

fn window(window: &ShownWindow, endpoints: &[(EndpointKey, String)]) -> Value {
    let states = endpoints.iter().map(|(key, name)| {
        let counts = window
            .states(*key)
            .into_iter()
            .map(|(state, count)| (state_name(state).to_owned(), json!(count)));
        (name.clone(), Value::Object(counts.collect()))
    });
    let mut value = json!({
        "id": window.id.to_string(),
        "started": time(window.started),
        "duration_seconds": window.duration.as_secs_f64(),
        "host": window.host,
        "file_bytes": window.file_bytes,
        "samples": window.samples(),
        "cpu_seconds": window.cpu().as_secs_f64(),
        "profile_count": window.profiles.len(),
        "states": states.collect::<Map<_, _>>(),
    });
    let has_labels = window.profiles.iter().any(|profile| profile.labels.is_some());
    if let Some(object) = value.as_object_mut().filter(|_| has_labels) {
        object
            .insert("profiles".to_owned(), window.profiles.iter().map(|of| profile(of, endpoints)).collect());
    }
    value
}

fn profile(profile: &ShownProfile, endpoints: &[(EndpointKey, String)]) -> Value {
    let labels = profile.labels.iter().flat_map(|labels| labels.iter());
    let state = |(key, name): &(EndpointKey, String)| {
        let (_, state) = profile.states.iter().find(|(known, _)| known == key)?;
        Some((name.clone(), json!(state_name(*state))))
    };
    let states = endpoints.iter().filter_map(state);
    json!({
        "labels": labels.map(|(name, value)| (name.to_owned(), json!(value))).collect::<Map<_, _>>(),
        "samples": profile.samples,
        "cpu_seconds": Duration::from_nanos(profile.cpu_nanos).as_secs_f64(),
        "bytes": profile.bytes,
        "states": states.collect::<Map<_, _>>(),
    })
}

/// As options call it.
fn state_name(state: State) -> &'static str {
    match state {
        State::Waiting | State::Sending => "waiting",
        State::Delivered => "delivered",
        State::TooOld => "too-old",
        State::Poisoned => "poisoned",
        State::Refused => "refused",
        State::Damaged => "damaged",
        State::NotForIt => "not-for-it",
    }
}

fn time(at: WallNanos) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(at.0)).to_string()
}
