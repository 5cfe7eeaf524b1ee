//! Which layer a value comes from: option over variable over file over default.
//!
//! A higher layer replaces a value as a whole: lists and tables are not merged. The keys of the first table of a list
//! (`push`) may have options and variables of their own, which lie over what the file has there.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use super::document::{Node, Table, join, parse_value};
use super::group::Group;
use super::key::{Key, option_name, variable_name};
use super::place::{Place, Source};
use super::problem::{At, Report, Wrong};
use super::value::{Value, inside};

/// What lies above the file.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// By a key's whole path: what each of its options says, in order.
    pub options: BTreeMap<String, Vec<String>>,
    /// By name, those that begin with [`VARIABLE_PREFIX`](super::key::VARIABLE_PREFIX).
    pub variables: BTreeMap<String, String>,
}

/// Where each value was found, by path.
pub(super) type Places = BTreeMap<String, Place>;

/// Reads the keys of one table.
pub(super) struct Reader<'a> {
    /// `None` for tables whose keys have no options.
    pub(super) layers: Option<&'a Layers>,
    /// Path of the table as names of options are made of it: `push`.
    pub(super) name: &'a str,
    /// Path of the table as messages have it: `push[0]`.
    pub(super) key: String,
    /// What the file has.
    pub(super) table: Option<Table<'a>>,
    pub(super) report: &'a mut Report,
    pub(super) places: &'a mut Places,
}

/// What was given for a key.
enum Given<'a> {
    Texts(At, Vec<String>),
    Node(Node<'a>),
    Nothing(At),
}

impl<'a> Reader<'a> {
    fn given(&self, key: &Key) -> Given<'a> {
        let name = join(self.name, key.path);
        let at = |place| At { key: join(&self.key, key.path), place };
        if let Some(texts) = self.layers.and_then(|layers| layers.options.get(&name)) {
            return Given::Texts(at(Place::Option(format!("--{}", option_name(&name)))), texts.clone());
        }
        let variable = variable_name(&name);
        let text = self.layers.and_then(|layers| layers.variables.get(&variable));
        if let Some(text) = text.filter(|text| key.empty_counts || !text.is_empty()) {
            return Given::Texts(at(Place::Variable(variable)), vec![text.clone()]);
        }
        match self.table.as_ref().and_then(|table| table.find(key.path)) {
            Some(node) => Given::Node(node),
            None => Given::Nothing(at(Place::Default)),
        }
    }

    /// The value of a key, checked against its bounds.
    pub(super) fn layered<T: Value>(&mut self, key: &'static Key) -> Option<T> {
        let (at, value) = match self.given(key) {
            Given::Texts(at, texts) => {
                let value = T::from_texts(&texts, &at, self.report);
                (at, value)
            }
            Given::Node(node) => (node.at(), T::from_toml(&node, self.report)),
            Given::Nothing(at) if key.required => {
                let place = self.table.as_ref().map_or(Place::Default, |table| table.place.clone());
                self.report.error(At { place, ..at }, Wrong::Missing);
                return None;
            }
            Given::Nothing(at) => {
                let value = T::from_text(key.default);
                let value = value.map_err(|message| self.report.error(at.clone(), Wrong::Value(message)));
                (at, value.ok())
            }
        };
        self.places.insert(at.key.clone(), at.place.clone());
        let value = value?;
        match out_of_bounds(&value, key) {
            None => Some(value),
            Some(wrong) => {
                self.report.error(at, wrong);
                None
            }
        }
    }

    /// The tables of a key that is a list of them.
    pub(super) fn tables<T: Group>(&mut self, key: &'static Key) -> Option<Vec<T>> {
        let (at, texts) = match self.given(key) {
            Given::Node(node) => {
                self.places.insert(node.key.clone(), node.place());
                let Some(items) = node.get().as_array() else {
                    node.wrong_type(&format!("a list of tables, [[{}]]", node.key), self.report);
                    return None;
                };
                let items = items.iter().enumerate().map(|(at, item)| node.item(at, item)).collect();
                return self.read_tables(key, items);
            }
            Given::Texts(at, texts) => (at, texts),
            Given::Nothing(at) => (at, Vec::new()),
        };
        self.places.insert(at.key.clone(), at.place.clone());
        let sources: Vec<Source> =
            texts.iter().filter(|text| !text.is_empty()).map(|text| inside(&at, text)).collect();
        let mut values: Vec<(&Source, Spanned<DeValue<'_>>)> = Vec::new();
        for source in &sources {
            values.push((source, parse_value(source, &at.key, self.report)?));
        }
        let mut items = Vec::new();
        for (source, value) in &values {
            let all = match value.get_ref() {
                DeValue::Array(all) => all.iter().collect(),
                _ => vec![value],
            };
            for value in all {
                let key = format!("{}[{}]", at.key, items.len());
                items.push(Node { key, source, value });
            }
        }
        self.read_tables(key, items)
    }

    fn read_tables<T: Group>(&mut self, key: &'static Key, items: Vec<Node<'_>>) -> Option<Vec<T>> {
        let name = join(self.name, key.path);
        let layers =
            self.layers.filter(|layers| key.first_has_options && layers.have_some_of(&name, T::KEYS));
        let known: Vec<&Key> = T::KEYS.iter().collect();
        let mut tables: Vec<(String, Option<Table<'_>>)> = Vec::new();
        let mut all_are_tables = true;
        for item in &items {
            match item.table() {
                Some(table) => {
                    table.report_unknown(&known, self.report);
                    tables.push((item.key.clone(), Some(table)));
                }
                None => {
                    item.wrong_type("a table", self.report);
                    all_are_tables = false;
                }
            }
        }
        if tables.is_empty() && layers.is_some() {
            tables.push((format!("{}[0]", join(&self.key, key.path)), None));
        }
        let mut read = Vec::new();
        for (position, (key, table)) in tables.into_iter().enumerate() {
            let layers = layers.filter(|_| position == 0);
            let mut reader =
                Reader { layers, name: &name, key, table, report: self.report, places: self.places };
            read.push(T::read(&mut reader));
        }
        // All of them are read before the first that is wrong ends it.
        all_are_tables.then(|| read.into_iter().collect())?
    }
}

impl Layers {
    /// Whether anything is given for the keys of a list's first table.
    fn have_some_of(&self, name: &str, keys: &[Key]) -> bool {
        keys.iter().map(|key| join(name, key.path)).any(|path| {
            let variable = self.variables.get(&variable_name(&path));
            self.options.contains_key(&path) || variable.is_some_and(|text| !text.is_empty())
        })
    }
}

/// That a value is out of its key's bounds, if it is.
fn out_of_bounds<T: Value>(value: &T, key: &Key) -> Option<Wrong> {
    let shown = value.to_toml()?; // what is not set has no bounds
    let bound = |text: Option<&'static str>| text.and_then(|text| T::from_text(text).ok());
    let lies = |text, side| bound(text).is_some_and(|bound| value.compare(&bound) == Some(side));
    let is_outside = lies(key.least, Ordering::Less) || lies(key.most, Ordering::Greater);
    let shown = shown.as_str().map_or_else(|| shown.to_string(), str::to_owned);
    is_outside.then(|| Wrong::Range { value: shown, range: key.range().unwrap_or_default() })
}
