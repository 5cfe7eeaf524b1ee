//! A configured rule → the same rule checked and compiled, and what it does to a set of labels.

use std::fmt;

use md5::{Digest, Md5};
use regex::{Regex, RegexBuilder};

use super::config::{Action, RelabelConfig};
use super::error::RuleFault;
use super::re2;
use super::template::Template;
use crate::attribute::labels::Labels;

/// A longer pattern is nobody's by hand.
const MAX_PATTERN_BYTES: usize = 8 << 10;
/// Of `separator`, `replacement` and `target_label`.
const MAX_TEXT_BYTES: usize = 4 << 10;
/// Labels that one rule joins.
const MAX_SOURCE_LABELS: usize = 64;
/// Memory of a compiled pattern, and of the states that a search keeps.
const MAX_REGEX_BYTES: usize = 1 << 20;
/// How deep groups may be nested.
const MAX_REGEX_DEPTH: u32 = 64;
/// What is joined or written is cut here: rules can double a value each. The database takes 2,048 bytes.
const MAX_VALUE_BYTES: usize = 16 << 10;
/// No label gets a longer name. The database takes 1,024 bytes too.
const MAX_NAME_BYTES: usize = 1024;
/// `labelmap` can double the labels; beyond this no new one is added. The database takes 30.
const MAX_LABELS: usize = 4096;

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// One rule of the list.
#[derive(Debug)]
pub struct Rule {
    position: usize,
    action: Action,
    source_labels: Vec<String>,
    separator: String,
    pattern: String,
    regex: Regex,
    work: Work,
}

/// An action with what it needs.
#[derive(Debug)]
enum Work {
    Keep,
    Drop,
    KeepEqual { target: String },
    DropEqual { target: String },
    Replace { target: Template, replacement: Template },
    Lowercase { target: String },
    Uppercase { target: String },
    HashMod { target: String, modulus: u64 },
    LabelMap { replacement: Template },
    LabelDrop,
    LabelKeep,
}

impl Rule {
    /// Checks and compiles a rule; `position` counts from 1.
    pub(super) fn compile(position: usize, config: RelabelConfig) -> Result<Self, RuleFault> {
        check(&config)?;
        let separator = config.separator.unwrap_or_else(|| DEFAULT_SEPARATOR.to_owned());
        let pattern = config.regex.unwrap_or_else(|| DEFAULT_REGEX.to_owned());
        let replacement = config.replacement.as_deref().unwrap_or(DEFAULT_REPLACEMENT);
        let regex = anchored(&pattern)?;
        let (action, target) = (config.action, config.target_label);
        let work = match action {
            Action::Keep => Work::Keep,
            Action::Drop => Work::Drop,
            Action::KeepEqual => Work::KeepEqual { target },
            Action::DropEqual => Work::DropEqual { target },
            Action::Replace => Work::Replace {
                target: Template::parse(&target, &regex),
                replacement: Template::parse(replacement, &regex),
            },
            Action::Lowercase => Work::Lowercase { target },
            Action::Uppercase => Work::Uppercase { target },
            Action::HashMod => Work::HashMod { target, modulus: config.modulus },
            Action::LabelMap => Work::LabelMap { replacement: Template::parse(replacement, &regex) },
            Action::LabelDrop => Work::LabelDrop,
            Action::LabelKeep => Work::LabelKeep,
        };
        Ok(Self { position, action, source_labels: config.source_labels, separator, pattern, regex, work })
    }

    /// Its place in the list; the first is 1.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Whether there are labels that it drops.
    pub(super) fn may_drop(&self) -> bool {
        matches!(self.work, Work::Keep | Work::Drop | Work::KeepEqual { .. } | Work::DropEqual { .. })
    }

    /// Changes the labels; false if this rule drops them.
    pub(super) fn apply(&self, labels: &mut Labels) -> bool {
        match &self.work {
            Work::Keep => return self.regex.is_match(&self.joined(labels)),
            Work::Drop => return !self.regex.is_match(&self.joined(labels)),
            Work::KeepEqual { target } => return labels.get(target) == self.joined(labels),
            Work::DropEqual { target } => return labels.get(target) != self.joined(labels),
            Work::Replace { target, replacement } => self.replace(labels, target, replacement),
            Work::Lowercase { target } => {
                let lower = self.joined(labels).chars().map(|c| only(c, c.to_lowercase())).collect();
                write(labels, target, lower);
            }
            Work::Uppercase { target } => {
                let upper = self.joined(labels).chars().map(|c| only(c, c.to_uppercase())).collect();
                write(labels, target, upper);
            }
            Work::HashMod { target, modulus } => {
                let hash = low_half_of_md5(&self.joined(labels));
                write(labels, target, hash.checked_rem(*modulus).unwrap_or(0).to_string());
            }
            Work::LabelMap { replacement } => self.map_names(labels, replacement),
            Work::LabelDrop => labels.retain(|name| !self.regex.is_match(name)),
            Work::LabelKeep => labels.retain(|name| self.regex.is_match(name)),
        }
        true
    }

    /// The source labels' values with the separator between them; those of absent labels are empty.
    fn joined(&self, labels: &Labels) -> String {
        let mut joined = String::new();
        for (place, name) in self.source_labels.iter().enumerate() {
            if place > 0 {
                joined.push_str(&self.separator);
            }
            joined.push_str(labels.get(name));
            cut(&mut joined);
        }
        joined
    }

    fn replace(&self, labels: &mut Labels, target: &Template, replacement: &Template) {
        let joined = self.joined(labels);
        if let Some(found) = self.regex.captures(&joined) {
            let name = target.expand(&found, MAX_NAME_BYTES);
            write(labels, &name, replacement.expand(&found, MAX_VALUE_BYTES));
        }
    }

    /// All names are read before one is written: a copy is not copied again.
    fn map_names(&self, labels: &mut Labels, replacement: &Template) {
        for (name, value) in labels.clone() {
            if let Some(found) = self.regex.captures(&name) {
                write(labels, &replacement.expand(&found, MAX_NAME_BYTES), value.to_string());
            }
        }
    }
}

/// For people who ask why a process is not there: `rule 2: drop namespace, container =~ "kube-system;.*"`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {} {}", self.position, self.action, self.source_labels.join(", "))?;
        match &self.work {
            Work::KeepEqual { target } | Work::DropEqual { target } => write!(f, " = {target}"),
            _ => write!(f, " =~ {:?}", self.pattern),
        }
    }
}

/// What Prometheus refuses, and what is too long for us.
fn check(config: &RelabelConfig) -> Result<(), RuleFault> {
    check_sizes(config)?;
    let action = config.action;
    if action == Action::HashMod && config.modulus == 0 {
        return Err(RuleFault::NoModulus);
    }
    let is_comparison = matches!(action, Action::KeepEqual | Action::DropEqual);
    let changes_case = matches!(action, Action::Lowercase | Action::Uppercase);
    let has_target = is_comparison || changes_case || matches!(action, Action::Replace | Action::HashMod);
    if has_target && config.target_label.is_empty() {
        return Err(RuleFault::NoTarget { action });
    }
    let is_set = |value: &Option<String>, default| value.as_deref().is_some_and(|value| value != default);
    let has_replacement = is_set(&config.replacement, DEFAULT_REPLACEMENT);
    if (is_comparison || changes_case) && has_replacement {
        return Err(RuleFault::ReplacementNotTaken { action });
    }
    if action == Action::LabelMap && config.replacement.as_deref() == Some("") {
        return Err(RuleFault::EmptyReplacement);
    }
    let has_modulus_or_separator = config.modulus != 0 || is_set(&config.separator, DEFAULT_SEPARATOR);
    if is_comparison && (has_modulus_or_separator || config.regex.is_some()) {
        return Err(RuleFault::OnlyLabelsTaken { action });
    }
    let has_labels = !config.source_labels.is_empty() || !config.target_label.is_empty();
    let is_filter_of_names = matches!(action, Action::LabelDrop | Action::LabelKeep);
    if is_filter_of_names && (has_labels || has_modulus_or_separator || has_replacement) {
        return Err(RuleFault::OnlyRegexTaken { action });
    }
    Ok(())
}

fn check_sizes(config: &RelabelConfig) -> Result<(), RuleFault> {
    let bytes = |text: &Option<String>| text.as_deref().map_or(0, str::len);
    let longest_source = config.source_labels.iter().map(String::len).max().unwrap_or(0);
    for (key, size, max) in [
        ("source_labels", config.source_labels.len(), MAX_SOURCE_LABELS),
        ("a name in source_labels", longest_source, MAX_NAME_BYTES),
        ("separator", bytes(&config.separator), MAX_TEXT_BYTES),
        ("regex", bytes(&config.regex), MAX_PATTERN_BYTES),
        ("replacement", bytes(&config.replacement), MAX_TEXT_BYTES),
        ("target_label", config.target_label.len(), MAX_NAME_BYTES),
    ] {
        if size > max {
            return Err(RuleFault::TooLong { key, size, max });
        }
    }
    if config.source_labels.iter().any(String::is_empty) {
        return Err(RuleFault::EmptySourceLabel);
    }
    Ok(())
}

/// The pattern as a whole from start to end; a dot is also a line end.
fn anchored(pattern: &str) -> Result<Regex, RuleFault> {
    let translated =
        re2::translate(pattern).map_err(|fault| RuleFault::Pattern { pattern: pattern.to_owned(), fault })?;
    RegexBuilder::new(&format!("^(?s:{translated})$"))
        .size_limit(MAX_REGEX_BYTES)
        .dfa_size_limit(MAX_REGEX_BYTES)
        .nest_limit(MAX_REGEX_DEPTH)
        .build()
        .map_err(|source| RuleFault::Regex { pattern: pattern.to_owned(), source: Box::new(source) })
}

/// The character's other case if it is one character, else the character: Go's, and so Prometheus', mapping is by
/// character. (It has a few such mappings more, of letters with an iota below and of the dotted I.)
fn only(c: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// The last 8 of MD5's 16 bytes, the first of them the highest: how Prometheus has always hashed.
fn low_half_of_md5(value: &str) -> u64 {
    let digest = Md5::digest(value);
    digest.iter().skip(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// Sets a label within our bounds; one without a name is left alone.
fn write(labels: &mut Labels, name: &str, mut value: String) {
    let has_room = labels.len() < MAX_LABELS || !labels.get(name).is_empty() || value.is_empty();
    if !name.is_empty() && name.len() <= MAX_NAME_BYTES && has_room {
        cut(&mut value);
        labels.set(name, value);
    }
}

/// Shortens a value to its bound, between two characters.
fn cut(value: &mut String) {
    value.truncate(value.floor_char_boundary(MAX_VALUE_BYTES));
}
