//! A configuration → text in TOML, with each value's origin beside it and without its secrets.
//!
//! Read back it gives the same configuration, but for the secrets.

use std::fmt::Write;
use std::path::Path;

use super::document::join;
use super::group::Shown;
use super::key::Key;
use super::place::Place;
use super::{DaemonConfig, Loaded};

/// Column that origins begin at, where a line is not longer.
const ORIGIN_COLUMN: usize = 48;

/// What is in force, for `--check-config`.
pub fn show(loaded: &Loaded, file: Option<&Path>) -> String {
    let mut text = String::from("# What is in force, and where each value comes from.\n");
    for (section, shown) in DaemonConfig::sections().iter().zip(loaded.config.show()) {
        text.push('\n');
        if let Some(table) = section.table() {
            line(&mut text, &format!("[{table}]"), "");
        }
        for (key, value) in &shown {
            if key.elements.is_empty() {
                entry(&mut text, key, key.name(), value.as_ref(), &origin(loaded, key.path, file));
            }
        }
        for key in section.keys.iter().filter(|key| !key.elements.is_empty()) {
            elements(&mut text, loaded, key, file);
        }
    }
    text
}

fn elements(text: &mut String, loaded: &Loaded, key: &Key, file: Option<&Path>) {
    let tables = loaded.config.elements(key);
    if tables.is_empty() {
        line(text, &format!("# [[{}]]: none", key.path), &origin(loaded, key.path, file));
    }
    for (position, shown) in tables.iter().enumerate() {
        if position > 0 || !text.ends_with("\n\n") {
            text.push('\n');
        }
        line(text, &format!("[[{}]]", key.path), "");
        element(text, loaded, &format!("{}[{position}]", key.path), shown, file);
    }
}

fn element(text: &mut String, loaded: &Loaded, path: &str, shown: &Shown, file: Option<&Path>) {
    for (key, value) in shown {
        entry(text, key, key.path, value.as_ref(), &origin(loaded, &join(path, key.path), file));
    }
}

fn entry(text: &mut String, key: &Key, name: &str, value: Option<&toml::Value>, origin: &str) {
    match value {
        Some(value) => line(text, &format!("{name} = {value}"), origin),
        // What has a default and is not set was taken away.
        None if !key.default.is_empty() => line(text, &format!("{name} = \"\""), origin),
        None => line(text, &format!("# {name}: not set"), if origin == "default" { "" } else { origin }),
    }
}

fn line(text: &mut String, content: &str, origin: &str) {
    // Writing to a String cannot fail.
    let _never = match origin {
        "" => writeln!(text, "{content}"),
        _ => writeln!(text, "{content:<ORIGIN_COLUMN$} # {origin}"),
    };
}

/// Where a value comes from; of the file only the line, it has a long name.
fn origin(loaded: &Loaded, path: &str, file: Option<&Path>) -> String {
    let place = loaded.places.get(path);
    match place {
        None => String::new(),
        Some(Place::File { path, line, .. }) => {
            let name = file.and_then(Path::file_name).unwrap_or(path.as_os_str());
            format!("{}:{line}", name.to_string_lossy())
        }
        Some(place) => place.to_string(),
    }
}
