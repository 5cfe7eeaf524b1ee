//! A pod as the API server writes it → [`PodInfo`], within bounds.
//!
//! Only the fields that labels are made of are read: `managedFields`, probes and volumes are most of a pod's text and
//! are skipped as they come. What a user can make as large as he likes (labels, annotations) is cut off here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::pod::{PodContainer, PodInfo, PodOwner};

/// Of one pod's labels, and of its annotations; names and values. A pod has some 300 of them.
const MAX_TEXT_BYTES: usize = 8 << 10;
/// A longer annotation would name nothing.
const MAX_ANNOTATION_BYTES: usize = 2 << 10;
/// Started containers of a pod, former ones among them.
const MAX_CONTAINERS: usize = 256;
/// Of a container id, a name or an image: kubelet's are shorter.
const MAX_NAME_BYTES: usize = 512;
/// Without it, a pod that kubelet made from a file is not found by its cgroup.
const STATIC_POD_UID: &str = "kubernetes.io/config.hash";

/// The page of a list. Without a version it is none: by an empty object all pods would seem to be deleted.
#[derive(Debug, Deserialize)]
pub(super) struct PodList {
    pub(super) metadata: ListMetadata,
    #[serde(deserialize_with = "null_is_empty")]
    pub(super) items: Vec<Pod>,
}

/// As some servers write a list of nothing.
fn null_is_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Pod>, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMetadata {
    #[serde(deserialize_with = "not_empty")]
    pub(super) resource_version: String,
    /// Empty at the last page.
    #[serde(default, rename = "continue")]
    pub(super) next_page: String,
}

fn not_empty<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() { Err(D::Error::custom("an empty resourceVersion")) } else { Ok(text) }
}

/// A pod, as far as we look at it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    name: String,
    namespace: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    owner_references: Vec<Owner>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Owner {
    kind: String,
    name: String,
    controller: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
    containers: Vec<Specified>,
    init_containers: Vec<Specified>,
    ephemeral_containers: Vec<Specified>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Specified {
    name: String,
    image: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    container_statuses: Vec<Started>,
    init_container_statuses: Vec<Started>,
    ephemeral_container_statuses: Vec<Started>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Started {
    name: String,
    #[serde(rename = "containerID")]
    container_id: String,
    last_state: LastState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LastState {
    terminated: Terminated,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Terminated {
    #[serde(rename = "containerID")]
    container_id: String,
}

/// What to keep of pods.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// How the names of annotations begin.
    pub(super) annotations: Vec<String>,
}

impl Kept {
    fn keeps(&self, annotation: &str, value: &str) -> bool {
        let is_wanted = |start: &String| annotation.starts_with(start.as_str());
        let is_kept = annotation == STATIC_POD_UID || self.annotations.iter().any(is_wanted);
        is_kept && annotation.len() + value.len() <= MAX_ANNOTATION_BYTES
    }
}

impl Pod {
    /// What labels are made of.
    pub(super) fn info(self, kept: &Kept) -> PodInfo {
        let containers = containers(&self.spec, &self.status);
        let Metadata { name, namespace, uid, mut annotations, labels, owner_references, .. } = self.metadata;
        annotations.retain(|name, value| kept.keeps(name, value));
        let owner = owner_references.into_iter().find(|owner| owner.controller);
        PodInfo {
            namespace: text(&namespace),
            name: text(&name),
            uid: text(&uid),
            node: text(&self.spec.node_name),
            labels: bounded(labels),
            annotations: bounded(annotations),
            containers,
            owner: owner.map(|owner| PodOwner { kind: text(&owner.kind), name: text(&owner.name) }),
        }
    }
}

/// The containers that have been started, and the ones before a restart: their samples may still be on the way.
fn containers(spec: &Spec, status: &Status) -> Vec<PodContainer> {
    let specified = || spec.containers.iter().chain(&spec.init_containers).chain(&spec.ephemeral_containers);
    let started = status.container_statuses.iter();
    let started = started.chain(&status.init_container_statuses).chain(&status.ephemeral_container_statuses);
    let ids = started.flat_map(|started| {
        [&started.container_id, &started.last_state.terminated.container_id].map(|id| (id, started))
    });
    let containers = ids.filter_map(|(id, started)| {
        // `containerd://0123…`; empty before the start.
        let (_, id) = id.split_once("://")?;
        let image = specified().find(|one| one.name == started.name).map_or("", |one| &one.image);
        Some(PodContainer { id: text(id), name: text(&started.name), image: text(image) })
    });
    containers.take(MAX_CONTAINERS).collect()
}

/// The first ones, by name, that fit.
fn bounded(texts: BTreeMap<String, String>) -> BTreeMap<Arc<str>, Arc<str>> {
    let mut left = MAX_TEXT_BYTES;
    let fitting = texts.into_iter().map_while(|(name, value)| {
        left = left.checked_sub(name.len() + value.len())?;
        Some((name.into(), value.into()))
    });
    fitting.collect()
}

fn text(whole: &str) -> Arc<str> {
    whole[..whole.floor_char_boundary(MAX_NAME_BYTES)].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(pod: &str, annotations: &[&str]) -> PodInfo {
        let annotations = annotations.iter().map(|&start| start.to_owned()).collect();
        serde_json::from_str::<Pod>(pod).unwrap().info(&Kept { annotations })
    }

    /// As an API server writes it, with what we do not look at.
    const SHOP: &str = r#"{
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "shop-7f9c", "generateName": "shop-", "namespace": "sales", "uid": "0b1f", "resourceVersion": "41",
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"app.kubernetes.io/name": "shop", "empty": ""},
            "annotations": {"pyroscope.io/service_name": "shop", "kubernetes.io/config.seen": "x"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "1"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-7f9c", "uid": "2", "controller": true}
            ],
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:metadata": {"f:labels": {}}}}]
        },
        "spec": {
            "nodeName": "node-7", "volumes": [{"name": "v", "emptyDir": {}}],
            "initContainers": [{"name": "init", "image": "busybox"}],
            "containers": [{"name": "web", "image": "nginx:1", "ports": []}, {"name": "log", "image": "fluent"}]
        },
        "status": {
            "phase": "Running",
            "initContainerStatuses": [{"name": "init", "containerID": "containerd://a0", "state": {}}],
            "containerStatuses": [
                {"name": "web", "containerID": "containerd://c2", "restartCount": 1, "image": "docker.io/nginx:1",
                 "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}},
                 "lastState": {"terminated": {"containerID": "containerd://c1", "exitCode": 1}}},
                {"name": "log", "containerID": "", "state": {"waiting": {}}, "lastState": {}}
            ]
        }
    }"#;

    #[test]
    fn what_labels_are_made_of_is_read() {
        let pod = info(SHOP, &["pyroscope.io/"]);
        let owner = pod.owner.as_ref().map(|owner| (&*owner.kind, &*owner.name));
        assert_eq!(
            (&*pod.namespace, &*pod.name, &*pod.uid, &*pod.node),
            ("sales", "shop-7f9c", "0b1f", "node-7")
        );
        assert_eq!(owner, Some(("ReplicaSet", "shop-7f9c")));
        assert_eq!(
            pod.labels.keys().map(|name| &**name).collect::<Vec<_>>(),
            ["app.kubernetes.io/name", "empty"]
        );
        assert_eq!(
            pod.annotations.keys().map(|name| &**name).collect::<Vec<_>>(),
            ["pyroscope.io/service_name"]
        );
        let containers: Vec<String> =
            pod.containers.iter().map(|one| format!("{} {} {}", one.id, one.name, one.image)).collect();
        assert_eq!(containers, ["c2 web nginx:1", "c1 web nginx:1", "a0 init busybox"]);
    }

    #[test]
    fn a_pod_that_is_not_scheduled_is_nearly_nothing() {
        assert_eq!(info("{}", &[]), PodInfo::default());
        let list: PodList =
            serde_json::from_str(r#"{"metadata": {"resourceVersion": "1"}, "items": null}"#).unwrap();
        assert!(list.items.is_empty());
    }

    #[test]
    fn what_users_make_large_is_cut_off() {
        let many = |count: usize, size: usize| {
            let all: Vec<String> =
                (0..count).map(|n| format!(r#""n{n:05}": "{}""#, "x".repeat(size))).collect();
            all.join(",")
        };
        let pod = format!(
            r#"{{"metadata": {{"name": "{}", "labels": {{{}}}, "annotations": {{"a/b": "{}", {}}}}}}}"#,
            "é".repeat(600),
            many(10_000, 50),
            "y".repeat(3000),
            many(100, 1000),
        );
        let pod = info(&pod, &["a/", "n"]);
        let bytes = |texts: &BTreeMap<Arc<str>, Arc<str>>| -> usize {
            texts.iter().map(|(name, value)| name.len() + value.len()).sum()
        };
        assert_eq!(pod.name.len(), MAX_NAME_BYTES);
        assert!((MAX_TEXT_BYTES - 60..=MAX_TEXT_BYTES).contains(&bytes(&pod.labels)));
        assert!((MAX_TEXT_BYTES - 1100..=MAX_TEXT_BYTES).contains(&bytes(&pod.annotations)));
        assert!(!pod.annotations.contains_key("a/b"), "too long for a name");

        let started = r#"{"name": "c", "containerID": "x://1"},"#.repeat(300);
        let pod = format!(r#"{{"status": {{"containerStatuses": [{}]}}}}"#, started.trim_end_matches(','));
        assert_eq!(info(&pod, &[]).containers.len(), MAX_CONTAINERS);
    }
}
