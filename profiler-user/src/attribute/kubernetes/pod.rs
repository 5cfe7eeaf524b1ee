//! What attribution knows of a pod, and the table of this node's pods by the two things that a cgroup path tells:
//! pod uid and container id.
//!
//! Plain data without any API type in it: whoever watches the API server makes a new [`PodTable`] of it, and the
//! thread that attributes gets that as a whole. Never changed in place, never asks anybody.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A container of a pod; also init and ephemeral ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodContainer {
    /// As in a cgroup path: 64 hexadecimal digits, without `containerd://` or the like before them.
    pub id: Arc<str>,
    /// As in the pod's specification.
    pub name: Arc<str>,
    /// As in the pod's specification; empty if not told.
    pub image: Arc<str>,
}

/// What made a pod, such as a ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodOwner {
    /// `ReplicaSet`, `DaemonSet`, `StatefulSet`, `Job`, …
    pub kind: Arc<str>,
    /// Its name in the pod's namespace.
    pub name: Arc<str>,
}

/// A pod, as far as labels are made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodInfo {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// The API server's uid, with dashes.
    pub uid: Arc<str>,
    /// The node that it runs on; empty if not told.
    pub node: Arc<str>,
    /// The pod's labels; values may be empty.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// The pod's annotations, as far as the watch keeps them.
    pub annotations: BTreeMap<Arc<str>, Arc<str>>,
    /// Its containers that have been started.
    pub containers: Vec<PodContainer>,
    /// The owner that controls it.
    pub owner: Option<PodOwner>,
}

/// Kubelet calls the cgroup of a pod that it made from a file by this, and not by the uid that the API server gave
/// to the pod's mirror.
const STATIC_POD_UID: &str = "kubernetes.io/config.hash";

/// The pods of this node.
#[derive(Clone, Debug, Default)]
pub struct PodTable {
    by_uid: HashMap<Arc<str>, Arc<PodInfo>>,
    by_container: HashMap<Arc<str>, Arc<PodInfo>>,
}

impl PodTable {
    /// A table of these; of two pods with the same uid or container the later one counts.
    pub fn new(pods: impl IntoIterator<Item = Arc<PodInfo>>) -> Self {
        let mut table = Self::default();
        for pod in pods {
            for container in &pod.containers {
                table.by_container.insert(Arc::clone(&container.id), Arc::clone(&pod));
            }
            if let Some(uid) = pod.annotations.get(STATIC_POD_UID) {
                table.by_uid.insert(Arc::clone(uid), Arc::clone(&pod));
            }
            table.by_uid.insert(Arc::clone(&pod.uid), pod);
        }
        table
    }

    /// The pod of a process whose cgroup tells these: by its container, else by its uid.
    pub fn find(&self, uid: Option<&str>, container_id: Option<&str>) -> Option<&Arc<PodInfo>> {
        let by_container = container_id.and_then(|id| self.by_container.get(id));
        by_container.or_else(|| uid.and_then(|uid| self.by_uid.get(uid)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_uid.is_empty()
    }
}

impl PodInfo {
    /// The container of this id.
    pub fn container(&self, id: &str) -> Option<&PodContainer> {
        self.containers.iter().find(|container| &*container.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: &str, container: &str) -> PodInfo {
        PodInfo {
            name: name.into(),
            uid: uid.into(),
            containers: vec![PodContainer {
                id: container.into(),
                name: "web".into(),
                image: "nginx:1".into(),
            }],
            ..PodInfo::default()
        }
    }

    #[test]
    fn a_pod_is_found_by_container_and_by_uid() {
        let mut of_file = pod("etcd", "mirror", "c2");
        of_file.annotations.insert(STATIC_POD_UID.into(), "0123456789abcdef".into());
        let table = PodTable::new([Arc::new(pod("shop", "u1", "c1")), Arc::new(of_file)]);
        let name = |uid, container| table.find(uid, container).map(|pod| &*pod.name);
        assert_eq!(name(None, Some("c1")), Some("shop"));
        assert_eq!(name(Some("u1"), Some("new")), Some("shop"));
        assert_eq!(name(Some("0123456789abcdef"), None), Some("etcd"), "a static pod");
        assert_eq!(name(Some("mirror"), None), Some("etcd"));
        assert_eq!(name(Some("u2"), Some("c3")), None);
        assert_eq!(name(None, None), None);
        let shop = table.find(None, Some("c1")).unwrap();
        assert_eq!(shop.container("c1").map(|container| &*container.image), Some("nginx:1"));
        assert_eq!(shop.container("c2"), None);
    }
}
