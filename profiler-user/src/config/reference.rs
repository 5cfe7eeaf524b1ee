//! The table of keys → the tables of `docs/configuration.md`, in Markdown.

use super::DaemonConfig;
use super::key::{Change, Key, option_name, paragraphs, variable_name};

/// The generated part of `docs/configuration.md`.
pub fn reference() -> String {
    let mut text = String::new();
    for section in DaemonConfig::sections() {
        let table = section.table().map_or_else(|| "[[push]]".to_owned(), |table| format!("[{table}]"));
        text.push_str(&format!(
            "### {} `{table}`\n\n{}\n",
            section.title,
            paragraphs(section.about).join("\n\n")
        ));
        let (plain, lists): (Vec<&Key>, Vec<&Key>) =
            section.keys.iter().partition(|key| key.elements.is_empty());
        if !plain.is_empty() {
            rows(&mut text, &plain, "", true);
        }
        for key in lists {
            let elements: Vec<&Key> = key.elements.iter().collect();
            let names = format!("`--{}` `{}`", option_name(key.path), variable_name(key.path));
            text.push_str(&format!("\n`[[{}]]`, {names}: {}\n", key.path, paragraphs(key.docs).join(" ")));
            let prefix = format!("{}.", key.path);
            rows(&mut text, &elements, &prefix, key.first_has_options);
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len() + 1);
    text
}

/// A table of keys, with their options and variables if they have any.
fn rows(text: &mut String, keys: &[&Key], prefix: &str, have_options: bool) {
    let (names, line) = if have_options { (" option, variable |", "---|") } else { ("", "") };
    text.push_str(&format!("\n| key | default |{names} what | change |\n|---|---|{line}---|---|\n"));
    for key in keys {
        let path = format!("{prefix}{}", key.path);
        let names = if have_options {
            format!(" `--{}` `{}` |", option_name(&path), variable_name(&path))
        } else {
            String::new()
        };
        let change = match key.change {
            Change::Reload => "reload",
            Change::Restart => "restart",
        };
        let name = if prefix.is_empty() { key.name() } else { key.path };
        text.push_str(&format!("| `{name}` | {} |{names} {} | {change} |\n", default(key), described(key)));
    }
}

fn default(key: &Key) -> String {
    match key.default_value() {
        _ if key.required => "required".to_owned(),
        Some(value) if !key.default.is_empty() => format!("`{value}`"),
        _ => String::new(),
    }
}

/// All of the description in one cell.
fn described(key: &Key) -> String {
    let mut text = paragraphs(key.docs).join(" ");
    if let Some(range) = key.range() {
        text.push_str(&format!(" Must be {range}."));
    }
    text.replace('|', "\\|")
}
