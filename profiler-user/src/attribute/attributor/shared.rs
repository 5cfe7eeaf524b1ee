//! What many processes have in common, kept once: cgroups, names and paths, sets of labels.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use crate::attribute::cgroup::Cgroup;
use crate::attribute::labels::Labels;

/// Of each. Those that nobody has any more go when they are so many; beyond that nothing more is shared.
const SHARED_MAX: usize = 2048;

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
        if let Some(shared) = self.cgroups.get(bytes) {
            return Arc::clone(shared);
        }
        let parsed = Arc::new(Cgroup::parse(bytes));
        if self.cgroups.len() >= SHARED_MAX {
            self.cgroups.retain(|_, cgroup| Arc::strong_count(cgroup) > 1);
        }
        if self.cgroups.len() < SHARED_MAX {
            self.cgroups.insert(Arc::clone(bytes), Arc::clone(&parsed));
        }
        parsed
    }

    /// This text.
    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.texts.get(text) {
            return Arc::clone(shared);
        }
        share(&mut self.texts, text.into())
    }

    /// This set of labels.
    pub(super) fn labels(&mut self, labels: Labels) -> Arc<Labels> {
        if let Some(shared) = self.sets.get(&labels) {
            return Arc::clone(shared);
        }
        share(&mut self.sets, Arc::new(labels))
    }
}

fn share<T: Eq + Hash + ?Sized>(known: &mut HashSet<Arc<T>>, new: Arc<T>) -> Arc<T> {
    if known.len() >= SHARED_MAX {
        known.retain(|known| Arc::strong_count(known) > 1);
    }
    if known.len() < SHARED_MAX {
        known.insert(Arc::clone(&new));
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_is_one_and_what_nobody_has_goes() {
        let mut shared = Shared::default();
        let kept = shared.text("kept");
        assert!(Arc::ptr_eq(&kept, &shared.text("kept")));
        for number in 0..10_000 {
            shared.text(&number.to_string());
            shared.labels([("service_name", number.to_string())].into_iter().collect());
            shared.cgroup(&Arc::from(format!("0::/{number}\n").as_bytes()));
        }
        assert!(shared.texts.len() <= SHARED_MAX && shared.sets.len() <= SHARED_MAX);
        assert!(shared.cgroups.len() <= SHARED_MAX);
        assert!(Arc::ptr_eq(&kept, &shared.text("kept")));
        let held: Vec<_> = (0..10_000).map(|number| shared.text(&format!("held {number}"))).collect();
        assert!(shared.texts.len() <= SHARED_MAX);
        assert_eq!(&*shared.text("held 9999"), &*held[9999]);
    }
}
