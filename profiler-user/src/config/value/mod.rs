//! Kinds of values: each read from TOML, from the text of an option or a variable, and written as TOML again.
//!
//! Says what is wrong with one value by itself; what values mean together is `check.rs`'s.

mod lists;
mod network;
mod scalars;
mod secret;

pub use lists::Tables;
pub(super) use lists::inside;
pub use network::Headers;
pub use secret::Secret;

use std::cmp::Ordering;

use super::document::Node;
use super::key::Key;
use super::problem::{At, Report, Wrong};
use super::reader::Reader;
use toml::de::DeValue;

/// What a key can hold.
pub(super) trait Value: Sized + Clone + PartialEq {
    /// What a message says was expected, with an article.
    const EXPECTED: &'static str;
    /// What a file may write it as.
    const IN_FILE: &'static [InFile] = &[InFile::Text];
    /// Whether an option may be given several times.
    const IS_LIST: bool = false;
    /// What an option without a value means, as in `--include-self`.
    const WITHOUT_VALUE: Option<&'static str> = None;

    /// From the text of an option or a variable.
    fn from_text(text: &str) -> Result<Self, String>;

    /// As a file has it; `None` if it is not set. Secrets are masked.
    fn to_toml(&self) -> Option<toml::Value>;

    /// Which of two is less, where there is such a thing: for bounds.
    fn compare(&self, _other: &Self) -> Option<Ordering> {
        None
    }

    /// The names that it may have, if it is one of a few.
    fn choices() -> Vec<String> {
        Vec::new()
    }

    /// From all that was given for it, the last of which counts unless it is a list.
    fn from_texts(texts: &[String], at: &At, report: &mut Report) -> Option<Self> {
        let text = texts.last().map_or("", String::as_str);
        Self::from_text(text).map_err(|message| report.error(at.clone(), Wrong::Value(message))).ok()
    }

    /// From a file.
    fn from_toml(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let Some(text) = scalar_text(node.get(), Self::IN_FILE) else {
            node.wrong_type(Self::EXPECTED, report);
            return None;
        };
        Self::from_text(&text).map_err(|message| report.error(node.at(), Wrong::Value(message))).ok()
    }

    /// From whichever layer has it.
    fn read(reader: &mut Reader<'_>, key: &'static Key) -> Option<Self> {
        reader.layered(key)
    }

    /// The values of each table, if it is a list of tables.
    fn elements(&self) -> Vec<Vec<(&'static Key, Option<toml::Value>)>> {
        Vec::new()
    }
}

/// Types of TOML that stand for one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InFile {
    Text,
    Whole,
    Fraction,
    TrueOrFalse,
}

/// The value as an option would have it, if its type is one of these.
fn scalar_text(value: &DeValue<'_>, allowed: &[InFile]) -> Option<String> {
    let (kind, text) = match value {
        DeValue::String(text) => (InFile::Text, text.to_string()),
        DeValue::Integer(number) => {
            let decimal = i128::from_str_radix(number.as_str(), number.radix()).ok()?;
            (InFile::Whole, decimal.to_string())
        }
        DeValue::Float(number) => (InFile::Fraction, number.as_str().to_owned()),
        DeValue::Boolean(flag) => (InFile::TrueOrFalse, flag.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => return None,
    };
    allowed.contains(&kind).then_some(text)
}

/// What has to be known of a type of values to show a key, without a value of it.
#[derive(Debug)]
pub(super) struct Kind {
    /// A text of an option as a file has it.
    pub(super) shown: fn(&str) -> Option<toml::Value>,
    /// See [`Value::choices`].
    pub(super) choices: fn() -> Vec<String>,
    /// See [`Value::IS_LIST`].
    pub(super) is_list: bool,
    /// See [`Value::WITHOUT_VALUE`].
    pub(super) without_value: Option<&'static str>,
}

impl Kind {
    pub(super) const fn of<T: Value>() -> Self {
        Self { shown: shown::<T>, choices: T::choices, is_list: T::IS_LIST, without_value: T::WITHOUT_VALUE }
    }
}

fn shown<T: Value>(text: &str) -> Option<toml::Value> {
    T::from_text(text).ok()?.to_toml()
}
