//! A text in TOML → its values with their places, and the keys that nobody knows.
//!
//! The parser is the toml crate's; it goes on after an error, so all of them are told. Knows no key by itself.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::Key;
use super::nearest::hint;
use super::place::{Place, Source};
use super::problem::{At, Report, Wrong};

/// A value, by the path that it is found under.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) key: String,
    pub(super) source: &'a Source,
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

/// A table, by the path that it is found under; the document's own has none.
#[derive(Clone, Debug)]
pub(super) struct Table<'a> {
    pub(super) key: String,
    pub(super) source: &'a Source,
    /// Where it begins.
    pub(super) place: Place,
    pub(super) entries: &'a DeTable<'a>,
}

impl<'a> Node<'a> {
    pub(super) fn place(&self) -> Place {
        self.source.place(&self.value.span())
    }

    pub(super) fn at(&self) -> At {
        At { key: self.key.clone(), place: self.place() }
    }

    pub(super) fn get(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// The item of a list.
    pub(super) fn item(&self, position: usize, value: &'a Spanned<DeValue<'a>>) -> Node<'a> {
        Node { key: format!("{}[{position}]", self.key), source: self.source, value }
    }

    pub(super) fn table(&self) -> Option<Table<'a>> {
        let entries = self.get().as_table()?;
        Some(Table { key: self.key.clone(), source: self.source, place: self.place(), entries })
    }

    /// That its type is wrong.
    pub(super) fn wrong_type(&self, expected: &str, report: &mut Report) {
        report.error(self.at(), Wrong::Type { expected: expected.to_owned(), found: described(self.get()) });
    }
}

/// A value's type with an article, for messages.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a text in quotes",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false without quotes",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
    .to_owned()
}

impl<'a> Table<'a> {
    /// The value of a key that may lie in tables of the table.
    pub(super) fn find(&self, path: &str) -> Option<Node<'a>> {
        let mut entries = self.entries;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            let value = entries.get(part)?;
            if parts.peek().is_none() {
                return Some(Node { key: join(&self.key, path), source: self.source, value });
            }
            entries = value.get_ref().as_table()?;
        }
        None
    }

    /// Reports what no key is, here and in the tables in it.
    pub(super) fn report_unknown(&self, known: &[&Key], report: &mut Report) {
        self.report_unknown_below("", known, report);
    }

    fn report_unknown_below(&self, below: &str, known: &[&Key], report: &mut Report) {
        for (name, value) in self.entries {
            let path = join(below, name.get_ref());
            let at = At { key: join(&self.key, name.get_ref()), place: self.source.place(&name.span()) };
            let is_table_of_keys = known
                .iter()
                .any(|key| key.path.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.')));
            if known.iter().any(|key| key.path == path) {
                continue;
            }
            match value.get_ref() {
                DeValue::Table(entries) if is_table_of_keys => {
                    let table = Table { source: self.source, entries, key: at.key, place: at.place };
                    table.report_unknown_below(&path, known, report);
                }
                other if is_table_of_keys => {
                    let expected = format!("a table, [{}]", at.key);
                    report.error(at, Wrong::Type { expected, found: described(other) });
                }
                _ => report.error(at, Wrong::Unknown { hint: hint(&path, known) }),
            }
        }
    }
}

/// Two parts of a path, with a dot between them if there are two.
pub(super) fn join(before: &str, name: &str) -> String {
    if before.is_empty() { name.to_owned() } else { format!("{before}.{name}") }
}

/// The tables of a document; `None` if it is no TOML, which is reported.
pub(super) fn parse_document<'a>(source: &'a Source, report: &mut Report) -> Option<Spanned<DeTable<'a>>> {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    report_syntax(source, "", &errors, report).then_some(document)
}

/// A single value of a variable or an option.
pub(super) fn parse_value<'a>(
    source: &'a Source,
    key: &str,
    report: &mut Report,
) -> Option<Spanned<DeValue<'a>>> {
    let (value, errors) = DeValue::parse_recoverable(&source.text);
    report_syntax(source, key, &errors, report).then_some(value)
}

/// True if there are none.
fn report_syntax(source: &Source, key: &str, errors: &[toml::de::Error], report: &mut Report) -> bool {
    for error in errors {
        let place = source.place(&error.span().unwrap_or(0..0));
        report.error(At { key: key.to_owned(), place }, Wrong::Syntax(error.message().to_owned()));
    }
    errors.is_empty()
}
