//! What is known of one key: its place in the file, its option and variable, its default, what a change of it takes.
//!
//! ```text
//!   sampling.unwind_tables_max ──▶ --unwind-tables-max            FLAMEKEEPER_UNWIND_TABLES_MAX
//!   push.tls.ca_file           ──▶ --push-tls-ca-file             FLAMEKEEPER_PUSH_TLS_CA_FILE
//! ```
//!
//! The only place that knows how names are made of each other. Reads nothing.

use super::value::Kind;

/// What begins the name of every variable.
pub const VARIABLE_PREFIX: &str = "FLAMEKEEPER_";

/// Keys of this table have no prefix in options and variables: `record` has the same ones by the same names.
const UNPREFIXED: &str = "sampling.";

/// What a changed value takes to be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A reload.
    Reload,
    /// A restart: the value is built into what runs.
    Restart,
}

/// A key, declared once: file, options, variables, help, example and documentation are made of it.
#[derive(Debug)]
pub struct Key {
    /// What its values are.
    pub(super) kind: Kind,
    /// Tables and name with dots; of a key in a list's tables from that table on.
    pub path: &'static str,
    /// The kind of value in capitals: `HZ`, `TIME`, `BYTES`.
    pub value_name: &'static str,
    /// As an option takes it; empty if the key is not set by default.
    pub default: &'static str,
    /// A value to show, as the file has it, where the default shows nothing.
    pub example: &'static str,
    /// The least value, as an option takes it.
    pub least: Option<&'static str>,
    /// The greatest value.
    pub most: Option<&'static str>,
    /// What a changed value takes.
    pub change: Change,
    /// Whether there has to be a value.
    pub required: bool,
    /// Whether an empty variable is a value; otherwise it counts as not set.
    pub empty_counts: bool,
    /// The keys of each table in it, if it is a list of tables.
    pub elements: &'static [Key],
    /// Whether the first table of the list has options and variables for its keys.
    pub first_has_options: bool,
    /// What it is for, in lines; the first paragraph is the short help.
    pub docs: &'static [&'static str],
}

impl Key {
    /// A key that takes a restart and is not set by default.
    pub(super) const fn new(path: &'static str, value_name: &'static str) -> Self {
        Self {
            kind: Kind::of::<bool>(),
            path,
            value_name,
            default: "",
            example: "",
            least: None,
            most: None,
            change: Change::Restart,
            required: false,
            empty_counts: false,
            elements: &[],
            first_has_options: false,
            docs: &[],
        }
    }

    /// With this default, as an option takes it.
    pub(super) const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    /// With a value to show in the example, as the file has it.
    pub(super) const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    /// From the one to the other, both included.
    pub(super) const fn between(self, least: &'static str, most: &'static str) -> Self {
        Self { least: Some(least), most: Some(most), ..self }
    }

    /// No less than this.
    pub(super) const fn at_least(self, least: &'static str) -> Self {
        Self { least: Some(least), ..self }
    }

    /// In force after a reload.
    pub(super) const fn reload(self) -> Self {
        Self { change: Change::Reload, ..self }
    }

    /// There has to be a value.
    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// An empty variable is a value.
    pub(super) const fn empty_counts(self) -> Self {
        Self { empty_counts: true, ..self }
    }

    /// A list of tables with these keys.
    pub(super) const fn elements(self, elements: &'static [Key]) -> Self {
        Self { elements, ..self }
    }

    /// The keys of the list's first table have options and variables.
    pub(super) const fn first_has_options(self) -> Self {
        Self { first_has_options: true, ..self }
    }

    /// With what the declaration says of it.
    pub(super) const fn described(self, kind: Kind, docs: &'static [&'static str]) -> Self {
        Self { kind, docs, ..self }
    }

    /// Its name within its table.
    pub fn name(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The default as a file has it; `None` if the key is not set.
    pub fn default_value(&self) -> Option<toml::Value> {
        (self.kind.shown)(self.default)
    }

    /// The names that it may have, if it is one of a few.
    pub fn choices(&self) -> Vec<String> {
        (self.kind.choices)()
    }

    /// Whether its option may be repeated.
    pub fn is_list(&self) -> bool {
        self.kind.is_list
    }

    /// What its option means without a value, if it may stand without one.
    pub fn without_value(&self) -> Option<&'static str> {
        self.kind.without_value
    }

    /// The first paragraph of its description, in one line, without the full stop.
    pub fn summary(&self) -> String {
        paragraphs(self.docs).first().map_or("", |first| first.trim_end_matches('.')).to_owned()
    }

    /// The paragraphs after the first, each in one line.
    pub fn details(&self) -> Vec<String> {
        paragraphs(self.docs).split_off(1)
    }

    /// What a description need not say: bounds, and whether a change takes a restart.
    pub fn notes(&self) -> String {
        let range = self.range().map(|range| format!("{}.", capitalized(&range)));
        let restart = (self.change == Change::Restart).then(|| "[restart]".to_owned());
        [range, restart].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// What it has to lie between, for people.
    pub fn range(&self) -> Option<String> {
        match (self.least, self.most) {
            (Some(least), Some(most)) => Some(format!("from {least} to {most}")),
            (Some(least), None) => Some(format!("at least {least}")),
            (None, Some(most)) => Some(format!("at most {most}")),
            (None, None) => None,
        }
    }
}

/// Lines of a description → its paragraphs, each in one line.
pub(super) fn paragraphs(lines: &[&str]) -> Vec<String> {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.split(|line| line.is_empty()).map(|lines| lines.join(" ")).collect()
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `--unwind-tables-max` without the dashes, of a key's whole path.
pub(crate) fn option_name(path: &str) -> String {
    path.strip_prefix(UNPREFIXED).unwrap_or(path).replace(['.', '_'], "-")
}

/// `FLAMEKEEPER_UNWIND_TABLES_MAX`, of a key's whole path.
pub(crate) fn variable_name(path: &str) -> String {
    let name = path.strip_prefix(UNPREFIXED).unwrap_or(path).replace('.', "_");
    format!("{VARIABLE_PREFIX}{}", name.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_path() {
        let names = |path| (option_name(path), variable_name(path));
        let pair = |option: &str, variable: &str| (option.to_owned(), variable.to_owned());
        assert_eq!(names("sampling.cache_dir"), pair("cache-dir", "FLAMEKEEPER_CACHE_DIR"));
        assert_eq!(names("push.tls.ca_file"), pair("push-tls-ca-file", "FLAMEKEEPER_PUSH_TLS_CA_FILE"));
    }

    #[test]
    fn a_description_has_a_summary_and_details() {
        let docs =
            &[" Samples per second", " on each CPU.", "", " More cost more.", "", " Less tell", " less."];
        let key = Key::new("a", "HZ").described(Kind::of::<u32>(), docs);
        assert_eq!(key.summary(), "Samples per second on each CPU");
        assert_eq!(key.details(), ["More cost more.", "Less tell less."]);
        assert_eq!(Key::new("a", "HZ").between("1", "9").range().unwrap(), "from 1 to 9");
    }
}
