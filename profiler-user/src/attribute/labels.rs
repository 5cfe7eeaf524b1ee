//! A set of labels: name → value, each name once, in the order of names. What a series is known by.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;
use std::sync::Arc;

/// Labels by name. Setting an empty value removes the label, as Prometheus has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(BTreeMap<Arc<str>, Arc<str>>);

impl Labels {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) {
        let (name, value) = (name.into(), value.into());
        if value.is_empty() {
            self.0.remove(&name);
        } else {
            self.0.insert(name, value);
        }
    }

    /// A label's value; empty if it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value)
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Keeps the labels whose names this says yes to.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&str) -> bool) {
        self.0.retain(|name, _| is_kept(name));
    }

    /// All of them, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(labels: I) -> Self {
        let mut set = Self::default();
        labels.into_iter().for_each(|(name, value)| set.set(name, value));
        set
    }
}

impl IntoIterator for Labels {
    type Item = (Arc<str>, Arc<str>);
    type IntoIter = btree_map::IntoIter<Arc<str>, Arc<str>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// As Prometheus and Pyroscope write it: `{container="web", service_name="shop"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (position, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if position == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_empty_ones_are_none() {
        let mut labels: Labels =
            [("service_name", "shop"), ("container", "web"), ("pod", "")].into_iter().collect();
        assert_eq!(labels.to_string(), r#"{container="web", service_name="shop"}"#);
        labels.set("container", "");
        assert_eq!((labels.len(), labels.get("container"), labels.get("service_name")), (1, "", "shop"));
    }
}
