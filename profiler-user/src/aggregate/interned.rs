//! Values → numbers: each value once, numbered in the order of their coming.

use std::collections::HashMap;
use std::hash::Hash;

/// Each value once, by number.
#[derive(Debug)]
pub(super) struct Interned<T> {
    ids: HashMap<T, u32>,
    values: Vec<T>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { ids: HashMap::new(), values: Vec::new() }
    }
}

impl<T> Interned<T> {
    /// All of them, by number.
    pub(super) fn values(&self) -> &[T] {
        &self.values
    }

    /// The same, for good.
    pub(super) fn into_values(self) -> Vec<T> {
        self.values
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}

impl<T: Hash + Eq + Clone> Interned<T> {
    /// The value's number.
    pub(super) fn id(&mut self, value: &T) -> u32 {
        if let Some(&id) = self.ids.get(value) {
            return id;
        }
        let id = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.values.push(value.clone());
        self.ids.insert(value.clone(), id);
        id
    }
}
