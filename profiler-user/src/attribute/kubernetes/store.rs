//! Pods as the watch tells of them, one by one → the table of all of them. Deleted ones stay for a while: samples of
//! their last seconds are still on the way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::pod::{PodInfo, PodTable};
use crate::host::MonotonicNanos;

/// This node's pods by uid.
#[derive(Debug)]
pub(super) struct PodStore {
    pods: HashMap<Arc<str>, Held>,
    max_pods: usize,
    linger: Duration,
    /// Pods that were left out because there were too many.
    left_out: u64,
}

#[derive(Debug)]
struct Held {
    pod: Arc<PodInfo>,
    deleted: Option<MonotonicNanos>,
}

impl PodStore {
    pub(super) fn new(max_pods: usize, linger: Duration) -> Self {
        Self { pods: HashMap::new(), max_pods, linger, left_out: 0 }
    }

    /// Takes a pod in, or what is new of it; true if the table is another one by that.
    pub(super) fn put(&mut self, pod: PodInfo) -> bool {
        if let Some(held) = self.pods.get(&pod.uid)
            && *held.pod == pod
            && held.deleted.is_none()
        {
            return false;
        }
        if self.pods.len() >= self.max_pods && !self.pods.contains_key(&pod.uid) && !self.make_room() {
            self.left_out = self.left_out.saturating_add(1);
            return false;
        }
        self.pods.insert(Arc::clone(&pod.uid), Held { pod: Arc::new(pod), deleted: None });
        true
    }

    /// Lets the pod go that was deleted first; false if none is deleted.
    fn make_room(&mut self) -> bool {
        let deleted = self.pods.iter().filter_map(|(uid, held)| Some((held.deleted?, Arc::clone(uid))));
        deleted.min().is_some_and(|(_, uid)| self.pods.remove(&uid).is_some())
    }

    /// Marks a pod as deleted.
    pub(super) fn delete(&mut self, uid: &str, now: MonotonicNanos) {
        if let Some(held) = self.pods.get_mut(uid) {
            held.deleted.get_or_insert(now);
        }
    }

    /// Marks all as deleted that a complete list does not have.
    pub(super) fn keep_only(&mut self, listed: &HashSet<String>, now: MonotonicNanos) {
        for (uid, held) in &mut self.pods {
            if !listed.contains(&**uid) {
                held.deleted.get_or_insert(now);
            }
        }
    }

    /// Lets go what was deleted long enough ago; true if there was any.
    pub(super) fn expire(&mut self, now: MonotonicNanos) -> bool {
        let before = self.pods.len();
        let linger = self.linger;
        self.pods.retain(|_, held| held.deleted.is_none_or(|deleted| left(deleted, linger, now).is_some()));
        self.pods.len() < before
    }

    /// How long until a deleted pod can go.
    pub(super) fn next_expiry(&self, now: MonotonicNanos) -> Option<Duration> {
        let deleted = self.pods.values().filter_map(|held| held.deleted).min()?;
        Some(left(deleted, self.linger, now).unwrap_or_default())
    }

    /// The table. Of two pods that share a container or uid (a static pod and its successor) the living one counts.
    pub(super) fn table(&self) -> PodTable {
        let (living, deleted): (Vec<_>, Vec<_>) = self.pods.values().partition(|held| held.deleted.is_none());
        PodTable::new(deleted.into_iter().chain(living).map(|held| Arc::clone(&held.pod)))
    }

    /// Pods that are not deleted.
    pub(super) fn living(&self) -> usize {
        self.pods.values().filter(|held| held.deleted.is_none()).count()
    }

    /// Pods that were left out because there were too many, over all time.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// What is left of a deleted pod's time; `None` if it is over.
fn left(deleted: MonotonicNanos, linger: Duration, now: MonotonicNanos) -> Option<Duration> {
    let since = Duration::from_nanos(now.0.saturating_sub(deleted.0));
    linger.checked_sub(since).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::super::pod::PodContainer;
    use super::*;

    const LINGER: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> MonotonicNanos {
        MonotonicNanos(seconds * 1_000_000_000)
    }

    fn pod(uid: &str, container: &str) -> PodInfo {
        let container = PodContainer { id: container.into(), name: "web".into(), image: "".into() };
        PodInfo { uid: uid.into(), name: uid.into(), containers: vec![container], ..PodInfo::default() }
    }

    fn name(store: &PodStore, container: &str) -> String {
        store.table().find(None, Some(container)).map_or(String::new(), |pod| pod.name.to_string())
    }

    #[test]
    fn only_what_is_new_makes_a_new_table() {
        let mut store = PodStore::new(10, LINGER);
        assert!(store.put(pod("a", "1")));
        assert!(!store.put(pod("a", "1")));
        assert!(store.put(pod("a", "2")));
        assert_eq!((name(&store, "1"), name(&store, "2")), (String::new(), "a".to_owned()));
    }

    #[test]
    fn a_deleted_pod_stays_for_a_while() {
        let mut store = PodStore::new(10, LINGER);
        store.put(pod("a", "1"));
        assert_eq!(store.next_expiry(at(0)), None);
        store.delete("a", at(100));
        store.delete("a", at(110));
        store.delete("none", at(110));
        assert_eq!((name(&store, "1"), store.living()), ("a".to_owned(), 0));
        assert_eq!(store.next_expiry(at(130)), Some(Duration::from_secs(30)));
        assert!(!store.expire(at(159)));
        assert_eq!(store.next_expiry(at(200)), Some(Duration::ZERO));
        assert!(store.expire(at(160)));
        assert_eq!((name(&store, "1"), store.next_expiry(at(200))), (String::new(), None));
    }

    #[test]
    fn a_pod_that_comes_back_is_no_longer_deleted() {
        let mut store = PodStore::new(10, LINGER);
        store.put(pod("a", "1"));
        store.delete("a", at(100));
        assert!(store.put(pod("a", "1")));
        assert!(!store.expire(at(1000)));
        assert_eq!(store.living(), 1);
    }

    #[test]
    fn a_list_tells_what_was_deleted_unseen() {
        let mut store = PodStore::new(10, LINGER);
        store.put(pod("a", "1"));
        store.put(pod("b", "2"));
        store.keep_only(&HashSet::from(["b".to_owned()]), at(100));
        assert_eq!(store.living(), 1);
        assert!(store.expire(at(160)));
        assert_eq!((name(&store, "1"), name(&store, "2")), (String::new(), "b".to_owned()));
    }

    #[test]
    fn of_two_pods_with_one_container_the_living_one_counts() {
        for (first, second) in [("a", "b"), ("b", "a")] {
            let mut store = PodStore::new(10, LINGER);
            store.put(pod(first, "1"));
            store.delete(first, at(100));
            store.put(pod(second, "1"));
            assert_eq!(name(&store, "1"), second);
        }
    }

    #[test]
    fn too_many_pods_are_left_out_and_counted() {
        let mut store = PodStore::new(2, LINGER);
        store.put(pod("a", "1"));
        store.put(pod("b", "2"));
        assert!(!store.put(pod("c", "3")));
        assert!(store.put(pod("b", "4")), "known ones are kept up to date");
        assert_eq!((store.left_out(), name(&store, "4")), (1, "b".to_owned()));
        store.delete("a", at(100));
        assert!(store.put(pod("c", "3")), "in the place of a deleted one");
        assert_eq!((store.left_out(), store.living(), name(&store, "1")), (1, 2, String::new()));
    }
}
