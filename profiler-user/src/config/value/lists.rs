//! Lists, maps and lists of tables. An option or a variable holds them as plain text with commas, or as TOML:
//!
//! ```text
//!   127.0.0.1:4041,[::1]:4041        a list                  ["127.0.0.1:4041", "[::1]:4041"]
//!   team=core,site=north             a map                   {team = "core", site = "north"}
//!                                    a list of tables        [{action = "drop", source_labels = ["x"], regex = "y"}]
//! ```
//!
//! Options may be repeated: lists are joined.

use std::collections::BTreeMap;
use std::ops::Deref;

use super::Value;
use crate::config::document::{Node, parse_value};
use crate::config::group::{Group, Shown};
use crate::config::key::Key;
use crate::config::place::{Place, Source, SourceName};
use crate::config::problem::{At, Report, Wrong};
use crate::config::reader::Reader;

impl<T: Value> Value for Vec<T> {
    const EXPECTED: &'static str = "a list in brackets";
    const IS_LIST: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        parts(text).map(T::from_text).collect()
    }

    fn to_toml(&self) -> Option<toml::Value> {
        self.iter().map(T::to_toml).collect::<Option<Vec<_>>>().map(toml::Value::Array)
    }

    fn from_texts(texts: &[String], at: &At, report: &mut Report) -> Option<Self> {
        joined(texts, at, report, Self::from_text, Self::from_toml, |all, more| all.extend(more))
    }

    fn from_toml(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let Some(items) = node.get().as_array() else {
            node.wrong_type(Self::EXPECTED, report);
            return None;
        };
        // All of them are read before one that is wrong ends it: each is reported.
        let items = items.iter().enumerate().map(|(at, item)| T::from_toml(&node.item(at, item), report));
        items.collect::<Vec<_>>().into_iter().collect()
    }
}

impl<T: Value> Value for BTreeMap<String, T> {
    const EXPECTED: &'static str = "a table of names and values";
    const IS_LIST: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').ok_or("is no NAME=VALUE")?;
            Ok((name.trim().to_owned(), T::from_text(value.trim())?))
        };
        parts(text).map(pair).collect()
    }

    fn to_toml(&self) -> Option<toml::Value> {
        let pairs = self.iter().map(|(name, value)| Some((name.clone(), value.to_toml()?)));
        pairs.collect::<Option<toml::Table>>().map(toml::Value::Table)
    }

    fn from_texts(texts: &[String], at: &At, report: &mut Report) -> Option<Self> {
        joined(texts, at, report, Self::from_text, Self::from_toml, |all, more| all.extend(more))
    }

    fn from_toml(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let Some(table) = node.get().as_table() else {
            node.wrong_type(Self::EXPECTED, report);
            return None;
        };
        let pairs = table.iter().map(|(name, value)| {
            let name = name.get_ref().to_string();
            let node = Node { key: format!("{}.{name}", node.key), source: node.source, value };
            T::from_toml(&node, report).map(|value| (name, value))
        });
        pairs.collect::<Vec<_>>().into_iter().collect()
    }
}

/// A list of tables, each with the same keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables<T>(Vec<T>);

impl<T> Deref for Tables<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Group> Value for Tables<T> {
    const EXPECTED: &'static str = "a list of tables";
    const IS_LIST: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(Self(Vec::new())),
            _ => Err("must be a list of tables in TOML, such as [{name = \"value\"}]".to_owned()),
        }
    }

    fn to_toml(&self) -> Option<toml::Value> {
        self.0.is_empty().then(|| toml::Value::Array(Vec::new()))
    }

    /// Each table for itself, then options and variables over the first one.
    fn read(reader: &mut Reader<'_>, key: &'static Key) -> Option<Self> {
        reader.tables(key).map(Self)
    }

    fn elements(&self) -> Vec<Shown> {
        self.0.iter().map(Group::show).collect()
    }
}

/// What lies between commas, without blanks around it.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Each text by itself, all of them together.
fn joined<T: Default>(
    texts: &[String],
    at: &At,
    report: &mut Report,
    from_text: impl Fn(&str) -> Result<T, String>,
    from_toml: impl Fn(&Node<'_>, &mut Report) -> Option<T>,
    extend: impl Fn(&mut T, T),
) -> Option<T> {
    let mut all = Some(T::default());
    for text in texts {
        let value = if is_toml(text) {
            let source = inside(at, text);
            let value = parse_value(&source, &at.key, report);
            value.and_then(|value| {
                from_toml(&Node { key: at.key.clone(), source: &source, value: &value }, report)
            })
        } else {
            from_text(text).map_err(|message| report.error(at.clone(), Wrong::Value(message))).ok()
        };
        match (&mut all, value) {
            (Some(all), Some(value)) => extend(all, value),
            _ => all = None,
        }
    }
    all
}

/// Whether a text is meant as TOML: plain lists begin with neither, but for an address such as `[::1]:4041`.
pub(in crate::config) fn is_toml(text: &str) -> bool {
    let text = text.trim();
    (text.starts_with('[') && text.ends_with(']')) || (text.starts_with('{') && text.ends_with('}'))
}

/// The text of an option or a variable as a text in TOML.
pub(in crate::config) fn inside(at: &At, text: &str) -> Source {
    let name = match &at.place {
        Place::Variable(name) | Place::Option(name) => name.clone(),
        other => other.to_string(),
    };
    Source { name: SourceName::Value(name), text: text.to_owned() }
}
