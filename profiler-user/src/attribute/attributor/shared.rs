//! What many processes have in common, kept once: cgroups, names and paths, sets of labels.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::attribute::cgroup::Cgroup;
use crate::attribute::labels::Labels;

/// Of each; beyond that all are forgotten, and shared anew.
const SHARED_MAX: usize = 8192;

/// The stores.
#[derive(Debug, Default)]
pub(super) struct Shared {
    cgroups: HashMap<Arc<[u8]>, Arc<Cgroup>>,
    texts: HashSet<Arc<str>>,
    sets: HashSet<Arc<Labels>>,
}

impl Shared {
    /// These bytes of a cgroup file.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Arc<[u8]> {
        self.cgroups.get_key_value(bytes).map_or_else(|| bytes.into(), |(known, _)| Arc::clone(known))
    }

    /// What they tell.
    pub(super) fn cgroup(&mut self, bytes: &Arc<[u8]>) -> Arc<Cgroup> {
        if self.cgroups.len() >= SHARED_MAX {
            self.cgroups.clear();
        }
        let parsed = self.cgroups.entry(Arc::clone(bytes)).or_insert_with(|| Arc::new(Cgroup::parse(bytes)));
        Arc::clone(parsed)
    }

    /// This text.
    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.texts.get(text) {
            return Arc::clone(shared);
        }
        if self.texts.len() >= SHARED_MAX {
            self.texts.clear();
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&shared));
        shared
    }

    /// This set of labels.
    pub(super) fn labels(&mut self, labels: Labels) -> Arc<Labels> {
        if let Some(shared) = self.sets.get(&labels) {
            return Arc::clone(shared);
        }
        if self.sets.len() >= SHARED_MAX {
            self.sets.clear();
        }
        let shared = Arc::new(labels);
        self.sets.insert(Arc::clone(&shared));
        shared
    }
}
